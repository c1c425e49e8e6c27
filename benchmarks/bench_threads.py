"""Into the loop from its own thread and from another: call_soon_threadsafe, run_coroutine_threadsafe, wrap_future."""
import concurrent.futures
import threading

from harness import asyncio, case

BURST = 100


@case("threadsafe_chain", operation="call", about="a callback makes the next call, from the loop's own thread: a turn of the loop each")
async def threadsafe_chain(n):
    loop = asyncio.get_running_loop()
    finished = loop.create_future()
    left = n

    def step():
        nonlocal left
        left -= 1
        if left:
            loop.call_soon_threadsafe(step)
        else:
            finished.set_result(None)

    loop.call_soon_threadsafe(step)
    await finished
    assert left == 0
    return n


@case("threadsafe_own", operation="call", about="call_soon_threadsafe from the loop's own thread, 100 between two turns; order checked")
async def threadsafe_own(n):
    loop = asyncio.get_running_loop()
    expected = list(range(BURST))
    rounds = max(1, n // BURST)
    for _ in range(rounds):
        seen = []
        for i in expected:
            loop.call_soon_threadsafe(seen.append, i)
        while len(seen) < BURST:
            await asyncio.sleep(0)
        assert seen == expected
    return rounds * BURST


@case("threadsafe_thread", operation="call", cpus=2,
      about="another thread makes 1,000 calls, waits until the last has run, and makes the next 1,000; order checked")
async def threadsafe_thread(n):
    loop = asyncio.get_running_loop()
    burst = 1000
    expected = list(range(burst))
    rounds = max(1, n // burst)
    ran = threading.Lock()
    ran.acquire()
    seen = []

    def produce():
        for _ in range(rounds):
            seen.clear()
            for i in expected:
                loop.call_soon_threadsafe(seen.append, i)
            loop.call_soon_threadsafe(ran.release)
            ran.acquire()
            if seen != expected:
                return "lost or out of order"
        return "all"

    assert await loop.run_in_executor(None, produce) == "all"
    return rounds * burst


@case("threadsafe_roundtrip", operation="round trip", cpus=2, start=100,
      about="another thread makes one call and waits for it to have run: the wakeup of a sleeping loop, and the scheduler's")
async def threadsafe_roundtrip(n):
    loop = asyncio.get_running_loop()
    ran = threading.Lock()
    ran.acquire()

    def produce():
        for _ in range(n):
            loop.call_soon_threadsafe(ran.release)
            ran.acquire()
        return n

    return await loop.run_in_executor(None, produce)


@case("coroutine_threadsafe", operation="coroutine", cpus=2, start=100,
      about="another thread calls run_coroutine_threadsafe and waits for the result, again and again")
async def coroutine_threadsafe(n):
    loop = asyncio.get_running_loop()

    async def give(value):
        return value

    def produce():
        return sum(asyncio.run_coroutine_threadsafe(give(i), loop).result() for i in range(n))

    assert await loop.run_in_executor(None, produce) == n * (n - 1) // 2
    return n


@case("coroutine_threadsafe_own", operation="coroutine", about="run_coroutine_threadsafe in the loop's own thread, 100 between two turns")
async def coroutine_threadsafe_own(n):
    loop = asyncio.get_running_loop()

    async def give(value):
        return value

    rounds = max(1, n // BURST)
    for _ in range(rounds):
        futures = [asyncio.run_coroutine_threadsafe(give(i), loop) for i in range(BURST)]
        while not futures[-1].done():
            await asyncio.sleep(0)
        assert sum(future.result() for future in futures) == BURST * (BURST - 1) // 2
    return rounds * BURST


@case("wrap_future", operation="future", about="wrap_future of a concurrent future that ends in the loop's own thread")
async def wrap_future(n):
    for i in range(n):
        future = concurrent.futures.Future()
        wrapped = asyncio.wrap_future(future)
        future.set_result(i)
        assert await wrapped == i
    return n
