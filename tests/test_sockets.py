"""The sock_* coroutines."""
import array
import asyncio
import inspect
import os
import socket
import ssl
import sys

import pytest

from support import PY, free_port, fresh_loop, nonblocking_pair, outcome, spin


@pytest.fixture
def listener():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        s.setblocking(False)
        yield s


@pytest.fixture
def udp():
    pair = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for s in pair:
        s.bind(("127.0.0.1", 0))
        s.setblocking(False)
    yield pair
    for s in pair:
        s.close()


def test_recv(aio, loop, run, pair):
    a, b = pair
    b.send(b"hello")
    assert run(loop.sock_recv(a, 3)) == b"hel" and run(loop.sock_recv(a, 10)) == b"lo"
    t = loop.create_task(loop.sock_recv(a, 10))
    spin(loop, 2)
    assert not t.done()
    b.send(b"later")
    assert run(t) == b"later"
    b.close()
    assert run(loop.sock_recv(a, 10)) == b""


def test_recv_into(aio, loop, run, pair):
    a, b = pair
    buffer = bytearray(10)
    b.send(b"hello")
    assert run(loop.sock_recv_into(a, memoryview(buffer)[:3])) == 3 and buffer[:3] == b"hel"
    assert run(loop.sock_recv_into(a, buffer)) == 2 and buffer[:3] == b"lol"
    t = loop.create_task(loop.sock_recv_into(a, buffer))
    spin(loop, 2)
    b.send(b"0123456789abc")
    assert run(t) == 10 and buffer == b"0123456789"
    buffer.append(1)                              # no export is left


def test_sendall(aio, loop, run, pair):
    a, b = pair
    data = os.urandom(3_000_000)

    async def receive():
        got = bytearray()
        while len(got) < len(data):
            got += await loop.sock_recv(b, 1 << 16)
        return got

    async def main():
        t = aio.create_task(receive())
        assert await loop.sock_sendall(a, data) is None
        assert await t == data
        for kind in (bytearray(b"abc"), memoryview(b"abc"), b""):
            await loop.sock_sendall(a, kind)
        assert await loop.sock_recv(b, 100) == b"abcabc"
    run(main())


def test_sendall_of_wide_views(aio, loop, run, pair):
    """Items wider than a byte: asyncio counts them as bytes when it could send only a part, and waits for ever."""
    if aio is asyncio:
        return
    a, b = pair
    data = array.array("i", range(200_000))

    async def receive(n):
        got = bytearray()
        while len(got) < n:
            got += await loop.sock_recv(b, 1 << 16)
        return bytes(got)

    async def main():
        t = aio.create_task(receive(len(data) * data.itemsize))
        await loop.sock_sendall(a, data)
        return await t
    assert run(main()) == data.tobytes()


def test_accept_and_connect(aio, loop, run, listener):
    async def main():
        client = socket.socket()
        client.setblocking(False)
        t = aio.create_task(loop.sock_accept(listener))
        await aio.sleep(0)
        assert await loop.sock_connect(client, listener.getsockname()) is None
        conn, address = await t
        assert address == client.getsockname() and conn.gettimeout() == 0 and isinstance(conn, socket.socket)
        await loop.sock_sendall(client, b"x")
        assert await loop.sock_recv(conn, 1) == b"x"
        client.close()
        conn.close()
    run(main())


def test_accept_when_one_is_waiting(aio, loop, run, listener):
    with socket.create_connection(listener.getsockname()) as client:
        conn, address = run(loop.sock_accept(listener))
        assert address == client.getsockname()
        conn.close()


def test_connect_refused(aio, loop, run):
    with socket.socket() as s:
        s.setblocking(False)
        port = free_port()
        with pytest.raises(ConnectionRefusedError):
            run(loop.sock_connect(s, ("127.0.0.1", port)))
        spin(loop)
        assert loop.remove_writer(s) is False


def test_connect_resolves_names(aio, loop, run, listener):
    with socket.socket() as s:
        s.setblocking(False)
        run(loop.sock_connect(s, ("localhost", listener.getsockname()[1])))
    run(loop.shutdown_default_executor())


def test_connect_unix(aio, loop, run, tmp_path):
    path = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client, socket.socket(socket.AF_UNIX) as nobody:
        server.bind(path)
        server.listen()
        client.setblocking(False)
        run(loop.sock_connect(client, path))
        nobody.setblocking(False)
        with pytest.raises(FileNotFoundError):
            run(loop.sock_connect(nobody, path + "x"))


def test_datagrams(aio, loop, run, udp):
    a, b = udp
    buffer = bytearray(20)

    async def main():
        assert await loop.sock_sendto(a, b"one", b.getsockname()) == 3
        assert await loop.sock_recvfrom(b, 100) == (b"one", a.getsockname())
        t = aio.create_task(loop.sock_recvfrom(b, 100))
        await aio.sleep(0)
        await loop.sock_sendto(a, b"two", b.getsockname())
        assert await t == (b"two", a.getsockname())
        await loop.sock_sendto(a, b"three", b.getsockname())
        assert await loop.sock_recvfrom_into(b, buffer) == (5, a.getsockname()) and buffer[:5] == b"three"
        t = aio.create_task(loop.sock_recvfrom_into(b, buffer, 2))
        await aio.sleep(0)
        await loop.sock_sendto(a, b"four", b.getsockname())
        assert (await t)[0] == 2 and buffer[:2] == b"fo"
    run(main())


@pytest.mark.parametrize("what", ["recv", "recv_into", "recvfrom", "recvfrom_into", "accept", "sendall"])
def test_cancelling(aio, loop, run, pair, listener, udp, what):
    """The descriptor is free again afterwards, and nothing was consumed."""
    a, b = pair
    make = {"recv": lambda: loop.sock_recv(a, 1), "recv_into": lambda: loop.sock_recv_into(a, bytearray(1)),
            "recvfrom": lambda: loop.sock_recvfrom(udp[0], 1), "recvfrom_into": lambda: loop.sock_recvfrom_into(udp[0], bytearray(1)),
            "accept": lambda: loop.sock_accept(listener), "sendall": lambda: loop.sock_sendall(a, b"x" * 10_000_000)}[what]
    t = loop.create_task(make())
    spin(loop, 2)
    t.cancel()
    spin(loop, 3)
    assert t.cancelled()
    for s in (a, listener, udp[0]):
        assert loop.remove_reader(s) is False and loop.remove_writer(s) is False
    if what.startswith("recv") and "from" not in what:
        b.send(b"k")
        assert run(loop.sock_recv(a, 1)) == b"k"
    if what == "accept":
        with socket.create_connection(listener.getsockname()) as client:
            conn, _ = run(loop.sock_accept(listener))
            conn.close()


def test_cancelling_a_connect(aio, loop):
    s = socket.socket()
    s.setblocking(False)
    t = loop.create_task(loop.sock_connect(s, ("192.0.2.1", 9)))           # nobody answers there
    spin(loop, 3)
    if not t.done():
        t.cancel()
        spin(loop, 3)
        assert t.cancelled() and loop.remove_writer(s) is False
    else:
        assert isinstance(t.exception(), OSError)                          # no route in this place
    s.close()


def test_two_readers_of_one_socket(same):
    """The second replaces the first's watch, as in asyncio; nobody crashes, the first can be cancelled."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            a, b = nonblocking_pair()
            t, u = loop.create_task(loop.sock_recv(a, 1)), loop.create_task(loop.sock_recv(a, 1))
            spin(loop, 2)
            b.send(b"xy")
            spin(loop, 4)
            found = [t.done(), u.done()]
            t.cancel()
            spin(loop, 3)
            for x in (t, u):
                if not x.done():
                    x.cancel()
            spin(loop, 3)
            found += [t._state, u._state, outcome(u.result)]
            a.close()
            b.close()
            return found
    same(scenario)


def test_cancel_and_read_again_at_once(aio, loop, run, pair):
    """The removal of a cancelled wait must not take the new watch away."""
    a, b = pair

    async def main():
        t = aio.create_task(loop.sock_recv(a, 1))
        await aio.sleep(0)
        t.cancel()
        u = aio.create_task(loop.sock_recv(a, 1))
        await aio.sleep(0)
        await aio.sleep(0)
        b.send(b"z")
        assert await aio.wait_for(u, 5) == b"z"
        assert t.cancelled()
    run(main())


def coroutines(loop, sock, listener=None):
    return {"recv": lambda: loop.sock_recv(sock, 1), "recv_into": lambda: loop.sock_recv_into(sock, bytearray(1)),
            "recvfrom": lambda: loop.sock_recvfrom(sock, 1), "recvfrom_into": lambda: loop.sock_recvfrom_into(sock, bytearray(1)),
            "sendall": lambda: loop.sock_sendall(sock, b"x"), "sendto": lambda: loop.sock_sendto(sock, b"x", ("127.0.0.1", 9)),
            "accept": lambda: loop.sock_accept(sock), "connect": lambda: loop.sock_connect(sock, ("127.0.0.1", 9))}


def test_blocking_sockets_in_debug(same):
    def scenario(aio):
        with fresh_loop(aio, debug=True) as loop:
            found = []
            for name in coroutines(loop, None):
                s = socket.socket()
                found.append([name, outcome(loop.run_until_complete, coroutines(loop, s)[name]())])
                s.close()
            return found
    for name, error in same(scenario):
        assert error == ["raised", "ValueError", "the socket must be non-blocking"]


def test_ssl_sockets(same):
    def scenario(aio):
        context = ssl.create_default_context()
        with fresh_loop(aio) as loop, socket.socket() as raw:
            s = context.wrap_socket(raw, server_hostname="x", do_handshake_on_connect=False)
            found = [[name, outcome(loop.run_until_complete, make())] for name, make in coroutines(loop, s).items()]
            s.close()
            return found
    for name, error in same(scenario):
        assert error == ["raised", "TypeError", "Socket cannot be of type SSLSocket"]


def test_they_start_at_the_first_send(aio, loop, run, pair):
    """Making the coroutine reads nothing; an unused one warns."""
    a, b = pair
    b.send(b"xy")
    c = loop.sock_recv(a, 1)
    assert a.recv(1) == b"x"
    assert run(c) == b"y"
    assert asyncio.iscoroutinefunction(loop.sock_recv) if PY < (3, 14) else inspect.iscoroutinefunction(loop.sock_recv)
    c = loop.sock_recv(a, 1)
    with pytest.warns(RuntimeWarning, match="was never awaited"):
        del c


def test_wrong_arguments(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            a, b = nonblocking_pair()
            r = loop.run_until_complete
            found = [outcome(r, loop.sock_recv(a, -1)), outcome(r, loop.sock_recv(a, "x")), outcome(r, loop.sock_recv_into(a, b"read only")),
                     outcome(r, loop.sock_recv_into(a, 5)), outcome(r, loop.sock_sendall(a, "text")), outcome(r, loop.sock_sendall(a, None)),
                     outcome(r, loop.sock_recv(5, 1)), outcome(r, loop.sock_recv(None, 1)), outcome(r, loop.sock_accept(a)),
                     outcome(r, loop.sock_connect(a, ("h",))), outcome(r, loop.sock_connect(a, 5)), outcome(loop.sock_recv, text=False)]
            a.close()
            found += [outcome(r, loop.sock_recv(a, 1)), outcome(r, loop.sock_sendall(a, b"x")), outcome(r, loop.sock_accept(a))]
            b.close()
            return found
    same(scenario)


@pytest.mark.skipif(sys.platform != "linux", reason="SO_PEEK_OFF")
def test_sock_recvfrom_leaves_the_offset_of_peeks(aio, run, loop, pair):
    so_peek_off = 42
    a, b = pair
    a.setsockopt(socket.SOL_SOCKET, so_peek_off, 0)
    b.send(b"0123456789")
    assert a.recv(4, socket.MSG_PEEK) == b"0123"
    assert run(loop.sock_recvfrom(a, 2))[0] == b"01"
    assert a.recv(2, socket.MSG_PEEK) == b"45"


async def awaited(coroutine):
    return await coroutine


def test_what_fails_at_once_where_somebody_awaits_it(same):
    """However the coroutine is run on: by the task itself, from another coroutine, by its methods."""
    def scenario(aio):
        with fresh_loop(aio) as loop, socket.socket() as idle, socket.socket() as closed, socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            closed.close()
            for s in (idle, listening):
                s.setblocking(False)
            found = []
            for s in (idle, closed, listening):
                for name, make in coroutines(loop, s).items():
                    if s is not closed and name in ("recvfrom_into", "connect", "sendto"):
                        continue
                    found += [[name, outcome(way)] for way in (
                        lambda: loop.run_until_complete(make()), lambda: loop.run_until_complete(awaited(make())),
                        lambda: loop.run_until_complete(asyncio.wait_for(make(), 10)), lambda: make().send(None),
                        lambda: next(make().__await__()))]
            return found
    same(scenario)


class Odd:
    """Whatever it was given, and no more, of what a socket has."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)

    def setblocking(self, flag):
        pass

    def __repr__(self):
        return "<Odd>"


def _raising(exc):
    def method(*args):
        raise exc
    return dict.fromkeys(("send", "recv", "accept", "connect", "sendto", "recvfrom", "recv_into"), method)


ODD_SOCKETS = {
    "None": None, "number": 1, "text": "x", "nothing": Odd(family=socket.AF_UNIX),
    "blocks": Odd(family=socket.AF_UNIX, **_raising(BlockingIOError())),
    "blocks, -1": Odd(family=socket.AF_UNIX, fileno=lambda: -1, **_raising(BlockingIOError())),
    "interrupted, text": Odd(family=socket.AF_UNIX, fileno=lambda: "x", **_raising(InterruptedError())),
    "raises": Odd(family=socket.AF_UNIX, **_raising(ValueError("no"))),
    "raises, -1": Odd(family=socket.AF_UNIX, fileno=lambda: -1, **_raising(ValueError("no"))),
    "StopIteration": Odd(family=socket.AF_UNIX, fileno=lambda: -1, **_raising(StopIteration(5))),
    "length": Odd(fileno=lambda: -1, family=socket.AF_UNIX, send=len, recv=len, accept=lambda: [Odd(), 3], connect=lambda address: 9),
    "float": Odd(fileno=lambda: -1, family=socket.AF_UNIX, send=lambda data: float(len(data)), accept=lambda: iter([Odd(), 3])),
    "accepts 5": Odd(fileno=lambda: -1, accept=lambda: 5), "accepts one": Odd(fileno=lambda: -1, accept=lambda: (Odd(),)),
    "accepts numbers": Odd(fileno=lambda: -1, accept=lambda: (1, 2)),
}


@pytest.mark.parametrize("debug", [False, True])
def test_objects_that_are_no_sockets(same, debug):
    def scenario(aio):
        with fresh_loop(aio, debug=debug) as loop:
            found = []
            for name, sock in ODD_SOCKETS.items():
                calls = [("accept", loop.sock_accept(sock)), ("recv", loop.sock_recv(sock, 5)), ("connect", loop.sock_connect(sock, 7))]
                calls += [(f"sendall {data!r}", loop.sock_sendall(sock, data)) for data in (b"ab", b"", bytearray(3), [1, 2], 5, None)]
                found += [[name, what, outcome(loop.run_until_complete, call)] for what, call in calls]
            return found
    same(scenario)


def test_peer_reset(aio, loop, run, listener):
    async def main():
        client = socket.socket()
        client.setblocking(False)
        await loop.sock_connect(client, listener.getsockname())
        conn, _ = await loop.sock_accept(listener)
        t = aio.create_task(loop.sock_recv(conn, 1))
        await aio.sleep(0)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        with pytest.raises(ConnectionResetError):
            await t
        with pytest.raises(OSError):
            for _ in range(3):
                await loop.sock_sendall(conn, b"x")
        conn.close()
    run(main())


@pytest.mark.parametrize("size", [0, 10, 1_000_000])
def test_sendfile(aio, loop, run, listener, size, tmp_path):
    path = tmp_path / "f"
    data = os.urandom(size)
    path.write_bytes(data)

    async def main():
        client = socket.socket()
        client.setblocking(False)
        await loop.sock_connect(client, listener.getsockname())
        conn, _ = await loop.sock_accept(listener)

        async def receive():
            got = b""
            while chunk := await loop.sock_recv(conn, 1 << 16):
                got += chunk
            return got
        t = aio.create_task(receive())
        with open(path, "rb") as f:
            assert await loop.sock_sendfile(client, f) == size
            assert f.tell() == size
            assert await loop.sock_sendfile(client, f, 0, min(size, 5) or None, fallback=True) == min(size, 5)
        client.close()
        assert await t == data + data[:5]
        conn.close()
    run(main())


def test_sendfile_errors(same, tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x" * 100)

    def scenario(aio):
        with fresh_loop(aio) as loop, open(path, "rb") as f, open(path) as text, socket.socket() as fresh:
            a, b = nonblocking_pair()
            dgram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            r = loop.run_until_complete
            found = [outcome(r, loop.sock_sendfile(a, f, "x")), outcome(r, loop.sock_sendfile(a, f, -1)), outcome(r, loop.sock_sendfile(a, f, 0, -1)),
                     outcome(r, loop.sock_sendfile(a, f, 0, 0)), outcome(r, loop.sock_sendfile(a, text)),
                     outcome(r, loop.sock_sendfile(dgram, f)), outcome(r, loop.sock_sendfile(a, 5))]
            a.close()
            b.close()
            dgram.close()
            return found
    same(scenario)


def test_an_error_that_waits_in_the_socket(same, listener):
    """The kernel gives it out once, whoever asks first."""
    def scenario(aio):
        found = []
        with fresh_loop(aio) as loop, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as refused, socket.socket() as unconnected:
            refused.setblocking(False)
            unconnected.setblocking(False)
            refused.connect(("127.0.0.1", free_port()))
            for begin in (loop.sock_recv, loop.sock_recvfrom):
                refused.send(b"nobody is there")
                found.append(outcome(loop.run_until_complete, begin(refused, 100)))
            refused.send(b"nobody is there")
            found.append(outcome(loop.run_until_complete, loop.sock_recv_into(refused, bytearray(10))))
            for sock in (listener, unconnected):
                found.append(outcome(loop.run_until_complete, loop.sock_recv(sock, 100)))
        return found
    assert [entry[1] for entry in same(scenario)] == 3 * ["ConnectionRefusedError"] + 2 * ["OSError"]


def test_nothing_wanted(same, pair):
    """No bytes are there at once."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            return [outcome(loop.run_until_complete, asyncio.wait_for(begin, 0.05)) for begin in (
                loop.sock_recv(pair[0], 0), loop.sock_recv_into(pair[0], bytearray()), loop.sock_recv(pair[0], -1))]
    same(scenario)


def test_a_patched_socket_class_is_asked_first(aio, loop, run, pair, monkeypatch):
    monkeypatch.setattr(socket.socket, "recv", lambda self, n: b"patched")
    assert run(loop.sock_recv(pair[0], 10)) == b"patched"


def test_what_cannot_be_received_into_is_refused_at_once(same, pair):
    def scenario(aio):
        released = memoryview(bytearray(10))
        released.release()
        with fresh_loop(aio) as loop:
            return [outcome(loop.run_until_complete, asyncio.wait_for(begin, 5)) for begin in (
                loop.sock_recv(pair[0], sys.maxsize), loop.sock_recv_into(pair[0], released))]
    assert all(entry[0] == "raised" and entry[1] != "TimeoutError" for entry in same(scenario))
