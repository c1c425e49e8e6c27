"""Task: coroutines that are not plain ones: classes with send(), generators, custom awaitables."""
import collections.abc
import types

import pytest

from support import Errors, fresh_loop, outcome, plain, report, scrub, spin


class CoroutineLike(collections.abc.Coroutine):
    """What Cython makes: send, throw, close and __await__, no generator."""

    def __init__(self, *steps):
        self.steps, self.log = list(steps), []

    def __await__(self):
        return self

    def __iter__(self):
        return self

    def __next__(self):
        return self.send(None)

    def send(self, value):
        self.log.append(["send", value])
        if not self.steps:
            raise StopIteration("returned")
        step = self.steps.pop(0)
        if isinstance(step, BaseException):
            raise step
        return step

    def throw(self, typ, val=None, tb=None):
        exc = val if isinstance(val, BaseException) else typ if isinstance(typ, BaseException) else typ()
        self.log.append(["throw", plain(exc)])
        if self.steps and self.steps[0] == "swallow":
            self.steps.pop(0)
            return self.send(None)
        raise exc

    def close(self):
        self.log.append(["close"])


def test_a_class_with_send_and_throw(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            found = []

            def blocking():
                f = loop.create_future()
                f._asyncio_future_blocking = True
                return f
            f = blocking()
            c = CoroutineLike(None, f)
            t = loop.create_task(c)
            spin(loop, 2)
            found.append([t._fut_waiter is f, t.get_coro() is c, scrub(repr(t)), t.get_stack()])
            f.set_result(1)
            spin(loop, 1)
            found.append([outcome(t.result), c.log])
            for steps, cancel in (([ValueError("x")], False), ([blocking()], True), ([blocking(), "swallow"], True), ([5, "swallow"], False)):
                c = CoroutineLike(*steps)
                t = loop.create_task(c)
                spin(loop)
                if cancel:
                    t.cancel("m")
                spin(loop, 3)
                found.append([t._state, outcome(t.result), c.log])
            return plain(found)
    same(scenario)


class OnlySend(collections.abc.Coroutine):
    def __await__(self):
        return self

    def send(self, value):
        raise StopIteration

    def throw(self, *args):
        raise args[0]

    def close(self):
        pass


@pytest.mark.parametrize("value", [(), (None,), (5,), ((1, 2),), ((),), ("a", "b")])
def test_stop_iteration_values(same, value):
    def scenario(aio):
        class C(OnlySend):
            def send(self, _):
                raise StopIteration(*value)
        with fresh_loop(aio) as loop:
            return [outcome(loop.run_until_complete, C())]
    same(scenario)


def test_send_that_raises_stop_iteration_class_or_subclass(same):
    def scenario(aio):
        class Mine(StopIteration):
            pass

        class A(OnlySend):
            def send(self, _):
                raise StopIteration

        class B(OnlySend):
            def send(self, _):
                raise Mine("mine")
        with fresh_loop(aio) as loop:
            return [outcome(loop.run_until_complete, A()), outcome(loop.run_until_complete, B())]
    same(scenario)


def test_coroutine_without_throw_or_with_broken_send(same):
    def scenario(aio):
        class NoSend(OnlySend):
            send = None

        class NoThrow(OnlySend):
            throw = None

            def send(self, _):
                return None
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            found = []
            for cls in (NoSend, NoThrow):
                t = loop.create_task(cls())
                spin(loop)
                if not t.done():
                    t.cancel()
                spin(loop, 2)
                found.append([t._state, outcome(t.result)])
            found += [report(c) for c in errors.take()]
            return found
    same(scenario)


def test_types_coroutine_generators(aio, loop, run):
    @types.coroutine
    def old(n):
        for _ in range(n):
            yield
        f = loop.create_future()
        loop.call_soon(f.set_result, n)
        return (yield from f)
    assert run(old(3)) == 3


def test_generator_based_coroutine_close_and_throw(aio, loop):
    log = []

    @types.coroutine
    def old():
        try:
            yield
            yield from loop.create_future()
        except BaseException as e:
            log.append(type(e).__name__)
            raise

    async def new():
        await old()
    t = loop.create_task(new())
    spin(loop, 2)
    t.cancel()
    spin(loop)
    assert log == ["CancelledError"] and t.cancelled()


def test_custom_awaitables(aio, loop, run):
    class A:
        def __await__(self):
            yield
            f = loop.create_future()
            loop.call_soon(f.set_result, 5)
            return (yield from f.__await__())

    class Nested:
        def __await__(self):
            return A().__await__()

    async def main():
        return [await A(), await Nested()]
    assert run(main()) == [5, 5]
    assert run(A()) == 5


def test_async_generators(aio, loop, run):
    async def gen():
        for i in range(3):
            await aio.sleep(0)
            yield i

    async def main():
        found = [i async for i in gen()]
        g = gen()
        found.append(await anext(g))
        found.append(await aio.create_task(anext_of(g)))
        await g.aclose()
        return found

    async def anext_of(g):
        return await anext(g)
    assert run(main()) == [0, 1, 2, 0, 1]


def test_coroutine_already_finished(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            async def none():
                pass
            c = none()
            loop.run_until_complete(c)
            found = [outcome(loop.run_until_complete, c)]
            return found
    same(scenario)
