"""Reads when the C library's heap is cold, and when it is warm.

A loop that reads into a fresh buffer of 256 KiB each time lives on malloc's kindness. glibc takes blocks from 128 KiB up from the
kernel and gives them back when they are freed (cold: a page fault for every 4 KiB read), until a first such block has been freed;
from then on it keeps blocks of that size (warm). Which of the two a process sees depends on what it did before,
so a figure without that word says little. Here it is set: mallopt() fixes the limits at their cold values, or at large ones.
"""
import ctypes

from bench_echo import Echo, drive, c_server
from bench_streams import echo
from harness import asyncio, case

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_PERTURB = -1, -3, -6
KIB = 1024
STATES = {"cold": (128 * KIB, 128 * KIB), "warm": (32 * 1024 * KIB, 64 * 1024 * KIB)}


mallopt = getattr(ctypes.CDLL(None), "mallopt", lambda option, value: 0)


def set_malloc(state):
    mmap_threshold, trim_threshold = STATES[state]
    assert mallopt(M_MMAP_THRESHOLD, mmap_threshold) and mallopt(M_TRIM_THRESHOLD, trim_threshold)


def malloc_case(state, size):
    @case(f"echo_{size}k_{state}", operation="request", times_itself=True, floor=c_server(10, size * KIB),
          about=f"protocol, {size} KiB, 10 connections, {state} heap")
    async def protocol(seconds):
        set_malloc(state)
        return await drive(await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", 0), 10, size * KIB, seconds)

    @case(f"stream_echo_{size}k_{state}", operation="request", times_itself=True, floor=c_server(10, size * KIB),
          about=f"streams, {size} KiB, 10 connections, {state} heap")
    async def streams(seconds):
        set_malloc(state)
        return await drive(await asyncio.start_server(echo, "127.0.0.1", 0), 10, size * KIB, seconds)


if mallopt(M_PERTURB, 0):       # changes nothing; other C libraries, and allocators put in glibc's place, say 0
    for state in STATES:
        for size in (1, 100):
            malloc_case(state, size)
