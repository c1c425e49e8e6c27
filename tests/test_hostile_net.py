"""Forks, signals, sockets and transports used as nobody should: each of these once ended otherwise than with asyncio."""
import gc
import subprocess
import sys

import pytest

from lab import Lab
from support import PY, outcome


# --- forks -------------------------------------------------------------------------------------------------------------

def test_a_fork_leaves_the_parents_signals_alone(script):
    """The child's copy of the loop shares the set of watched descriptors with the parent's until it has one of its own."""
    got = script("""
import os, signal
async def main():
    loop, got = aio.get_running_loop(), []
    loop.add_signal_handler(signal.SIGUSR1, got.append, "parent")
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    os.kill(os.getpid(), signal.SIGUSR1)
    for _ in range(200):
        if got:
            break
        await aio.sleep(0.005)
    print(got)
aio.run(main())
""")
    assert (got.returncode, got.stdout) == (0, "['parent']\n"), got.stderr


# --- signals -----------------------------------------------------------------------------------------------------------

def test_signals_while_a_callback_computes_are_not_commented(script):
    """A profiler's timer: asyncio sets no wakeup descriptor for Python's own handlers, so nothing can be full."""
    got = script("""
import os, signal
count = 0
def handler(*args):
    global count
    count += 1
signal.signal(signal.SIGUSR1, handler)
async def main():
    for _ in range(5000):
        os.kill(os.getpid(), signal.SIGUSR1)
aio.run(main())
print(count)
""")
    assert (got.returncode, got.stdout, got.stderr) == (0, "5000\n", "")


# --- transports --------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("call", ["write", "close", "write_eof", "get_write_buffer_size", "abort"])
def test_a_blocked_transport_whose_loop_was_closed(same, call):
    """What is buffered then stays so: there is nobody to try again."""
    def scenario(aio):
        with Lab(aio) as lab:
            protocol, _ = lab.run(lab.connect("unix"))
            transport = protocol.transport
            lab.fill(transport, 1000)
            lab.loop.close()
            found = [outcome(getattr(transport, call), *[b"x"] * (call == "write")), transport.is_closing()]
            if call in ("write", "get_write_buffer_size"):
                found[0] = found[0][0]
            with pytest.warns(ResourceWarning):
                del protocol.transport, transport
                gc.collect()
            return found
    same(scenario)


# --- subinterpreters ---------------------------------------------------------------------------------------------------

def test_an_import_in_a_subinterpreter_leaves_the_main_one_alone():
    """3.11's asyncio shares its set of tasks between interpreters: what the one puts there, the other finds without its globals."""
    pytest.importorskip("pyasync")
    pytest.importorskip("_testcapi")
    source = """
import sys, _testcapi
_testcapi.run_in_subinterp(f'''
import sys
sys.path[:] = {sys.path!r}
try:
    import pyasync, asyncio
    print(pyasync.run(asyncio.sleep(0, 3)))
except ImportError as e:
    print(e)
''')
import pyasync, asyncio
print(pyasync.run(asyncio.sleep(0, 4)))
"""
    got = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60)
    first = "3" if PY >= (3, 12) else "module pyasync._core does not support loading in subinterpreters"
    assert (got.returncode, got.stdout, got.stderr) == (0, f"{first}\n4\n", "")
