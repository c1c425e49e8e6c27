"""Task factories and overridden loop methods: what a subclass or an instance replaces is what gets called."""
import asyncio
import gc
from unittest import mock

import pytest

from support import PYTASK_IS_SEEN, callback, fresh_loop, loop_class, none, outcome, plain, spin


# --- task factory ------------------------------------------------------------------------------------------------------

def test_task_factory_rules(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            found = [outcome(loop.set_task_factory, 5), loop.get_task_factory(), loop._task_factory]

            def factory(loop, coro, **kwargs):
                return aio.Task(coro, loop=loop, **kwargs)
            loop.set_task_factory(factory)
            found += [loop.get_task_factory() is factory, loop._task_factory is factory]
            loop.set_task_factory(None)
            return found + [loop.get_task_factory()]
    assert same(scenario)[0] == ["raised", "TypeError", "task factory must be a callable or None"]


def test_task_factory_is_used_by_everything(aio, loop, run):
    made = []

    def factory(loop, coro, **kwargs):
        t = asyncio.tasks._PyTask(coro, loop=loop, **kwargs)
        made.append(t)
        return t
    loop.set_task_factory(factory)

    async def main():
        assert aio.current_task() is (made[0] if PYTASK_IS_SEEN else None)
        t = aio.create_task(none())
        assert t is made[1]
        await t
        await aio.gather(none(), none())
        if PYTASK_IS_SEEN:
            async with aio.TaskGroup() as g:
                g.create_task(none())
        if PYTASK_IS_SEEN:
            await aio.wait_for(none(), 1)
    run(main())
    assert len(made) >= (5 if PYTASK_IS_SEEN else 4)


def test_task_factory_that_fails(aio, loop):
    def factory(loop, coro, **kwargs):
        raise ZeroDivisionError("factory")
    loop.set_task_factory(factory)
    c = none()
    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(c)
    c.close()
    loop.set_task_factory(None)
    assert not loop.is_running()


# --- overrides (D2) ----------------------------------------------------------------------------------------------------

def overrides(aio, method, on):
    """A loop with one method overridden, in a subclass or on the instance, that notes its calls and goes on."""
    calls = []
    base = loop_class(aio)
    original = getattr(base, method)
    if on == "subclass":
        def override(self, *args, **kwargs):
            calls.append(args)
            return original(self, *args, **kwargs)
        return type("Loop", (base,), {method: override})(), calls
    loop = aio.new_event_loop()
    bound = getattr(loop, method)

    def override(*args, **kwargs):
        calls.append(args)
        return bound(*args, **kwargs)
    setattr(loop, method, override)
    return loop, calls


@pytest.mark.parametrize("on", ["subclass", "instance"])
def test_overridden_call_soon(same, on):
    """Everything that asyncio puts in its queue through call_soon still goes through it."""
    def scenario(aio):
        loop, calls = overrides(aio, "call_soon", on)
        try:
            f, seen = loop.create_future(), []
            g = loop.create_future()

            async def work():
                seen.append(await f)
                await aio.sleep(0)
            t = loop.create_task(work(), name="t")
            found = [len(calls)]
            f.add_done_callback(seen.append)
            spin(loop)
            found.append(len(calls))
            f.set_result(1)
            found.append(len(calls))
            spin(loop, 4)
            found.append(len(calls))
            g.set_result(1)
            g.add_done_callback(callback)
            found += [len(calls), t.done(), plain(seen)]
            loop.call_soon_threadsafe(callback)
            loop.call_later(0, callback)
            found.append(len(calls))
            spin(loop)
            return found
        finally:
            loop.close()
    same(scenario)


@pytest.mark.parametrize("on", ["subclass", "instance"])
def test_overridden_call_soon_threadsafe(same, on):
    def scenario(aio):
        loop, calls = overrides(aio, "call_soon_threadsafe", on)
        try:
            found = [loop.run_until_complete(loop.run_in_executor(None, pow, 2, 3)), len(calls)]
            aio.run_coroutine_threadsafe(none(), loop)
            found.append(len(calls))
            spin(loop, 3)
            loop.run_until_complete(loop.shutdown_default_executor())
            return found + [len(calls)]
        finally:
            loop.close()
    same(scenario)


@pytest.mark.parametrize("on", ["subclass", "instance"])
def test_overridden_call_exception_handler(same, on):
    def scenario(aio):
        loop, calls = overrides(aio, "call_exception_handler", on)
        loop.set_exception_handler(callback)
        try:
            loop.call_soon(lambda: 1 / 0)
            f = loop.create_future()
            f.set_exception(ValueError("x"))
            del f

            async def fails():
                raise KeyError("k")
            t = loop.create_task(fails())
            spin(loop, 2)
            del t
            gc.collect()
            return [sorted(c["message"].split(" at ")[0] for c, in calls)]
        finally:
            loop.close()
    same(scenario)


@pytest.mark.parametrize("name", ["call_later", "call_at", "create_task", "create_future", "time", "get_debug", "is_running", "stop",
                                  "run_forever", "is_closed", "_check_closed", "_run_once", "default_exception_handler",
                                  "shutdown_asyncgens", "get_task_factory", "_timer_handle_cancelled", "_add_callback",
                                  "_write_to_self", "_process_events", "_call_soon"])
@pytest.mark.parametrize("on", ["subclass", "instance"])
def test_other_overrides_are_reached_by_the_usual_callers(aio, name, on):
    """Not every internal call of asyncio's is promised; those that users can observe by design are checked, and that
    a loop with the override works."""
    if aio is asyncio and not hasattr(loop_class(aio), name):
        pytest.skip("not in this version")
    loop, calls = overrides(aio, name, on)
    try:
        async def main():
            await aio.sleep(0.001)
            t = aio.create_task(none())
            await t
            f = loop.create_future()
            loop.call_later(0.001, f.set_result, 1)
            loop.call_later(10, f.set_result, 1).cancel()
            await f
            loop.call_soon_threadsafe(callback)
            await aio.sleep(0)
            return "done"
        assert loop.run_until_complete(main()) == "done"
        loop.call_soon(loop.stop)
        loop.run_forever()
        if name in ("call_later", "create_task", "time", "run_forever", "stop", "_run_once"):
            assert calls
    finally:
        loop.close()


def test_mocks_on_the_instance(aio, loop):
    """anyio's and aiohttp's tests do this."""
    loop.call_soon_threadsafe = mock.Mock()
    loop.call_soon_threadsafe(1)
    loop.call_soon_threadsafe.assert_called_once_with(1)
    del loop.call_soon_threadsafe
    spin(loop)
    with mock.patch.object(loop, "call_later", return_value="patched") as m:
        assert loop.call_later(1, callback) == "patched"
    assert m.call_count == 1
    assert loop.call_later(100, callback).cancel() is None
    with mock.patch.object(type(loop), "time", lambda self: 5.0) if aio is not asyncio else mock.patch.object(loop, "time", lambda: 5.0):
        assert loop.time() == 5.0
    assert loop.time() != 5.0


def test_override_set_while_running(aio, loop, run):
    calls = []

    async def main():
        original = loop.call_soon

        def noted(cb, *args, context=None):
            calls.append(cb)
            return original(cb, *args, context=context)
        f = loop.create_future()
        loop.call_soon = noted
        f.add_done_callback(callback)
        f.set_result(1)
        assert callback in calls
        n = len(calls)
        await aio.sleep(0)
        assert len(calls) == n + 1
        del loop.call_soon
        n = len(calls)
        await aio.sleep(0)
        await aio.sleep(0)
        assert len(calls) <= n + 1
    run(main())


def test_close_overridden_on_the_instance(aio):
    """sentry wraps loop.close."""
    loop = aio.new_event_loop()
    calls, close = [], loop.close
    loop.close = lambda: (calls.append(1), close())
    loop.close()
    assert calls == [1] and loop.is_closed()


def test_subclass_with_its_own_run_once(aio):
    """nest_asyncio drives _run_once itself."""
    class Loop(loop_class(aio)):
        ticks = 0

        def _run_once(self):
            type(self).ticks += 1
            super()._run_once()
    loop = Loop()
    try:
        assert loop.run_until_complete(aio.sleep(0, "r")) == "r" and Loop.ticks >= 2
    finally:
        loop.close()


def test_run_once_by_hand(aio, loop):
    seen = []
    loop.call_soon(seen.append, 1)
    loop.call_soon(loop.call_soon, seen.append, 2)
    loop._run_once()
    assert seen == [1]
    loop._run_once()
    assert seen == [1, 2]


def test_subclass_with_init_arguments_and_slots(aio):
    class Loop(loop_class(aio)):
        def __init__(self, tag):
            super().__init__()
            self.tag = tag
    loop = Loop("t")
    try:
        assert loop.tag == "t" and loop.run_until_complete(aio.sleep(0, 5)) == 5
    finally:
        loop.close()
