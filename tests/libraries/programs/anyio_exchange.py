"""anyio on asyncio, and then trio-asyncio in a thread: asyncio's code on a loop inside trio, beside a loop of the way's own."""
import asyncio
import socket
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.to_thread
import trio
from anyio.streams.text import TextStream
from reporting import report, where


async def streams():
    """Cancel scopes over TCP: a server of anyio's, clients in its task group."""
    async def serve(stream):
        async with stream:
            async for chunk in stream:
                await stream.send(chunk.upper())
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)
    got = []

    async def visit(n):
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(f"client {n}".encode())
            got.append((await stream.receive()).decode())
            await stream.send_eof()
            try:
                await stream.receive()
            except anyio.EndOfStream:
                got.append("end")
    async with anyio.create_task_group() as group:
        group.start_soon(listener.serve, serve)
        async with anyio.create_task_group() as clients:
            for n in range(20):
                clients.start_soon(visit, n)
        group.cancel_scope.cancel()
    await listener.aclose()
    return [len(set(got)), got.count("end")]


async def scopes():
    """Nested cancellation, shields, deadlines, an error that takes its siblings along."""
    seen = []

    async def sleeper(name):
        try:
            await anyio.sleep(60)
        except anyio.get_cancelled_exc_class():
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
            seen.append(name)
            raise
    with anyio.move_on_after(0.05) as scope:
        async with anyio.create_task_group() as group:
            group.start_soon(sleeper, "a")
            group.start_soon(sleeper, "b")
    seen.append(scope.cancelled_caught)
    try:
        async with anyio.create_task_group() as group:
            group.start_soon(sleeper, "c")
            await anyio.sleep(0.01)
            raise LookupError
    except* LookupError as errors:
        seen.append(len(errors.exceptions))
    try:
        with anyio.fail_after(0.01):
            await anyio.Event().wait()
    except TimeoutError:
        seen.append("late")
    limiter, most, inside = anyio.CapacityLimiter(3), 0, 0

    async def limited():
        nonlocal most, inside
        async with limiter:
            inside += 1
            most = max(most, inside)
            await anyio.sleep(0.001)
            inside -= 1
    async with anyio.create_task_group() as group:
        for _ in range(12):
            group.start_soon(limited)
    names = [task.name for task in (anyio.get_current_task(),)]
    return [*sorted(seen[:2]), *seen[2:], most, len(names)]


async def threads():
    def work(n):
        anyio.from_thread.check_cancelled()
        return anyio.from_thread.run(asyncio.sleep, 0, n) + anyio.from_thread.run_sync(len, "xx")
    got = [await anyio.to_thread.run_sync(work, n) for n in range(20)]

    def portal():
        with anyio.from_thread.start_blocking_portal("asyncio") as portal:
            return portal.call(asyncio.sleep, 0.001, "portal"), portal.start_task_soon(anyio.sleep, 0).result()
    return [sum(got), await anyio.to_thread.run_sync(portal)]


async def processes():
    async with await anyio.open_process([sys.executable, "-c", "print(input()[::-1])"]) as process:
        text = TextStream(process.stdout)
        await process.stdin.send(b"abc\n")
        line = await text.receive()
        status = await process.wait()
    done = await anyio.run_process([sys.executable, "-c", "import sys; sys.exit(3)"], check=False, stderr=subprocess.PIPE)
    return [line.strip(), status, done.returncode]


async def files(folder):
    path = anyio.Path(folder) / "file"
    await path.write_text("some text")
    left, right = socket.socketpair()
    left.setblocking(False)
    with left, right:
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.wait_readable, left)
            await anyio.sleep(0.01)
            right.send(b"x")
    return await path.read_text()


def inside_trio():
    """asyncio's things on trio-asyncio's loop: tasks, queues, locks, timeouts, streams, an error and a cancellation each way."""
    import trio_asyncio                                 # here, because it sets a policy of its own

    async def producer(queue):
        for i in range(50):
            await queue.put(i)
            await asyncio.sleep(0)
        await queue.put(None)

    async def of_asyncio():
        queue = asyncio.Queue(5)
        task = asyncio.create_task(producer(queue))
        got = []
        while (item := await queue.get()) is not None:
            got.append(item)
        await task
        lock = asyncio.Lock()
        async with lock:
            try:
                await asyncio.wait_for(lock.acquire(), 0.01)
            except asyncio.TimeoutError:
                got.append("late")
        both = await asyncio.gather(asyncio.sleep(0.001, 1), asyncio.sleep(0.001, 2))
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"line\n")
        line = await reader.readline()
        writer.close()
        await writer.wait_closed()
        server.close()
        async with asyncio.timeout(10):
            await trio_asyncio.trio_as_aio(trio.sleep)(0.001)
        return [len(got), both, line.decode()]

    async def answer(reader, writer):
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    async def raising():
        await asyncio.sleep(0)
        raise LookupError("from asyncio")

    async def of_trio():
        async with trio_asyncio.open_loop():
            result = [await trio_asyncio.aio_as_trio(of_asyncio)()]
            try:
                await trio_asyncio.aio_as_trio(raising)()
            except LookupError as error:
                result.append(str(error))
            with trio.move_on_after(0.02) as scope:
                await trio_asyncio.aio_as_trio(asyncio.sleep)(60)
            return [*result, scope.cancelled_caught]
    return trio.run(of_trio)


async def main(folder):
    result = where(asyncio.get_running_loop(), asyncio.current_task())
    result |= {"streams": await streams(), "scopes": await scopes(), "threads": await threads(), "processes": await processes(),
               "files": await files(folder)}
    thread = threading.Thread(target=lambda: result.update(trio=inside_trio()))
    thread.start()
    while thread.is_alive():                            # this loop runs meanwhile
        await asyncio.sleep(0.001)
    assert Path(folder).exists()
    return result


if __name__ == "__main__":
    report(asyncio.run(main(*sys.argv[1:])))
