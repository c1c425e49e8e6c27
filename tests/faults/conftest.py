"""Builds the extension with PYASYNC_FAULTS=1 in a directory of its own, so that the ordinary build stays as it is."""
import os
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


def pytest_collection_modifyitems(items):
    """The build is on the first test's time, and a busy machine takes minutes for it."""
    for item in items:
        if item.path.parent == HERE:
            item.add_marker(pytest.mark.timeout(600))


@pytest.fixture(scope="session")
def faulty(tmp_path_factory):
    """The directory to put on PYTHONPATH for a pyasync whose system calls can be made to fail."""
    root = tmp_path_factory.mktemp("faults")
    for name in ("csrc", "pyasync"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    for name in ("setup.py", "pyproject.toml", "README.md"):
        if (ROOT / name).exists():
            shutil.copy(ROOT / name, root)
    built = subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace", "-j2"], cwd=root, capture_output=True, text=True,
                           env={**os.environ, "PYASYNC_FAULTS": "1", "PYASYNC_WERROR": "1"})
    assert built.returncode == 0, built.stderr[-4000:]
    return root


@pytest.fixture
def faulted(faulty, tmp_path):
    """faulted(source) runs a script with that pyasync, its faults as fault(call, nth, err, limit=0), count(call) and clear()."""
    def start(source, *args, timeout=60, resource_warnings=True):
        script = tmp_path / "script.py"
        script.write_text(PRELUDE + source)
        warnings = ("error" if resource_warnings else "ignore") + "::ResourceWarning"
        done = subprocess.run([sys.executable, "-X", "faulthandler", "-W", warnings, str(script), *map(str, args)],
                              env={**os.environ, "PYTHONPATH": str(faulty)}, capture_output=True, text=True, timeout=timeout)
        assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        assert "Exception ignored" not in done.stderr, done.stderr
        return done.stdout
    return start


@pytest.fixture
def served(faulted):
    """served(body) runs the body of a coroutine main() on a loop that has to be whole, and leave nothing open, afterwards.

    `names` are set before, `define` is source that goes before. So many `reports` are expected; None: what is
    reported is the body's affair.
    """
    def start(body, *, define="", reports=0, timeout=60, **names):
        assigned = "".join(f"{name} = {value!r}\n" for name, value in names.items())
        return faulted(f"""{define}
{assigned}
with serving() as loop:
    async def main():
{textwrap.indent(body.strip(chr(10)), " " * 8)}
    loop.run_until_complete(main())
assert {reports} in (None, len(reports)), reports
""", timeout=timeout)
    return start


PRELUDE = '''
import asyncio, contextlib, errno, gc, os, socket, sys, time
import pyasync
from pyasync._core import _fault_set as fault, _fault_count as count, _fault_reset as clear

def open_fds():
    return sorted(fd for fd in map(int, os.listdir("/proc/self/fd")) if os.path.exists(f"/proc/self/fd/{fd}"))

reports = []

def check_serving(loop):
    """The loop still does its work: callbacks, timers, wakeups from a thread, a connection."""
    clear()
    async def work():
        await asyncio.sleep(0.001)
        assert await asyncio.wait_for(loop.run_in_executor(None, lambda: 5), 10) == 5
        async def handle(reader, writer):
            writer.write(await reader.read(100))
            await writer.drain()
            writer.close()
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"ping")
        assert await asyncio.wait_for(reader.read(), 10) == b"ping"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.005)
        await loop.shutdown_default_executor()
    loop.run_until_complete(work())

@contextlib.contextmanager
def serving():
    """A loop that has to be whole, and leave nothing open, after what is done with it."""
    gc.collect()
    before = open_fds()
    loop = pyasync.new_event_loop()
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    try:
        yield loop
        check_serving(loop)
    finally:
        clear()
        loop.close()
    gc.collect()
    assert open_fds() == before, (before, open_fds())

class Note(asyncio.Protocol):
    def __init__(self):
        self.data, self.log = bytearray(), []
    def connection_made(self, t):
        self.transport = t
        self.log.append("made")
    def data_received(self, data):
        self.data += data
    def eof_received(self):
        self.log.append("eof")
    def connection_lost(self, exc):
        self.log.append(["lost", exc])

async def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, "too late"
        await asyncio.sleep(0.001)

async def connected(loop):
    a, b = socket.socketpair()
    b.setblocking(False)
    t, p = await loop.create_connection(Note, sock=a)
    return t, p, b
'''
