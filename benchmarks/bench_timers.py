"""Timers: those that are cancelled, as almost all time-outs are, and those that fire."""
from harness import asyncio, case


def never():
    raise AssertionError("a cancelled timer fired")


@case("timer_cancel", operation="timer", about="call_later(60) and cancel; a turn of the loop every 1,000")
async def timer_cancel(n):
    loop = asyncio.get_running_loop()
    rounds = max(1, n // 1000)
    for _ in range(rounds):
        for _ in range(1000):
            loop.call_later(60, never).cancel()
        await asyncio.sleep(0)
    return rounds * 1000


@case("timer_cancel_held", operation="timer", about="call_later(60) and cancel, oldest first, among 10,000 pending timers")
async def timer_cancel_held(n):
    loop = asyncio.get_running_loop()
    size = 10_000
    held = [loop.call_later(60, never) for _ in range(size)]
    for i in range(n):
        held[i % size].cancel()
        held[i % size] = loop.call_later(60, never)
        if i % 1000 == 999:
            await asyncio.sleep(0)
    for handle in held:
        handle.cancel()
    await asyncio.sleep(0)
    return n


@case("timer_fire", operation="timer", about="1,000 timers that are due now fire; order checked")
async def timer_fire(n):
    loop = asyncio.get_running_loop()
    expected = list(range(1000))
    rounds = max(1, n // 1000)
    for _ in range(rounds):
        seen = []
        now = loop.time()
        for i in expected:
            loop.call_at(now - 1 + i * 1e-6, seen.append, i)
        while len(seen) < 1000:
            await asyncio.sleep(0)
        assert seen == expected
    return rounds * 1000
