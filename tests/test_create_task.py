"""create_task(), the function: what it makes, and who is asked when something is out of the ordinary."""
import asyncio
import contextvars
import gc
import warnings
from unittest import mock

import pytest

from support import PY, fresh_loop, outcome, plain, spin


async def value(x):
    return x


def in_a_loop(aio, body, loop=None):
    """What `body` returns, called in a running loop that is not closed before its tasks have run."""
    async def main():
        found = body()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return found
    if loop is not None:
        return loop.run_until_complete(main())
    with fresh_loop(aio) as loop:
        return loop.run_until_complete(main())


def test_makes_a_task_of_the_running_loop(same):
    def scenario(aio):
        async def main():
            t = aio.create_task(value(7))
            return isinstance(t, aio.Task), t.get_loop() is asyncio.get_running_loop(), t.get_name().startswith("Task-"), t.done(), await t
        with fresh_loop(aio) as loop:
            return loop.run_until_complete(main())
    assert same(scenario) == (True, True, True, False, 7)


def test_names_and_contexts(same):
    variable = contextvars.ContextVar("variable", default=0)

    async def look():
        return variable.get()

    def scenario(aio):
        async def main():
            context = contextvars.copy_context()
            context.run(variable.set, 5)
            t = aio.create_task(look(), name="named", context=context)
            variable.set(1)
            return t.get_name(), await t, await aio.create_task(look()), aio.create_task(look(), name=12).get_name()
        with fresh_loop(aio) as loop:
            return loop.run_until_complete(main())
    assert same(scenario) == ("named", 5, 1, "12")


def test_without_a_running_loop(same):
    def scenario(aio):
        c = value(1)
        try:
            return outcome(aio.create_task, c)
        finally:
            c.close()
    assert "no running event loop" in str(same(scenario))


def test_bad_arguments(same):
    def scenario(aio):
        def refused(*args, **kwargs):
            return outcome(aio.create_task, *args, **kwargs)

        def body():
            return [refused(42), refused(None), refused(lambda: None), outcome(aio.create_task, text=False),
                    outcome(aio.create_task, 1, 2, text=False), outcome(aio.create_task, name="no coroutine", text=False)]
        return in_a_loop(aio, body)
    same(scenario)


def test_a_factory_and_an_override_are_asked(same):
    def scenario(aio):
        log = []
        with fresh_loop(aio) as loop:
            def factory(loop, coro, **kwargs):
                log.append(("factory", sorted(kwargs)))
                return aio.Task(coro, loop=loop)
            loop.set_task_factory(factory)
            in_a_loop(aio, lambda: aio.create_task(value(1)) and None, loop)
            loop.set_task_factory(None)
            with mock.patch.object(loop, "create_task", side_effect=lambda coro, **kwargs: coro.close() or ("override", sorted(kwargs))):
                loop.call_soon(lambda: log.append(aio.create_task(value(1))))
                spin(loop, 2)
        return log
    same(scenario)


@pytest.mark.skipif(PY < (3, 12), reason="eager tasks came with 3.12")
def test_eager_factory(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            loop.set_task_factory(aio.eager_task_factory)
            return in_a_loop(aio, lambda: aio.create_task(value(1)).done(), loop)
    assert same(scenario) is True


def test_debug_mode_shows_asyncios_frames(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            loop.set_debug(True)
            return in_a_loop(aio, lambda: [frame.name for frame in aio.create_task(value(1))._source_traceback][-2:], loop)
    same(scenario)


def test_in_a_closed_loop(same):
    """A loop that somebody closes under the feet of its callbacks."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)          # the coroutine is awaited by nobody

                async def main():
                    with mock.patch.object(type(loop), "is_closed", lambda self: True), \
                            mock.patch.object(type(loop), "_check_closed", side_effect=RuntimeError("Event loop is closed")):
                        return outcome(aio.create_task, value(1))
                found = loop.run_until_complete(main())
                gc.collect()
            return plain(found)
    same(scenario)


def test_on_a_foreign_loop(aio):
    async def main():
        t = aio.create_task(value(3))
        return isinstance(t, asyncio.Task), await t
    with fresh_loop(asyncio) as loop:
        assert loop.run_until_complete(main()) == (True, 3)
