"""Random programs of callbacks, futures and tasks run in exactly the same order on both modules."""
import asyncio
import gc

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support import Errors, fresh_loop, plain, scrub, spin

N_FUTURES = 4

index = st.integers(0, N_FUTURES - 1)
task_index = st.integers(0, 5)

# what a coroutine does, step by step
step = st.one_of(
    st.tuples(st.just("sleep")),
    st.tuples(st.just("await"), index),
    st.tuples(st.just("await_task"), task_index),
    st.tuples(st.just("shield"), index),
    st.tuples(st.just("wait"), index, index),
    st.tuples(st.just("gather"), index, index),
    st.tuples(st.just("raise")),
    st.tuples(st.just("bad_yield")),
    st.tuples(st.just("swallow"), index),
    st.tuples(st.just("cancel_self")),
    st.tuples(st.just("uncancel_self")),
)

# what the program does, at top level, from callbacks and from coroutines
deed = st.deferred(lambda: st.one_of(
    st.tuples(st.just("call_soon"), st.lists(deed, max_size=2)),
    st.tuples(st.just("threadsafe"), st.lists(deed, max_size=1)),
    st.tuples(st.just("call_at"), st.integers(-3, 0), st.lists(deed, max_size=1)),
    st.tuples(st.just("cancel_handle"), task_index),
    st.tuples(st.just("create_task"), st.lists(st.one_of(step, st.tuples(st.just("do"), deed)), max_size=5)),
    st.tuples(st.just("cancel_task"), task_index),
    st.tuples(st.just("uncancel_task"), task_index),
    st.tuples(st.just("add_callback"), index, st.lists(deed, max_size=1)),
    st.tuples(st.just("add_task_callback"), task_index, st.lists(deed, max_size=1)),
    st.tuples(st.just("remove_callback"), index),
    st.tuples(st.just("set_result"), index),
    st.tuples(st.just("set_exception"), index),
    st.tuples(st.just("cancel_future"), index),
    st.tuples(st.just("new_future"), index),
    st.tuples(st.just("raise")),
    st.tuples(st.just("look"), task_index),
))


class Program:
    """Interprets a list of deeds on a loop and keeps a trace of everything that can be seen."""

    def __init__(self, aio, loop):
        self.aio, self.loop, self.trace = aio, loop, []
        self.futures = [loop.create_future() for _ in range(N_FUTURES)]
        self.tasks, self.handles, self.callbacks, self.count = [], [], {}, 0

    def number(self):
        self.count += 1
        return self.count

    def note(self, *what):
        if len(self.trace) < 3000:
            self.trace.append(plain(what))

    def block(self, deeds):
        n = self.number()

        def run(*args):
            self.note("run", n, [a.done() for a in args if self.aio.isfuture(a)])
            for d in deeds:
                self.do(d)
        return run

    def task(self, i):
        return self.tasks[i % len(self.tasks)] if self.tasks else None

    async def coroutine(self, n, steps):
        try:
            for s in steps:
                self.note("step", n, s[0])
                try:
                    await self.one(n, s)
                except BaseException as e:
                    self.note("raised", n, e)
                    if s[0] != "swallow":
                        raise
            return n
        finally:
            self.note("end", n)

    async def one(self, n, s):
        kind, *args = s
        if kind == "sleep":
            await self.aio.sleep(0)
        elif kind in ("await", "swallow"):
            self.note("got", n, await self.futures[args[0]])
        elif kind == "await_task":
            t = self.task(args[0])
            if t is not None:
                self.note("got", n, await t)
        elif kind == "shield":
            self.note("got", n, await self.aio.shield(self.futures[args[0]]))
        elif kind == "wait":
            done, pending = await self.aio.wait({self.futures[a] for a in args}, return_when=self.aio.FIRST_COMPLETED)
            self.note("waited", n, len(done), len(pending))
        elif kind == "gather":
            self.note("got", n, await self.aio.gather(*{self.futures[a] for a in args}, return_exceptions=True))
        elif kind == "raise":
            raise ValueError(n)
        elif kind == "bad_yield":
            await Bad()
        elif kind == "cancel_self":
            self.note("cancel_self", self.aio.current_task().cancel(n))
        elif kind == "uncancel_self":
            self.note("uncancel_self", self.aio.current_task().uncancel())
        elif kind == "do":
            self.do(args[0])

    def do(self, d):
        kind, *args = d
        try:
            self.note(kind, getattr(self, "do_" + kind)(*args))
        except self.aio.InvalidStateError as e:
            self.note(kind, e)

    def handle(self, h):
        self.handles.append(h)

    def do_call_soon(self, deeds):
        self.handle(self.loop.call_soon(self.block(deeds)))

    def do_threadsafe(self, deeds):
        self.handle(self.loop.call_soon_threadsafe(self.block(deeds)))

    def do_call_at(self, when, deeds):
        # distinct times: among equal ones asyncio's heap promises nothing
        self.handle(self.loop.call_at(self.loop.time() - 100 + when * 10 + self.number() * 1e-3, self.block(deeds)))

    def do_cancel_handle(self, i):
        if self.handles:
            h = self.handles[i % len(self.handles)]
            h.cancel()
            return h.cancelled()

    def do_create_task(self, steps):
        if len(self.tasks) < 30:
            n = self.number()
            self.tasks.append(self.loop.create_task(self.coroutine(n, steps), name=f"t{n}"))

    def do_cancel_task(self, i):
        t = self.task(i)
        return t and [t.cancel(f"m{i}"), t.cancelling()]

    def do_uncancel_task(self, i):
        t = self.task(i)
        return t and [t.uncancel(), t._must_cancel]

    def do_add_callback(self, i, deeds):
        cb = self.block(deeds)
        self.callbacks.setdefault(i, []).append(cb)
        self.futures[i].add_done_callback(cb)

    def do_add_task_callback(self, i, deeds):
        t = self.task(i)
        if t is not None:
            t.add_done_callback(self.block(deeds))

    def do_remove_callback(self, i):
        return [self.futures[i].remove_done_callback(cb) for cb in self.callbacks.get(i, ())[-1:]]

    def do_set_result(self, i):
        self.futures[i].set_result(self.number())

    def do_set_exception(self, i):
        self.futures[i].set_exception(KeyError(self.number()))
        self.futures[i].exception()

    def do_cancel_future(self, i):
        return self.futures[i].cancel(f"f{i}")

    def do_new_future(self, i):
        if self.futures[i].done():
            self.futures[i] = self.loop.create_future()

    def do_raise(self):
        self.loop.call_soon(self.raiser)

    def raiser(self):
        raise ZeroDivisionError(self.number())

    def do_look(self, i):
        t = self.task(i)
        found = [[f._state, f._callbacks and len(f._callbacks)] for f in self.futures]
        if t is not None:
            found.append([t._state, t._must_cancel, t._fut_waiter is not None, t.cancelling(), scrub(repr(t))])
        found.append(sorted(x.get_name() for x in self.aio.all_tasks(self.loop)))
        return found


class Bad:
    def __await__(self):
        yield 5

    def __repr__(self):
        return "Bad"


def run(aio, program, eager=False):
    errors = Errors()
    with fresh_loop(aio, errors) as loop:
        if eager:
            loop.set_task_factory(aio.eager_task_factory)
        p = Program(aio, loop)
        for d in program:
            loop.call_soon(p.do, d)
            p.note("tick")
            spin(loop)
        for i in range(6):
            p.note("tick")
            spin(loop)
        p.do_look(0)
        for f in p.futures:
            f.cancel()
        for t in p.tasks:
            t.cancel()
        spin(loop, 8)
        for t in p.tasks:
            if t.done() and not t.cancelled():
                p.note("end", t.get_name(), t.exception())
            else:
                p.note("end", t.get_name(), t._state)
        p.note([c["message"].split(" at ")[0] for c in errors.take()])
        loop.set_task_factory(None)
        left = [t for t in p.tasks if not t.done()]
        for t in left:
            t._log_destroy_pending = False
            t.get_coro().close()
        trace = p.trace
        p.futures = p.tasks = p.handles = p.callbacks = left = t = f = None
        gc.collect()
        errors.take()
    return trace


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(program=st.lists(deed, min_size=1, max_size=14))
def check(same, program):
    same(run, program)


@settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(program=st.lists(deed, min_size=1, max_size=10))
def check_eager(same, program):
    same(run, program, True)


pytestmark = pytest.mark.filterwarnings("ignore:It looks like `register_random`")


def test_random_programs(same):
    check(same)


def test_random_programs_with_eager_tasks(same):
    if hasattr(asyncio, "eager_task_factory"):
        check_eager(same)
