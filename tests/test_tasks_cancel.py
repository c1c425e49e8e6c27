"""Task: cancel() and uncancel(), at every moment of a task's life."""
import asyncio

import pytest

from support import forever, fresh_loop, outcome, plain, spin, tb_lines, yields


def test_cancel_before_the_first_step(aio, loop):
    ran = []

    async def work():
        ran.append(1)
    t = loop.create_task(work())
    assert t.cancel() is True and t._must_cancel and t.cancelling() == 1 and not t.cancelled() and not t.done()
    spin(loop)
    assert t.cancelled() and t.done() and not ran and not t._must_cancel
    assert t.cancel() is False and t.cancelling() == 1


def test_cancel_while_waiting(aio, loop):
    f = loop.create_future()

    async def work():
        await f
    t = loop.create_task(work())
    spin(loop)
    assert t.cancel("msg") is True and f.cancelled() and not t._must_cancel and t._fut_waiter is f
    assert not t.done()
    spin(loop)
    assert t.cancelled()
    with pytest.raises(aio.CancelledError) as info:
        t.result()
    assert info.value.args == ("msg",)


def test_cancel_of_a_chain(aio, loop):
    f = loop.create_future()

    async def inner():
        await f

    async def outer(t):
        await t
    i = loop.create_task(inner())
    o = loop.create_task(outer(i))
    spin(loop, 2)
    assert o.cancel() and f.cancelled() and i.cancelling() == 1 and o.cancelling() == 1
    spin(loop)
    assert i.cancelled() and not o.cancelled()
    spin(loop)
    assert o.cancelled()


def test_cancel_between_wakeup_and_step(same):
    """The future is done, the wakeup is queued: too late to cancel the future, the task is told at its step."""
    def scenario(aio, how):
        with fresh_loop(aio) as loop:
            f, seen = loop.create_future(), []

            async def work():
                try:
                    seen.append(["got", await f])
                except BaseException as e:
                    seen.append(plain(e))
                    raise
                await aio.sleep(0)
                seen.append("after")
            t = loop.create_task(work())
            spin(loop)
            if how == "result":
                f.set_result(1)
            elif how == "exception":
                f.set_exception(ValueError("x"))
            else:
                f.cancel("first")
            seen.append([t.cancel("late"), t._must_cancel, f.cancelled()])
            spin(loop, 3)
            return seen + [t._state, outcome(t.result), f.exception() and None if how == "exception" else None]
    for how in ("result", "exception", "cancel"):
        same(scenario, how)


def test_cancel_from_within(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            seen = []

            async def at_await():
                aio.current_task().cancel("own")
                seen.append(aio.current_task()._must_cancel)
                await loop.create_future()

            async def at_bare_yield():
                aio.current_task().cancel("own")
                await aio.sleep(0)

            async def at_return():
                aio.current_task().cancel("own")
                return 1

            async def at_raise():
                aio.current_task().cancel("own")
                raise ValueError("v")

            async def at_done_future():
                f = loop.create_future()
                f.set_result(1)
                aio.current_task().cancel("own")
                seen.append(await f)
                await aio.sleep(0)

            async def at_bad_yield():
                aio.current_task().cancel("own")
                await yields(5)

            async def uncancelled():
                t = aio.current_task()
                t.cancel("own")
                seen.append([t.cancelling(), t.uncancel(), t._must_cancel])
                await aio.sleep(0)
                return "survived"

            async def raises_cancelled():
                raise asyncio.CancelledError("raised")
            for c in (at_await, at_bare_yield, at_return, at_raise, at_done_future, at_bad_yield, uncancelled, raises_cancelled):
                t = loop.create_task(c())
                spin(loop, 4)
                seen.append([c.__name__, t._state, outcome(t.exception), outcome(t.result), t.cancelling(), t._must_cancel])
            return seen
    same(scenario)


def test_cancel_suppressed_and_again(aio, loop):
    seen = []

    async def stubborn():
        for i in range(3):
            try:
                await loop.create_future()
            except aio.CancelledError as e:
                seen.append(e.args)
        return "done"
    t = loop.create_task(stubborn())
    for i in range(3):
        spin(loop)
        assert t.cancel(i) and t.cancelling() == i + 1
    spin(loop)
    assert t.result() == "done" and seen == [(0,), (1,), (2,)] and not t.cancelled() and t.cancelling() == 3


def test_cancelled_twice_before_it_runs(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            t = loop.create_task(forever(loop))
            t.cancel("one")
            t.cancel("two")
            spin(loop)
            u = loop.create_task(forever(loop))
            spin(loop)
            u.cancel("one")
            u.cancel("two")
            spin(loop, 2)
            return [outcome(t.result), t.cancelling(), outcome(u.result), u.cancelling()]
    same(scenario)


def test_uncancel(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            t = loop.create_task(forever(loop))
            spin(loop)
            found = [t.cancelling(), t.uncancel(), t.cancelling()]
            t.cancel()
            t.cancel()
            found += [t.cancelling(), t.uncancel(), t.uncancel(), t.uncancel(), t.cancelling(), t._must_cancel]
            spin(loop, 3)
            return found + [t._state, t.cancelling(), t.uncancel()]
    same(scenario)


def test_uncancel_and_must_cancel(same):
    """From 3.13 on the last uncancel() takes a cancellation back that was not yet delivered."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            t = loop.create_task(asyncio.sleep(0, "slept"))
            t.cancel()
            t.cancel()
            found = [t._must_cancel, t.uncancel(), t._must_cancel, t.uncancel(), t._must_cancel]
            spin(loop, 3)
            return found + [t._state]
    same(scenario)


@pytest.mark.parametrize("args,kwargs", [((), {}), (("m",), {}), ((), {"msg": "m"}), ((None,), {}), ((5,), {}), (("a", "b"), {}),
                                         ((), {"reason": "r"})])
@pytest.mark.parametrize("stage", ["new", "waiting", "finished"])
def test_cancel_messages(same, args, kwargs, stage):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            f = loop.create_future()

            async def work():
                try:
                    await f
                except aio.CancelledError as e:
                    seen.append(plain(e.args))
                    raise
            seen = []
            t = loop.create_task(work())
            if stage != "new":
                spin(loop)
            if stage == "finished":
                f.set_result(1)
                spin(loop)
            seen.append(outcome(t.cancel, *args, text=False, **kwargs))
            if not t.done() and not t._must_cancel and not f.done():
                t.cancel("to end it")
            spin(loop, 2)
            try:
                t.result()
            except BaseException as e:
                seen.append([type(e).__name__, plain(e.args)])
            return seen
    same(scenario)


def test_the_cancelled_error_of_the_task_is_the_one_raised_in_it(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            async def inner():
                await loop.create_future()

            async def outer():
                t = aio.create_task(inner())
                await aio.sleep(0)
                t.cancel("why")
                try:
                    await t
                except aio.CancelledError as e:
                    first = [plain(e), plain(e.__context__), tb_lines(e)]
                try:
                    await t
                except aio.CancelledError as e:
                    second = [plain(e), plain(e.__context__), tb_lines(e)]
                return [first, second]
            return loop.run_until_complete(outer())
    same(scenario)


def test_cancel_replaced_by_an_exception(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            async def work():
                try:
                    await loop.create_future()
                finally:
                    raise ValueError("instead")
            t = loop.create_task(work())
            spin(loop)
            t.cancel("m")
            spin(loop, 2)
            e = t.exception()
            return [plain(e), plain(e.__context__), t.cancelled()]
    same(scenario)


def test_callbacks_of_a_cancelled_task(aio, loop):
    seen = []
    t = loop.create_task(forever(loop))
    t.add_done_callback(seen.append)
    spin(loop)
    t.cancel()
    spin(loop)
    assert t.cancelled() and seen == []
    spin(loop)
    assert seen == [t]


def test_cancel_while_the_future_cannot_be_cancelled(same):
    """A waiter whose cancel() answers False (shielded, or overridden)."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            class F(aio.Future):
                def cancel(self, msg=None):
                    calls.append(msg)
                    return False
            calls = []
            f = F(loop=loop)

            async def work():
                return await f
            t = loop.create_task(work())
            spin(loop)
            found = [t.cancel("m"), t._must_cancel]
            spin(loop, 2)
            found.append(t.done())
            f.set_result(1)
            spin(loop, 2)
            return found + [t._state, outcome(t.result), calls]
    same(scenario)
