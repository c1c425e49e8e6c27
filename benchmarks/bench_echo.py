"""Echo servers over TCP and Unix sockets: the measured loop serves on one processor, a load client in C drives it from another.

A request is one message of so many bytes sent, and all of it received back and compared by the client. The value is
the wall-clock time of a request over all connections (1 / requests a second); beside it stands the CPU time that the
server process spent on one after the warm-up. The floor is the same client against a C server that only epolls, receives and sends.
"""
import tempfile
from pathlib import Path

import native
from harness import Sample, asyncio, case


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class BufferedEcho(asyncio.BufferedProtocol):
    def connection_made(self, transport):
        self.transport = transport
        self.buffer = bytearray(256 * 1024)
        self.view = memoryview(self.buffer)

    def get_buffer(self, sizehint):
        return self.view

    def buffer_updated(self, nbytes):
        self.transport.write(bytes(self.view[:nbytes]))


def sample(load):
    """The client's figures as a Sample."""
    return Sample(load["seconds"] / load["requests"], load["requests"], load["seconds"], load["cpu_seconds"],
                  {key: load[key] for key in ("p50_us", "p99_us", "p999_us", "max_us")})


def address_of(server):
    """As the client takes it: HOST:PORT or a path."""
    name = server.sockets[0].getsockname()
    return name if isinstance(name, str) else f"{name[0]}:{name[1]}"


async def drive(server, connections, size, seconds, rate=None):
    """Let the client at a listening server of this loop; a Sample."""
    load = await asyncio.get_running_loop().run_in_executor(None, native.echo_load, address_of(server), connections, size, seconds, None, rate)
    server.close()
    await server.wait_closed()
    return sample(load)


async def serve_protocol(factory, connections, size, seconds):
    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
    return await drive(server, connections, size, seconds)


def c_server(connections, size, rate=None, what=None):
    def measure(seconds):
        with native.EchoServer(what) as server:
            load = native.echo_load(server.address, connections, size, seconds, rate=rate, clock=server.cpu_clock)
        return sample(load)
    return measure


def c_unix_server(connections, size):
    def measure(seconds):
        with tempfile.TemporaryDirectory() as directory:
            return c_server(connections, size, what=str(Path(directory, "echo")))(seconds)
    return measure


@case("echo_1k", operation="request", times_itself=True, floor=c_server(10, 1024), about="protocol, 1 KiB, 10 connections")
async def echo_1k(seconds):
    return await serve_protocol(Echo, 10, 1024, seconds)


@case("echo_1k_one", operation="request", times_itself=True, floor=c_server(1, 1024), about="protocol, 1 KiB, one connection")
async def echo_1k_one(seconds):
    return await serve_protocol(Echo, 1, 1024, seconds)


@case("echo_1k_buffered", operation="request", times_itself=True, floor=c_server(10, 1024),
      about="buffered protocol, 1 KiB, 10 connections")
async def echo_1k_buffered(seconds):
    return await serve_protocol(BufferedEcho, 10, 1024, seconds)


@case("echo_10k", operation="request", times_itself=True, floor=c_server(10, 10240),
      about="protocol, 10 KiB, 10 connections")
async def echo_10k(seconds):
    return await serve_protocol(Echo, 10, 10240, seconds)


@case("echo_100k", operation="request", times_itself=True, floor=c_server(10, 102400),
      about="protocol, 100 KiB, 10 connections")
async def echo_100k(seconds):
    return await serve_protocol(Echo, 10, 102400, seconds)


def unix_case(size):
    @case(f"echo_unix_{size}k", operation="request", times_itself=True, floor=c_unix_server(10, 1024 * size),
          about=f"protocol on a Unix socket, {size} KiB, 10 connections")
    async def echo_unix(seconds):
        with tempfile.TemporaryDirectory() as directory:
            server = await asyncio.get_running_loop().create_unix_server(Echo, str(Path(directory, "echo")))
            return await drive(server, 10, 1024 * size, seconds)


for size in 1, 10, 100:
    unix_case(size)
