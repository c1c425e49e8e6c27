"""Streams: start_server, StreamReader and StreamWriter."""
import socket

import native
from bench_echo import drive, c_server
from harness import asyncio, case, floor_of


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()
    writer.close()


async def echo_exactly(reader, writer):
    try:
        while True:
            writer.write(await reader.readexactly(1024))
    except (asyncio.IncompleteReadError, ConnectionResetError):
        writer.close()


@case("stream_echo_1k", operation="request", times_itself=True, floor=c_server(10, 1024), about="read, write, drain; 1 KiB, 10 connections")
async def stream_echo_1k(seconds):
    return await drive(await asyncio.start_server(echo, "127.0.0.1", 0), 10, 1024, seconds)


@case("stream_exactly_1k", operation="request", times_itself=True, floor=c_server(10, 1024), about="readexactly and write; 1 KiB, 10 connections")
async def stream_exactly_1k(seconds):
    return await drive(await asyncio.start_server(echo_exactly, "127.0.0.1", 0), 10, 1024, seconds)


@case("stream_echo_100k", operation="request", times_itself=True, floor=c_server(10, 102400), about="read, write, drain; 100 KiB, 10 connections")
async def stream_echo_100k(seconds):
    return await drive(await asyncio.start_server(echo, "127.0.0.1", 0), 10, 102400, seconds)


@floor_of
def floor_of_lines(n):
    """One and the same line again and again: no search, no bytes object made."""
    line = b"0123456789abcde\n"
    floor = native.floor()
    reader = floor.Nothing()
    reader.put(line)

    async def lines():
        for _ in range(n):
            assert await reader.readline() == line
        return n
    return floor.switch([lines()])


@case("readline", operation="line", floor=floor_of_lines, about="lines of 16 bytes that are in the reader already, 1,000 fed at a time")
async def readline(n):
    line = b"0123456789abcde\n"
    rounds = max(1, n // 1000)
    reader = asyncio.StreamReader()
    for _ in range(rounds):
        reader.feed_data(line * 1000)
        for _ in range(1000):
            assert await reader.readline() == line
    return rounds * 1000


@case("readline_socket", operation="line", cpus=2, about="lines of 16 bytes from a socket that another thread keeps full")
async def readline_socket(n):
    line = b"0123456789abcde\n"
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)

    def send():
        with theirs:
            theirs.sendall(line * n)

    sending = asyncio.get_running_loop().run_in_executor(None, send)
    lines = 0
    async for got in reader:
        assert got == line
        lines += 1
    await sending
    writer.close()
    await writer.wait_closed()
    assert lines == n
    return n
