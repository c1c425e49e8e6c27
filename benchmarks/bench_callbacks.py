"""call_soon: one after the other, and many at once."""
import native
from harness import asyncio, case, floor_of


@floor_of
def floor_of_chain(n):
    ring = native.floor().Ring()
    left = n

    def step():
        nonlocal left
        left -= 1
        if left:
            ring.call_soon(step)

    ring.call_soon(step)
    ring.run()
    return n


@floor_of
def floor_of_burst(n):
    ring = native.floor().Ring()
    expected = list(range(1000))
    for _ in range(n // 1000):
        seen = []
        for i in expected:
            ring.call_soon(seen.append, i)
        ring.run()
        assert seen == expected
    return n // 1000 * 1000


@case("call_soon_chain", floor=floor_of_chain, operation="callback", about="a callback schedules the next: a turn of the loop each")
async def call_soon_chain(n):
    loop = asyncio.get_running_loop()
    finished = loop.create_future()
    left = n

    def step():
        nonlocal left
        left -= 1
        if left:
            loop.call_soon(step)
        else:
            finished.set_result(None)

    loop.call_soon(step)
    await finished
    assert left == 0
    return n


@case("call_soon_burst", floor=floor_of_burst, operation="callback", about="1,000 callbacks scheduled, then all run; order checked")
async def call_soon_burst(n):
    loop = asyncio.get_running_loop()
    expected = list(range(1000))
    rounds = max(1, n // 1000)
    for _ in range(rounds):
        seen = []
        for i in expected:
            loop.call_soon(seen.append, i)
        await asyncio.sleep(0)
        assert seen == expected
    return rounds * 1000
