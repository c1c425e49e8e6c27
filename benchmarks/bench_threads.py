"""call_soon_threadsafe: from the loop's own thread and from another."""
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
