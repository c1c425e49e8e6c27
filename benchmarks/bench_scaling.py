"""The cost of one operation as what there is of its kind grows from 10 to 1,000,000. scaling.py measures and draws these.

A case `queue@1000` does the operation among 1,000 others. Making those is not timed; what is timed is repeated until enough
time has gone by, at least once. Two kinds of them: in some the many are idle, and one operation among them should cost what it costs
alone; in others all of the many take part, and the cost is that of one.
"""
import gc
import random
import resource
import socket
import time

from harness import Sample, asyncio, case

SIZES = (10, 100, 1000, 10_000, 100_000, 1_000_000)

#: name: (operation, what grows, how the cost of an operation may grow with it)
CURVES = {}


async def steadily(seconds, step, per_step=1):
    """Repeat the coroutine function until `seconds` have gone by, after a first time that does not count; a Sample."""
    gc.collect()
    began = time.perf_counter()
    await step()
    steps = 1
    once = time.perf_counter() - began
    if once < seconds:
        batch = max(1, int(seconds / once / 20))
        steps, cpu, began = 0, time.process_time(), time.perf_counter()
        while time.perf_counter() - began < seconds:
            for _ in range(batch):
                await step()
            steps += batch
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    else:
        cpu, began = time.process_time(), time.perf_counter()
        await step()
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    return Sample(took / (steps * per_step), steps * per_step, took, cpu)


def most_connections():
    """How many this process may have, two descriptors each; who may raise the hard limit does."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        with open("/proc/sys/fs/nr_open") as file:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, int(file.read())))
    except (OSError, ValueError):               # not Linux, not permitted
        pass
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return SIZES[-1] if hard == resource.RLIM_INFINITY else (hard - 100) // 2


def up_to(most):
    """The sizes, and where some are too much the greatest that is not."""
    return [size for size in SIZES if size <= most] + ([most] if most < SIZES[-1] else [])


def curve(name, operation, grows, law="flat", sizes=SIZES):
    """Register an `async def body(size, seconds)` -> Sample for every size."""
    def register(function):
        CURVES[name] = operation, grows, law

        def at(size):
            @case(f"{name}@{size}", operation=operation, times_itself=True, by_default=False, about=f"{operation} with {size:,} {grows}")
            async def body(seconds):
                return await function(size, seconds)

        for size in sizes:
            at(size)
        return function
    return register


async def cancelled(tasks):
    for task in tasks:
        task.cancel()
    for task in tasks:
        try:
            await task
        except asyncio.CancelledError:
            pass


@curve("switch", "switch", "tasks that all take turns")
async def switch(size, seconds):
    running, turns = True, 0

    async def take_turns():
        nonlocal turns
        while running:
            turns += 1
            await asyncio.sleep(0)

    tasks = [asyncio.create_task(take_turns()) for _ in range(size)]
    await asyncio.sleep(0)
    before = turns
    measured = await steadily(seconds, lambda: asyncio.sleep(0), size)
    assert turns - before >= measured.operations
    running = False
    for task in tasks:
        await task
    return measured


@curve("create_await", "task", "other tasks that wait for a future each")
async def create_await(size, seconds):
    loop = asyncio.get_running_loop()

    async def wait():
        await loop.create_future()

    async def nothing():
        pass

    async def step():
        await asyncio.create_task(nothing())

    tasks = [asyncio.create_task(wait()) for _ in range(size)]
    await asyncio.sleep(0)
    measured = await steadily(seconds, step)
    await cancelled(tasks)
    return measured


@curve("gather", "coroutine", "coroutines gathered at once")
async def gather(size, seconds):
    async def one():
        return 1

    async def step():
        assert sum(await asyncio.gather(*[one() for _ in range(size)])) == size

    return await steadily(seconds, step, size)


@curve("callbacks", "callback", "callbacks scheduled, then run")
async def callbacks(size, seconds):
    loop = asyncio.get_running_loop()

    async def step():
        seen = []
        for i in range(size):
            loop.call_soon(seen.append, i)
        await asyncio.sleep(0)
        assert len(seen) == size and seen[-1] == size - 1

    return await steadily(seconds, step, size)


@curve("timer_cancel", "call_later and cancel", "other timers", "logarithmic")
async def timer_cancel(size, seconds):
    loop = asyncio.get_running_loop()
    chosen = random.Random(0)
    others = [loop.call_later(1000 + chosen.random() * 1000, print) for _ in range(size)]
    delays = [1000 + chosen.random() * 1000 for _ in range(1000)]

    async def step():
        for delay in delays:
            loop.call_later(delay, print).cancel()
        await asyncio.sleep(0)

    measured = await steadily(seconds, step, len(delays))
    for timer in others:
        timer.cancel()
    return measured


@curve("timer_fire", "timer", "timers due at once, made in random order", "logarithmic")
async def timer_fire(size, seconds):
    loop = asyncio.get_running_loop()
    order = list(range(size))
    random.Random(0).shuffle(order)

    async def step():
        seen, past = [], loop.time() - 2
        for i in order:
            loop.call_at(past + i * 1e-6, seen.append, i)
        while len(seen) < size:
            await asyncio.sleep(0)
        assert sum(seen) == size * (size - 1) // 2          # not their order: uvloop's timers know milliseconds only

    return await steadily(seconds, step, size)


@curve("queue", "put and get", "items in the queue")
async def queue(size, seconds):
    items = asyncio.Queue()
    for i in range(size):
        items.put_nowait(i)
    nth = 0

    async def step():
        nonlocal nth
        await items.put(nth + size)
        assert await items.get() == nth
        nth += 1

    return await steadily(seconds, step)


@curve("getters", "item", "tasks waiting for a queue's items, each served in turn")
async def getters(size, seconds):
    items, got = asyncio.Queue(), 0

    async def take():
        nonlocal got
        while True:
            await items.get()
            got += 1

    tasks = [asyncio.create_task(take()) for _ in range(size)]
    await asyncio.sleep(0)

    async def step():
        before = got
        items.put_nowait(None)
        while got == before:
            await asyncio.sleep(0)

    measured = await steadily(seconds, step)
    await cancelled(tasks)
    return measured


@curve("lock_cancel", "waiter cancelled", "other tasks waiting for the lock")
async def lock_cancel(size, seconds):
    lock = asyncio.Lock()
    await lock.acquire()
    tasks = [asyncio.create_task(lock.acquire()) for _ in range(size)]
    await asyncio.sleep(0)

    async def step():
        task = asyncio.create_task(lock.acquire())
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return
        raise AssertionError("the lock was had")

    measured = await steadily(seconds, step)
    for task in tasks:                  # the oldest first: that is where the search begins
        task.cancel()
    return measured


@curve("event", "waiter", "tasks waiting for one event, woken at once")
async def event(size, seconds):
    happened, woken = asyncio.Event(), 0

    async def wait():
        nonlocal woken
        await happened.wait()
        woken += 1

    async def step():
        nonlocal woken
        woken = 0
        tasks = [asyncio.create_task(wait()) for _ in range(size)]
        await asyncio.sleep(0)
        happened.set()
        happened.clear()
        for task in tasks:
            await task
        assert woken == size

    return await steadily(seconds, step, size)


@curve("connections", "round trip", "idle connections beside", sizes=up_to(most_connections()))
async def connections(size, seconds):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    loop = asyncio.get_running_loop()
    message = bytes(1024)
    waiting = None

    class Player(asyncio.Protocol):
        def data_received(self, data):
            assert data == message
            waiting.set_result(None)

    class Returner(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    async def connect(factory, sock):
        return (await loop.create_connection(factory, sock=sock))[0]

    async def step():
        nonlocal waiting
        waiting = loop.create_future()
        player.write(message)
        await waiting

    idle, others = [], []
    for _ in range(size):
        ours, theirs = socket.socketpair()
        idle.append(await connect(asyncio.Protocol, ours))
        others.append(theirs)
    ours, theirs = socket.socketpair()
    player, returner = await connect(Player, ours), await connect(Returner, theirs)
    measured = await steadily(seconds, step)
    for transport in [player, returner, *idle]:
        transport.close()
    await asyncio.sleep(0)
    for sock in others:
        sock.close()
    return measured
