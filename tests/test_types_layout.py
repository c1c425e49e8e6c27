"""Future and Task as C types: real subclasses of asyncio's with storage of their own (docs/design.md, D1), under a collector that
runs at every allocation. What futures and tasks do is in test_futures*.py and test_tasks*.py."""
import asyncio
import gc
import inspect
import sys
import weakref
from typing import Generic, TypeVar

import pytest

import pyasync
from support import fresh_loop

T = TypeVar("T")


@pytest.fixture
def loop():
    with fresh_loop(pyasync) as loop:
        yield loop


@pytest.fixture(autouse=True)
def constant_collection():
    before = gc.get_threshold()
    gc.set_threshold(1)
    yield
    gc.set_threshold(*before)
    gc.collect()


async def nothing():
    pass


def make(cls, loop):
    return cls(nothing(), loop=loop) if issubclass(cls, asyncio.Task) else cls(loop=loop)


def test_they_are_real_subclasses(loop):
    f, t = make(pyasync.Future, loop), make(pyasync.Task, loop)
    assert pyasync.Future.__mro__ == (pyasync.Future, asyncio.Future, object)
    assert pyasync.Task.__mro__ == (pyasync.Task, pyasync.Future, asyncio.Task, asyncio.Future, object)
    assert isinstance(f, asyncio.Future) and not isinstance(f, asyncio.Task) and asyncio.isfuture(f)
    assert isinstance(t, asyncio.Task) and isinstance(t, pyasync.Future) and asyncio.isfuture(t)
    assert f.__class__ is type(f) is pyasync.Future and t.__class__ is type(t) is pyasync.Task
    loop.run_until_complete(t)


def test_no_method_of_asyncio_is_left_in_place():
    """Each would work on the base's own fields, which stay empty. __class_getitem__ uses none."""
    for native, base in ((pyasync.Future, asyncio.Future), (pyasync.Task, asyncio.Task)):
        for name in dir(base):
            if name in dir(object) or name == "__class_getitem__":
                continue
            where = next(cls for cls in native.__mro__ if name in vars(cls))
            assert where in (pyasync.Future, pyasync.Task), f"{native.__name__}.{name} is that of {where}"


def test_signatures_are_asyncios():
    for native, base in ((pyasync.Future, asyncio.Future), (pyasync.Task, asyncio.Task)):
        assert native.__text_signature__ == base.__text_signature__
        for name in dir(base):
            if callable(getattr(base, name)) and name not in ("__class__", "__init_subclass__", "__subclasshook__"):
                assert (getattr(getattr(native, name), "__text_signature__", None)
                        == getattr(getattr(base, name), "__text_signature__", None)), name
        assert inspect.signature(native) == inspect.signature(base)
        assert inspect.signature(native.cancel) == inspect.signature(base.cancel)
    assert pyasync.Future[int].__origin__ is pyasync.Future


def test_the_dict_is_as_hidden_as_asyncios(loop):
    class Theirs(asyncio.Future):
        pass

    class Ours(pyasync.Future):
        pass
    for theirs, ours in ((asyncio.Future, pyasync.Future), (Theirs, Ours)):
        assert hasattr(ours(loop=loop), "__dict__") == hasattr(theirs(loop=loop), "__dict__")


def half_types():
    class A(asyncio.Future):
        pass

    class B(A, pyasync.Future):
        pass
    return A, B


def test_half_types_are_refused(loop):
    A, B = half_types()
    with pytest.raises(TypeError, match="pyasync's must come first"):
        B(loop=loop)
    half = A.__new__(B)
    with pytest.raises(TypeError):
        half.__init__(loop=loop)
    for name in ("result", "exception", "cancel", "cancelled", "done", "get_loop", "_make_cancelled_error", "__await__", "__iter__",
                 "__repr__"):
        with pytest.raises(TypeError, match="pyasync's must come first"):
            getattr(half, name)()
    for name in ("set_result", "set_exception", "add_done_callback", "remove_done_callback"):
        with pytest.raises(TypeError, match="pyasync's must come first"):
            getattr(half, name)(None)
    for name in (n for n in dir(asyncio.Future) if n.startswith("_") and not n.startswith("__") and not callable(getattr(asyncio.Future, n))):
        if inspect.isgetsetdescriptor(vars(asyncio.Future).get(name)):
            with pytest.raises(TypeError, match="pyasync's must come first"):
                getattr(half, name)
    for name in ("_asyncio_future_blocking", "_cancel_message", "_log_traceback"):
        with pytest.raises(TypeError):
            setattr(half, name, False)
    half.attribute = half
    ref = weakref.ref(half)
    del half
    gc.collect()
    assert ref() is None


def test_tasks_have_no_half_types(loop):
    """Task's own layout is the larger one, wherever it stands."""
    class A(asyncio.Task):
        pass

    class B(A, pyasync.Task):
        pass
    t = B(nothing(), loop=loop)
    loop.run_until_complete(t)
    assert isinstance(t, pyasync.Future) and t.done()


def subclasses():
    class F(pyasync.Future):
        pass

    class G(pyasync.Future, Generic[T]):
        pass

    class Slots(pyasync.Future):
        __slots__ = ("a", "b")

    class Child(F):
        __slots__ = ("c",)

    class S(pyasync.Task):
        __slots__ = ("a", "b")

    class D(pyasync.Task):
        def __del__(self):
            self.zz = 1

    class Mixed(pyasync.Future, object):
        pass
    return [pyasync.Future, pyasync.Task, F, G, Slots, Child, S, D, Mixed]


def test_attributes_and_cycles_under_constant_collection(loop):
    refs = []
    loop.set_exception_handler(lambda loop, context: None)
    for i in range(60):
        for cls in subclasses():
            o = make(cls, loop)
            has_dict = hasattr(o, "__dict__")       # it takes attributes, but asyncio's classes keep the dict to themselves
            o.x1 = i
            o.me = o
            o.add_done_callback(o.cancel)
            o._cancel_message = [o]
            for slot in getattr(cls, "__slots__", ()):
                setattr(o, slot, o)
            if i % 3 == 0 and has_dict:
                o.__dict__ = {"q": o}
                assert o.q is o
            else:
                assert o.x1 == i and o.me is o
            if not isinstance(o, asyncio.Task):
                o.set_result([o])
                assert o.result() == [o]
            else:
                o._log_destroy_pending = False
                loop.run_until_complete(o)
            refs.append(weakref.ref(o))
            del o
    loop.call_soon(loop.stop)
    loop.run_forever()
    gc.collect()
    gc.collect()
    assert [r() for r in refs if r() is not None] == []


def test_a_pending_task_and_what_it_waits_for_are_collected(loop):
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context["message"]))

    async def wait(f):
        await f

    refs = []
    for _ in range(20):
        f = pyasync.Future(loop=loop)
        tasks = [pyasync.Task(wait(f), loop=loop) for _ in range(7)]
        loop.call_soon(loop.stop)
        loop.run_forever()
        assert all(t._fut_waiter is f for t in tasks)
        refs += [weakref.ref(o) for o in (f, *tasks)]
        del f, tasks
        gc.collect()
    assert [r() for r in refs if r() is not None] == []
    assert reports == ["Task was destroyed but it is pending!"] * 140


def test_the_finalizer_runs_once_and_may_revive(loop):
    revived = []

    class F(pyasync.Future):
        def __del__(self):
            revived.append(self)

    f = F(loop=loop)
    f.set_result("kept")
    del f
    assert len(revived) == 1 and revived[0].result() == "kept"
    ref = weakref.ref(revived[0])
    revived.clear()
    gc.collect()
    assert ref() is None and not revived


def test_an_exception_handler_may_revive_the_future(loop):
    kept = []
    loop.set_exception_handler(lambda loop, context: kept.append(context["future"]))
    f = pyasync.Future(loop=loop)
    f.set_exception(ValueError("lost"))
    del f
    assert len(kept) == 1 and repr(kept[0]) == "<Future finished exception=ValueError('lost')>"
    kept.clear()
    gc.collect()
    assert not kept, "it is reported once"


def test_objects_without_init(loop):
    for cls in subclasses():
        o = cls.__new__(cls)
        o.x = 1
        assert not o.done() and not o.cancelled() and o._loop is None
        with pytest.raises(RuntimeError, match="not initialized"):
            o.get_loop()
        with pytest.raises(RuntimeError, match="not initialized"):
            repr(o)
    gc.collect()


@pytest.mark.skipif(sys.version_info >= (3, 15), reason="refused from 3.15 on: test_futures_classes.py")
def test_init_twice_starts_anew(loop):
    f = pyasync.Future(loop=loop)
    f.set_exception(ValueError("gone"))
    f.add_done_callback(print)
    f.__init__(loop=loop)
    assert f._state == "PENDING" and f._callbacks is None and f._exception is None and not f._log_traceback
    f.set_result(3)
    assert f.result() == 3


def test_unbound_methods_of_the_base_see_an_empty_base(loop):
    """A limit, documented: asyncio.Future's own functions do not reach our fields. They must not crash, and must not disturb."""
    f = pyasync.Future(loop=loop)
    assert asyncio.Future.done(f) is False
    with pytest.raises(RuntimeError):
        asyncio.Future.set_result(f, 1)
    assert not f.done()
    f.set_result(2)
    assert asyncio.Future.done(f) is False and f.result() == 2


@pytest.mark.skipif(sys.version_info < (3, 14), reason="CPython's own list of tasks")
def test_a_registered_task_may_go_away(loop):
    import _asyncio
    t = pyasync.Task(nothing(), loop=loop)
    loop.run_until_complete(t)
    _asyncio._register_task(t)
    _asyncio._register_task(t)
    del t
    gc.collect()
    assert asyncio.all_tasks(loop) == set()


def test_every_object_is_tracked_by_the_collector(loop):
    for cls in subclasses():
        o = make(cls, loop)
        assert gc.is_tracked(o) and gc.is_tracked(o.__await__())
        assert type(o) in gc.get_referents(o)
        if isinstance(o, asyncio.Task):
            loop.run_until_complete(o)
