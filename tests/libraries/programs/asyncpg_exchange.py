"""An asyncpg client. Arguments: the server's port, the folder of its Unix socket, the authority of its certificate."""
import asyncio
import ssl
import sys

import asyncpg
from reporting import report, where


async def rows(pool):
    async with pool.acquire() as connection:
        await connection.execute("drop table if exists numbers; create table numbers (n int primary key, text text, data bytea)")
        values = [(i, f"row {i}", bytes([i % 256]) * 100) for i in range(2000)]
        await connection.executemany("insert into numbers values ($1, $2, $3)", values)
        await connection.copy_records_to_table("numbers", records=((i, None, None) for i in range(2000, 5000)))
        chunks = []

        async def take(chunk):
            chunks.append(len(chunk))
            await asyncio.sleep(0)                      # the copy waits for a slow consumer
        await connection.copy_from_query("select * from numbers", output=take)
        async with connection.transaction():
            seen = [record["n"] async for record in connection.cursor("select n from numbers order by n", prefetch=100)]
        big = bytes(range(256)) * 4 * 8000
        return [seen == list(range(5000)), sum(chunks) > 100_000, await connection.fetchval("select $1::bytea", big) == big]


async def concurrent(pool):
    async def one(n):
        async with pool.acquire() as connection:
            return await connection.fetchval("select sum(n) from numbers where n <= $1", n)
    return sum(await asyncio.gather(*(one(n) for n in range(200))))


async def rolled_back(pool):
    try:
        async with pool.acquire() as connection, connection.transaction():
            await connection.execute("delete from numbers")
            async with connection.transaction():
                await connection.execute("select 1/0")
    except asyncpg.DivisionByZeroError as error:
        return [str(error), await pool.fetchval("select count(*) from numbers")]


async def cancelled(pool):
    """A query that is cancelled, and ones that time out: the server is told, and the connection serves on. The time-outs are for one query
    each: asyncpg closes a connection where a query's time is up before the server has taken note of the cancellation before it."""
    async with pool.acquire() as connection:
        asleep = asyncio.create_task(connection.execute("select pg_sleep(60)"))
        await asyncio.sleep(0.1)
        asleep.cancel()
        outcome, = await asyncio.gather(asleep, return_exceptions=True)
        result = [type(outcome).__name__, await connection.fetchval("select 40")]
        try:
            await connection.execute("select pg_sleep(60)", timeout=0.1)
        except TimeoutError:
            result += ["timed out", await connection.fetchval("select 41")]
        try:
            async with asyncio.timeout(0.1):
                await connection.fetch("select pg_sleep(60)")
        except TimeoutError:
            result.append("timed out")
        result.append(await connection.fetchval("select 42"))
    return result


async def notified(pool):
    got, done = [], asyncio.Event()

    def heard(connection, pid, channel, payload):
        got.append(int(payload))
        if len(got) == 20:
            done.set()
    async with pool.acquire() as listener, pool.acquire() as speaker:
        await listener.add_listener("news", heard)
        for i in range(20):
            await speaker.execute(f"notify news, '{i}'")
        await asyncio.wait_for(done.wait(), 10)
        await listener.remove_listener("news", heard)
    return got == list(range(20))


async def terminated(connect):
    """The server ends the session in the midst of a query."""
    victim, other = await connect(), await connect()
    asleep = asyncio.create_task(victim.execute("select pg_sleep(60)"))
    await asyncio.sleep(0.1)
    await other.execute("select pg_terminate_backend($1)", victim.get_server_pid())
    error, = await asyncio.gather(asleep, return_exceptions=True)
    await asyncio.sleep(0)
    result = [type(error).__name__, victim.is_closed()]
    other.terminate()
    return [*result, other.is_closed()]


async def main(port, folder, authority):
    context = ssl.create_default_context(cafile=authority)
    result = where(asyncio.get_running_loop(), asyncio.current_task())
    for name, options in (("tcp", {"host": "127.0.0.1", "ssl": False}), ("unix", {"host": folder}),
                          ("tls", {"host": "127.0.0.1", "ssl": context})):
        options |= {"port": int(port), "user": "tester", "database": "postgres"}

        def connect(options=options):
            return asyncpg.connect(**options)
        async with asyncpg.create_pool(**options, min_size=2, max_size=10) as pool:
            result[name] = {"rows": await rows(pool), "concurrent": await concurrent(pool), "rolled back": await rolled_back(pool),
                            "cancelled": await cancelled(pool), "notified": await notified(pool), "terminated": await terminated(connect)}
    return result


if __name__ == "__main__":
    report(asyncio.run(main(*sys.argv[1:])))
