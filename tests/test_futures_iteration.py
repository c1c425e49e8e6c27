"""Future: awaiting it, the iterator's send(), throw() and close()."""
import asyncio
import gc
import types
import weakref

import pytest

from support import PY, STATES, fresh_loop, in_state, outcome


@pytest.mark.parametrize("way", [iter, lambda f: f.__await__(), lambda f: f.__iter__()])
def test_iteration(aio, loop, way):
    f = loop.create_future()
    it = way(f)
    assert iter(it) is it
    assert next(it) is f and f._asyncio_future_blocking is True
    f.set_result("r")
    with pytest.raises(StopIteration) as info:
        next(it)
    assert info.value.value == "r"
    with pytest.raises(StopIteration) as info:
        next(it)
    assert info.value.value == (None if PY < (3, 14) else "r")


def test_iteration_not_waited_for(aio, loop):
    it = iter(loop.create_future())
    next(it)
    with pytest.raises(RuntimeError, match="^await wasn't used with future$"):
        next(it)


def test_iteration_of_done_futures(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            found = []
            for state in STATES[1:]:
                f = in_state(loop, state)
                it = iter(f)
                found.append([outcome(next, it), f._asyncio_future_blocking, outcome(next, it)])
            return found
    same(scenario)


def test_arguments_of_the_end(same):
    """Of the StopIteration; None is among them from 3.14 on."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            found = []
            for result in (None, 1, ()):
                f = loop.create_future()
                f.set_result(result)
                for ask in (next, lambda it: it.send(None)):
                    held = [iter(f)]
                    try:
                        ask(held[0])
                    except StopIteration as e:
                        found.append((e.args, e.value))
            return found
    same(scenario)


@pytest.mark.parametrize("value", [None, 1, (1, 2), (), ("only",), ValueError("as a value"), StopIteration(5), StopIteration])
def test_results_that_stopiteration_could_unpack(aio, loop, run, value):
    f = loop.create_future()
    f.set_result(value)
    with pytest.raises(StopIteration) as info:
        next(iter(f))
    assert info.value.value is value

    async def main():
        return await f, (yield_from_result(f))
    got = run(main())
    assert got[0] is value and got[1] is value


def yield_from_result(f):
    def gen():
        return (yield from f)
    g = gen()
    try:
        next(g)
    except StopIteration as e:
        return e.value


def test_send_throw_close(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            found = []

            def do(f, *steps):
                it = iter(f)
                for name, *args in steps:
                    how = outcome(getattr(it, name), *args)
                    found.append([name, "the future" if how[0] == "returned" and how[1] is not None else how])
            new = loop.create_future
            do(new(), ("send", None), ("close",), ("__next__",))
            do(new(), ("send", "a value"))
            do(new(), ("close",), ("__next__",), ("close",))
            do(new(), ("throw", ValueError("x")), ("__next__",))
            do(new(), ("__next__",), ("throw", ValueError("x")), ("__next__",))
            do(new(), ("throw", asyncio.CancelledError("c")))
            do(new(), ("throw", GeneratorExit()))
            do(new(), ("throw", 5))
            do(new(), ("throw", "text"))
            do(new(), ("throw", object))
            do(in_state(loop, "result"), ("send", None), ("__next__",))
            do(in_state(loop, "exception"), ("send", None))
            do(in_state(loop, "cancelled"), ("throw", ValueError("x")))
            return found
    same(scenario)


@pytest.mark.filterwarnings("ignore:.*throw.*:DeprecationWarning")
def test_throw_with_three_arguments(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            try:
                raise KeyError("k")
            except KeyError as e:
                tb = e.__traceback__
            calls = [(ValueError,), (ValueError, "text"), (ValueError, ValueError("inst")), (ValueError, None, tb),
                     (ValueError, ("a", "b")), (ValueError("inst"), "second"), (ValueError, None, "no traceback"), (KeyError, ValueError("other")),
                     (ValueError, None, None), ()]
            return [outcome(iter(loop.create_future()).throw, *args, text=bool(args)) for args in calls]
    same(scenario)


@pytest.mark.skipif(PY < (3, 12), reason="deprecated in 3.12")
def test_throw_with_three_arguments_warns(aio, loop):
    with pytest.warns(DeprecationWarning, match="the \\(type, exc, tb\\) signature of throw\\(\\) is deprecated"):
        with pytest.raises(ValueError):
            iter(loop.create_future()).throw(ValueError, "x", None)


def test_the_iterator_keeps_the_future_alive_and_no_longer(aio, loop):
    f = loop.create_future()
    ref, it = weakref.ref(f), iter(f)
    del f
    gc.collect()
    assert ref() is not None
    ref().set_result(1)
    assert outcome(next, it)[1] == "StopIteration"
    if PY >= (3, 14):
        del it
    gc.collect()
    assert ref() is None


def test_await_in_a_coroutine(aio, loop, run):
    f = loop.create_future()
    loop.call_soon(f.set_result, 42)

    async def main():
        return await f
    assert run(main()) == 42


def test_yield_from_in_a_generator_coroutine(aio, loop, run):
    @types.coroutine
    def old():
        f = loop.create_future()
        loop.call_soon(f.set_result, 42)
        return (yield from f)

    async def main():
        return await old()
    assert run(main()) == 42
