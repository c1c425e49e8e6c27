"""Random programs of a few tasks that share an object, run on a virtual clock: one tick of the loop is one unit of time.

A program is a list of tasks, a task a list of actions; what each action did, what the object looked like then, and how the tasks
ended is the trace. asyncio's trace and pyasync's have to be equal.
"""
import asyncio
import contextlib
import itertools

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from support import Errors, check_kind, plain, scrub

TICKS = 40

# On 3.15 hypothesis takes its own random number generator for one that is about to go; its first test of a process warns.
ignore_register_random = pytest.mark.filterwarnings("ignore:It looks like `register_random`")

quick = settings(max_examples=40, deadline=None, database=None,
                 suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

numbers = st.integers(0, 3)
common = [st.tuples(st.just("sleep"), numbers), st.tuples(st.just("cancel"), numbers), st.tuples(st.just("uncancel"))]


def programs(*actions):
    """`actions` are strategies of tuples: a name and arguments."""
    task = st.lists(st.one_of(*common, *actions), max_size=8)
    return st.lists(task, min_size=1, max_size=5)


def limited(name):
    """The action `name`, sometimes under a time-out."""
    return st.one_of(st.tuples(st.just(name)), st.tuples(st.just(name), st.integers(0, 4)))


class Program:
    """`perform` is async: it gets the shared object and an action, and returns what is to be noted."""

    def __init__(self, aio, make, perform, tasks):
        self.aio, self.perform, self.trace, self.tasks = aio, perform, [], []
        with contextlib.closing(aio.new_event_loop()) as loop:      # fresh_loop() would collect garbage each time: too slow
            check_kind(aio, loop)
            errors = Errors()
            loop.set_exception_handler(errors)
            self.loop, self.now = loop, 0
            # no two timers fall due at the same time: their order is a heap's whim in asyncio
            reads = itertools.count()
            loop.time = lambda: self.now + next(reads) * 1e-6

            async def main():
                self.shared = make(aio)
            loop.run_until_complete(main())
            for number, actions in enumerate(tasks):
                self.tasks.append(loop.create_task(self.run(number, actions)))
            for self.now in range(TICKS):
                loop.call_soon(loop.stop)
                loop.run_forever()
            self.note("at the end")
            for self.now in range(TICKS, TICKS + 40):
                if hasattr(self.shared, "_lock") and self.shared.locked():
                    self.shared.release()      # a Condition.wait() cannot be cancelled while somebody else holds the lock
                for task in self.tasks:
                    task.cancel()              # again and again: some go on to their next action
                loop.call_soon(loop.stop)
                loop.run_forever()
            self.note("after all were cancelled")
            for task in self.tasks:
                self.trace.append("cancelled" if task.cancelled() else "pending" if not task.done() else plain(task.exception()))
            self.trace.append(plain(errors.contexts))
            self.shared = None
            del loop.time

    def note(self, *what):
        self.trace.append([self.now, *plain(list(what)), scrub(repr(self.shared))])

    async def run(self, number, actions):
        for action in actions:
            try:
                self.note(number, action, "did", await self.one(number, *action))
            except (Exception, asyncio.CancelledError) as e:
                self.note(number, action, "raised", type(e).__name__, str(e))
                if isinstance(e, asyncio.CancelledError) and len(actions) % 2:
                    raise

    async def one(self, number, name, *args):
        if name == "sleep":
            return await asyncio.sleep(args[0])
        if name == "cancel":
            return args[0] < len(self.tasks) and self.tasks[args[0]].cancel(f"by {number}")
        if name == "uncancel":
            return asyncio.current_task().uncancel()
        if name in self.limited and args:
            async with asyncio.timeout(args[0]):
                return await self.perform(self.shared, name)
        return await self.perform(self.shared, name, *args)

    limited = ("acquire", "with", "wait", "wait_for", "get", "join")


def trace_of(aio, make, perform, tasks):
    return Program(aio, make, perform, tasks).trace
