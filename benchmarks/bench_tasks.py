"""Tasks: giving way to the others, starting and awaiting them."""
import native
from harness import asyncio, case, floor_of


async def give_way(times):
    for _ in range(times):
        await asyncio.sleep(0)
    return times


async def give_way_to_floor(sleep, times):
    for _ in range(times):
        await sleep(0)
    return times


def floor_of_switch(tasks):
    def body(n):
        floor = native.floor()
        return floor.switch([give_way_to_floor(floor.sleep, n // tasks) for _ in range(tasks)])
    return floor_of(body)


@case("switch", operation="switch", floor=floor_of_switch(100), about="100 tasks that do nothing but sleep(0)")
async def switch(n):
    each = max(1, n // 100)
    tasks = [asyncio.create_task(give_way(each)) for _ in range(100)]
    done = sum([await task for task in tasks])
    assert done == each * 100
    return done


@case("switch_alone", operation="switch", floor=floor_of_switch(1), about="one task that does nothing but sleep(0): a turn of the loop each")
async def switch_alone(n):
    return await give_way(n)


async def identity(value):
    return value


@case("create_await", operation="task", about="await create_task(coroutine), one after the other")
async def create_await(n):
    total = 0
    for i in range(n):
        total += await asyncio.create_task(identity(i))
    assert total == n * (n - 1) // 2
    return n


@case("create_many", operation="task", about="1,000 tasks created, then each awaited")
async def create_many(n):
    rounds = max(1, n // 1000)
    for _ in range(rounds):
        tasks = [asyncio.create_task(identity(i)) for i in range(1000)]
        total = 0
        for task in tasks:
            total += await task
        assert total == 499_500
    return rounds * 1000


async def wait_for_ever():
    await asyncio.get_running_loop().create_future()


@case("create_cancel", operation="task", about="a task is started, waits for a future, is cancelled and awaited")
async def create_cancel(n):
    cancelled = 0
    for _ in range(n):
        task = asyncio.create_task(wait_for_ever())
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            cancelled += 1
    assert cancelled == n
    return n
