"""A Dask cluster: scheduler and client in this process, two workers in processes of their own, of which one is killed at work.

Argument: a folder for the workers.
"""
import asyncio
import os
import signal
import sys
import time

os.environ["DASK_LOGGING__DISTRIBUTED"] = "critical"    # for the workers, too
from distributed import Client, Event, Nanny, Scheduler, as_completed, get_client  # noqa: E402: it reads that when it is imported
from reporting import class_names, report, where  # noqa: E402


def work(n):
    time.sleep(0.01)
    return n * n


def whereabouts(dask_worker):
    return os.getpid(), class_names(dask_worker.loop.asyncio_loop)



def divide(n):
    return 1 / n


def fan_out(n):
    """A task that asks for tasks."""
    client = get_client()
    return sum(client.gather(client.map(work, range(n), pure=False)))


def slow(n):
    time.sleep(0.2)
    return n


async def computation(client):
    numbers = client.map(work, range(200))
    total = await client.submit(sum, numbers)
    tree = client.map(lambda x: x + 1, numbers)
    while len(tree) > 1:
        tree = [client.submit(lambda *xs: sum(xs), *tree[i:i + 8], pure=False) for i in range(0, len(tree), 8)]
    done = 0
    async for _ in as_completed(client.map(work, range(1000, 1020))):
        done += 1
    big, = await client.scatter([b"x" * 20_000_000])
    lengths = await client.gather(client.map(len, [big] * 4, pure=False))
    failed = client.submit(divide, 0)
    try:
        await failed
    except ZeroDivisionError as error:
        text = str(error)
    event = Event("go")
    waiting = client.submit(lambda: Event("go").wait(timeout=20), pure=False)
    await event.set()
    cancelled = client.submit(slow, 3)
    await cancelled.cancel()
    return [total, await tree[0], done, lengths, text, await waiting, cancelled.status, await client.submit(fan_out, 20)]


async def killed(client, scheduler, nannies):
    """Half of the work is on a process that dies: it is done again elsewhere, and the nanny brings up a new process."""
    before = {nanny.pid for nanny in nannies}
    futures = client.map(slow, range(24))
    while not any(worker.processing for worker in scheduler.workers.values()):
        await asyncio.sleep(0.01)
    os.kill(nannies[0].pid, signal.SIGKILL)
    total = await client.submit(sum, futures)
    while len(scheduler.workers) < 2:
        await asyncio.sleep(0.05)
    after = {pid for pid, _ in (await client.run(whereabouts)).values()}
    return [total, len(before - after), len(after)]


async def main(folder):
    result = where(asyncio.get_running_loop(), asyncio.current_task())
    async with Scheduler(port=0, dashboard_address=":0", host="127.0.0.1") as scheduler:
        nannies = [Nanny(scheduler.address, nthreads=2, local_directory=f"{folder}/{i}", dashboard=False) for i in range(2)]
        async with nannies[0], nannies[1], Client(scheduler.address, asynchronous=True) as client:
            await client.wait_for_workers(2)
            workers = [classes for _, classes in (await client.run(whereabouts)).values()]
            result |= {"workers": workers, "computation": await computation(client), "killed": await killed(client, scheduler, nannies)}
    return result


if __name__ == "__main__":
    report(asyncio.run(main(*sys.argv[1:])))
