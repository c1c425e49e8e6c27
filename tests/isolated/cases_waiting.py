"""Cases for growth.py: wait, as_completed, wait_for in all its ends, barriers, and what goes into threads and out of them."""
import asyncio
import concurrent.futures
import threading

from cases import REPEAT, case, on_loop, swallow


@on_loop
async def wait_in_all_its_ends(m, loop):
    async def fail():
        raise ValueError
    for _ in range(REPEAT):
        futures = [loop.create_future() for _ in range(3)]
        loop.call_soon(futures[0].set_result, [1])
        await m.wait(futures, timeout=50, return_when=m.FIRST_COMPLETED)
        await m.wait(futures, timeout=0.0001)
        task = m.ensure_future(m.wait(futures))
        await m.sleep(0)
        task.cancel()
        await swallow(task)
        m.wait(futures).close()
        await swallow(m.wait([]))
        await swallow(m.wait([5], timeout=0.0001))
        tasks = [m.ensure_future(fail()), m.ensure_future(m.sleep(0))]
        await m.wait(tasks, return_when=m.FIRST_EXCEPTION)
        await m.wait(tasks)
        tasks[0].exception()


@on_loop
async def as_completed_in_all_its_ends(m, loop):
    for _ in range(REPEAT):
        futures = [loop.create_future() for _ in range(2)]
        loop.call_soon(futures[0].set_result, [1])
        for earliest in m.as_completed([*futures, m.sleep(0)], timeout=0.0001):
            await swallow(earliest)
        it = m.as_completed(futures)
        one = m.ensure_future(next(it))
        await m.sleep(0)
        other = m.ensure_future(next(it))
        await m.sleep(0)
        other.cancel()
        await swallow(one)
        await swallow(other)
        futures[1].cancel()
        await m.sleep(0)
        if hasattr(it, "__aiter__"):
            async for future in m.as_completed([m.sleep(0), m.sleep(0)], timeout=50):
                await future


@on_loop
async def wait_for_in_all_its_ends(m, loop):
    async def stubborn():
        try:
            await m.sleep(50)
        except m.CancelledError:
            await m.sleep(0)
            return [1]
    for _ in range(REPEAT):
        await swallow(m.wait_for(stubborn(), 0.0001))
        await swallow(m.wait_for(m.sleep(50), 0))
        await swallow(m.wait_for(m.sleep(0), None))
        for times in (1, 2):
            task = m.ensure_future(m.wait_for(stubborn(), 50))
            for _ in range(2):
                await m.sleep(0)
            for _ in range(times):
                task.cancel()
                await m.sleep(0)
            await swallow(task)


@on_loop
async def barriers(m, loop):
    for _ in range(REPEAT):
        barrier = m.Barrier(2)

        async def meet():
            async with barrier as index:
                return [index]
        await m.gather(meet(), barrier.wait())
        for end in (barrier.abort, barrier.reset):
            tasks = [m.ensure_future(barrier.wait())]
            await m.sleep(0)
            await end()
            tasks.append(m.ensure_future(barrier.wait()))
            await m.sleep(0)
            tasks[1].cancel()
            for task in tasks:
                await swallow(task)
        barrier.wait().close()


@on_loop
async def wrapped_futures(m, loop):
    executor = concurrent.futures.Executor()
    source = None
    executor.submit = lambda fn, *args: source
    for _ in range(REPEAT):
        for end in ("result", "exception", "cancel", "leave"):
            source = concurrent.futures.Future()
            future = loop.run_in_executor(executor, int) if end != "leave" else m.wrap_future(source)
            if end == "result":
                source.set_result([1])
            elif end == "exception":
                source.set_exception(ValueError())
            elif end == "cancel":
                source.cancel()
            else:
                future.cancel()
            await swallow(future)
            await m.sleep(0)
    del executor.submit, source


@on_loop
async def coroutines_of_threads(m, loop):
    async def fail():
        raise ValueError
    for _ in range(REPEAT):
        futures = [m.run_coroutine_threadsafe(coro, loop) for coro in (m.sleep(0, [1]), fail(), m.sleep(50))]
        await m.sleep(0)
        futures[2].cancel()
        for _ in range(5):
            await m.sleep(0)
        assert futures[0].result(0) == [1] and futures[1].exception(0) and futures[2].cancelled()


@case
def calls_in_threads(m):
    loop = m.new_event_loop()

    async def main():
        for _ in range(REPEAT):
            assert await m.to_thread(list, [1]) == [1]
            await swallow(m.to_thread(int, "x"))
            await loop.run_in_executor(None, int)
    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert threading.active_count() == 1 and asyncio._get_running_loop() is None
