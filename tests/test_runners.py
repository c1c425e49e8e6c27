"""run() and Runner."""
import asyncio
import contextvars

import pytest

from support import PY, agen, callback, loop_class, none, outcome


def test_run(aio):
    async def main():
        assert type(asyncio.get_running_loop()) is (aio.EventLoop if aio is not asyncio else loop_class(aio))
        await aio.sleep(0)
        return 5
    assert aio.run(main()) == 5
    with pytest.raises(ValueError):
        aio.run(fails())


async def fails():
    raise ValueError


def test_run_rules(same):
    def scenario(aio):
        async def nested():
            c = none()
            try:
                return outcome(aio.run, c)
            finally:
                c.close()
        return [outcome(aio.run, 5), outcome(aio.run, none), aio.run(nested())]
    same(scenario)


def test_runner(aio):
    var = contextvars.ContextVar("var", default=0)

    async def step():
        var.set(var.get() + 1)
        return var.get(), asyncio.get_running_loop()
    with aio.Runner() as runner:
        (a, l1), (b, l2) = runner.run(step()), runner.run(step())
        assert (a, b) == (1, 2) and l1 is l2 is runner.get_loop()
    assert l1.is_closed() and var.get() == 0


def test_run_cleans_up(aio):
    log = []

    async def lingering():
        try:
            await aio.sleep(100)
        except aio.CancelledError:
            log.append("cancelled")
            raise

    async def main():
        t = aio.create_task(lingering())
        g = agen(log)
        await anext(g)
        await aio.sleep(0)
        kept.extend([t, g])
        await aio.to_thread(callback)
    kept = []
    aio.run(main())
    assert log == ["cancelled", "gen closing", "gen closed"] and kept[0].cancelled()


def test_loop_factory(aio):
    async def main():
        return asyncio.get_running_loop()
    with asyncio.Runner(loop_factory=aio.new_event_loop) as runner:
        loop = runner.run(main())
        assert type(loop) is loop_class(aio)
    if PY >= (3, 12):
        assert type(asyncio.run(main(), loop_factory=aio.new_event_loop)) is loop_class(aio)
