"""How long a request takes when requests come at a fixed rate that every loop here can bear: p50, p99, p99.9.

Request k is due at k / rate whatever became of those before it, and its latency counts from then; so a loop that stalls pays for every
request that came in the meantime ("coordinated omission" is what a closed loop of clients would do). Beside the percentiles stands the
CPU time the server spent on a request.
"""
import native
from bench_echo import Echo, address_of, c_server, drive, sample
from bench_streams import echo
from harness import asyncio, case

RATE, CONNECTIONS, SIZE = 5000, 50, 1024
PARTS = {"p50": "p50_us", "p99": "p99_us", "p99.9": "p999_us"}
LONGER = 10             # than other cases: a p99.9 wants many requests


def floor(seconds):
    return c_server(CONNECTIONS, SIZE, RATE)(LONGER * seconds)


@case("latency_1k", operation="request", times_itself=True, floor=floor, parts=PARTS,
      about="protocol, 1 KiB, 5,000 requests a second over 50 connections")
async def latency_1k(seconds):
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0)
    return await drive(server, CONNECTIONS, SIZE, LONGER * seconds, RATE)


@case("latency_stream_1k", operation="request", times_itself=True, floor=floor, parts=PARTS,
      about="streams, 1 KiB, 5,000 requests a second over 50 connections")
async def latency_stream_1k(seconds):
    return await drive(await asyncio.start_server(echo, "127.0.0.1", 0), CONNECTIONS, SIZE, LONGER * seconds, RATE)


@case("latency_beside_flood", operation="request", times_itself=True, parts={"p50": "p50_us", "p99": "p99_us"},
      about="protocol, 1 KiB, a connection with 50 requests a second beside four that send 100 KiB again and again")
async def latency_beside_flood(seconds):
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Echo, "127.0.0.1", 0)
    flood = loop.run_in_executor(None, native.echo_load, address_of(server), 4, 102400, 1.2 * LONGER * seconds)
    quiet = sample(await loop.run_in_executor(None, native.echo_load, address_of(server), 1, SIZE, LONGER * seconds, None, 50))
    await flood
    server.close()
    await server.wait_closed()
    quiet.cpu_seconds = None                    # most of it was the flood's
    return quiet
