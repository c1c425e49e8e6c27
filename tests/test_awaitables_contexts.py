"""What is raised while a cancellation or another error is being handled has that as its context, as in asyncio's own `except` and `finally`."""
import asyncio
import sys

import pytest

from support import spin
from ticking import chain, play


class Boom(Exception):
    pass


def hooked(base, hook, seen):
    """A class whose method `hook` fails once its instance is `bad`, and notes what is handled then."""
    def method(self, *args, **kwargs):
        if self.bad:
            seen.append(chain(sys.exc_info()[1]))
            raise Boom(hook)
        return getattr(base, hook)(self, *args, **kwargs)
    return type(base.__name__, (base,), {hook: method, "bad": False})


async def noting(log, coro):
    try:
        await coro
    except BaseException as e:
        log.append(chain(e, 6))


@pytest.mark.parametrize("kind, hook", [
    ("Lock", "_wake_up_first"), ("Semaphore", "_wake_up_next"), ("Queue", "empty"), ("Queue", "_wakeup_next"), ("Queue", "qsize"),
    ("Condition", "_notify"),
])
def test_a_hook_that_fails_during_a_cancellation(same, kind, hook):
    async def main(aio, log):
        base = getattr(aio, kind)
        if not hasattr(getattr(asyncio, kind), hook):
            return "not in this Python"
        shared = hooked(base, hook, log)(*([1] if kind == "Semaphore" else []))
        if kind == "Condition":
            async def wait():
                async with shared:
                    await shared.wait()
        else:
            wait = shared.get if kind == "Queue" else shared.acquire
        if kind in ("Lock", "Semaphore"):
            await shared.acquire()
        tasks = [aio.ensure_future(noting(log, wait())) for _ in range(2)]
        await aio.sleep(0)
        if kind == "Queue":
            shared.put_nowait(1)
        elif kind != "Condition":
            shared.release()
        shared.bad = True
        tasks[0].cancel("enough")
        await aio.wait(tasks[:1])
        shared.bad = False
        log.append(repr(shared).partition("[")[2])
        tasks[1].cancel()
        await aio.wait(tasks)
    same(play(main))


@pytest.mark.parametrize("notified", [False, True])
def test_cancelled_again_while_a_condition_gets_its_lock_back(same, notified):
    async def main(aio, log):
        condition = aio.Condition()

        async def wait():
            async with condition:
                await condition.wait()
        task = aio.ensure_future(noting(log, wait()))
        await aio.sleep(0)
        await condition.acquire()
        if notified:
            condition.notify()
        else:
            task.cancel("one")
        await aio.sleep(0)
        for text in "two", "three":
            await aio.sleep(0)
            task.cancel(text)
        await aio.sleep(0)
        condition.release()
        await task
    same(play(main))


class OddLock:
    """Fails when it is acquired for the second time."""

    def __init__(self, later, seen):
        self.held, self.count, self.later, self.seen = False, 0, later, seen

    def locked(self):
        return self.held

    def release(self):
        self.held = False

    async def acquire(self):
        self.count += 1
        if self.count == 2:
            if self.later:
                await self.later()
            raise Boom("acquire")
        self.held = True


@pytest.mark.parametrize("later", [False, True])
def test_a_lock_that_a_cancelled_condition_cannot_get_back(same, later):
    async def main(aio, log):
        condition = aio.Condition(OddLock((lambda: aio.sleep(0)) if later else None, log))

        async def wait():
            async with condition:
                await condition.wait()
        task = aio.ensure_future(noting(log, wait()))
        await aio.sleep(0)
        task.cancel("enough")
        await task
    same(play(main))


def test_a_loop_that_runs_in_an_except_clause(same):
    def scenario(aio):
        log = []
        loop = aio.new_event_loop()
        release = loop.create_future()

        async def body():
            queue = aio.Queue()
            await noting(log, loop.create_future())
            await noting(log, queue.get())
            log.append(chain(sys.exc_info()[1]))
            await release
            log.append(chain(sys.exc_info()[1]))                 # nothing of it stays in a coroutine
        task = loop.create_task(body())
        operation = loop.create_task(aio.Event().wait())
        try:
            raise KeyError("outside")
        except KeyError:
            spin(loop)
            operation.cancel("operation")
            for text in "future", "queue":
                task.cancel(text)
                spin(loop, 3)
            loop.run_until_complete(noting(log, operation))
        release.set_result(None)
        loop.run_until_complete(task)
        loop.close()
        return log
    same(scenario)
