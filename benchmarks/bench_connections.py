"""Connections themselves: how many a server takes and closes a second, and what an idle one keeps, with and without TLS. The clients are in
processes of their own, so that nothing of them is counted.
"""
import subprocess
import sys
import time

import native
from bench_tls import CLIENT, server_context
from harness import Sample, asyncio, case
from resident import Growth


class Greeting(asyncio.Protocol):
    def connection_made(self, transport):
        transport.write(b"!")
        transport.close()


@case("accept", operation="connection", times_itself=True, about="accept, write a byte, close; 16 connections at a time")
async def accept(seconds):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Greeting, "127.0.0.1", 0)
    cpu = time.process_time()
    load = await loop.run_in_executor(None, native.connect_load, server.sockets[0].getsockname(), 16, seconds)
    cpu = time.process_time() - cpu
    server.close()
    await server.wait_closed()
    return Sample(load["seconds"] / load["requests"], load["requests"], load["seconds"], cpu / load["total_requests"] * load["requests"])


async def idle(count, context):
    """What `count` connections keep that say nothing after they are made."""
    loop, transports = asyncio.get_running_loop(), []

    class Kept(asyncio.Protocol):
        def connection_made(self, transport):
            transports.append(transport)

    server = await loop.create_server(Kept, "127.0.0.1", 0, backlog=count, ssl=context)
    host, port = server.sockets[0].getsockname()

    def client(number):
        return subprocess.Popen([sys.executable, CLIENT, "idle", host, str(port), native.certificate() if context else "-", str(number)],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    # one first, so that what is made once is not counted
    clients = [client(1)]
    await loop.run_in_executor(None, clients[0].stdout.readline)
    growth = Growth()
    clients.append(client(count))
    await loop.run_in_executor(None, clients[1].stdout.readline)
    while len(transports) < count + 1:
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.05)
    sample = growth.sample(count)
    for transport in transports:
        transport.abort()
    server.close()
    await server.wait_closed()
    for process in clients:
        with process:
            process.stdin.close()
    return sample


@case("idle_tcp", unit="B", operation="connection", times_itself=True,
      about="an idle connection of a server, 500 of them; without the kernel's part")
async def idle_tcp(_seconds):
    return await idle(500, None)


@case("idle_tls", unit="B", operation="connection", times_itself=True, about="an idle TLS connection of a server, 200 of them")
async def idle_tls(_seconds):
    return await idle(200, server_context())
