"""Memory: what stays resident for each task, future, timer and connection while it waits. Bytes, not seconds.

Resident pages before and after making many of them, in a process that has made none before; the coroutine and its
frame, the callbacks and whatever the loop keeps for it are all in it.
"""
import socket

from harness import asyncio, case
from resident import Growth


async def end(tasks):
    for task in tasks:
        task.cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)


@case("memory_task", unit="B", operation="task", times_itself=True, about="a task that waits for an event, 100,000 of them")
async def memory_task(_seconds):
    event, count = asyncio.Event(), 100_000
    passed = 0

    async def wait():
        nonlocal passed
        await event.wait()
        passed += 1

    tasks = [None] * count
    growth = Growth()
    for i in range(count):
        tasks[i] = asyncio.create_task(wait())
    await asyncio.sleep(0)
    sample = growth.sample(count)
    event.set()
    for task in tasks:
        await task
    assert passed == count
    return sample


@case("memory_task_future", unit="B", operation="task", times_itself=True, about="a task that waits for a future of its own, 100,000 of them")
async def memory_task_future(_seconds):
    loop, count = asyncio.get_running_loop(), 100_000

    async def wait():
        await loop.create_future()

    tasks = [None] * count
    growth = Growth()
    for i in range(count):
        tasks[i] = asyncio.create_task(wait())
    await asyncio.sleep(0)
    sample = growth.sample(count)
    await end(tasks)
    return sample


@case("memory_sleep", unit="B", operation="task", times_itself=True, about="a task in sleep(3600), 100,000 of them")
async def memory_sleep(_seconds):
    count = 100_000
    tasks = [None] * count
    growth = Growth()
    for i in range(count):
        tasks[i] = asyncio.create_task(asyncio.sleep(3600))
    await asyncio.sleep(0)
    sample = growth.sample(count)
    await end(tasks)
    return sample


@case("memory_future", unit="B", operation="future", times_itself=True, about="a pending future, 200,000 of them")
async def memory_future(_seconds):
    loop, count = asyncio.get_running_loop(), 200_000
    futures = [None] * count
    growth = Growth()
    for i in range(count):
        futures[i] = loop.create_future()
    return growth.sample(count)


@case("memory_timer", unit="B", operation="timer", times_itself=True, about="a call_later(3600) with its handle, 200,000 of them")
async def memory_timer(_seconds):
    loop, count = asyncio.get_running_loop(), 200_000
    timers = [None] * count
    growth = Growth()
    for i in range(count):
        timers[i] = loop.call_later(3600, print)
    sample = growth.sample(count)
    for timer in timers:
        timer.cancel()
    return sample


@case("memory_connection", unit="B", operation="connection", times_itself=True,
      about="an idle connection of a server with a plain protocol, 400 of them; without the kernel's part")
async def memory_connection(_seconds):
    loop, count = asyncio.get_running_loop(), 400
    transports = []

    class Idle(asyncio.Protocol):
        def connection_made(self, transport):
            transports.append(transport)

    server = await loop.create_server(Idle, "127.0.0.1", 0, backlog=count)
    address = server.sockets[0].getsockname()
    growth = Growth()
    clients = [socket.create_connection(address) for _ in range(count)]
    while len(transports) < count:
        await asyncio.sleep(0.001)
    sample = growth.sample(count)
    for client in clients:
        client.close()
    server.close()
    await server.wait_closed()
    return sample
