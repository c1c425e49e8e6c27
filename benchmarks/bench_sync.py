"""Locks, events and queues: what a program waits with."""
import native
from harness import asyncio, case, floor_of


async def hold(lock, n):
    held = 0
    for _ in range(n):
        async with lock:
            held += 1
    return held


@floor_of
def floor_of_lock(n):
    floor = native.floor()
    return floor.switch([hold(floor.Nothing(), n)])


@case("lock_uncontended", operation="acquire", floor=floor_of_lock, about="async with lock, nobody else wants it")
async def lock_uncontended(n):
    lock = asyncio.Lock()
    assert await hold(lock, n) == n and not lock.locked()
    return n


@case("lock_contended", operation="acquire", about="10 tasks want the same lock all the time, sleep(0) inside; order checked")
async def lock_contended(n):
    lock = asyncio.Lock()
    each = max(1, n // 10)
    order = []

    async def compete(number):
        for _ in range(each):
            async with lock:
                order.append(number)
                await asyncio.sleep(0)

    for task in [asyncio.create_task(compete(number)) for number in range(10)]:
        await task
    assert order == list(range(10)) * each
    return each * 10


@case("semaphore_contended", operation="acquire", about="10 tasks, a semaphore of 3, sleep(0) inside")
async def semaphore_contended(n):
    semaphore = asyncio.Semaphore(3)
    each = max(1, n // 10)
    inside = most = 0

    async def compete():
        nonlocal inside, most
        for _ in range(each):
            async with semaphore:
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

    for task in [asyncio.create_task(compete()) for _ in range(10)]:
        await task
    assert most == 3 or each < 3
    return each * 10


@case("barrier_10", operation="wait", about="10 tasks meet at a barrier again and again")
async def barrier_10(n):
    barrier = asyncio.Barrier(10)
    each = max(1, n // 10)

    async def meet():
        total = 0
        for _ in range(each):
            total += await barrier.wait()
        return total

    assert sum(await asyncio.gather(*[meet() for _ in range(10)])) == each * 45
    return each * 10


async def answer(ping, pong, n):
    answered = 0
    for _ in range(n):
        await ping.wait()
        ping.clear()
        answered += 1
        pong.set()
    return answered


async def call(ping, pong, n):
    for _ in range(n):
        ping.set()
        await pong.wait()
        pong.clear()
    return 0


@floor_of
def floor_of_events(n):
    floor = native.floor()
    ping, pong = floor.Nothing(), floor.Nothing()
    return floor.switch([answer(ping, pong, n), call(ping, pong, n)])


@case("event_pingpong", operation="round trip", floor=floor_of_events, about="two tasks wake each other through two events")
async def event_pingpong(n):
    ping, pong = asyncio.Event(), asyncio.Event()
    other = asyncio.create_task(answer(ping, pong, n))
    await call(ping, pong, n)
    assert await other == n
    return n


@case("condition_pingpong", operation="round trip", about="two tasks take turns through one condition")
async def condition_pingpong(n):
    condition = asyncio.Condition()
    turn = 0

    async def play(parity):
        nonlocal turn
        for _ in range(n):
            async with condition:
                while turn % 2 != parity:
                    await condition.wait()
                turn += 1
                condition.notify()

    other = asyncio.create_task(play(1))
    await play(0)
    await other
    assert turn == 2 * n
    return n


async def through(queue, n):
    """Put 0..n-1 in one task, take them in another; the items taken."""
    async def produce():
        for i in range(n):
            await queue.put(i)

    producer = asyncio.create_task(produce())
    for i in range(n):
        assert await queue.get() == i
    await producer
    return n


@floor_of
def floor_of_queue(n):
    floor = native.floor()
    queue = floor.Nothing()

    async def both():
        for i in range(n):
            await queue.put(i)
            assert await queue.get() == i
        return n
    return floor.switch([both()])


@case("queue", operation="item", floor=floor_of_queue, about="one task puts, another gets, room for 100")
async def queue(n):
    return await through(asyncio.Queue(100), n)


@case("queue_one", operation="item", about="the same with room for one item: a task switch each")
async def queue_one(n):
    return await through(asyncio.Queue(1), n)


@case("queue_join", operation="item", about="10 workers get and task_done; 1,000 items put, join() awaited")
async def queue_join(n):
    rounds = max(1, n // 1000)
    total = 0

    async def work(items):
        nonlocal total
        while True:
            total += await items.get()
            items.task_done()

    items = asyncio.Queue()
    workers = [asyncio.create_task(work(items)) for _ in range(10)]
    for _ in range(rounds):
        for i in range(1000):
            items.put_nowait(i)
        await items.join()
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    assert total == rounds * 499_500
    return rounds * 1000
