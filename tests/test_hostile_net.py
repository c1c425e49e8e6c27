"""Forks, signals, sockets and transports used as nobody should: each of these once ended otherwise than with asyncio."""
import asyncio
import gc
import re
import selectors
import socket
import subprocess
import sys
import time

import pytest

from lab import Lab, reset, scenario
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
import time
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


@pytest.mark.skipif(PY < (3, 12), reason="asyncio 3.11 lets two transports fight over one descriptor; pyasync never does")
def test_a_socket_that_a_transport_has_is_named_in_the_error(same):
    async def main(lab):
        sock, peer = lab.pair("unix")
        protocol = lab.protocol()
        transport = await lab.attach(protocol, sock)
        found = [outcome(lab.loop._make_socket_transport, what, protocol) for what in (sock, sock.fileno(), None, peer.fileno(), "x")]
        transport.close()
        return [[kind, error, re.sub(r"\d+", "N", text)] for kind, error, text in found[:3]] + [found[3][:1], found[4]]
    got = same(scenario(main))["result"]
    assert [error for _, error, _ in got[:3]] == ["RuntimeError", "RuntimeError", "ValueError"]


@pytest.mark.parametrize("how", ["add_reader", "sock_recv"])
def test_reading_from_the_socket_of_a_transport_that_still_sends(same, how):
    """It is closing, so the descriptor may be watched by others; what it has to send goes out all the same."""
    async def main(lab):
        sock, peer = lab.pair("unix")
        protocol = lab.protocol()
        transport = await lab.attach(protocol, sock)
        total, read = lab.fill(transport, 300_000), []
        transport.close()
        if how == "add_reader":
            lab.loop.add_reader(sock, lambda: (read.append(sock.recv(10)), lab.loop.remove_reader(sock)))
        else:
            task = asyncio.ensure_future(lab.loop.sock_recv(sock, 10))
            task.add_done_callback(lambda task: read.append(task.result()))
        await lab.send(peer, b"late")
        received = await lab.receive_all(peer)
        await lab.seen("lost")
        return [len(received) == total, read]
    assert same(scenario(main))["result"] == [True, [b"late"]]


def test_a_selector_that_gives_lists(aio):
    """asyncio unpacks each pair of select()'s result, whatever it is."""
    class Lists(selectors.SelectSelector):
        def select(self, timeout=None):
            return [list(pair) for pair in super().select(timeout)]

    loop = (asyncio.SelectorEventLoop if aio is asyncio else aio.EventLoop)(Lists())
    here, there = socket.socketpair()
    here.setblocking(False)
    there.send(b"x")
    assert loop.run_until_complete(asyncio.wait_for(loop.sock_recv(here, 1), 5)) == b"x"
    here.setblocking(False)
    loop.call_later(0.01, there.send, b"y")
    assert loop.run_until_complete(asyncio.wait_for(loop.sock_recv(here, 1), 5)) == b"y"
    loop.close()
    here.close()
    there.close()


def test_the_first_error_of_a_connection_is_told(same):
    """The write is put off, and the reset read before it is tried: its error would be a broken pipe."""
    async def main(lab):
        protocol, peer = await lab.connect("tcp")
        await lab.ticks()
        reset(peer)
        time.sleep(0.01)
        await asyncio.sleep(0)
        protocol.transport.write(b"x")
        await lab.seen("lost")
    assert same(scenario(main))["log"][-1] == ["lost", ["ConnectionResetError", "[Errno 104] Connection reset by peer"]]


def test_write_eof_that_finds_the_peer_gone(same):
    """What was written before fails, and that ends the connection: there is no end of file to be sent, and later writes only count."""
    async def main(lab):
        protocol, peer = await lab.connect("unix", eof_received=lambda p: True)
        peer.close()
        await lab.seen("eof")
        protocol.transport.write(b"x")
        protocol.transport.write_eof()
        found = [protocol.transport._eof, outcome(protocol.transport.write, b"y"), outcome(protocol.transport.write_eof)]
        await lab.seen("lost")
        return found + [outcome(protocol.transport.write, b"z")]
    assert same(scenario(main))["result"] == [False] + [["returned", None]] * 3


def test_a_datagram_sent_in_connection_lost(same):
    """The socket is closed only after it."""
    class Last(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def connection_lost(self, exc):
            self.transport.sendto(b"goodbye", self.to)

    async def main(lab):
        peer = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        peer.bind(("127.0.0.1", 0))
        peer.setblocking(False)
        transport, protocol = await lab.loop.create_datagram_endpoint(Last, local_addr=("127.0.0.1", 0))
        protocol.to = peer.getsockname()
        transport.close()
        await lab.ticks()
        return peer.recv(100), outcome(transport.sendto, b"too late", protocol.to)[:2]
    assert same(scenario(main))["result"] == [b"goodbye", ["raised", "AttributeError"]]
