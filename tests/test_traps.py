"""The traps that the design names (its decisions D1, D1b, D2, D5, D6), as far as they concern futures, tasks, handles, loops and
transports: each was seen to break something, so each has a test. asyncio itself is free of them; its half checks the tests."""
import abc
import asyncio
import collections.abc
import contextlib
import contextvars
import gc
import inspect
import subprocess
import sys
import threading
import time
import warnings
import weakref
from unittest import mock

import pytest

from support import PY, PYTASK_IS_SEEN, Errors, FakeLoop, fresh_loop, nonblocking_pair, outcome, plain, report, scrub, spin, spin_until

EAGER = hasattr(asyncio, "eager_task_factory")


def callback(*args):
    pass


async def none():
    pass


async def forever(loop):
    await loop.create_future()


@contextlib.contextmanager
def gc_at_every_allocation():
    old = gc.get_threshold()
    gc.set_threshold(1)
    try:
        yield
    finally:
        gc.set_threshold(*old)


# --- D1: native types are real subclasses ------------------------------------------------------------------------------

def test_d1_the_classes(aio, loop):
    """No lie in __class__: isinstance, issubclass, the MRO and the type say the same."""
    f, t = aio.Future(loop=loop), aio.Task(none(), loop=loop)
    assert f.__class__ is type(f) is aio.Future and t.__class__ is type(t) is aio.Task
    assert asyncio.Future in type(f).__mro__ and asyncio.Task in type(t).__mro__ and aio.Future in type(t).__mro__
    assert issubclass(aio.Task, aio.Future) and not isinstance(f, asyncio.Task)
    spin(loop, 2)


def test_d1_bytes_behind_the_object(aio, loop):
    """From 3.14 on CPython reads inline attribute values behind the base: the first attribute must not crash, nor many."""
    class Plain(aio.Future):
        pass

    class Slots(aio.Future):
        __slots__ = ("a", "b", "c")

    class T(aio.Task):
        pass
    with gc_at_every_allocation():
        for cls in (aio.Future, Plain, Slots):
            for _ in range(50):
                f = cls(loop=loop)
                f.x = 1
                f.set_result([f])
                for i in range(40):
                    setattr(f, f"name{i}", f)
                assert f.x == 1 and f.result() == [f] and f.name39 is f
                del f.x
                f.x = 2
                assert f.x == 2
        for cls in (aio.Task, T):
            for _ in range(20):
                t = cls(none(), loop=loop)
                t.x = t
                for i in range(40):
                    setattr(t, f"name{i}", i)
                spin(loop)
                assert t.x is t and t.name39 == 39 and t.result() is None


def test_d1_half_types(aio, loop):
    """asyncio's layout first, our methods: TypeError, never a crash. The other way round is a proper subclass."""
    class A(asyncio.Future):
        pass
    if aio is asyncio:
        return

    class B(A, aio.Future):
        pass
    for attempt in (lambda: B(loop=loop), lambda: A.__new__(B), lambda: A.__new__(B).result(), lambda: asyncio.Future.__new__(B),
                    lambda: aio.Future.__new__(B), lambda: aio.Future.set_result(A(loop=loop), 1), lambda: aio.Future.result(asyncio.Future(loop=loop)),
                    lambda: aio.Future.add_done_callback(A(loop=loop), callback), lambda: aio.Future.__await__(A(loop=loop)),
                    lambda: aio.Future._state.__get__(A(loop=loop)), lambda: aio.Future.__repr__(A(loop=loop)),
                    lambda: aio.Task.cancel(aio.Future(loop=loop)), lambda: aio.Task.get_coro(loop.create_future())):
        result = outcome(attempt)
        assert result[:2] == ["raised", "TypeError"], result
    del attempt
    gc.collect()

    class C(aio.Future, A):
        pass
    f = C(loop=loop)
    f.set_result(1)
    assert f.result() == 1 and isinstance(f, A)

    class AT(asyncio.Task):
        pass

    class BT(AT, aio.Task):                       # our task's own basicsize makes it the solid base
        pass
    t = BT(none(), loop=loop)
    spin(loop)
    assert t.done() and isinstance(t, AT) and isinstance(t, aio.Future)


def test_d1_cycles_through_every_field(aio, loop):
    """Traverse and clear chain to the base's: nothing that asyncio's own struct holds is lost to the collector."""
    class F(aio.Future):
        pass

    class T(aio.Task):
        pass
    refs = []
    for cls in (aio.Future, F):
        f = cls(loop=loop)
        f.me = f
        refs.append(weakref.ref(f))
    for cls in (aio.Task, T):
        t = cls(none(), loop=loop, name="x")
        t.me = t
        spin(loop)
        t.result()
        refs.append(weakref.ref(t))
    f = t = None
    gc.collect()
    assert [r() for r in refs] == [None] * 4


def test_d1_finalizers_inside_the_allocation(aio, loop):
    """Collections, with their finalizers and weakref callbacks, run while a future is being made."""
    seen = []

    class D(aio.Future):
        def __del__(self):
            seen.append(type(self) is D and self._state)
            self.late = aio.Future(loop=loop)
    with gc_at_every_allocation():
        for i in range(200):
            d = D(loop=loop)
            d.me = d
            d.set_result(i)
            weakref.finalize(d, aio.Future, loop=loop)
    del d
    gc.collect()
    assert len(seen) == 200 and set(seen) == {"FINISHED"}


def test_d1_pooled_objects_are_new(aio, loop, errors):
    """A free list must not hand out an object whose finalizer will not run again: report after report is made."""
    for i in range(50):
        f = loop.create_future()
        f.set_exception(ValueError(i))
        f.me = f
        del f
        gc.collect()
        g = loop.create_future()
        assert not hasattr(g, "me") and g._state == "PENDING" and g._callbacks is None and not g._log_traceback
        g.set_exception(KeyError(i))
        del g
    assert [str(c["exception"]) for c in errors.take()] == [str(x) for i in range(50) for x in (i, i)]


def test_d1_resurrected_and_dropped_again(aio, loop, errors):
    """The collector's finalized bit must not reach the next user of the memory."""
    kept = []
    loop.set_exception_handler(lambda l, c: kept.append(c))
    for i in range(20):
        f = loop.create_future()
        f.set_exception(ValueError(i))
        f.me = f
        del f
        gc.collect()
        assert len(kept) == 1 and kept[0]["future"].exception().args == (i,)
        kept.clear()
        gc.collect()
        t = loop.create_task(forever(loop))
        spin(loop)
        del t
        gc.collect()
        assert [c["message"] for c in kept] == ["Task was destroyed but it is pending!"]
        kept.clear()
        gc.collect()


def test_d1_objects_that_outlive_their_loop_and_thread(aio):
    """A free list belongs to a loop, hence to a thread: objects freed elsewhere do no harm."""
    made = []

    def thread():
        loop = aio.new_event_loop()

        async def main():
            for _ in range(100):
                made.append(loop.create_future())
                made.append(loop.call_soon(callback))
                made.append(loop.create_task(none()))
            await aio.sleep(0)
        loop.run_until_complete(main())
        loop.close()
        del loop
    for _ in range(3):
        t = threading.Thread(target=thread)
        t.start()
        t.join()
        made.clear()
        gc.collect()
        with fresh_loop(aio) as loop:
            for _ in range(300):
                f = loop.create_future()
                f.set_result(1)
                loop.call_soon(callback)
            spin(loop, 2)


def test_d1_unbound_base_methods(aio, loop):
    """asyncio.Future.result(f) sees an uninitialised base: a documented limit; an error, not a crash."""
    f = aio.Future(loop=loop)
    f.set_result(1)
    t = aio.Task(none(), loop=loop)
    spin(loop)
    for method, arg in ((asyncio.Future.result, f), (asyncio.Future.exception, f), (asyncio.Future.get_loop, f), (asyncio.Future.result, t)):
        got = outcome(method, arg)
        assert got[0] == ("returned" if aio is asyncio else "raised"), got
        if aio is not asyncio:
            assert got[1] in ("RuntimeError", "InvalidStateError") and "not initialized" in got[2]


def test_d1_names_reach_the_base(aio, loop, run):
    """3.14: `python -m asyncio ps` reads the base's name; native tasks set it first and on renaming."""
    async def main():
        t = aio.current_task()
        t.set_name("renamed")
        assert asyncio.Task.get_name(t) == "renamed" if aio is asyncio or PY >= (3, 14) else True
        assert t.get_name() == "renamed"
    run(main())


def test_d1_unregistering_a_task_that_others_registered(aio, loop):
    """Someone else may have registered a task that we did not; it can die all the same."""
    for _ in range(20):
        t = loop.create_task(forever(loop))
        asyncio.tasks._register_task(t)
        spin(loop)
        t._log_destroy_pending = False
        ref = weakref.ref(t)
        del t
        gc.collect()
        assert ref() is None
    assert asyncio.all_tasks(loop) == set()


# --- D1b: what is a Python class stays one -----------------------------------------------------------------------------

@pytest.mark.parametrize("name", ["Queue", "Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "TaskGroup", "StreamReader",
                                  "StreamReaderProtocol", "StreamWriter", "PriorityQueue", "LifoQueue", "Barrier", "Timeout", "Runner"])
def test_d1b_mutable_classes(aio, name):
    """They are asyncio's or subclasses of them, can be patched and subclassed."""
    cls = getattr(aio, name)
    assert issubclass(cls, getattr(asyncio, name))
    with mock.patch.object(cls, "patched_attribute", 5, create=True):
        assert cls.patched_attribute == 5

    class Sub(cls):
        pass
    assert issubclass(Sub, getattr(asyncio, name))


def test_d1b_handles_use_the_bases_slots(aio, loop):
    """asyncio's own functions read and write the same fields, by whatever path."""
    h = loop.call_soon(callback, 1)
    for name in ("_callback", "_args", "_cancelled", "_loop", "_context", "_repr", "_source_traceback"):
        descriptor = asyncio.Handle.__dict__[name]
        assert descriptor.__get__(h) is getattr(h, name)
    asyncio.Handle._callback.__set__(h, print)
    assert h._callback is print
    assert asyncio.Handle.__repr__(h) == repr(h) and asyncio.Handle._repr_info(h)[0] == type(h).__name__
    asyncio.Handle.cancel(h)
    assert h.cancelled() and h._callback is None
    t = loop.call_later(100, callback)
    assert asyncio.TimerHandle.when(t) == t.when() and asyncio.Handle.cancelled(t) is False
    asyncio.TimerHandle.cancel(t)
    assert t.cancelled()
    spin(loop, 2)
    assert len(loop._scheduled) == 0


def test_d1b_handles_are_collected(aio, loop):
    """A C type over a Python class never chains to its traverse or dealloc, yet loses nothing to the collector."""
    refs = []
    for make in (lambda cb: loop.call_later(100, cb), lambda cb: aio.Handle(cb, (), loop), lambda cb: aio.TimerHandle(1.0, cb, (), loop)):
        class Token:
            def __call__(self):
                pass
        token = Token()
        h = make(token)
        token.handle = h
        refs.append(weakref.ref(token))
        if isinstance(h, asyncio.TimerHandle):
            h.cancel()
        else:
            h._callback = token
    spin(loop)
    del h, token
    gc.collect()
    assert [r() for r in refs] == [None] * 3


def test_d1b_handle_subclasses(aio, loop):
    class H(aio.Handle):
        def __init__(self, *args):
            super().__init__(*args)
            self.extra = self

    class S(aio.TimerHandle):
        __slots__ = ("more",)
    with gc_at_every_allocation():
        for _ in range(100):
            h = H(callback, (), loop)
            s = S(1.0, callback, (h,), loop)
            s.more = s
    ref = weakref.ref(h)
    del h, s
    gc.collect()
    assert ref() is None


def test_d1b_transports_have_a_dict_and_are_collected(aio, loop):
    a, b = nonblocking_pair()
    class P(asyncio.Protocol):
        pass
    t, p = loop.run_until_complete(loop.connect_accepted_socket(P, a))
    t.me = t
    p.transport = t
    t._extra["self"] = t
    ref = weakref.ref(t)
    t.close()
    spin(loop, 2)
    del t, p
    gc.collect()
    assert ref() is None
    b.close()


# --- D2: the bridge to BaseEventLoop -----------------------------------------------------------------------------------

@pytest.mark.parametrize("name,value", [("_debug", True), ("_stopping", True), ("slow_callback_duration", 5.0), ("_clock_resolution", 0.5),
                                        ("_internal_fds", 3), ("_timer_cancelled_count", 2), ("_task_factory", callback),
                                        ("_current_handle", None), ("_coroutine_origin_tracking_enabled", False), ("_exception_handler", callback),
                                        ("_default_executor", None), ("_executor_shutdown_called", True), ("_asyncgens_shutdown_called", True)])
def test_d2_members_are_writable(aio, name, value):
    """BaseEventLoop.__init__ assigns them, and others do; what is written is read again and has its effect."""
    loop = aio.new_event_loop()
    setattr(loop, name, value)
    assert getattr(loop, name) == value
    if name == "_debug":
        assert loop.get_debug() is True
    if name == "_task_factory":
        assert loop.get_task_factory() is callback
        loop._task_factory = None
    if name == "_exception_handler":
        assert loop.get_exception_handler() is callback
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()


def test_d2_thread_id_and_closed(aio, loop):
    """The same fields whether C or inherited Python code looks."""
    async def main():
        assert asyncio.BaseEventLoop.is_running(loop) and loop.is_running() and loop._thread_id == threading.get_ident()
    loop.run_until_complete(main())
    assert not asyncio.BaseEventLoop.is_running(loop) and not asyncio.BaseEventLoop.is_closed(loop)
    assert asyncio.BaseEventLoop.get_debug(loop) is False
    asyncio.BaseEventLoop.set_debug(loop, True)
    assert loop.get_debug() is True


def test_d2_slow_callback_duration_set_later(aio, loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    loop.call_soon(callback)
    spin(loop)
    assert any("Executing <Handle callback()" in r.getMessage() for r in caplog.records)


def test_d2_unbound_base_methods_work_on_a_loop(aio, loop):
    """The methods of BaseEventLoop that would write where nobody looks, called by name on the base."""
    seen = []
    loop._add_callback(aio.Handle(seen.append, ("added",), loop))
    loop._call_soon(seen.append, ("soon",), None)
    spin(loop)
    assert seen == ["added", "soon"]
    loop._write_to_self()
    spin(loop)
    loop._check_closed()
    loop._check_thread()
    t = loop.call_later(100, callback)
    loop._timer_handle_cancelled(t)
    t.cancel()


def test_d2_overrides_come_and_go(aio, loop):
    """An override may be installed at any time, on the instance, in the class or in a base, and be removed again."""
    calls = []

    class Mixin:
        pass

    class Loop(Mixin, type(loop)):
        pass
    own = Loop()
    try:
        def noted(original):
            def call_soon(*args, **kwargs):
                calls.append(1)
                return original(*args, **kwargs)
            return call_soon

        def count():
            f = own.create_future()
            f.add_done_callback(callback)
            before = len(calls)
            f.set_result(1)
            spin(own, 1)
            return len(calls) - before
        assert count() == 0
        own.call_soon = noted(own.call_soon)
        assert count() >= 1
        del own.call_soon
        assert count() == 0
        own.__dict__["call_soon"] = noted(own.call_soon)
        assert count() >= 1
        own.__dict__.pop("call_soon")
        assert count() == 0
        original = Loop.call_soon
        Loop.call_soon = lambda self, *args, **kwargs: (calls.append(1), original(self, *args, **kwargs))[1]
        assert count() >= 1
        del Loop.call_soon
        assert count() == 0
        Mixin.call_soon = lambda self, *args, **kwargs: (calls.append(1), super(Mixin, self).call_soon(*args, **kwargs))[1]
        assert count() >= 1
        del Mixin.call_soon
        assert count() == 0
        with mock.patch.object(Loop, "call_soon", lambda self, *args, **kwargs: (calls.append(1), original(self, *args, **kwargs))[1]):
            assert count() >= 1
        assert count() == 0
    finally:
        own.close()


def test_d2_a_swapped_dict_and_class(aio):
    """An override that arrives by assigning __dict__ or __class__."""
    loop = aio.new_event_loop()
    calls = []

    class Other(type(loop)):
        def time(self):
            calls.append(1)
            return super().time()
    try:
        loop.__class__ = Other
        loop.call_later(0.001, loop.stop)
        loop.run_forever()
        assert calls
        loop.__class__ = Other.__mro__[1]
        n = len(calls)
        loop.call_later(0.001, loop.stop)
        loop.run_forever()
        assert len(calls) == n
    finally:
        loop.close()


def test_d2_a_clock_replaced_while_running(aio, loop):
    seen = []

    async def main():
        now = loop.time()
        loop.call_later(1000, seen.append, "far")
        await aio.sleep(0)
        loop.time = lambda: now + 2000
        await aio.sleep(0)
        await aio.sleep(0)
        assert seen == ["far"]
        del loop.time
    loop.run_until_complete(main())


def test_d2_run_until_complete_registers_asyncios_callback(aio, loop):
    f = loop.create_future()
    loop.call_soon(lambda: (seen.append(list(f._callbacks)), f.set_result(1)))
    seen = []
    loop.run_until_complete(f)
    assert [cb for cb, _ in seen[0]] == [asyncio.base_events._run_until_complete_cb]


def test_d2_slots_and_multiple_inheritance(aio):
    class Mixin:
        def extra(self):
            return "extra"

    class Loop(Mixin, type_of_loop(aio), abc.ABC):
        pass
    loop = Loop()
    assert loop.extra() == "extra" and loop.run_until_complete(aio.sleep(0, 1)) == 1
    loop.close()


def type_of_loop(aio):
    loop = aio.new_event_loop()
    loop.close()
    return type(loop)


def test_d2_init_not_called(aio):
    """A subclass that forgets super().__init__(): errors, no crash."""
    if aio is asyncio:
        return

    class Loop(type_of_loop(aio)):
        def __init__(self):
            pass

        def __del__(self):
            pass
    loop = Loop()
    for what in (lambda: loop.call_soon(callback), lambda: loop.call_later(1, callback), loop.run_forever, lambda: loop.add_reader(0, callback),
                 lambda: loop.call_soon_threadsafe(callback), loop.create_future, loop.is_running, loop.is_closed, loop.close, lambda: repr(loop),
                 loop.stop, loop._run_once, lambda: loop.run_until_complete(1)):
        assert outcome(what)[0] in ("returned", "raised")
    ref = weakref.ref(loop)
    del loop, what
    gc.collect()
    assert ref() is None


def test_d2_init_twice(aio):
    """A second __init__ starts over without leaking descriptors or losing memory."""
    if aio is asyncio:
        return                          # leaks its self-pipe
    loop = aio.new_event_loop()
    loop.call_soon(callback)
    outcome(loop.__init__)
    spin(loop)
    loop.close()


# --- D5: asyncio's registries stay true --------------------------------------------------------------------------------

def test_d5_no_current_task_in_callbacks_between_native_steps(aio, loop):
    """The entry is only overwritten between native steps; anything else finds none, and not a None left behind."""
    seen = []

    def look():
        seen.append(asyncio.current_task())
        if hasattr(asyncio.tasks, "_current_tasks") and PY < (3, 14):
            seen.append(loop in asyncio.tasks._current_tasks)

    async def work():
        for _ in range(3):
            assert asyncio.current_task() is not None
            loop.call_soon(look)
            await aio.sleep(0)
    ts = [loop.create_task(work()) for _ in range(3)]
    f = loop.create_future()
    f.add_done_callback(lambda f: look())
    loop.call_soon(f.set_result, 1)
    loop.call_later(0, look)
    loop.call_soon_threadsafe(look)
    spin(loop, 6)
    assert all(t.done() for t in ts) and not any(seen)
    for t in ts:
        t.result()


def test_d5_stdlib_tasks_between_native_ones(aio, loop):
    """A None left in the registry makes every stdlib task fail in _enter_task."""
    order = []

    async def work(name):
        for _ in range(3):
            current = asyncio.current_task()
            assert current.get_name() == name if PYTASK_IS_SEEN or not name.startswith("py") else current is None
            order.append(name)
            await asyncio.sleep(0)
    ts = []
    for i in range(3):
        ts.append(aio.Task(work(f"own{i}"), loop=loop, name=f"own{i}"))
        ts.append(asyncio.Task(work(f"c{i}"), loop=loop, name=f"c{i}"))
        ts.append(asyncio.tasks._PyTask(work(f"py{i}"), loop=loop, name=f"py{i}"))
    spin(loop, 4)
    for t in ts:
        t.result()
    assert order == [f"{k}{i}" for i in range(3) for k in ("own", "c", "py")] * 3


def test_d5_native_steps_on_a_foreign_loop(aio):
    """After each step there the entry is gone."""
    loop = FakeLoop()
    seen = []

    async def work():
        for _ in range(2):
            current = asyncio.current_task(loop)
            seen.append(current and current.get_name())
            await asyncio.sleep(0)
    t = aio.Task(work(), loop=loop, name="own")
    u = asyncio.tasks._PyTask(work(), loop=loop, name="py")
    while loop.queue:
        loop.run_one()
        assert asyncio.current_task(loop) is None
    t.result(), u.result()
    assert seen == ["own", "py" if PYTASK_IS_SEEN else None] * 2


@pytest.mark.skipif(PY >= (3, 14), reason="from 3.14 on a thread has one current task")
def test_d5_a_task_that_runs_another_loop(aio, loop):
    """A native step that drives a second loop by hand: both current tasks hold."""
    with fresh_loop(aio) as other:
        async def inner():
            assert asyncio.current_task() is not None and asyncio.current_task(loop) is outer_task
            await aio.sleep(0)
            return asyncio.current_task().get_name()

        async def outer():
            t = aio.Task(inner(), loop=other, name="inner")
            asyncio._set_running_loop(None)
            try:
                assert other.run_until_complete(t) == "inner"
            finally:
                asyncio._set_running_loop(loop)
            assert asyncio.current_task() is outer_task and asyncio.current_task(other) is None
            await aio.sleep(0)
            assert asyncio.current_task() is outer_task
        outer_task = loop.create_task(outer())
        loop.run_until_complete(outer_task)


def test_d5_current_task_in_exception_handlers_and_finalizers(aio, loop):
    seen = []

    class D:
        def __del__(self):
            seen.append(asyncio.current_task(loop))
    loop.set_exception_handler(lambda l, c: seen.append(asyncio.current_task(loop)))

    async def fails():
        raise ValueError

    async def drops():
        d = D()
        del d
    t = loop.create_task(drops())
    spin(loop)
    assert seen == [t]
    seen.clear()
    u = loop.create_task(fails())
    spin(loop)
    del u
    loop.call_soon(lambda d: None, D())
    spin(loop)
    gc.collect()
    assert seen == [None, None]


def test_d5_all_tasks_sees_new_and_eager_tasks(aio, loop, run):
    async def main():
        me = aio.current_task()
        t = aio.create_task(aio.sleep(0))
        expected = {me, t}
        if EAGER:
            seen = []

            async def eager():
                seen.append(asyncio.all_tasks() - expected)
                await aio.sleep(0)
            e = aio.Task(eager(), loop=loop, eager_start=True)
            assert seen == [{e}]
            expected.add(e)
        assert asyncio.all_tasks() == aio.all_tasks() == expected
        await aio.sleep(0)
        await aio.sleep(0)
        await aio.sleep(0)
        assert asyncio.all_tasks() == {me}
    run(main())


def test_d5_the_registry_can_be_iterated_while_tasks_come_and_go(aio, loop, run):
    """Other threads ask for all tasks (aiomonitor, ddtrace, signal handlers)."""
    stop, failures = threading.Event(), []

    def ask():
        while not stop.is_set():
            try:
                for t in asyncio.all_tasks(loop):
                    t.get_name()
            except BaseException as e:
                failures.append(e)
                return
            time.sleep(0)

    async def main():
        for _ in range(60):
            await aio.gather(*(aio.sleep(0) for _ in range(20)))
    thread = threading.Thread(target=ask)
    thread.start()
    try:
        run(main())
    finally:
        stop.set()
        thread.join()
    assert not failures


@pytest.mark.skipif(PY >= (3, 14), reason="3.14 keeps the tasks in C")
def test_d5_the_weak_sets_face(aio, loop):
    """asyncio.tasks._scheduled_tasks shows native tasks in everything that a WeakSet can be asked."""
    registry = getattr(asyncio.tasks, "_scheduled_tasks", None)
    registry = asyncio.tasks._all_tasks if registry is None else registry
    t, u = aio.Task(forever(loop), loop=loop), asyncio.Task(forever(loop), loop=loop)
    assert isinstance(registry, weakref.WeakSet)
    assert {t, u} <= set(registry) and t in registry and u in registry and len(registry) >= 2 and bool(registry)
    assert {r() for r in registry.data} >= {t, u}
    assert {t, u} <= set(registry.copy()) and {t, u} <= registry | set() and not registry.isdisjoint({t})
    assert {t, u} & set(list(registry)) == {t, u}
    registry.discard(t)
    assert u in registry
    registry.add(t)
    assert t in registry
    for x in (t, u):
        x.cancel()
    spin(loop, 3)
    assert t not in asyncio.all_tasks(loop)


# --- D6: native awaitables, waiters ------------------------------------------------------------------------------------

AWAITABLES = {
    "sleep": lambda aio, loop: aio.sleep(0.001),
    "sleep0": lambda aio, loop: aio.sleep(0),
    "wait_for": lambda aio, loop: aio.wait_for(aio.sleep(0), 1),
    "queue.get": lambda aio, loop: filled_queue(aio).get(),
    "queue.put": lambda aio, loop: aio.Queue().put(1),
    "queue.join": lambda aio, loop: aio.Queue().join(),
    "lock.acquire": lambda aio, loop: aio.Lock().acquire(),
    "semaphore.acquire": lambda aio, loop: aio.Semaphore().acquire(),
    "event.wait": lambda aio, loop: set_event(aio).wait(),
    "wait": lambda aio, loop: aio.wait([done_future(loop)]),
    "to_thread": lambda aio, loop: aio.to_thread(callback),
}


def filled_queue(aio):
    q = aio.Queue()
    q.put_nowait(1)
    return q


def set_event(aio):
    e = aio.Event()
    e.set()
    return e


def done_future(loop):
    f = loop.create_future()
    f.set_result(1)
    return f


@pytest.mark.parametrize("name", AWAITABLES)
def test_d6_they_are_coroutines_for_everyone(aio, loop, run, name):
    """create_task, ensure_future, run, wait_for, gather and collections.abc accept them."""
    make = AWAITABLES[name]

    async def main():
        c = make(aio, loop)
        assert isinstance(c, collections.abc.Coroutine) and isinstance(c, collections.abc.Awaitable) and asyncio.iscoroutine(c)
        await c
        await aio.create_task(make(aio, loop))
        await loop.create_task(make(aio, loop))
        await aio.ensure_future(make(aio, loop))
        await asyncio.Task(make(aio, loop), loop=loop)
        if PYTASK_IS_SEEN or name != "wait_for":
            await asyncio.tasks._PyTask(make(aio, loop), loop=loop)
        await aio.wait_for(make(aio, loop), 5)
        await aio.gather(make(aio, loop), make(aio, loop))
        async with aio.TaskGroup() as g:
            g.create_task(make(aio, loop))
    run(main())
    run(loop.shutdown_default_executor())


@pytest.mark.parametrize("name", AWAITABLES)
def test_d6_contract_of_a_coroutine(aio, loop, run, name):
    """Awaited twice: RuntimeError. Never awaited: RuntimeWarning. Closed: no warning. The frame attributes are there."""
    make = AWAITABLES[name]

    async def main():
        c = make(aio, loop)
        assert c.cr_running is False and c.cr_await is None and hasattr(c, "cr_frame")
        if PY >= (3, 11):
            assert c.cr_suspended is False
        await c
        with pytest.raises(RuntimeError, match="^cannot reuse already awaited coroutine$"):
            await c
        c = make(aio, loop)
        c.close()
        with pytest.raises(RuntimeError, match="^cannot reuse already awaited coroutine$"):
            await c
        c = make(aio, loop)
        with pytest.raises(ZeroDivisionError):
            c.throw(ZeroDivisionError)
        with pytest.warns(RuntimeWarning, match="was never awaited"):
            c = make(aio, loop)
            del c
            gc.collect()
    with warnings.catch_warnings():
        if name == "wait_for":                 # what it was to wait for is never awaited either
            warnings.filterwarnings("ignore", "coroutine 'sleep' was never awaited", RuntimeWarning)
        run(main())
    run(loop.shutdown_default_executor())


def test_d6_the_body_starts_at_the_first_send(aio, loop, run):
    async def main():
        q = filled_queue(aio)
        c = q.get()
        assert q.qsize() == 1
        lock = aio.Lock()
        d = lock.acquire()
        assert not lock.locked()
        assert await c == 1 and await d is True and lock.locked()
        before = len(loop._scheduled)
        s = aio.sleep(5)
        assert len(loop._scheduled) == before
        s.close()
        p = q.put("x")
        assert q.empty()
        await p
        assert q.qsize() == 1
    run(main())


def test_d6_wait_for_and_its_task(aio, loop, run):
    """3.11 runs the coroutine in a new task, later versions in the same."""
    async def main():
        async def who():
            return aio.current_task()
        me = aio.current_task()
        assert (await aio.wait_for(who(), 5) is me) == (PY >= (3, 12))
    run(main())


def test_d6_mocks_of_coroutine_functions(aio):
    """mock.patch makes AsyncMocks of what is `async def` in asyncio; iscoroutinefunction agrees."""
    functions = ["sleep", "wait_for", "wait", "to_thread", "open_connection", "start_server"]
    methods = [("Queue", "get"), ("Queue", "put"), ("Queue", "join"), ("Lock", "acquire"), ("Event", "wait"), ("Semaphore", "acquire"),
               ("Condition", "wait"), ("StreamReader", "read"), ("StreamReader", "readexactly"), ("StreamWriter", "drain"), ("Barrier", "wait")]
    for target, name in [(aio, n) for n in functions] + [(getattr(aio, c), n) for c, n in methods]:
        assert inspect.iscoroutinefunction(getattr(target, name)), name
        with mock.patch.object(target, name) as m:
            assert isinstance(m, mock.AsyncMock), name
    assert isinstance(mock.create_autospec(aio.Queue, instance=True).get, (mock.AsyncMock, type(mock.create_autospec(none))))


def test_d6_order_of_callbacks_and_waiters(aio, loop):
    """(callback, task, callback) keeps asyncio's order, whoever was first; see also test_futures."""
    f, seen = loop.create_future(), []

    async def wait(name):
        await f
        seen.append(name)
    ts = []
    for i in range(4):
        f.add_done_callback(lambda f, i=i: seen.append(f"c{i}"))
        ts.append(loop.create_task(wait(f"t{i}")))
        spin(loop)
    f.set_result(None)
    spin(loop, 2)
    assert seen == ["c0", "t0", "c1", "t1", "c2", "t2", "c3", "t3"] and all(t.done() for t in ts)


def test_d6_a_waiting_task_as_only_callback(aio, loop):
    """One pointer instead of a callback: shown, removed and added to like one."""
    f = loop.create_future()

    async def wait():
        return await f
    t = loop.create_task(wait())
    spin(loop)
    first = f._callbacks
    assert first == f._callbacks and len(first) == 1 and first is not f._callbacks
    (wakeup, context), = first
    assert callable(wakeup) and isinstance(context, contextvars.Context)
    assert f.remove_done_callback(wakeup) == 1 and f._callbacks is None and f.remove_done_callback(wakeup) == 0
    f.add_done_callback(wakeup, context=context)
    assert f._callbacks == [(wakeup, context)]
    f.set_result("r")
    spin(loop, 2)
    assert t.result() == "r"


def test_d6_the_wakeup_shown_before_and_after_a_callback_joins(aio, loop):
    f = loop.create_future()

    async def wait():
        return await f
    t = loop.create_task(wait())
    spin(loop)
    (wakeup, _), = f._callbacks
    f.add_done_callback(callback)
    assert [c for c, _ in f._callbacks] == [wakeup, callback]
    assert f.remove_done_callback(callback) == 1 and [c for c, _ in f._callbacks] == [wakeup]
    f.set_result(1)
    spin(loop, 2)
    assert t.done()


def test_d6_closed_loop_and_thread_checks_on_the_fast_path(same):
    """A native task that waits for a native future: setting the result from the wrong thread in debug, and after closing."""
    def scenario(aio):
        errors, found = Errors(), []
        with fresh_loop(aio, errors, debug=True) as loop:
            f = loop.create_future()

            async def wait():
                await f
            t = loop.create_task(wait())
            spin(loop)

            def thread():
                found.append(outcome(f.set_result, 1))
                loop.call_soon_threadsafe(loop.stop)
            th = threading.Thread(target=thread)
            loop.call_soon(th.start)
            loop.run_forever()
            th.join()
            found += [f.done(), t.done()]
            t._log_destroy_pending = False
            del t, th
            gc.collect()
            g = loop.create_future()

            async def wait():
                await g
            t = loop.create_task(wait())
            spin(loop)
        # fresh_loop cancelled t; another one waits while its loop is closed
        loop = aio.new_event_loop()
        loop.set_exception_handler(errors)
        h = loop.create_future()

        async def wait():
            await h
        t = loop.create_task(wait())
        spin(loop)
        loop.close()
        found += [outcome(h.set_result, 1), h._state, t._state]
        t._log_destroy_pending = False
        errors.take()
        return found
    same(scenario)


def test_d6_fut_waiter_is_what_asyncio_shows(aio, loop):
    f = loop.create_future()

    async def wait():
        await f
        await aio.sleep(0)
        await aio.sleep(100)
    t = loop.create_task(wait())
    assert t._fut_waiter is None
    spin(loop)
    assert t._fut_waiter is f is t._fut_waiter
    f.set_result(1)
    assert t._fut_waiter is f
    spin(loop)
    assert t._fut_waiter is None
    spin(loop, 2)
    w = t._fut_waiter
    assert asyncio.isfuture(w) and w is t._fut_waiter and not w.done()
    t.cancel()
    assert w.cancelled()
    spin(loop, 2)
    assert t._fut_waiter is None and t.cancelled()


def test_semaphore_goes_on_to_wake_as_this_python_does(same):
    """Bug-fix releases changed it, so it is found out by asking asyncio's class."""
    def scenario(aio):
        async def main():
            semaphore, log = aio.Semaphore(0), []

            async def user(name, releases=0):
                for _ in range(releases):
                    semaphore.release()
                await semaphore.acquire()
                log.append((name, semaphore._value))
            users = [asyncio.ensure_future(user(*args)) for args in (("a",), ("b", 3), ("c",))]
            for _ in range(4):
                await asyncio.sleep(0)
                log.append((semaphore._value, len(semaphore._waiters)))
            await asyncio.gather(*users)
            return log
        with fresh_loop(aio) as loop:
            return loop.run_until_complete(main())
    same(scenario)
