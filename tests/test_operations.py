"""Operations, what native coroutine functions return: they keep a coroutine's contract. asyncio's coroutines say what that is."""
import asyncio
import collections.abc
import functools
import gc
import inspect
import sys
import types
import unittest.mock
import warnings
import weakref

import pytest

from support import PY, fresh_loop, outcome, plain, scrub


class Throws(Exception):
    pass


def waiting(aio):
    """An operation that waits at once (an event that is not set), and its event."""
    event = aio.Event()
    return event, event.wait()


def in_loop(main):
    """A scenario: main(aio, loop) runs while the loop of that module counts as running."""
    def scenario(aio, *args):
        with fresh_loop(aio) as loop:
            asyncio._set_running_loop(loop)
            try:
                return plain(main(aio, loop, *args))
            finally:
                asyncio._set_running_loop(None)
    return scenario


def state(op):
    return [op.cr_running, op.cr_suspended, op.cr_frame is None, op.cr_await is None, inspect.getcoroutinestate(op)]


def test_it_is_native():
    import pyasync
    op = pyasync.Event().wait()
    assert type(op).__name__ == "coroutine" and not isinstance(op, types.CoroutineType)
    op.close()


def test_identity(aio, same):
    def scenario(aio):
        event, op = waiting(aio)
        try:
            return [scrub(repr(op)), op.__name__, op.__qualname__, type(op).__name__, asyncio.iscoroutine(op),
                    inspect.isawaitable(op), isinstance(op, collections.abc.Coroutine), isinstance(op, collections.abc.Iterator),
                    hasattr(op, "__iter__"), op.cr_origin, op.cr_code.co_name, state(op), hash(op) == hash(op), op == op]
        finally:
            op.close()
    same(scenario)


def test_functions_are_coroutine_functions(aio, same):
    def scenario(aio):
        lock = aio.Lock()
        functions = [aio.Lock.acquire, lock.acquire, aio.Event.wait, aio.Lock.__aexit__]
        iscoroutinefunction = inspect.iscoroutinefunction if PY >= (3, 12) else asyncio.iscoroutinefunction
        return [[iscoroutinefunction(f), f.__name__, f.__qualname__, str(inspect.signature(f)).replace(", /", "")] for f in functions]
    same(scenario)


def test_binding_as_a_method(same):
    """A coroutine function in a class binds as a plain function does, however it is reached."""
    def scenario(aio):
        class A:
            nap = aio.sleep
            partial = functools.partialmethod(aio.sleep, result="r")
            static = staticmethod(aio.sleep)
            cls = classmethod(aio.sleep)

        class B(A):
            def up(self):
                return super().nap

        a = B()
        a.own = aio.sleep
        bound = a.nap
        got = [inspect.ismethod(bound), bound.__self__ is a, bound.__func__ is aio.sleep, bound == a.nap, bound.__name__, inspect.ismethod(a.up()),
               A.nap is aio.sleep, a.own is aio.sleep, A.static is aio.sleep, a.static is aio.sleep, inspect.ismethod(a.cls),
               aio.sleep.__get__(None, A) is aio.sleep, aio.sleep.__get__(a).__self__ is a,
               [len(inspect.signature(f).parameters) for f in (bound, A.nap, a.own, a.static, a.cls)],
               asyncio.iscoroutinefunction(bound) if PY < (3, 14) else inspect.iscoroutinefunction(bound)]

        async def main():
            for call in (lambda: a.nap(), lambda: a.nap(0), lambda: bound(0), lambda: getattr(a, "nap")(), lambda: a.up()(0), lambda: a.cls(),
                         lambda: a.partial(), lambda: A.nap(0, "r"), lambda: a.own(0, "r"), lambda: a.static(0, "r"), lambda: A.static(0, "r"),
                         lambda: A.partial(0)):
                try:
                    got.append(await call())
                except TypeError as e:       # an A is nothing to wait for
                    got.append(plain(e))
        with fresh_loop(aio) as loop:
            loop.run_until_complete(main())
        return got
    same(scenario)


def test_mocks_of_them_are_async(aio, run):
    mock = unittest.mock.create_autospec(aio.Lock, instance=True)
    assert isinstance(mock.acquire, unittest.mock.AsyncMock)
    assert not isinstance(mock.release, unittest.mock.AsyncMock)
    with unittest.mock.patch.object(aio.Event, "wait") as wait:
        assert isinstance(wait, unittest.mock.AsyncMock)
        wait.return_value = 7

        async def main():
            return await aio.Event().wait()
        assert run(main()) == 7


def test_arguments(aio, same):
    def scenario(aio):
        lock = aio.Lock()
        return [outcome(lock.acquire, 1, text=False), outcome(lock.acquire, x=1, text=False), outcome(aio.Lock.acquire, text=False),
                outcome(lock.__aexit__, text=False), outcome(aio.Lock, 1, text=False)]
    same(scenario)


def test_nothing_happens_before_the_first_send(aio, run):
    async def main():
        lock = aio.Lock()
        op = lock.acquire()
        assert not lock.locked()
        assert await op is True
        assert lock.locked()
    run(main())


@in_loop
def by_hand(aio, loop):
    log = []
    event, op = waiting(aio)
    log.append(state(op))
    future = op.send(None)
    log += [state(op), asyncio.isfuture(future), future._asyncio_future_blocking, scrub(repr(event))]
    future._asyncio_future_blocking = False
    event.set()
    log += [outcome(op.send, None), state(op), scrub(repr(event))]
    log += [outcome(op.send, None), outcome(op.throw, Throws()), outcome(op.close)]
    return log


def test_by_hand(same):
    same(by_hand)


@in_loop
def too_early(aio, loop):
    event, op = waiting(aio)
    log = [outcome(op.send, 1), outcome(op.send, 1)]
    op.close()
    return log + [outcome(op.send, None), state(op)]


def test_a_value_sent_too_early(same):
    same(too_early)


@in_loop
def awaited_twice(aio, loop):
    event, op = waiting(aio)

    async def waits():
        return await op
    first, second = waits(), waits()
    first.send(None)
    log = [outcome(second.send, None)]
    first.close()
    log += [state(op), scrub(repr(event)), outcome(op.send, None)]
    third = waits()
    return log + [outcome(third.send, None)]


def test_awaited_twice(same):
    same(awaited_twice)


@in_loop
def spurious(aio, loop):
    """A step though the future is not done: it is yielded again; with the flag still set it is an error."""
    event, op = waiting(aio)
    future = op.send(None)
    future._asyncio_future_blocking = False
    again = op.send(None) is future
    return [again, outcome(op.send, None), state(op), scrub(repr(event))]


def test_a_spurious_step(same):
    same(spurious)


THROWS = {"instance": lambda: (Throws(1),), "class": lambda: (Throws,), "exit": lambda: (GeneratorExit,),
          "cancelled": lambda: (asyncio.CancelledError("why"),), "stop": lambda: (StopIteration(5),), "bad": lambda: (5,),
          "bad class": lambda: (int,), "none": lambda: (), "many": lambda: (Throws, 1, None, 2)}


@in_loop
def throwing(aio, loop, kind, at):
    event, op = waiting(aio)
    if at != "created":
        op.send(None)._asyncio_future_blocking = False
    if at == "done":
        op.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        log = [outcome(op.throw, *THROWS[kind]()), state(op), scrub(repr(event))]
        op.close()
    return log + [outcome(op.throw, Throws)]


@pytest.mark.parametrize("at", ["created", "suspended", "done"])
@pytest.mark.parametrize("kind", THROWS)
def test_throw(same, kind, at):
    if (kind, at) == ("stop", "created") and hasattr(sys, "gettotalrefcount"):
        pytest.skip("a debug build of CPython aborts when StopIteration is thrown into a coroutine that has not begun")
    same(throwing, kind, at)


def test_throw_of_type_value_traceback(aio, same):
    @in_loop
    def scenario(aio, loop):
        try:
            raise Throws("here")
        except Throws as e:
            tb = e.__traceback__
        event, op = waiting(aio)
        op.send(None)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                op.throw(Throws, Throws("there"), tb)
            except Throws as e:
                found = []
                at = e.__traceback__
                while at is not None:
                    found.append(at.tb_lineno)
                    at = at.tb_next
                result = [str(e), tb.tb_lineno in found]
        # a coroutine warns, and so does the iterator of the future to which it passes the arguments on
        return [result, sorted({str(w.message) for w in caught})]
    same(scenario)


@in_loop
def closing(aio, loop, at):
    event, op = waiting(aio)
    if at == "suspended":
        op.send(None)
    log = [outcome(op.close), state(op), scrub(repr(event)), outcome(op.close)]
    return log + [outcome(op.send, None)]


@pytest.mark.parametrize("at", ["created", "suspended"])
def test_close(same, at):
    same(closing, at)


@in_loop
def reentered(aio, loop):
    """By an acquire() of the program's own, which the native __aenter__ calls."""
    log = []

    class Lock(aio.Lock):
        def acquire(self):
            log.append([state(op)[:2], outcome(op.send, None), outcome(op.throw, Throws), outcome(op.close)])
            return super().acquire()
    lock = Lock()
    op = lock.__aenter__()
    log.append(outcome(op.send, None))
    log.append(lock.locked())
    return log


def test_reentered(same):
    same(reentered)


class Awaitable:
    """What a subclass may return from acquire(): yields, gets what is sent and thrown, ends as told."""

    def __init__(self, log, result=None, throws=None, swallow=False):
        self.log, self.result, self.throws, self.swallow = log, result, throws, swallow

    def __await__(self):
        try:
            self.log.append(("sent", (yield None)))
        except BaseException as e:
            self.log.append(("got", type(e).__name__))
            if not self.swallow:
                raise
            self.log.append(("sent then", (yield None)))
        if self.throws:
            raise self.throws
        return self.result


async def returns(value):
    return value


class BadIterator:
    def __await__(self):
        return 5


class ReturnsCoroutine:
    def __await__(self):
        return self.coroutine

    def __init__(self):
        self.coroutine = returns(1)


class NoThrow:
    def __await__(self):
        return iter([None, None])


MAKE = {
    "plain": lambda log: Awaitable(log, "result"),
    "fails": lambda log: Awaitable(log, throws=Throws("at the end")),
    "stops": lambda log: Awaitable(log, throws=StopAsyncIteration("odd")),
    "swallows": lambda log: Awaitable(log, "late", swallow=True),
    "coroutine": lambda log: returns(3),
    "nothing": lambda log: 5,
    "bad": lambda log: BadIterator(),
    "list": lambda log: NoThrow(),
}


@in_loop
def foreign(aio, loop, kind, how):
    log = []

    class Lock(aio.Lock):
        def acquire(self):
            return MAKE[kind](log)
    op = Lock().__aenter__()
    log.append(outcome(op.send, None))
    log.append(state(op)[:3])
    if how == "send":
        log.append(outcome(op.send, 7))
    elif how == "throw":
        log.append(outcome(op.throw, Throws("in")))
    else:
        log.append(outcome(op.close))
    log.append(state(op)[:3])
    log.append(outcome(op.send, None))
    op.close()
    return log


@pytest.mark.parametrize("how", ["send", "throw", "close"])
@pytest.mark.parametrize("kind", MAKE)
def test_awaiting_anything(same, kind, how):
    same(foreign, kind, how)


def test_awaiting_what_returns_a_coroutine(same):
    @in_loop
    def scenario(aio, loop):
        made = ReturnsCoroutine()

        class Lock(aio.Lock):
            def acquire(self):
                return made
        result = outcome(Lock().__aenter__().send, None)
        made.coroutine.close()
        return result
    same(scenario)


def test_never_awaited(aio, same):
    def scenario(aio):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            aio.Lock().acquire()
            gc.collect()
        return [[str(w.message), w.category.__name__, w.filename == __file__] for w in caught]
    got = same(scenario)
    assert len(got) == 1


def test_never_awaited_with_origin(aio, same):
    def scenario(aio):
        before = sys.get_coroutine_origin_tracking_depth()
        sys.set_coroutine_origin_tracking_depth(1)
        try:
            op = aio.Lock().acquire()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                origin = op.cr_origin
                del op
        finally:
            sys.set_coroutine_origin_tracking_depth(before)
        return [origin, [str(w.message) for w in caught]]
    same(scenario)


def test_never_awaited_as_an_error_is_unraisable(aio, same):
    def scenario(aio):
        seen = []
        with unittest.mock.patch.object(sys, "unraisablehook", lambda args: seen.append(plain(args.exc_value))):
            aio.Lock().acquire()               # pytest's configuration makes the warning an error
        return seen
    got = same(scenario)
    assert len(got) == 1


def test_dropped_while_it_waits(aio, same):
    @in_loop
    def scenario(aio, loop):
        event, op = waiting(aio)
        op.send(None)
        before = scrub(repr(event))
        del op
        return [before, scrub(repr(event))]
    same(scenario)


def test_dropped_in_a_cycle(aio, loop):
    asyncio._set_running_loop(loop)
    try:
        event, op = waiting(aio)
        op.send(None)
        cycle = [op, event]
        cycle.append(cycle)
        gone = weakref.ref(event)
        del op, event, cycle
        gc.collect()
        assert gone() is None
    finally:
        asyncio._set_running_loop(None)


def test_weakrefs(aio, loop):
    event, op = waiting(aio)
    seen = []
    reference = weakref.ref(op, seen.append)
    assert reference() is op
    op.close()
    del op
    assert reference() is None and seen == [reference]


def test_in_a_task(aio, same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            async def main():
                event, op = waiting(aio)
                task = loop.create_task(op)
                names = [task.get_coro() is op, task.get_coro().__qualname__]
                await asyncio.sleep(0)
                stack = len(task.get_stack())
                event.set()
                return names + [stack, await task, scrub(repr(event)), task.get_coro() is op or None, state(op)]
            return plain(loop.run_until_complete(main()))
    same(scenario)


@pytest.mark.parametrize("wrapped", [True, False])
def test_cancelled_in_a_task(same, wrapped):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            async def main():
                event, op = waiting(aio)

                async def waits():
                    return await op
                task = loop.create_task(waits() if wrapped else op)
                await asyncio.sleep(0)
                task.cancel("the reason")
                try:
                    await task
                except asyncio.CancelledError as e:
                    return [plain(e.args), state(op), scrub(repr(event))]
            return loop.run_until_complete(main())
    same(scenario)


def test_wait_for_and_gather_take_it(aio, run):
    async def main():
        lock = aio.Lock()
        assert await aio.wait_for(lock.acquire(), 1) is True
        with pytest.raises(TimeoutError):
            await aio.wait_for(lock.acquire(), 0.001)
        assert lock._waiters is None or not len(lock._waiters)
        event = aio.Event()
        waits = aio.gather(event.wait(), event.wait())
        await aio.sleep(0)
        event.set()
        assert await waits == [True, True]
    run(main())


def test_on_the_other_modules_loop(aio):
    """pyasync's on asyncio's loop, and the other way round."""
    import pyasync
    other = asyncio if aio is pyasync else pyasync

    async def main():
        lock, log = aio.Lock(), []

        async def holds(name):
            async with lock:
                log.append(name)
                await asyncio.sleep(0)
        tasks = [asyncio.create_task(holds(i)) for i in range(4)]
        await asyncio.sleep(0)
        tasks[1].cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert log == [0, 2, 3]
    with fresh_loop(other) as loop:
        loop.run_until_complete(main())


def test_many_at_once(aio, run):
    """More than the free list holds."""
    async def main():
        event = aio.Event()
        tasks = [asyncio.create_task(event.wait()) for _ in range(500)]
        await asyncio.sleep(0)
        event.set()
        assert await asyncio.gather(*tasks) == [True] * 500
        for _ in range(500):
            assert await event.wait()
    run(main())


# --- How a result gets to whoever awaits -------------------------------------------------------------------------------------

class Item:
    """Something to hold a weak reference to."""


def test_an_item_lives_no_longer_than_whoever_awaited_it_wants(aio, run):
    async def main():
        queue = aio.Queue()
        for keeps in (False, True, False):
            queue.put_nowait(Item())
            if keeps:
                getting = queue.get()
                item = await getting
            else:
                item = await queue.get()
            reference = weakref.ref(item)
            del item
            assert reference() is None
    run(main())


def test_results_that_are_raised_stay_as_they_were(aio, run):
    async def main():
        queue, kept = aio.Queue(), []
        for i in range(6):
            queue.put_nowait([i])
            queue.put_nowait([i, i])
            try:
                queue.get().__await__().__next__()
            except StopIteration as stop:
                kept.append(stop)
            assert await queue.get() == [i, i]
        assert [stop.value for stop in kept] == [[i] for i in range(6)]
        assert [stop.args for stop in kept] == [([i],) for i in range(6)]
    run(main())


def test_the_finalizer_of_an_item_may_await_in_its_turn(aio, run):
    got = []

    class Awaiting:
        def __del__(self):
            queue.put_nowait(len(got))
            with pytest.raises(StopIteration) as info:
                queue.get().send(None)
            got.append(info.value.value)

    async def main():
        for i in range(5):
            queue.put_nowait(Awaiting())
            await queue.get()
            queue.put_nowait(i)
            assert await queue.get() == i
    queue = aio.Queue()
    run(main())
    assert got == list(range(5))


def test_one_that_waits_is_collected_although_the_collector_was_frozen_before(aio, run):
    """gc.freeze() puts what there is out of the collector's sight: nothing that is used again later may be among it."""
    async def main():
        queue = aio.Queue()
        queue.put_nowait(1)
        await queue.get()
        gc.freeze()
        queue = aio.Queue()
        op = queue.get()
        op.send(None)
        queue.op = op
        return weakref.ref(queue)
    queue = run(main())
    gc.collect()
    assert queue() is None
