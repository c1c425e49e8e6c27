"""Programs that nobody wrote for this: aiohttp, uvicorn and websockets serve, a load client in C in another process asks.

They import asyncio. In the column pyasync they are started as its users start them, with pyasync.install() before their own
imports; in the others the loop comes from the loop's factory. What the libraries themselves do is Python and is in every column.
"""
import importlib.util
import socket
import struct

import native
from bench_echo import sample
from harness import asyncio, case

if asyncio.__name__ == "pyasync":
    asyncio.install()

CONNECTIONS = 20
BODY = b"x" * 1000
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\nAccept: */*\r\n\r\n"


def installed(*modules):
    return all(importlib.util.find_spec(module) for module in modules)


def listening():
    """A listening socket as create_server(host, port) makes one: on one that does not say TCP, asyncio leaves Nagle's algorithm on."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setblocking(False)
    sock.bind(("127.0.0.1", 0))
    sock.listen(1024)
    return sock


def first_answer(address):
    """What the server answers, to know how long it is; blocks."""
    with socket.create_connection(address, timeout=10) as sock:
        sock.sendall(REQUEST)
        got = b""
        while not got.endswith(BODY):
            data = sock.recv(65536)
            assert data, f"the server closed after {got!r}"
            got += data
    assert got.startswith(b"HTTP/1.1 200 OK\r\n"), got
    return got


async def ask(address, seconds, **what):
    """The client against a server that runs already; a Sample."""
    loop = asyncio.get_running_loop()
    load = await loop.run_in_executor(None, lambda: native.load("{}:{}".format(*address), CONNECTIONS, seconds=seconds, **what))
    return sample(load)


async def ask_http(address, seconds):
    answer = await asyncio.get_running_loop().run_in_executor(None, first_answer, address)
    return await ask(address, seconds, request=REQUEST, answer=answer, compare=len(b"HTTP/1.1 200 OK\r\n"))


if installed("aiohttp"):
    @case("aiohttp", operation="request", times_itself=True, about="aiohttp.web answers 1,000 bytes, 20 connections")
    async def aiohttp_server(seconds):
        from aiohttp import web

        async def answer(request):
            return web.Response(body=BODY)

        app = web.Application()
        app.router.add_get("/", answer)
        runner = web.AppRunner(app, access_log=None, handle_signals=False)
        await runner.setup()
        with listening() as sock:
            await web.SockSite(runner, sock).start()
            measured = await ask_http(sock.getsockname(), seconds)
            await runner.cleanup()
        return measured


if installed("uvicorn"):
    @case("uvicorn", operation="request", times_itself=True,
          about="uvicorn answers 1,000 bytes, 20 connections; with httptools where that is installed, else h11")
    async def uvicorn_server(seconds):
        import uvicorn

        start = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(BODY))]}

        async def app(scope, receive, send):
            await send(start)
            await send({"type": "http.response.body", "body": BODY})

        server = uvicorn.Server(uvicorn.Config(app, loop="none", lifespan="off", access_log=False, log_level="warning"))
        with listening() as sock:
            serving = asyncio.create_task(server.serve(sockets=[sock]))
            while not server.started:
                await asyncio.sleep(0.01)
            measured = await ask_http(sock.getsockname(), seconds)
            server.should_exit = True
            await serving
        return measured


if installed("websockets"):
    HELLO = (b"GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
             b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n")
    #: A binary frame of 1,000 bytes, masked with zeros, which leaves it as it is; and the server's, which has no mask.
    FRAME = b"\x82" + struct.pack("!BH", 0x80 | 126, len(BODY)) + bytes(4) + BODY
    ECHOED = b"\x82" + struct.pack("!BH", 126, len(BODY)) + BODY

    @case("websockets", operation="message", times_itself=True, about="websockets echoes messages of 1,000 bytes, 20 connections")
    async def websockets_server(seconds):
        import logging

        from websockets.asyncio.server import serve

        async def echo(connection):
            async for message in connection:
                await connection.send(message)

        logging.getLogger("websockets").setLevel(logging.CRITICAL)      # the client hangs up without a farewell
        with listening() as sock:
            async with serve(echo, sock=sock):
                return await ask(sock.getsockname(), seconds, request=FRAME, answer=ECHOED, hello=HELLO)
