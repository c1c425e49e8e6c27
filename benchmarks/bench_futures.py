"""Futures: handing values from task to task, and running callbacks."""
from harness import asyncio, case


class Table:
    """Where the two players of ping-pong find each other's future. Slots, because finding them is not what is measured."""
    __slots__ = "serve", "reply"


async def player_one(loop, n, table):
    for i in range(n):
        table.reply = reply = loop.create_future()
        table.serve.set_result(i)
        assert await reply == i
    table.serve.set_result(None)


async def player_two(loop, table):
    returned = 0
    while (value := await table.serve) is not None:
        table.serve = loop.create_future()
        table.reply.set_result(value)
        returned += 1
    return returned


@case("future_pingpong", operation="round trip", about="two tasks hand a value to and fro, a fresh future each way")
async def future_pingpong(n):
    loop = asyncio.get_running_loop()
    table = Table()
    table.serve = loop.create_future()
    two = asyncio.create_task(player_two(loop, table))
    await asyncio.create_task(player_one(loop, n, table))
    assert await two == n
    return n


@case("future_callback", operation="future", about="create_future, add_done_callback, set_result, the callback runs; 100 at a time")
async def future_callback(n):
    loop = asyncio.get_running_loop()
    rounds = max(1, n // 100)
    for _ in range(rounds):
        seen, futures = [], [loop.create_future() for _ in range(100)]
        for future in futures:
            future.add_done_callback(seen.append)
            future.set_result(None)
        while len(seen) < 100:
            await asyncio.sleep(0)
        assert seen == futures
    return rounds * 100
