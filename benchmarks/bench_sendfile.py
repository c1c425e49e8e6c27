"""Files sent by loop.sendfile() (a transport) and loop.sock_sendfile() (a socket), to the load client in C: a request is one byte, the
answer a file of so many bytes, of which the client looks at the first. The floor is sendfile(2) in a thread that blocks.
"""
import os
import socket
import tempfile
import threading

import native
from bench_echo import sample
from harness import asyncio, case

SIZES = {"4k": 4 << 10, "100k": 100 << 10, "10m": 10 << 20}


class Source:
    """A file of `size` bytes, open for reading, which goes with the object."""

    def __init__(self, size):
        self.content = bytes(i * 131 % 251 for i in range(251)) * (size // 251 + 1)
        self.content = self.content[:size]
        self.file = tempfile.TemporaryFile()
        self.file.write(self.content)
        self.file.flush()


async def drive(sockname, source, connections, seconds):
    load = await asyncio.get_running_loop().run_in_executor(
        None, lambda: native.load(f"{sockname[0]}:{sockname[1]}", connections, b"?", source.content, seconds))
    return sample(load)


class Sender(asyncio.Protocol):
    """Answers each byte with the file. The requests of a connection follow its answers, so that one task at a time is enough."""

    def __init__(self, source):
        self.source, self.loop = source, asyncio.get_running_loop()

    def connection_made(self, transport):
        self.transport, self.task = transport, None

    def data_received(self, data):
        self.task = self.loop.create_task(self.loop.sendfile(self.transport, self.source.file))


async def by_transport(size, seconds):
    source = Source(size)
    server = await asyncio.get_running_loop().create_server(lambda: Sender(source), "127.0.0.1", 0)
    load = await drive(server.sockets[0].getsockname(), source, 4, seconds)
    server.close()
    await server.wait_closed()
    return load


async def by_socket(size, seconds):
    source, loop, tasks = Source(size), asyncio.get_running_loop(), set()

    async def serve(connection):
        with connection:
            try:
                while await loop.sock_recv(connection, 1):
                    await loop.sock_sendfile(connection, source.file)
            except OSError:                     # the client leaves in the middle of an answer
                pass

    async def accept():
        while True:
            connection, _ = await loop.sock_accept(listener)
            task = asyncio.create_task(serve(connection))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        listener.setblocking(False)
        accepting = asyncio.create_task(accept())
        load = await drive(listener.getsockname(), source, 4, seconds)
        for task in (accepting, *tasks):
            task.cancel()
        await asyncio.gather(accepting, *tasks, return_exceptions=True)
    return load


def blocking(size):
    def serve(connection, source):
        with connection:
            try:
                while connection.recv(1):
                    offset = 0
                    while sent := os.sendfile(connection.fileno(), source.file.fileno(), offset, size):
                        offset += sent
            except OSError:
                pass

    def accept(listener, source):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection, source), daemon=True).start()

    def measure(seconds):
        source = Source(size)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            threading.Thread(target=accept, args=(listener, source), daemon=True).start()
            host, port = listener.getsockname()
            load = native.load(f"{host}:{port}", 4, b"?", source.content, seconds)
            listener.shutdown(socket.SHUT_RDWR)
        return sample(load)
    return measure


def cases(name, size):
    @case(f"sendfile_{name}", operation="file", times_itself=True, floor=blocking(size),
          about=f"loop.sendfile() of {size // 1024} KiB, 4 connections; the floor: threads that block in os.sendfile()")
    async def sendfile(seconds):
        return await by_transport(size, seconds)

    @case(f"sock_sendfile_{name}", operation="file", times_itself=True, floor=blocking(size),
          about=f"loop.sock_sendfile() of {size // 1024} KiB, 4 connections")
    async def sock_sendfile(seconds):
        return await by_socket(size, seconds)


for name, size in SIZES.items():
    cases(name, size)
