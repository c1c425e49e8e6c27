"""Thousands of random programs, run in exactly the same order on both modules: tasks that share futures, locks, events, queues, groups and
time-outs, callbacks and timers on a clock that moves one second a tick.

Each program is made from its number, so that one that fails can be run alone: `check(aio, [number])`.
"""
import asyncio
import contextlib
import itertools
import random

import pytest

import pyasync
from support import Errors, check_kind, scrub

PROGRAMS, AT_ONCE, TICKS = 2000, 500, 30
ENDED = (Exception, asyncio.CancelledError)


class Stop(Exception):
    pass


class Program:
    """One program: a few tasks of random actions on a few shared objects. What each action saw is the trace."""

    def __init__(self, aio, loop, number):
        self.aio, self.loop, self.random, self.trace = aio, loop, random.Random(number), []
        self.futures = [loop.create_future() for _ in range(3)]
        self.lock, self.event, self.condition, self.semaphore = aio.Lock(), aio.Event(), aio.Condition(), aio.Semaphore(2)
        self.queue, self.tasks, self.handles, self.names = aio.Queue(2), [], [], itertools.count()
        for _ in range(self.random.randint(1, 4)):
            self.spawn(2)

    def note(self, *what):
        self.trace.append((self.loop.now, *what))

    def future(self):
        return self.random.choice(self.futures)

    def task(self):
        return self.random.choice(self.tasks)

    def spawn(self, depth):
        task = self.loop.create_task(self.body(next(self.names), depth))
        self.tasks.append(task)
        return task

    async def body(self, name, depth):
        choose = self.random
        try:
            for _ in range(choose.randint(1, 5)):
                action = choose.choice(ACTIONS)
                self.note(name, action.__name__)
                try:
                    self.note(name, "did", await action(self, depth - 1))
                except ENDED as e:
                    self.note(name, "raised", type(e).__name__, *(scrub(str(arg)) for arg in e.args))
                    if choose.random() < 0.5:
                        raise
            return name
        finally:
            self.note(name, "ends")

    def callback(self, label):
        def call(*args):
            self.note("callback", label, [a._state for a in args if asyncio.isfuture(a)])
            deed = self.random.random()
            if deed < 0.2:
                future = self.future()
                if not future.done():
                    future.set_result(label)
            elif deed < 0.3:
                self.note("cancels", self.task().cancel(label))
            elif deed < 0.4:
                self.loop.call_soon(self.callback(f"{label}'"))
        return call

    # ---- what a task does ----

    async def sleep(self, depth):
        await self.aio.sleep(self.random.choice([0, 0, 1, 2, 3]))

    async def wait_future(self, depth):
        return await self.future()

    async def wait_task(self, depth):
        me = asyncio.current_task()
        later = self.tasks[self.tasks.index(me) + 1:] if me in self.tasks else []       # not in a circle
        task = self.random.choice(later or self.futures)
        return await self.aio.shield(task) if self.random.random() < 0.5 else await task

    async def set_future(self, depth):
        i = self.random.randrange(3)
        if self.futures[i].done():
            self.futures[i] = self.loop.create_future()
        elif self.random.random() < 0.7:
            self.futures[i].set_result(i)
        else:
            self.futures[i].set_exception(Stop(i))
            self.futures[i].exception()

    async def schedule(self, depth):
        label = str(next(self.names))
        kind = self.random.randrange(5)
        if kind == 0:
            self.handles.append(self.loop.call_soon(self.callback(label)))
        elif kind == 1:
            self.handles.append(self.loop.call_later(self.random.randint(0, 3), self.callback(label)))
        elif kind == 2:
            self.loop.call_soon_threadsafe(self.callback(label))
        elif kind == 3:
            self.future().add_done_callback(self.callback(label))
        elif self.handles:
            self.random.choice(self.handles).cancel()

    async def cancel(self, depth):
        return self.task().cancel("by another")

    async def uncancel(self, depth):
        return asyncio.current_task().uncancel()

    async def locked(self, depth):
        async with self.random.choice([self.lock, self.semaphore, self.condition]):
            await self.aio.sleep(self.random.choice([0, 1]))

    async def on_condition(self, depth):
        async with self.condition:
            if self.random.random() < 0.5:
                self.condition.notify(self.random.randint(1, 2))
            else:
                return await self.condition.wait()

    async def on_event(self, depth):
        deed = self.random.randrange(3)
        return await self.event.wait() if deed == 0 else self.event.set() if deed == 1 else self.event.clear()

    async def on_queue(self, depth):
        deed = self.random.randrange(4)
        if deed == 0:
            return await self.queue.put(next(self.names))
        if deed == 3 and self.queue._unfinished_tasks:
            return self.queue.task_done()
        return await self.queue.get() if deed == 1 else self.queue.qsize()

    async def with_timeout(self, depth):
        delay = self.random.choice([0, 1, 2])
        action = self.random.choice(ACTIONS[:9])
        if self.random.random() < 0.5:
            return await self.aio.wait_for(action(self, depth), delay)
        async with self.aio.timeout(delay):
            return await action(self, depth)

    def children(self, depth):
        return [self.spawn(depth) if depth > 0 and self.random.random() < 0.5 else self.future() for _ in range(self.random.randint(1, 3))]

    async def gathers(self, depth):
        return scrub(str(await self.aio.gather(*self.children(depth), return_exceptions=self.random.random() < 0.5)))

    async def waits(self, depth):
        how = self.random.choice([asyncio.FIRST_COMPLETED, asyncio.FIRST_EXCEPTION, asyncio.ALL_COMPLETED])
        done, pending = await self.aio.wait(self.children(depth), timeout=self.random.choice([None, 1, 3]), return_when=how)
        return len(done), len(pending)

    async def completes(self, depth):
        got, children = [], self.children(depth)
        children = [c for c in children if not c.done()] or children[:1]       # of those that are done asyncio takes any first
        for each in self.aio.as_completed(children, timeout=self.random.choice([None, 3])):
            try:
                got.append(await each)
            except Stop as e:
                got.append(str(e))
        return got

    async def groups(self, depth):
        if depth <= 0:
            return
        async with self.aio.TaskGroup() as group:
            for _ in range(self.random.randint(0, 1)):              # a group cancels its tasks in a set's order
                self.tasks.append(group.create_task(self.body(next(self.names), depth)))
            if self.random.random() < 0.2:
                raise Stop("in the group")

    async def starts(self, depth):
        if depth > 0:
            self.spawn(depth)

    async def fails(self, depth):
        raise Stop("fails")


ACTIONS = [Program.sleep, Program.wait_future, Program.locked, Program.on_condition, Program.on_event, Program.on_queue, Program.gathers,
           Program.waits, Program.wait_task, Program.sleep, Program.set_future, Program.set_future, Program.schedule, Program.schedule,
           Program.cancel, Program.uncancel, Program.with_timeout, Program.with_timeout, Program.completes, Program.groups, Program.starts,
           Program.fails]


@contextlib.contextmanager
def ticking_loop(aio):
    """A loop whose clock stands still within a tick, but for what keeps timers apart: a heap has no order among equal ones."""
    loop = aio.new_event_loop()
    check_kind(aio, loop)
    loop.now, reads = 0, itertools.count()
    loop.time = lambda: loop.now + next(reads) % 100000 * 1e-6
    loop.set_exception_handler(Errors())
    try:
        yield loop
    finally:
        del loop.time
        loop.close()


def trace_of(aio, loop, number):
    async def start():
        return Program(aio, loop, number)
    loop.now = 0
    program = loop.run_until_complete(start())
    for loop.now in range(1, TICKS):
        loop.call_soon(loop.stop)
        loop.run_forever()
    program.note("at the end", [scrub(repr(o)) for o in (program.lock, program.event, program.semaphore, program.queue)])
    for loop.now in range(TICKS, TICKS + 60):           # some go on to their next action; a condition's waiter wants the lock first
        left = [t for t in asyncio.all_tasks(loop) if not t.done()]
        if not left:
            break
        for task in sorted(left, key=lambda t: program.tasks.index(t) if t in program.tasks else -1):
            task.cancel()
        for lock in (program.lock, program.condition):
            if lock.locked():
                lock.release()
        loop.call_soon(loop.stop)
        loop.run_forever()
    for task in program.tasks:
        program.note("ended", task._state, None if task.cancelled() or not task.done() else scrub(str(task.exception())))
    program.trace.append(sorted(str(c["message"]) for c in loop.get_exception_handler().take()))
    for handle in list(loop._scheduled):
        handle.cancel()
    return program.trace


def check(aio, numbers):
    with ticking_loop(asyncio) as reference, ticking_loop(aio) as loop:
        for number in numbers:
            expected, got = trace_of(asyncio, reference, number), trace_of(aio, loop, number)
            assert got == expected, f"program {number}"


def test_the_programs_are_determined():
    """What they do depends on nothing but their number."""
    check(asyncio, range(100))


@pytest.mark.parametrize("first", range(0, PROGRAMS, AT_ONCE))
def test_random_programs(first):
    check(pyasync, range(first, first + AT_ONCE))
