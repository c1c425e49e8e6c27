"""sleep, gather, shield, wait_for, timeout, ensure_future: one scenario on asyncio and on the module under test."""
import asyncio
import gc
import inspect
import math
import weakref
from unittest import mock

import pytest

from support import PY, FakeLoop, fresh_loop, outcome, plain
from ticking import chain, fail, play, value


# --- the functions as objects ------------------------------------------------------------------------------------------

COROUTINE_FUNCTIONS = ["sleep", "wait_for", "wait", "to_thread"]
FUNCTIONS = COROUTINE_FUNCTIONS + ["create_task", "gather", "shield", "ensure_future", "timeout", "timeout_at", "as_completed",
                                   "wrap_future", "run_coroutine_threadsafe", "Timeout", "TaskGroup"]


def parameters(function):
    return [(p.name, p.kind.name, p.default) for p in inspect.signature(function).parameters.values()]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_signature(aio, name):
    assert parameters(getattr(aio, name)) == parameters(getattr(asyncio, name))
    assert getattr(aio, name).__name__ == name and getattr(aio, name).__doc__


@pytest.mark.parametrize("name", COROUTINE_FUNCTIONS)
def test_coroutine_functions_are_seen_as_such(aio, name):
    function = getattr(aio, name)
    assert asyncio.iscoroutinefunction(function) if PY < (3, 14) else True
    if PY >= (3, 12):
        assert inspect.iscoroutinefunction(function)
    with mock.patch.object(aio, name) as patched:
        assert isinstance(patched, mock.AsyncMock)


def test_arguments_are_checked(same):
    def scenario(aio):
        return [outcome(call, text=False) for call in (
            lambda: aio.sleep(), lambda: aio.sleep(1, 2, 3), lambda: aio.sleep(delays=1), lambda: aio.gather(x=1), lambda: aio.shield(),
            lambda: aio.ensure_future(), lambda: aio.ensure_future(1, 2), lambda: aio.wait_for(1), lambda: aio.timeout(), lambda: aio.timeout_at(1, 2),
            lambda: aio.Timeout(), lambda: aio.TaskGroup(1))]
    same(scenario)


def test_never_awaited_warns(aio):
    for make in (lambda: aio.sleep(1), lambda: aio.wait_for(None, 1)):
        with pytest.warns(RuntimeWarning, match="was never awaited"):
            make()
            gc.collect()


# --- sleep -------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("delay", [0, 0.0, -1, -math.inf, 1, 2.5, True, False, math.nan, "1", None, 10**400, -10**400, 1j])
def test_sleep_of(same, delay):
    async def main(aio, log):
        before = aio.get_running_loop().time()
        result = await aio.sleep(delay, "result")
        return result, aio.get_running_loop().time() - before
    if delay != delay and PY < (3, 13):
        pytest.skip("NaN is nothing to wait for")
    same(play(main))


def test_sleep_lets_everybody_run_once(same):
    async def main(aio, log):
        async def step(name):
            for i in range(3):
                log.append((name, i))
                await aio.sleep(0)
        await aio.gather(step("a"), step("b"))
    same(play(main))


def test_cancelling_a_sleep(same):
    async def main(aio, log):
        for delay in (0, 5):
            task = aio.ensure_future(value(aio, "x", delay, log))
            await aio.sleep(0)
            log.append([task.cancel("why"), task._fut_waiter is None])
            try:
                await task
            except aio.CancelledError as e:
                log.append([e.args, task.cancelled()])
        log.append(len([h for h in aio.get_running_loop()._scheduled if not h.cancelled()]))
    same(play(main))


def test_a_sleep_whose_future_is_set_by_somebody_else(same):
    async def main(aio, log):
        task = aio.ensure_future(aio.sleep(50, "own"))
        await aio.sleep(0)
        task._fut_waiter.set_result("other")
        log.append(await task)
        task = aio.ensure_future(aio.sleep(50, "own"))
        await aio.sleep(0)
        task._fut_waiter.set_exception(ValueError("set"))
        await task
    same(play(main))


def test_sleep_on_a_foreign_loop(aio):
    loop, times = FakeLoop(), []
    loop.create_future = lambda: asyncio.Future(loop=loop)
    loop.time = lambda: 1.0

    class Timer:
        def cancel(self):
            times.append("cancelled")

    def call_later(delay, callback, *args):
        times.append(delay)
        loop.call_soon(callback, *args)
        return Timer()
    loop.call_later = call_later
    task = asyncio.Task(aio.sleep(3, "r"), loop=loop)
    loop.run_all()
    assert task.result() == "r" and times == [3, "cancelled"]


def test_yield_from_await(aio):
    class Wrapped:
        def __await__(self):
            yield from aio.sleep(0).__await__()
            return (yield from aio.sleep(0.001, "r").__await__())

    async def main():
        return await Wrapped()
    with fresh_loop(aio) as loop:
        assert loop.run_until_complete(main()) == "r"


# --- gather ------------------------------------------------------------------------------------------------------------

def test_gather_results_and_duplicates(same):
    async def main(aio, log):
        twice = value(aio, "twice", 2)
        future = aio.get_running_loop().create_future()
        aio.get_running_loop().call_later(3, future.set_result, "future")
        log.append(await aio.gather(value(aio, 1, 3), twice, future, twice, aio.ensure_future(value(aio, 2))))
        log.append(await aio.gather(return_exceptions=True))
        log.append(await aio.gather(value(aio, 1), fail(aio, ValueError("v"), 2), value(aio, 3, 4), return_exceptions=True))
        done = aio.ensure_future(value(aio, "done"))
        await done
        outer = aio.gather(done, done)
        log.append([outer.done() if PY >= (3, 12) else None, await outer])
    same(play(main))


@pytest.mark.parametrize("flag", [False, True])
def test_gather_when_a_child_fails_or_is_cancelled(same, flag):
    async def main(aio, log):
        for bad in (ValueError("v"), aio.CancelledError("c")):
            slow = aio.ensure_future(value(aio, "slow", 5, log))
            try:
                log.append(await aio.gather(slow, fail(aio, bad, 1), fail(aio, KeyError("late"), 2), return_exceptions=flag))
            except BaseException as e:
                log.append(["raised", chain(e)])
            log.append([slow.done(), await slow])
    same(play(main))


@pytest.mark.parametrize("flag", [False, True])
def test_cancelling_gather(same, flag):
    async def main(aio, log):
        outer = aio.gather(value(aio, 1, 9, log), value(aio, 2, 1, log), value(aio, 3, 9, log), return_exceptions=flag)
        await aio.sleep(4)
        log.append([type(outer).__name__, outer._cancel_requested, len(outer._children), outer.cancel("why"), outer._cancel_requested, outer.done()])
        try:
            log.append(await outer)
        except aio.CancelledError as e:
            log.append(["cancelled", e.args, outer.cancelled(), outer.cancel()])
    same(play(main))


def test_cancelling_who_gathers(same):
    async def main(aio, log):
        async def stubborn():
            try:
                await aio.sleep(5)
            except aio.CancelledError:
                await aio.sleep(2)
                return "stayed"

        async def waits():
            return await aio.gather(stubborn(), value(aio, 2, 5, log), return_exceptions=True)
        task = aio.ensure_future(waits())
        await aio.sleep(1)
        task.cancel("one")
        await aio.sleep(1)
        task.cancel("two")
        try:
            log.append(await task)
        except aio.CancelledError as e:
            log.append([e.args, task.cancelling()])
    same(play(main))


def test_gather_refuses(same):
    async def main(aio, log):
        for bad in (1, None, "x", [], {}):
            try:
                aio.gather(bad)
            except TypeError as e:
                log.append(plain(e))
        other = aio.new_event_loop()
        try:
            mine, theirs = aio.get_running_loop().create_future(), other.create_future()
            try:
                aio.gather(mine, theirs)
            except ValueError as e:
                log.append(plain(e))
        finally:
            other.close()
    same(play(main))


def test_children_of_gather_may_be_anything_awaitable(same):
    async def main(aio, log):
        class Awaitable:
            def __await__(self):
                yield from aio.sleep(0).__await__()
                return "awaited"
        return await aio.gather(Awaitable(), value(aio, 1), aio.sleep(1, "slept"), aio.wait_for(value(aio, 2), 5))
    same(play(main))


def test_what_gather_shows(same):
    async def main(aio, log):
        child = aio.ensure_future(value(aio, 1))
        outer = aio.gather(child)
        log.append([repr(outer), [cb.__qualname__ for cb, _ in child._callbacks], [c is child for c in outer._children]])
        return await outer
    same(play(main))


def test_gather_and_its_children_are_freed(aio):
    class Marked(Exception):
        pass

    async def main():
        async def bad():
            raise Marked
        try:
            await aio.gather(bad(), aio.sleep(0))
        except Marked as e:
            ref = weakref.ref(e)
        return ref
    with fresh_loop(aio) as loop:
        ref = loop.run_until_complete(main())
        gc.collect()
        assert ref() is None


def test_a_patched_init_of_the_gathering_future_is_called(aio):
    """ddtrace wraps it to see the children."""
    cls, seen = aio.tasks._GatheringFuture, []
    original = cls.__init__

    def init(self, children, *, loop):
        seen.append(len(children))
        original(self, children, loop=loop)

    async def main():
        return await aio.gather(aio.sleep(0, 1), aio.sleep(0, 2))
    with mock.patch.object(cls, "__init__", init), fresh_loop(aio) as loop:
        assert loop.run_until_complete(main()) == [1, 2] and seen == [2]


# --- shield ------------------------------------------------------------------------------------------------------------

def test_shield(same):
    async def main(aio, log):
        log.append(await aio.shield(value(aio, 1, 2)))
        for bad in (ValueError("v"), aio.CancelledError("c")):
            try:
                await aio.shield(fail(aio, bad, 1))
            except BaseException as e:
                log.append(chain(e))
        inner = aio.ensure_future(value(aio, "inner", 5, log))
        outer = aio.shield(inner)
        await aio.sleep(1)
        log.append([outer.cancel("why"), inner.done(), repr(outer)])
        try:
            await outer
        except aio.CancelledError as e:
            log.append(e.args)
        log.append([await inner, aio.shield(inner) is inner, inner._callbacks])
    same(play(main))


def test_cancelling_who_is_shielded(same):
    async def main(aio, log):
        inner = aio.ensure_future(value(aio, "inner", 5, log))

        async def waits():
            return await aio.shield(inner)
        task = aio.ensure_future(waits())
        await aio.sleep(1)
        task.cancel()
        await aio.wait([task])
        log.append([task.cancelled(), inner.done()])
        return await inner
    same(play(main))


# --- ensure_future -----------------------------------------------------------------------------------------------------

def test_ensure_future(same):
    async def main(aio, log):
        loop, other = aio.get_running_loop(), aio.new_event_loop()
        future = loop.create_future()
        task = aio.ensure_future(value(aio, 1))
        log.append([aio.ensure_future(future) is future, aio.ensure_future(task, loop=loop) is task, await task])
        for bad in (lambda: aio.ensure_future(future, loop=other), lambda: aio.ensure_future(1), lambda: aio.ensure_future(None)):
            log.append(outcome(bad))
        other.close()
        log.append(outcome(lambda: aio.ensure_future(value(aio, 1), loop=other)))
        future.cancel()
    same(play(main))


# --- timeout -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("delay", [None, 0, -1, 1, 3, 2.5, math.inf, "x", 1j])
def test_timeout_around_a_sleep(same, delay):
    async def main(aio, log):
        try:
            async with aio.timeout(delay) as t:
                log.append([repr(t), t._state.name, t.when(), t.expired(), t._task is aio.current_task(), t._timeout_handler is None])
                await aio.sleep(3)
        finally:
            log.append([aio.current_task().cancelling(), aio.get_running_loop().time()])
            if delay not in ("x", 1j):
                log.append([repr(t), t.expired(), t.when(), t._timeout_handler])
    same(play(main))


def test_states_of_a_timeout(same):
    async def main(aio, log):
        loop = aio.get_running_loop()
        t = aio.Timeout(None)
        log.append([repr(t), t.when(), t.expired(), outcome(t.reschedule, 1)])
        async with t as got:
            log.append([got is t, repr(t)])
            t.reschedule(loop.time() + 2)
            log.append([repr(t), t.when() - loop.time()])
            t.reschedule(None)
            await aio.sleep(4)
            try:
                await t.__aenter__()
            except RuntimeError as e:
                log.append(plain(e))
        log.append([repr(t), outcome(t.reschedule, 1)])
        try:
            async with t:
                log.append("not reached")
        except RuntimeError as e:
            log.append(plain(e))
        try:
            async with aio.timeout_at(loop.time() + 1) as t:
                t.reschedule(loop.time() - 1)
                log.append(repr(t))
                await aio.sleep(5)
        except TimeoutError as e:
            log.append([chain(e), repr(t), outcome(t.reschedule, 1)])
    same(play(main))


def test_what_a_timeout_makes_of_exceptions(same):
    async def main(aio, log):
        async def body(do):
            async with aio.timeout(1):
                await do()

        async def convert():
            try:
                await aio.sleep(5)
            except aio.CancelledError:
                raise ValueError("other")

        async def swallow():
            try:
                await aio.sleep(5)
            except aio.CancelledError:
                pass

        async def group():
            async with aio.TaskGroup() as g:
                g.create_task(convert())

        async def subclass():
            class Mine(aio.CancelledError):
                pass
            try:
                await aio.sleep(5)
            except aio.CancelledError:
                raise Mine

        async def nested():
            async with aio.timeout(1):
                async with aio.timeout(1):
                    await aio.sleep(5)

        async def early():
            raise KeyError("early")
        for do in (convert, swallow, group, subclass, nested, early):
            try:
                await body(do)
                log.append([do.__name__, "fine"])
            except BaseException as e:
                log.append([do.__name__, chain(e)])
            log.append(aio.current_task().cancelling())
            while aio.current_task().cancelling():
                aio.current_task().uncancel()
    same(play(main))


def test_a_cancellation_from_outside_wins_over_the_timeout(same):
    async def main(aio, log):
        async def work():
            try:
                async with aio.timeout(2):
                    await aio.sleep(5)
            finally:
                log.append(aio.current_task().cancelling())
        for delay in (1, 2, 3):
            task = aio.ensure_future(work())
            aio.get_running_loop().call_later(delay, task.cancel, "outside")
            try:
                await task
            except BaseException as e:
                log.append([type(e).__name__, e.args])
    same(play(main))


def test_timeout_outside_a_task(aio):
    with fresh_loop(aio) as loop:
        seen = []

        def callback():
            try:
                aio.timeout(1).__aenter__().send(None)
            except RuntimeError as e:
                seen.append(str(e))
        loop.call_soon(callback)
        loop.run_until_complete(aio.sleep(0.001))
        assert seen == ["Timeout should be used inside a task"]
    with pytest.raises(RuntimeError, match="no running event loop"):
        aio.timeout(1)


def test_a_subclass_of_timeout(aio):
    calls = []

    class Mine(aio.Timeout):
        def __init__(self, when, extra):
            super().__init__(when)
            self.extra = extra

        def reschedule(self, when):
            calls.append(("reschedule", when))
            super().reschedule(when)

        def _on_timeout(self):
            calls.append("fired")
            super()._on_timeout()

    async def main():
        when = aio.get_running_loop().time() + 0.001
        with pytest.raises(TimeoutError):
            async with Mine(when, "x") as t:
                assert t.extra == "x" and isinstance(t, asyncio.Timeout)
                await aio.sleep(5)
        assert calls == [("reschedule", when), "fired"]
    with fresh_loop(aio) as loop:
        loop.run_until_complete(main())


def test_a_timeout_is_freed_without_the_collector(aio):
    async def main():
        async with aio.timeout(60) as t:
            await aio.sleep(0)
        return weakref.ref(t)
    with fresh_loop(aio) as loop:
        gc.disable()
        try:
            assert loop.run_until_complete(main())() is None
        finally:
            gc.enable()


# --- wait_for ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("limit", [None, 0, -1, 1, 3, 4, math.inf, "x"])
@pytest.mark.parametrize("kind", ["coroutine", "task", "future", "done", "fails", "stays", "number"])
def test_wait_for(same, limit, kind):
    async def main(aio, log):
        loop = aio.get_running_loop()

        async def stays():
            try:
                await aio.sleep(3)
            except aio.CancelledError:
                await aio.sleep(1)
                return "stayed"

        def make():
            future = loop.create_future()
            if kind == "future":
                loop.call_later(3, lambda: future.done() or future.set_result("future"))
                return future
            if kind == "done":
                future.set_result("done")
                return future
            return {"coroutine": lambda: value(aio, "r", 3, log), "task": lambda: aio.ensure_future(value(aio, "r", 3, log)),
                    "fails": lambda: fail(aio, ValueError("v"), 2), "stays": stays, "number": lambda: 5}[kind]()
        what = make()
        try:
            return await aio.wait_for(what, limit), loop.time()
        finally:
            log.append([aio.current_task().cancelling(), loop.time(), isinstance(what, asyncio.Future) and repr(what)])
            if inspect.iscoroutine(what):
                what.close()
    same(play(main))


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_cancelling_wait_for(same, after):
    async def main(aio, log):
        task = aio.ensure_future(aio.wait_for(value(aio, "r", 3, log), 2))
        aio.get_running_loop().call_later(after, task.cancel, "why")
        try:
            return await task
        except BaseException as e:
            log.append([chain(e), task.cancelled(), task.cancelling()])
    same(play(main))


def test_nested_wait_for(same):
    async def main(aio, log):
        for inner, outer in ((1, 3), (3, 1), (2, 2)):
            try:
                await aio.wait_for(aio.wait_for(value(aio, 1, 5, log), inner), outer)
            except TimeoutError as e:
                log.append([chain(e), aio.get_running_loop().time(), aio.current_task().cancelling()])
    same(play(main))


@pytest.mark.parametrize("first", [1, 2])
@pytest.mark.parametrize("second", [2, 3, 4, 5])
@pytest.mark.parametrize("end", ["returns", "raises", "raises cancelled"])
def test_cancelling_wait_for_while_it_cancels(same, first, second, end):
    """The caller is cancelled, or its time is over, and then it is cancelled (again) while what it waits for takes its time to end."""
    async def main(aio, log):
        async def slow():
            try:
                await aio.sleep(50)
            except aio.CancelledError:
                try:
                    await aio.sleep(2)
                except aio.CancelledError as e:
                    log.append(["cancelled again", e.args])
                if end == "raises":
                    raise KeyError("own")
                if end == "returns":
                    return "own"
                raise
        task = aio.ensure_future(aio.wait_for(slow(), 2))
        loop = aio.get_running_loop()
        loop.call_later(first, task.cancel, "first")
        loop.call_later(second, task.cancel, "second")
        try:
            log.append([await task, loop.time()])
        except BaseException as e:
            log.append([chain(e), task.cancelled(), task.cancelling(), loop.time()])
        await aio.sleep(9)
        log.append(len([h for h in loop._scheduled if not h.cancelled()]))
    same(play(main, numbered=True))


def test_cancelled_in_the_tick_in_which_it_is_done(same):
    async def main(aio, log):
        loop = aio.get_running_loop()
        for end in ("result", "exception", "cancel"):
            future = loop.create_future()
            task = aio.ensure_future(aio.wait_for(future, 5))
            await aio.sleep(0)

            def both():
                {"result": lambda: future.set_result("r"), "exception": lambda: future.set_exception(ValueError("v")), "cancel": future.cancel}[end]()
                task.cancel("why")
            loop.call_soon(both)
            try:
                log.append(await task)
            except BaseException as e:
                log.append([chain(e), task.cancelling()])
    same(play(main))


@pytest.mark.parametrize("limit", [None, 5, 0])
@pytest.mark.parametrize("how", ["close", "throw"])
def test_leaving_wait_for_by_hand(same, limit, how):
    async def main(aio, log):
        loop = aio.get_running_loop()
        future = loop.create_future()
        waiting = aio.wait_for(future, limit)
        waiting.send(None)
        log.append([len(future._callbacks or ()), future.cancelled()])
        try:
            log.append(waiting.close() if how == "close" else waiting.throw(KeyError("thrown")))
        except KeyError as e:
            log.append(chain(e))
        log.append([len(future._callbacks or ()), future.cancelled(), len([h for h in loop._scheduled if not h.cancelled()]), aio.current_task().cancelling()])
    same(play(main))
