"""The traps that the design names (its decisions D1 and D1b): native types that subclass asyncio's. Each was seen to break something, so each has a
test. asyncio itself is free of them; its half checks the tests."""
import asyncio
import contextlib
import gc
import threading
import weakref
from unittest import mock

import pytest

from support import PY, callback, forever, fresh_loop, nonblocking_pair, none, outcome, spin


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
