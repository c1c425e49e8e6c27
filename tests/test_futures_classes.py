"""Future: subclasses, overridden methods, duck types, lifetime, copies."""
import asyncio
import contextvars
import copy
import gc
import pickle
import sys
import types
import typing
import weakref

import pytest

from support import Errors, callback, fresh_loop, outcome, plain, report, spin


# --- classes -----------------------------------------------------------------------------------------------------------

def test_class_getitem(aio):
    alias = aio.Future[int]
    assert type(alias) is types.GenericAlias and alias.__origin__ is aio.Future and alias.__args__ == (int,)


def test_the_class_itself(aio):
    assert aio.Future.__name__ == aio.Future.__qualname__ == "Future"
    assert issubclass(aio.Future, asyncio.Future)
    assert isinstance(aio.Future.__doc__, str) and aio.Future.__doc__


def test_generic_subclass(aio, loop, run):
    T = typing.TypeVar("T")

    class F(aio.Future, typing.Generic[T]):
        pass

    class G(typing.Generic[T], aio.Future):
        pass
    for cls in (F, G):
        f = cls(loop=loop)
        loop.call_soon(f.set_result, 1)
        assert run(f) == 1 and cls[int].__origin__ is cls


def test_subclass_with_slots(aio, loop):
    class S(aio.Future):
        __slots__ = ("a", "b")
    f = S(loop=loop)
    f.a = f
    f.c = 3                                        # the base has a __dict__
    with pytest.raises(AttributeError):
        f.b
    f.set_result(1)
    ref = weakref.ref(f)
    assert f.result() == 1 and f.a is f
    del f
    gc.collect()
    assert ref() is None


def test_subclass_with_del(aio, loop, errors):
    seen = []

    class D(aio.Future):
        def __del__(self):
            seen.append(self._state)
            super().__del__()
    f = D(loop=loop)
    f.set_exception(ValueError())
    del f
    gc.collect()
    assert seen == ["FINISHED"] and errors.take_one()["message"] == "D exception was never retrieved"


def test_resurrection(aio, loop):
    kept = []

    class D(aio.Future):
        def __del__(self):
            kept.append(self)
    f = D(loop=loop)
    f.set_result("alive")
    f.x = 1
    del f
    gc.collect()
    f = kept.pop()
    assert f.result() == "alive" and f.x == 1 and f.get_loop() is loop
    del f
    gc.collect()


def test_subclass_with_own_init(aio, loop):
    class I(aio.Future):
        def __init__(self, value, *, loop):
            super().__init__(loop=loop)
            self.set_result(value)
    assert I(5, loop=loop).result() == 5

    class NoInit(aio.Future):
        def __init__(self):
            pass
    with pytest.raises(aio.InvalidStateError, match=r"^Future object is not initialized\.$"):
        NoInit().result()


@pytest.mark.parametrize("name,args", [("result", ()), ("exception", ()), ("done", ()), ("cancelled", ()), ("cancel", ()), ("get_loop", ()),
                                       ("add_done_callback", None), ("set_result", (3,)), ("__await__", ())])
def test_overridden_methods_are_honoured_where_asyncio_honours_them(same, name, args):
    """A task waits for a future of a subclass with one method overridden: what is called, how often, and what comes out."""
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            calls = []

            def method(self, *args, **kwargs):
                calls.append(name)
                return getattr(aio.Future, name)(self, *args, **kwargs)
            F = type("F", (aio.Future,), {name: method})
            for how in ("result", "exception", "cancel", "task cancel"):
                f = F(loop=loop)

                async def wait():
                    return await f
                t = loop.create_task(wait())
                spin(loop)
                calls.append(how)
                if how == "result":
                    f.set_result(3)
                elif how == "exception":
                    f.set_exception(ValueError("x"))
                elif how == "cancel":
                    f.cancel()
                else:
                    t.cancel("by task")
                spin(loop, 3)
                calls.append(outcome(t.result) if t.done() else "pending")
                if not t.done():
                    t.cancel()
                    spin(loop, 2)
            return calls + [report(c) for c in errors.take()]
    same(scenario)


def test_overrides_that_lie(same):
    def scenario(aio):
        found = []
        errors = Errors()
        for body in ({"result": lambda self: "mine"}, {"get_loop": lambda self: None}, {"done": lambda self: True},
                     {"cancel": lambda self, msg=None: True}, {"_asyncio_future_blocking": None},
                     {"result": lambda self: 1 / 0}, {"add_done_callback": lambda self, f, *, context=None: 1 / 0},
                     {"get_loop": lambda self: 1 / 0}, {"__await__": lambda self: iter([None])}):
            with fresh_loop(aio, errors) as loop:
                F = type("F", (aio.Future,), body)
                f = F(loop=loop)

                async def wait():
                    return await f
                t = loop.create_task(wait())
                spin(loop, 2)
                if not f.cancelled() and not t.done():
                    aio.Future.set_result(f, "own")
                spin(loop, 3)
                found.append(outcome(t.result) if t.done() else "pending")
                if not t.done():
                    t._log_destroy_pending = False      # never to be stepped again
                    del t, f, wait
                    gc.collect()
                found.append([report(c)["message"] for c in errors.take()])
        return found
    same(scenario)


def test_not_a_future_by_declaration(aio, loop):
    class Not(aio.Future):
        _asyncio_future_blocking = None
    assert not aio.isfuture(Not(loop=loop))


def test_duck_typed_future(same):
    """Any object with _asyncio_future_blocking, add_done_callback, result and cancel can be awaited."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            calls = []

            class Duck:
                _asyncio_future_blocking = False

                def __init__(self):
                    self.callbacks, self.outcome = [], None

                def get_loop(self):
                    return loop

                def add_done_callback(self, fn, *, context=None):
                    calls.append(type(context).__name__)
                    self.callbacks.append((fn, context))

                def result(self):
                    calls.append("result")
                    if self.outcome is None:
                        raise asyncio.CancelledError("duck")
                    return self.outcome

                def cancel(self, msg=None):
                    calls.append(["cancel", msg])
                    self.finish(None)
                    return True

                def finish(self, outcome):
                    self.outcome = outcome
                    for fn, context in self.callbacks:
                        loop.call_soon(fn, self, context=context)

                def __await__(self):
                    self._asyncio_future_blocking = True
                    yield self
                    return self.outcome

            async def wait(d):
                return await d
            for deed in ("finish", "cancel"):
                d = Duck()
                t = loop.create_task(wait(d))
                spin(loop)
                assert t._fut_waiter is d and not d._asyncio_future_blocking
                calls.append([deed, repr(aio.isfuture(d))])
                if deed == "finish":
                    d.finish("quack")
                else:
                    t.cancel("stop")
                spin(loop, 2)
                calls.append(outcome(t.result))
            return plain(calls)
    same(scenario)


# --- lifetime, copies --------------------------------------------------------------------------------------------------

def test_weakref(aio, loop):
    f, dead = loop.create_future(), []
    ref = weakref.ref(f, dead.append)
    assert ref() is f
    del f
    assert ref() is None and dead == [ref]


@pytest.mark.parametrize("via", ["result", "exception", "callback", "dict", "context", "cancel message"])
def test_cycles_are_collected(aio, loop, via):
    f = loop.create_future()
    if via == "result":
        f.set_result([f])
    elif via == "exception":
        f.set_exception(ValueError(f))
        f.exception()
    elif via == "callback":
        f.add_done_callback(lambda _: f)
        f.add_done_callback(lambda _: f)
    elif via == "dict":
        f.me = f
    elif via == "context":
        context = contextvars.Context()
        context.run(contextvars.ContextVar("v").set, f)
        f.add_done_callback(print, context=context)
        del context
    else:
        f.cancel([f])
    ref = weakref.ref(f)
    del f
    gc.collect()
    assert ref() is None


def test_no_reference_is_lost_or_kept(aio, loop, run):
    value, exc = object(), ValueError()
    counts = sys.getrefcount(value), sys.getrefcount(exc), sys.getrefcount(callback), sys.getrefcount(loop)
    for _ in range(50):
        f = loop.create_future()
        for _ in range(3):
            f.add_done_callback(callback)
        f.remove_done_callback(callback)
        f.add_done_callback(callback)
        f.set_result(value)
        spin(loop)
        f.result()
        g = loop.create_future()
        g.set_exception(exc)
        for _ in range(3):
            outcome(g.result)
            exc.__traceback__ = None
        h = loop.create_future()
        h.cancel(value)
        outcome(h.result)
        del f, g, h
    gc.collect()
    assert (sys.getrefcount(value), sys.getrefcount(exc), sys.getrefcount(callback), sys.getrefcount(loop)) == counts


def test_copying_and_pickling(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            f = loop.create_future()
            return [outcome(copy.copy, f, text=False), outcome(copy.deepcopy, f, text=False)] + [
                outcome(pickle.dumps, f, p, text=False) for p in range(pickle.HIGHEST_PROTOCOL + 1)]
    for kind, *error in same(scenario):
        assert kind == "raised"


def test_hash_and_equality(aio, loop):
    f, g = loop.create_future(), loop.create_future()
    assert f == f and f != g and len({f, g, f}) == 2 and hash(f) == hash(f)
    with pytest.raises(TypeError):
        f < g
