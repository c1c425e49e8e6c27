"""wait() and as_completed(): for several futures at once. One scenario on asyncio and on the module under test."""
import asyncio
import concurrent.futures
import gc
import inspect
import inspect
import weakref
from unittest import mock

import pytest

from support import PY, FakeLoop, fresh_loop, outcome, plain, rewritten_in_place, scrub
from ticking import chain, fail, play, value

MODES = ["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION"]


# --- wait --------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("limit", [None, 0, 2, 9])
@pytest.mark.parametrize("mode", ["ALL_COMPLETED", "FIRST_COMPLETED", "FIRST_EXCEPTION", "NEVER"])
def test_wait(same, limit, mode):
    async def main(aio, log):
        tasks = [aio.ensure_future(value(aio, i, i)) for i in range(1, 4)] + [aio.ensure_future(fail(aio, ValueError("v"), 2))]
        tasks[2].cancel()
        try:
            done, pending = await aio.wait(tasks, timeout=limit, return_when=mode)
            log.append([type(done).__name__, sorted(tasks.index(t) for t in done), sorted(tasks.index(t) for t in pending),
                        aio.get_running_loop().time(), [len(t._callbacks or ()) for t in tasks]])
        finally:
            log.append(await aio.gather(*tasks, return_exceptions=True))
    same(play(main))


def test_wait_refuses(same):
    async def main(aio, log):
        coro = value(aio, 1)
        future = aio.get_running_loop().create_future()
        for bad in (coro, future, [], [coro], 5):
            try:
                await aio.wait(bad)
            except (TypeError, ValueError) as e:
                log.append(plain(e))
        coro.close()
    same(play(main))


def test_cancelling_wait(same):
    async def main(aio, log):
        tasks = [aio.ensure_future(value(aio, i, 5, log)) for i in range(2)]
        waiting = aio.ensure_future(aio.wait(tasks, timeout=9))
        await aio.sleep(1)
        waiting.cancel("why")
        try:
            await waiting
        except aio.CancelledError as e:
            log.append([e.args, [len(t._callbacks or ()) for t in tasks]])
        return await aio.gather(*tasks)
    same(play(main))


@pytest.mark.parametrize("kind", ["list", "set", "iterator", "dict", "falsy", "truthy and empty", "twice the same", "equal string"])
def test_what_wait_takes(same, kind):
    async def main(aio, log):
        class Falsy(list):
            def __bool__(self):
                return False

        class Truthy(list):
            def __bool__(self):
                return True

        class Name(str):
            pass
        one, two = (aio.ensure_future(value(aio, i, i)) for i in (1, 2))
        given = {"list": [one, two], "set": {one, two}, "iterator": iter([one, two]), "dict": {one: 1, two: 2}, "falsy": Falsy([one, two]),
                 "truthy and empty": Truthy(), "twice the same": (one, two, one), "equal string": [one, two]}[kind]
        try:
            done, pending = await aio.wait(given, return_when=Name("FIRST_COMPLETED") if kind == "equal string" else aio.ALL_COMPLETED)
            log.append([one in done, two in done, len(done), len(pending)])
        finally:
            await aio.gather(one, two)
    same(play(main))


def test_wait_on_what_is_no_future_of_asyncio(same):
    """Whatever has the methods will do."""
    async def main(aio, log):
        class Duck:
            def __init__(self):
                self.calls = []

            def add_done_callback(self, fn):
                self.calls.append("add")
                aio.get_running_loop().call_soon(fn, self)

            def remove_done_callback(self, fn):
                self.calls.append("remove")

            def done(self):
                return "yes"

            def cancelled(self):
                self.calls.append("cancelled")
                return False

            def exception(self):
                self.calls.append("exception")
        for mode in MODES:
            duck = Duck()
            done, pending = await aio.wait([duck], return_when=mode)
            log.append([done == {duck}, pending, duck.calls])
        finished = concurrent.futures.Future()
        finished.set_result(1)
        for bad in (5, "text", finished):
            try:
                log.append(plain(await aio.wait([bad], timeout=1)))
            except AttributeError as e:
                log.append(plain(e))
        await aio.sleep(3)
    same(play(main))


@pytest.mark.parametrize("limit", ["x", True, float("inf")])
def test_odd_timeouts_of_wait(same, limit):
    async def main(aio, log):
        task = aio.ensure_future(value(aio, 1, 3))
        try:
            done, pending = await aio.wait([task], timeout=limit)
            log.append([len(done), len(pending), aio.get_running_loop().time()])
        finally:
            log.append([len(task._callbacks or ()), await task])
    same(play(main))


def test_refusals_of_wait(same):
    async def main(aio, log):
        future = aio.get_running_loop().create_future()
        coro = value(aio, 1)
        for call in (lambda: aio.wait(future), lambda: aio.wait(coro), lambda: aio.wait([]), lambda: aio.wait([future], return_when="x"),
                     lambda: aio.wait([future], return_when=None), lambda: aio.wait([future, coro]), lambda: aio.wait([[]]),
                     lambda: aio.wait([], return_when="x"), lambda: aio.wait([coro], return_when=5)):
            waiting = call()                      # nothing is said before it is awaited
            try:
                await waiting
            except Exception as e:
                log.append(chain(e))
        for call in (lambda: aio.wait(), lambda: aio.wait([future], 1), lambda: aio.wait([future], timeouts=1), lambda: aio.wait(fs=[future], x=1)):
            log.append(outcome(call, text=False))
        coro.close()
    same(play(main))


def test_what_wait_shows(same):
    async def main(aio, log):
        loop = aio.get_running_loop()
        future, result = loop.create_future(), []
        waiting = aio.ensure_future(aio.wait([future], timeout=50))
        await aio.sleep(0)
        [(callback, _)] = future._callbacks
        [handle] = [h for h in loop._scheduled if not h.cancelled()]
        log.append([callback.__qualname__, handle._callback.__name__, scrub(repr(waiting._fut_waiter)).split(" cb")[0],
                    len(handle._args), handle._args[0] is waiting._fut_waiter])
        future.set_result(1)
        log.append(result)
        await waiting
        log.append([handle.cancelled(), future._callbacks])
    same(play(main))


@pytest.mark.parametrize("mode", MODES)
def test_the_futures_end_in_one_tick(same, mode):
    async def main(aio, log):
        loop = aio.get_running_loop()
        for end in ("result", "exception", "cancel"):
            fs = [loop.create_future() for _ in range(3)]

            def finish():
                fs[1].set_result(1)
                fs[0].set_exception(ValueError()) if end == "exception" else fs[0].cancel() if end == "cancel" else fs[0].set_result(0)
            loop.call_soon(finish)
            done, pending = await aio.wait(fs, return_when=mode, timeout=5)
            log.append([end, [f in done for f in fs], [f in pending for f in fs], loop.time()])
            end == "exception" and fs[0].exception()
    same(play(main))


@pytest.mark.parametrize("how", ["cancel", "close", "throw", "cancel twice", "set waiter"])
def test_leaving_wait(same, how):
    async def main(aio, log):
        loop = aio.get_running_loop()
        futures = [loop.create_future() for _ in range(2)]
        if how in ("close", "throw"):
            waiting = aio.wait(futures, timeout=9)
            waiting.send(None)
            log.append([len(f._callbacks) for f in futures])
            try:
                log.append(waiting.close() if how == "close" else waiting.throw(KeyError("thrown")))
            except KeyError as e:
                log.append(chain(e))
        else:
            task = aio.ensure_future(aio.wait(futures, timeout=9))
            await aio.sleep(0)
            if how == "set waiter":
                task._fut_waiter.set_result("something")
            else:
                task.cancel("why")
                how == "cancel twice" and task.cancel("again")
            try:
                log.append(plain(list(map(len, await task))))
            except aio.CancelledError as e:
                log.append([e.args, task.cancelling()])
        log.append([f._callbacks for f in futures])
        log.append(len([h for h in loop._scheduled if not h.cancelled()]))
    same(play(main))


def test_wait_and_its_futures_are_freed(aio):
    async def main():
        loop = aio.get_running_loop()
        task = aio.ensure_future(aio.sleep(0))
        refs = [weakref.ref(task), weakref.ref(loop.create_future())]
        await aio.wait([task], timeout=50)
        del task
        return refs
    with fresh_loop(aio) as loop:
        gc.disable()
        try:
            assert [r() for r in loop.run_until_complete(main())] == [None, None]
        finally:
            gc.enable()


def test_a_patched_inner_wait_is_called(same):
    """ddtrace wraps asyncio.tasks._wait to link the tasks."""
    def scenario(aio):
        seen = []
        original = asyncio.tasks._wait

        async def patched(fs, timeout, return_when, loop):
            seen.append([type(fs).__name__, len(fs), timeout, return_when, loop is aio.get_running_loop()])
            return await original(fs, timeout, return_when, loop)

        async def main():
            tasks = [aio.ensure_future(aio.sleep(0, i)) for i in range(3)]
            done, pending = await aio.wait(tasks, timeout=5, return_when=aio.FIRST_COMPLETED)
            seen.append([len(done) + len(pending)])
            await aio.gather(*tasks)
            tasks = [aio.ensure_future(aio.sleep(5))]
            waiting = aio.ensure_future(aio.wait(tasks))
            await aio.sleep(0)
            await aio.sleep(0)
            waiting.cancel("why")
            try:
                await waiting
            except aio.CancelledError as e:
                seen.append(list(e.args))
            tasks[0].cancel()
        with fresh_loop(aio) as loop, mock.patch.object(asyncio.tasks, "_wait", patched):
            loop.run_until_complete(main())
        return seen
    assert len(scenario(asyncio)) == 4
    same(scenario)


def test_an_inner_wait_rewritten_in_place_is_called(same):
    def scenario(aio):
        seen = []

        async def main():
            tasks = [aio.ensure_future(aio.sleep(0, i)) for i in range(3)]
            await aio.wait(tasks)
        with fresh_loop(aio) as loop:
            with rewritten_in_place(asyncio.tasks._wait, lambda fs, *args: seen.append(len(fs))):
                loop.run_until_complete(main())
            loop.run_until_complete(main())
        return seen
    assert scenario(asyncio) == [3]
    same(scenario)


def test_wait_on_a_foreign_loop(aio):
    loop, times = FakeLoop(), []
    loop.create_future = lambda: asyncio.Future(loop=loop)

    class Timer:
        def cancel(self):
            times.append("cancelled")

    def call_later(delay, callback, *args):
        times.append(delay)
        return Timer()
    loop.call_later = call_later

    async def main():
        futures = [loop.create_future(), loop.create_future()]
        loop.call_soon(futures[0].set_result, 1)
        done, pending = await aio.wait(futures, timeout=7, return_when="FIRST_COMPLETED")
        return done == {futures[0]} and pending == {futures[1]} and futures[1]._callbacks in (None, [])
    task = asyncio.Task(main(), loop=loop)
    loop.run_all()
    assert task.result() is True and times == [7, "cancelled", "cancelled"]


def test_wait_without_a_loop(same):
    def scenario(aio):
        waiting = aio.wait([5])
        return outcome(waiting.send, None)
    same(scenario)


@pytest.mark.skipif(PY < (3, 14), reason="there is no call graph")
def test_who_awaits_during_wait(same):
    async def main(aio, log):
        loop = aio.get_running_loop()
        futures = [loop.create_future() for _ in range(3)]
        task = aio.ensure_future(aio.wait(futures, timeout=2))

        def awaited():
            return [None if f._asyncio_awaited_by is None else [t is task for t in f._asyncio_awaited_by] for f in futures]
        await aio.sleep(0)
        log.append(awaited())
        futures[0].set_result(1)
        await aio.sleep(0)
        log.append(awaited())
        await task
        log.append(awaited())
    same(play(main))


# --- as_completed ------------------------------------------------------------------------------------------------------

ITERATES = PY >= (3, 13)
by_class = pytest.mark.skipif(not ITERATES, reason="before 3.13 as_completed() returned a generator")


def test_as_completed(same):
    async def main(aio, log):
        for limit in (None, 2, 9):
            for earliest in aio.as_completed([value(aio, 3, 3), value(aio, 1, 1), fail(aio, ValueError("v"), 4)], timeout=limit):
                try:
                    log.append([await earliest, aio.get_running_loop().time()])
                except BaseException as e:
                    log.append([type(e).__name__, aio.get_running_loop().time()])
            await aio.sleep(5)
    same(play(main))


def test_what_as_completed_returns(same):
    async def main(aio, log):
        it = aio.as_completed([value(aio, 1)], timeout=50)
        log.append([type(it).__name__, iter(it) is it, inspect.isgenerator(it), hasattr(it, "__aiter__"), hasattr(it, "send")])
        one = next(it)
        log.append([asyncio.iscoroutine(one), one.__name__, one.__qualname__, await one, outcome(next, it), outcome(next, it)])
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await one
        log.append(outcome(lambda: aio.as_completed(), text=False))
        log.append(outcome(lambda: aio.as_completed([], 1), text=False))
        log.append([list(aio.as_completed([])), list(aio.as_completed((), timeout=3))])
    same(play(main))


@by_class
def test_the_iterator_is_asyncios(aio, run):
    async def main():
        it = aio.as_completed([aio.sleep(0)])
        assert isinstance(it, asyncio.tasks._AsCompletedIterator) and it.__aiter__() is it and it._todo_left == 1 and len(it._todo) == 1
        assert await next(it) is None and not it._todo and it._timeout_handle is None
    run(main())


@pytest.mark.parametrize("limit", [None, 0, 2, 3, 9])
@pytest.mark.parametrize("how", ["for", "async for", "all at once", "late"])
def test_all_ways_of_as_completed(same, limit, how):
    if how == "async for" and not ITERATES:
        pytest.skip("only a generator")

    async def main(aio, log):
        loop = aio.get_running_loop()
        task = aio.ensure_future(value(aio, "task", 3))
        given = [task, value(aio, "a", 2), fail(aio, ValueError("v"), 4), task, fail(aio, aio.CancelledError("c"), 1)]
        it = aio.as_completed(given, timeout=limit)
        if how == "late":
            await aio.sleep(6)
        try:
            if how == "async for":
                async for future in it:
                    log.append([future is task, plain(future.cancelled() or future.exception() or future.result()), loop.time()])
            elif how == "all at once":
                log.append(plain(await aio.gather(*it, return_exceptions=True)))
            else:
                for earliest in it:
                    try:
                        log.append([await earliest, loop.time()])
                    except BaseException as e:
                        log.append([chain(e), loop.time()])
            log.append(outcome(next, it))
        finally:
            await aio.sleep(6)
            for coro in given:
                inspect.iscoroutine(coro) and coro.close()
    same(play(main))


def test_refusals_of_as_completed(same):
    async def main(aio, log):
        future = aio.get_running_loop().create_future()
        coro = value(aio, 1)
        for bad in (future, coro, 5, [5], None, [[]]):
            try:
                log.append(list(aio.as_completed(bad)))
            except Exception as e:
                log.append(chain(e))
        coro.close()
        other = aio.new_event_loop()
        try:
            list(aio.as_completed([other.create_future()]))
        except ValueError as e:
            log.append(plain(e))
        other.close()
    same(play(main))


@pytest.mark.parametrize("how", ["cancel", "close", "drop", "cancel when it is done"])
def test_leaving_one_of_as_completed(same, how):
    async def main(aio, log):
        loop = aio.get_running_loop()
        futures = [loop.create_future() for _ in range(2)]
        it = aio.as_completed(futures, timeout=20)
        if how in ("close", "drop"):
            one = next(it)
            one.send(None)
            if how == "close":
                one.close()
            del one
        else:
            first, second = aio.ensure_future(next(it)), aio.ensure_future(next(it))
            await aio.sleep(0)
            if how == "cancel when it is done":
                futures[0].set_result("first")
                await aio.sleep(0)            # it is in the queue, and the one that waited longest is woken
            first.cancel("why")
            try:
                log.append(await first)
            except aio.CancelledError as e:
                log.append(e.args)
        if not futures[0].done():
            loop.call_soon(futures[0].set_result, "late")
        futures[1].set_result("last")
        if how.startswith("cancel"):
            log.append(await second)
        for earliest in it:
            try:
                log.append(await earliest)
            except TimeoutError as e:
                log.append(chain(e))
    same(play(main))


def test_as_completed_under_a_foreign_loop(aio):
    loop = FakeLoop()
    loop.create_future = lambda: asyncio.Future(loop=loop)
    calls = []

    def call_later(delay, callback, *args):
        calls.append([delay, len(args)])
        loop.call_soon(callback)

        class Timer:
            def cancel(self):
                calls.append("cancelled")
        return Timer()
    loop.call_later = call_later

    async def main():
        futures = [loop.create_future() for _ in range(2)]
        futures[0].set_result("r")
        got = []
        for earliest in aio.as_completed(futures, timeout=7):
            try:
                got.append(await earliest)
            except TimeoutError:
                got.append("timeout")
        return got
    task = asyncio.Task(main(), loop=loop)
    loop.run_all()
    assert task.result() == ["r", "timeout"] and calls == [[7, 0]]


def test_as_completed_without_a_loop(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            asyncio.set_event_loop(loop)
            try:
                futures = [loop.create_future() for _ in range(2)]
                got = []

                async def main():
                    for one in ones:
                        got.append(await one)
                for number, future in enumerate(futures):
                    future.set_result(number)
                try:
                    ones = list(aio.as_completed(futures))
                except RuntimeError as e:         # from 3.14 on
                    return plain(e)
                loop.run_until_complete(main())
            finally:
                asyncio.set_event_loop(None)
            return sorted(got)
    same(scenario)


def test_as_completed_rewritten_in_place(aio, run):
    """ddtrace gives the function code of its own."""
    seen = []

    async def main():
        return [await one for one in aio.as_completed([aio.sleep(0, "r")])]
    for function in {asyncio.tasks.as_completed, aio.as_completed}:
        if not inspect.isgeneratorfunction(function):
            with rewritten_in_place(function, lambda fs, **kwargs: seen.append(len(fs))):
                assert run(main()) == ["r"] and seen == [1]
            assert run(main()) == ["r"] and seen.pop() == 1 and not seen


def test_as_completed_is_freed(aio):
    async def main():
        task = aio.ensure_future(aio.sleep(0, "r"))
        it = aio.as_completed([task], timeout=50)
        refs = [weakref.ref(task), weakref.ref(it)] if ITERATES else [weakref.ref(task)]
        for one in it:
            await one
        del task, it, one
        return [r() for r in refs]
    with fresh_loop(aio) as loop:
        gc.disable()
        try:
            assert set(loop.run_until_complete(main())) == {None} or aio is asyncio
        finally:
            gc.enable()


@pytest.mark.skipif(PY < (3, 14), reason="there is no call graph")
def test_who_awaits_during_as_completed(same):
    async def main(aio, log):
        loop = aio.get_running_loop()
        futures = [loop.create_future() for _ in range(3)]

        def awaited():
            return [None if f._asyncio_awaited_by is None else [t is aio.current_task() for t in f._asyncio_awaited_by] for f in futures]
        it = aio.as_completed(futures, timeout=3)
        log.append(awaited())
        futures[0].set_result(1)
        log.append([await next(it), awaited()])
        try:
            await next(it)
        except TimeoutError:
            log.append(awaited())
        next(it).close()
    same(play(main))
