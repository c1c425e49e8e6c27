"""Addresses of the sock_*() coroutines, and the sockets that sock_accept() makes: what the methods of the socket would have said and done."""
import asyncio
import contextlib
import os
import socket
import sys
import tempfile

import pytest

from support import fresh_loop, nonblocking_pair, outcome, spin

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Unix sockets")


@pytest.fixture(autouse=True, params=["best", "poll"])
def poller(request, monkeypatch):
    if request.param == "poll":
        monkeypatch.setenv("PYASYNC_POLLER", "poll")


def has_ipv6():
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET6) as sock:
        sock.bind(("::1", 0))
        return True
    return False


def bound(family, address):
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.setblocking(False)
    if address is not None:
        sock.bind(address)
    return sock


FAMILIES = {
    "inet": (socket.AF_INET, ("127.0.0.1", 0)),
    "inet6": pytest.param(socket.AF_INET6, ("::1", 0), marks=pytest.mark.skipif(not has_ipv6(), reason="no IPv6")),
    "unix": (socket.AF_UNIX, "{}"),
    "abstract": pytest.param(socket.AF_UNIX, b"\0pyasync {}", marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux")),
}


@pytest.mark.parametrize("waits", [False, True], ids=["at once", "later"])
@pytest.mark.parametrize("family,address", FAMILIES.values(), ids=FAMILIES)
def test_datagrams_and_where_they_come_from(aio, loop, tmp_path, family, address, waits):
    def own(name):
        if isinstance(address, bytes):
            return address.replace(b"{}", f"{os.getpid()} {name}".encode())
        return str(tmp_path / name) if isinstance(address, str) else address

    async def receive(coroutine, data, to):
        task = asyncio.ensure_future(coroutine)
        if waits:
            await asyncio.sleep(0)
        assert await loop.sock_sendto(a, data, to) == len(data)
        return await task

    async def main():
        here, there = a.getsockname(), b.getsockname()
        for _ in range(3):
            got = await receive(loop.sock_recvfrom(b, 100), b"one", there)
            assert got == (b"one", here) and type(got) is tuple and type(got[1]) is type(here)
            assert await receive(loop.sock_recvfrom(b, 1 << 20), memoryview(b"two"), there) == (b"two", here)
            assert await receive(loop.sock_recvfrom(b, 2), bytearray(b"cut"), there) == (b"cu", here)
            assert await receive(loop.sock_recvfrom_into(b, buffer), b"", there) == (0, here)
            assert await receive(loop.sock_recvfrom_into(b, buffer, 3), b"three", there) == (3, here) and buffer[:4] == b"thr\0"
            assert await receive(loop.sock_recvfrom_into(b, memoryview(buffer)[4:]), b"four", there) == (4, here)
            assert buffer == b"thr\0four\0\0" and len(buffer) == 10
            buffer[:] = bytes(10)
    buffer = bytearray(10)
    with bound(family, own("a")) as a, bound(family, own("b")) as b:
        loop.run_until_complete(asyncio.wait_for(main(), 30))


def test_addresses_of_all_kinds(same, tmp_path):
    """What sendto() takes, and what it says of what it does not."""
    def scenario(aio):
        found = []
        with fresh_loop(aio) as loop, bound(socket.AF_INET, ("127.0.0.1", 0)) as a, bound(socket.AF_INET, ("127.0.0.1", 0)) as b:
            port = b.getsockname()[1]
            for address in (("127.0.0.1", port), ("localhost", port), ("", port), ["127.0.0.1", port], ("127.0.0.1", port, 0), ("127.0.0.1",), None,
                            "127.0.0.1", ("127.0.0.1", "80"), ("127.0.0.1", 70000), ("127.0.0.1", -1), (b"127.0.0.1", port), ("::1", port)):
                sent = outcome(loop.run_until_complete, loop.sock_sendto(a, b"x", address))
                found += [sent, outcome(b.recv, 10)]
                if sent[0] == "raised" and sent[1] == "gaierror":
                    del found[-2:]                              # the resolver's text
            for data in ("text", None, 5, b"x" * 70000):
                found.append(outcome(loop.run_until_complete, loop.sock_sendto(a, data, ("127.0.0.1", port))))
            for args in ((0,), (-1,), ("1",), (1.0,), (True,)):
                b.setblocking(False)
                a.sendto(b"data", b.getsockname())
                got = outcome(loop.run_until_complete, loop.sock_recvfrom(b, *args))
                found.append(got if got[0] == "raised" else got[1][0] if isinstance(got[1], tuple | list) else got)
                outcome(b.recv, 10)
            for args in ((bytearray(2), 3), (bytearray(2), -1), (bytearray(), 0), (b"read-only", 2), ("text", 1), (bytearray(2), "1")):
                a.sendto(b"data", b.getsockname())
                got = outcome(loop.run_until_complete, loop.sock_recvfrom_into(b, *args))
                found.append(got if got[0] == "raised" else "received")
                outcome(b.recv, 10)
        return found
    same(scenario)


def test_senders_without_a_name(same, tmp_path):
    def scenario(aio):
        found = []
        path = tempfile.mktemp(dir=tmp_path)
        with fresh_loop(aio) as loop, bound(socket.AF_UNIX, None) as a, bound(socket.AF_UNIX, path) as b:
            a.sendto(b"x", path)
            found.append(loop.run_until_complete(loop.sock_recvfrom(b, 10)))
            a.sendto(b"x", path)
            found.append(loop.run_until_complete(loop.sock_recvfrom_into(b, bytearray(5))))
            c, d = nonblocking_pair()
            with c, d:
                d.send(b"stream")
                found.append(loop.run_until_complete(loop.sock_recvfrom(c, 10)))
                found.append(outcome(loop.run_until_complete, loop.sock_sendto(c, b"x", path)))
                d.close()
                found.append(loop.run_until_complete(loop.sock_recvfrom(c, 10)))
        return found
    same(scenario)


def test_errors_that_the_socket_keeps(same):
    def scenario(aio):
        with fresh_loop(aio) as loop, bound(socket.AF_INET, ("127.0.0.1", 0)) as a, bound(socket.AF_INET, ("127.0.0.1", 0)) as b:
            a.connect(b.getsockname())
            b.close()
            a.send(b"x")
            found = [outcome(loop.run_until_complete, loop.sock_recvfrom(a, 10))]
            a.send(b"x")
            found.append(outcome(loop.run_until_complete, loop.sock_recvfrom_into(a, bytearray(5))))
            a.close()
            return [*found, *(outcome(loop.run_until_complete, coroutine) for coroutine in (
                loop.sock_recvfrom(a, 10), loop.sock_recvfrom_into(a, bytearray(5)), loop.sock_sendto(a, b"x", ("127.0.0.1", 9))))]
    same(scenario)


@pytest.mark.parametrize("family", ["inet", "unix"])
@pytest.mark.parametrize("default", [None, 7.5])
def test_what_is_accepted(same, tmp_path, family, default):
    def scenario(aio):
        path = tempfile.mktemp(dir=tmp_path)
        found = []
        with fresh_loop(aio) as loop, contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.socket(socket.AF_INET if family == "inet" else socket.AF_UNIX))
            listener.bind(("127.0.0.1", 0) if family == "inet" else path)
            listener.listen()
            listener.setblocking(False)
            socket.setdefaulttimeout(default)
            stack.callback(socket.setdefaulttimeout, None)
            for waits in (False, True, True):
                client = stack.enter_context(socket.socket(listener.family))
                task = None
                if waits:
                    task = loop.create_task(loop.sock_accept(listener))
                    spin(loop, 2)
                client.connect(listener.getsockname())
                connection, address = loop.run_until_complete(asyncio.wait_for(task or loop.sock_accept(listener), 10))
                stack.enter_context(connection)
                found.append([type(connection).__name__, connection.family, connection.type, connection.proto, connection.gettimeout(),
                              os.get_inheritable(connection.fileno()), address == client.getsockname(), type(address).__name__])
            task = loop.create_task(loop.sock_accept(listener))
            spin(loop, 2)
            listener.shutdown(socket.SHUT_RDWR) if sys.platform == "linux" else listener.close()
            found.append(outcome(loop.run_until_complete, asyncio.wait_for(task, 1)))
            client.setblocking(False)
            found.append(outcome(loop.run_until_complete, loop.sock_accept(client)))
        return found
    if os.environ.get("PYASYNC_POLLER") == "poll" and sys.platform != "linux":
        pytest.skip("poll() knows the number only")
    same(scenario)


@pytest.mark.parametrize("name", ["accept", "_accept"])
def test_an_accept_that_was_replaced(same, monkeypatch, name):
    """By a program's own, and by one that asks socket.py's: both are called, at the first attempt as well."""
    def scenario(aio):
        calls = []
        original = getattr(socket.socket, name)

        def accept(self):
            calls.append("accept")
            return original(self)
        with fresh_loop(aio) as loop, monkeypatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            patch.setattr(socket.socket, name, accept)
            task = loop.create_task(loop.sock_accept(listener))
            spin(loop, 2)
            with socket.create_connection(listener.getsockname()):
                connection, _ = loop.run_until_complete(asyncio.wait_for(task, 10))
                connection.close()
        return calls
    assert same(scenario) == ["accept", "accept"]


def test_a_socket_class_that_was_replaced_makes_what_is_accepted(same, monkeypatch):
    """socket.py's accept() makes a `socket`, whatever that is by then."""
    def scenario(aio):
        class Mine(socket.socket):
            pass
        with fresh_loop(aio) as loop, monkeypatch.context() as patch, socket.create_server(("127.0.0.1", 0)) as listener:
            listener.setblocking(False)
            with socket.create_connection(listener.getsockname()):
                patch.setattr(socket, "socket", Mine)
                connection, _ = loop.run_until_complete(asyncio.wait_for(loop.sock_accept(listener), 10))
                connection.close()
                return type(connection).__name__
    assert same(scenario) == "Mine"


AUDITED = """
import socket, sys, importlib
aio = importlib.import_module(sys.argv[1])
events, stop = [], False
def hook(name, args):
    if name.startswith("socket.") and not stop:
        events.append((name, [type(arg).__name__ if isinstance(arg, socket.socket) else repr(arg) for arg in args]))
        if closes and name == "socket.sendto":
            closes.pop().close()
closes = []
async def main():
    global stop
    loop = aio.get_running_loop()
    stop = True
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    client = socket.create_connection(listener.getsockname())
    a, b = [socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) for _ in "ab"]
    a.setblocking(False); b.setblocking(False)
    b.bind("\\0pyasync audited")
    stop = False
    connection, _ = await loop.sock_accept(listener)
    await loop.sock_sendto(a, b"x", b.getsockname())
    await loop.sock_recvfrom(b, 10)
    closes.append(a)
    try:
        await loop.sock_sendto(a, b"x", b.getsockname())
    except OSError as exc:
        events.append(exc.errno)
    stop = True
    connection.close(); client.close(); listener.close(); b.close()
sys.addaudithook(hook)
stop = True
aio.run(main())
print([e if isinstance(e, int) else (e[0], ["fd" if arg.isdigit() and len(arg) < 3 and int(arg) > 2 else arg for arg in e[1]]) for e in events])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="an abstract name")
def test_audit_events(script_outputs):
    """accept() and sendto() tell auditors, who may do anything, as closing the socket."""
    expected, got = script_outputs(AUDITED)
    assert got == expected and len(got) == 4


@pytest.fixture
def script_outputs():
    import ast
    import subprocess

    import pyasync

    def run(text):
        root = os.path.dirname(os.path.dirname(pyasync.__file__))
        found = []
        for module in ("asyncio", "pyasync"):
            got = subprocess.run([sys.executable, "-c", text, module], capture_output=True, text=True, timeout=60,
                                 env=os.environ | {"PYTHONPATH": root})
            assert got.returncode == 0, got.stderr
            found.append(ast.literal_eval(got.stdout))
        return found
    return run
