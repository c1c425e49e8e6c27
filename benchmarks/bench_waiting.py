"""Waiting for several things, for a limited time, or for a thread."""
from harness import asyncio, case


async def identity(value):
    await asyncio.sleep(0)
    return value


async def at_once(value):
    return value


@case("gather_1000", operation="coroutine", about="gather of 1,000 coroutines that do one sleep(0) each")
async def gather_1000(n):
    expected = list(range(1000))
    rounds = max(1, n // 1000)
    for _ in range(rounds):
        assert await asyncio.gather(*[identity(i) for i in expected]) == expected
    return rounds * 1000


@case("gather_3", operation="gather", about="gather of three coroutines that return at once")
async def gather_3(n):
    for _ in range(n):
        assert await asyncio.gather(at_once(1), at_once(2), at_once(3)) == [1, 2, 3]
    return n


@case("wait_100", operation="task", about="wait() for 100 tasks that do one sleep(0) each")
async def wait_100(n):
    rounds = max(1, n // 100)
    for _ in range(rounds):
        done, pending = await asyncio.wait([asyncio.create_task(identity(i)) for i in range(100)])
        assert len(done) == 100 and not pending
    return rounds * 100


@case("wait_1000", operation="future", about="wait() for 1,000 futures that are set in the next turn")
async def wait_1000(n):
    loop = asyncio.get_running_loop()
    rounds = max(1, n // 1000)
    for _ in range(rounds):
        futures = [loop.create_future() for _ in range(1000)]
        for future in futures:
            loop.call_soon(future.set_result, None)
        done, pending = await asyncio.wait(futures)
        assert len(done) == 1000 and not pending
    return rounds * 1000


@case("wait_first_1000", operation="future", about="wait() for the first of 1,000 futures, the others left as they are")
async def wait_first_1000(n):
    loop = asyncio.get_running_loop()
    rounds = max(1, n // 1000)
    futures = [loop.create_future() for _ in range(999)]
    for _ in range(rounds):
        first = loop.create_future()
        loop.call_soon(first.set_result, None)
        done, pending = await asyncio.wait([*futures, first], return_when=asyncio.FIRST_COMPLETED)
        assert done == {first} and len(pending) == 999
    return rounds * 1000


@case("as_completed_1000", operation="future", about="as_completed over 1,000 futures that are set in the next turn")
async def as_completed_1000(n):
    loop = asyncio.get_running_loop()
    rounds = max(1, n // 1000)
    for _ in range(rounds):
        futures = [loop.create_future() for _ in range(1000)]
        for number, future in enumerate(futures):
            loop.call_soon(future.set_result, number)
        total = 0
        for earliest in asyncio.as_completed(futures):
            total += await earliest
        assert total == 499500
    return rounds * 1000


@case("as_completed_100", operation="task", about="as_completed over 100 coroutines that do one sleep(0) each")
async def as_completed_100(n):
    rounds = max(1, n // 100)
    for _ in range(rounds):
        total = 0
        for earliest in asyncio.as_completed([identity(i) for i in range(100)]):
            total += await earliest
        assert total == 4950
    return rounds * 100


@case("wait_for", operation="wait_for", about="wait_for(coroutine that does one sleep(0), 60)")
async def wait_for(n):
    for i in range(n):
        assert await asyncio.wait_for(identity(i), 60) == i
    return n


@case("wait_for_future", operation="wait_for", about="wait_for(future, 60), the future set in the next turn")
async def wait_for_future(n):
    loop = asyncio.get_running_loop()
    for i in range(n):
        future = loop.create_future()
        loop.call_soon(future.set_result, i)
        assert await asyncio.wait_for(future, 60) == i
    return n


@case("timeout", operation="timeout", about="async with timeout(60) around one sleep(0)")
async def timeout(n):
    for _ in range(n):
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
    return n


@case("timeout_idle", operation="timeout", about="async with timeout(60) around nothing that waits")
async def timeout_idle(n):
    entered = 0
    for _ in range(n):
        async with asyncio.timeout(60):
            entered += 1
    assert entered == n
    return n


@case("shield", operation="shield", about="shield(coroutine that does one sleep(0))")
async def shield(n):
    for i in range(n):
        assert await asyncio.shield(identity(i)) == i
    return n


@case("task_group_100", operation="task", about="a TaskGroup of 100 tasks that do one sleep(0) each")
async def task_group_100(n):
    rounds = max(1, n // 100)
    for _ in range(rounds):
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(identity(i)) for i in range(100)]
        assert sum(task.result() for task in tasks) == 4950
    return rounds * 100


@case("sleep_short", operation="sleep", about="1,000 tasks in a millisecond's sleep(0.001): timers that fire", start=1000)
async def sleep_short(n):
    async def nap(times):
        for _ in range(times):
            await asyncio.sleep(0.001)
        return times

    each = max(1, n // 1000)
    naps = sum(await asyncio.gather(*[nap(each) for _ in range(1000)]))
    assert naps == each * 1000
    return naps


@case("to_thread", operation="call", cpus=2, start=100, about="to_thread(function that returns its argument), one after the other")
async def to_thread(n):
    for i in range(n):
        assert await asyncio.to_thread(int, i) == i
    return n


@case("to_thread_100", operation="call", cpus=2, about="100 to_thread calls at once, gathered")
async def to_thread_100(n):
    expected = list(range(100))
    rounds = max(1, n // 100)
    for _ in range(rounds):
        assert await asyncio.gather(*[asyncio.to_thread(int, i) for i in expected]) == expected
    return rounds * 100
