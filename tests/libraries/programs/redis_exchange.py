"""A redis client. Arguments: the server's port, the path of its Unix socket."""
import asyncio
import sys

import redis.asyncio as redis
from reporting import report, where
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


async def values(client):
    await client.flushall()
    big = bytes(range(256)) * 4 * 5000                  # 5 MB
    await client.set("big", big)
    await asyncio.gather(*(client.set(f"key {i}", i) for i in range(500)))
    got = await asyncio.gather(*(client.get(f"key {i}") for i in range(500)))
    async with client.pipeline(transaction=True) as pipe:
        for _ in range(1000):
            pipe.incr("counter")
        counted = await pipe.execute()
    return [await client.get("big") == big, sum(map(int, got)), counted[-1], len([k async for k in client.scan_iter("key *")])]


async def subscriber(client, n, ready):
    async with client.pubsub() as pubsub:
        await pubsub.subscribe("news")
        ready.set()
        got = []
        async for message in pubsub.listen():
            if message["type"] == "message":
                got.append(int(message["data"]))
                if len(got) == n:
                    return got


async def news(client):
    events = [asyncio.Event() for _ in range(5)]
    readers = [asyncio.create_task(subscriber(client, 50, event)) for event in events]
    await asyncio.gather(*(event.wait() for event in events))
    receivers = [await client.publish("news", i) for i in range(50)]
    return [sum(receivers) // 50, await asyncio.gather(*readers) == [list(range(50))] * 5]


async def queues(client):
    """Workers that block on a list, one that gives up by the server's time limit, one that is cancelled."""
    async def worker():
        got = []
        while True:
            _, item = await client.blpop("work")
            if item == b"stop":
                return got
            got.append(int(item))
    workers = [asyncio.create_task(worker()) for _ in range(4)]
    for i in range(100):
        await client.rpush("work", i)
    await client.rpush("work", *["stop"] * 4)
    done = [item for got in await asyncio.gather(*workers) for item in got]
    nothing = await client.blpop("empty", timeout=0.05)
    waiting = asyncio.create_task(client.blpop("empty"))
    await asyncio.sleep(0.05)
    waiting.cancel()
    cancelled = (await asyncio.gather(waiting, return_exceptions=True))[0]
    try:
        async with asyncio.timeout(0.05):
            await client.blpop("empty")
    except TimeoutError:
        timed_out = True
    return [sorted(done) == list(range(100)), nothing, type(cancelled).__name__, timed_out, await client.ping()]


async def lock(client):
    held, most = 0, 0

    async def one():
        nonlocal held, most
        async with client.lock("lock", sleep=0.001):
            held += 1
            most = max(most, held)
            await asyncio.sleep(0.001)
            held -= 1
    await asyncio.gather(*(one() for _ in range(10)))
    return most


async def killed(make):
    """The server hangs up on a client in the midst of waiting."""
    victim = make(retry=Retry(NoBackoff(), 0), single_connection_client=True)
    async with victim, make() as other:
        number = await victim.client_id()
        waiting = asyncio.create_task(victim.blpop("never"))
        await asyncio.sleep(0.05)
        await other.client_kill_filter(_id=number)
        error, = await asyncio.gather(waiting, return_exceptions=True)
        return [type(error).__name__, await victim.ping(), await victim.client_id() != number]


async def main(port, path):
    result = where(asyncio.get_running_loop(), asyncio.current_task())
    for name, kind, options, connection in (
            ("tcp", redis.Connection, {"host": "127.0.0.1", "port": int(port)}, {"host": "127.0.0.1", "port": int(port)}),
            ("unix", redis.UnixDomainSocketConnection, {"unix_socket_path": path}, {"path": path})):
        def make(options=options, **more):
            return redis.Redis(**options, **more)
        pool = redis.BlockingConnectionPool(connection_class=kind, max_connections=30, timeout=20, **connection)
        async with redis.Redis.from_pool(pool) as client:
            result[name] = {"values": await values(client), "news": await news(client), "queues": await queues(client),
                            "lock": await lock(client), "killed": await killed(make)}
    return result


if __name__ == "__main__":
    report(asyncio.run(main(*sys.argv[1:])))
