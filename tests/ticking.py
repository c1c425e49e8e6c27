"""Scenarios in which time passes by one second a tick, on any loop: timers fire in a known order and nobody waits."""
import asyncio
import gc
import itertools

from support import fresh_loop, plain, report


class Clock:
    def __init__(self, loop):
        self.loop, self.now, self.running = loop, 100.0, True
        loop.time = lambda: self.now
        loop.call_soon(self.tick)

    def number_timers(self):
        """Timers of equal time fire in no particular order with asyncio (its heap is not stable): from now on none are equal."""
        call_at, numbers = self.loop.call_at, itertools.count(1)
        self.loop.call_at = lambda when, *args, **kwargs: call_at(when + next(numbers) * 1e-6, *args, **kwargs)

    def tick(self):
        self.now += 1
        if self.running:
            self.loop.call_soon(self.tick)


def play(main, *args, numbered=False):
    """A scenario for `same`: main(aio, log, *args) on a loop with such a clock. What it returns or raises, what it logged, and what was
    reported to the loop's exception handler."""
    def scenario(aio):
        log = []
        with fresh_loop(aio) as loop:
            clock = Clock(loop)
            if numbered:
                clock.number_timers()

            async def outer():
                try:
                    return ["returned", plain(await main(aio, log, *args))]
                except BaseException as e:
                    return ["raised", chain(e), aio.current_task().cancelling()]
            try:
                result = loop.run_until_complete(outer())
            finally:
                clock.running = False
                loop.run_until_complete(asyncio.sleep(0))
                del loop.time
                loop.__dict__.pop("call_at", None)
            gc.collect()
            reports = sorted(map(str, map(report, loop.errors.take())))
        return result, plain(log), reports
    return scenario


def chain(exc, depth=4):
    """An exception with its causes and contexts and the parts of a group, comparable."""
    if exc is None or depth == 0:
        return None
    parts = [chain(e, depth - 1) for e in getattr(exc, "exceptions", ())]
    return [plain(exc), chain(exc.__cause__, depth - 1), chain(exc.__context__, depth - 1), exc.__suppress_context__, parts]


async def value(aio, result, delay=0, log=None):
    try:
        await aio.sleep(delay)
    except aio.CancelledError as e:
        if log is not None:
            log.append(["cancelled", result, e.args])
        raise
    return result


async def fail(aio, exc, delay=0):
    await aio.sleep(delay)
    raise exc
