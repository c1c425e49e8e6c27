"""Echo with the loop's sock_* methods: a task for each connection, no transport. Client and floor are those of bench_echo.py."""
import socket

from bench_echo import c_server, drive
from harness import asyncio, case


class Server:
    """Accepts with sock_accept(), and has of asyncio.Server what drive() wants."""

    def __init__(self, size):
        self.loop, self.size, self.tasks = asyncio.get_running_loop(), size, set()
        sock = socket.create_server(("127.0.0.1", 0), backlog=100)
        sock.setblocking(False)
        self.sockets = [sock]
        self.accepting = asyncio.create_task(self.accept(sock))

    async def accept(self, sock):
        while True:
            connection, _ = await self.loop.sock_accept(sock)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = asyncio.create_task(self.serve(connection))
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    async def serve(self, connection):
        with connection:
            while data := await self.loop.sock_recv(connection, self.size):
                await self.loop.sock_sendall(connection, data)

    def close(self):
        self.accepting.cancel()
        for task in self.tasks:
            task.cancel()

    async def wait_closed(self):
        await asyncio.gather(self.accepting, *self.tasks, return_exceptions=True)
        self.sockets[0].close()


class IntoServer(Server):
    async def serve(self, connection):
        view = memoryview(bytearray(self.size))
        with connection:
            while n := await self.loop.sock_recv_into(connection, view):
                await self.loop.sock_sendall(connection, view[:n])


@case("sock_1k", operation="request", times_itself=True, floor=c_server(10, 1024),
      about="sock_recv and sock_sendall, 1 KiB, 10 connections")
async def sock_1k(seconds):
    return await drive(Server(65536), 10, 1024, seconds)


@case("sock_into_1k", operation="request", times_itself=True, floor=c_server(10, 1024),
      about="sock_recv_into and sock_sendall, 1 KiB, 10 connections")
async def sock_into_1k(seconds):
    return await drive(IntoServer(65536), 10, 1024, seconds)


@case("sock_100k", operation="request", times_itself=True, floor=c_server(10, 102400),
      about="sock_recv and sock_sendall, 100 KiB, 10 connections")
async def sock_100k(seconds):
    return await drive(Server(262144), 10, 102400, seconds)
