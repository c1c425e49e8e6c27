"""Echo over TLS. The client (tls_client.py) is Python in a process of its own and bounds the requests a second: look at the CPU time of
the server, `--clock cpu`. Handshakes are not in it: they are done before the warm-up is over.
"""
import json
import os
import ssl
import subprocess
import sys
import time
from pathlib import Path

import native
from bench_echo import BufferedEcho, Echo
from harness import Sample, asyncio, case

CLIENT = str(Path(__file__).with_name("tls_client.py"))


def server_context():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(native.certificate())
    return context


def load(host, port, connections, size, seconds):
    run = subprocess.run([sys.executable, CLIENT, "echo", host, str(port), native.certificate(), str(connections), str(size),
                          str(seconds / 3), str(seconds), os.environ.get("BENCH_CLIENT_CPU", "-1")],
                         capture_output=True, text=True, timeout=60 + 2 * seconds)
    if run.returncode:
        raise RuntimeError(run.stderr.strip().splitlines()[-1] if run.stderr.strip() else f"tls_client: status {run.returncode}")
    return json.loads(run.stdout)


async def serve(factory, connections, size, seconds):
    loop = asyncio.get_running_loop()
    made, spent = 0, 0.0

    class Counted(factory):
        def connection_made(self, transport):
            nonlocal made, spent
            super().connection_made(transport)
            made += 1
            if made == connections:
                spent = time.process_time()                 # from here on: requests only
    server = await loop.create_server(Counted, "127.0.0.1", 0, ssl=server_context())
    host, port = server.sockets[0].getsockname()
    figures = await loop.run_in_executor(None, load, host, port, connections, size, seconds)
    spent = time.process_time() - spent
    server.close()
    await server.wait_closed()
    assert made == connections
    return Sample(figures["seconds"] / figures["requests"], figures["requests"], figures["seconds"],
                  spent / figures["total_requests"] * figures["requests"])


@case("tls_echo_1k", operation="request", times_itself=True, about="protocol over TLS, 1 KiB, 10 connections")
async def tls_echo_1k(seconds):
    return await serve(Echo, 10, 1024, seconds)


@case("tls_echo_1k_buffered", operation="request", times_itself=True, about="buffered protocol over TLS, 1 KiB, 10 connections")
async def tls_echo_1k_buffered(seconds):
    return await serve(BufferedEcho, 10, 1024, seconds)


@case("tls_echo_100k", operation="request", times_itself=True, about="protocol over TLS, 100 KiB, 10 connections")
async def tls_echo_100k(seconds):
    return await serve(Echo, 10, 102400, seconds)
