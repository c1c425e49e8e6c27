"""Child processes: starting and reaping them, and data through their pipes. Most of it is the kernel's fork;
CPU time is the parent's only.
"""
from harness import asyncio, case

PIPE = asyncio.subprocess.PIPE
MESSAGE = bytes(i * 131 % 251 for i in range(65536))


@case("processes", operation="child", start=20, about="start a child that ends at once, wait for it; one after another")
async def processes(n):
    for _ in range(n):
        process = await asyncio.create_subprocess_exec("/bin/true")
        assert await process.wait() == 0
    return n


@case("processes_50", operation="child", start=50, about="50 children at a time, exit codes collected")
async def processes_50(n):
    async def one(i):
        process = await asyncio.create_subprocess_exec("/bin/sh", "-c", f"exit {i}")
        assert await process.wait() == i
    for start in range(0, n, 50):
        await asyncio.gather(*(one(i) for i in range(min(50, n - start))))
    return n


@case("process_communicate", operation="child", start=20, about="cat: start it, 64 KiB through its pipes, communicate()")
async def process_communicate(n):
    for _ in range(n):
        process = await asyncio.create_subprocess_exec("/bin/cat", stdin=PIPE, stdout=PIPE)
        out, _ = await process.communicate(MESSAGE)
        assert out == MESSAGE and process.returncode == 0
    return n


@case("process_pipe", operation="round trip", start=100, about="one cat: 1 KiB into its input and back from its output")
async def process_pipe(n):
    process = await asyncio.create_subprocess_exec("/bin/cat", stdin=PIPE, stdout=PIPE)
    for _ in range(n):
        process.stdin.write(MESSAGE[:1024])
        assert await process.stdout.readexactly(1024) == MESSAGE[:1024]
    process.stdin.close()
    assert await process.wait() == 0
    return n
