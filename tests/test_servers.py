"""Servers and connecting: asyncio's Server API by version, several hosts, errors of accepting and of connecting."""
import asyncio
import contextlib
import errno
import gc
import inspect
import os
import resource
import socket
import sys
import warnings

import pytest

from lab import KINDS, Lab, clean, quiet, scenario
from support import PY, free_port, no_descriptors, outcome

kinds = pytest.mark.parametrize("kind", KINDS)


async def serve(lab, kind, tmp=None, factory=None, **kwargs):
    factory = factory or (lambda: lab.protocol("server"))
    if kind == "tcp":
        server = await lab.loop.create_server(factory, "127.0.0.1", 0, **kwargs)
        return server, server.sockets[0].getsockname() if server.sockets else None
    path = os.path.join(tmp, f"{lab.aio.__name__}.sock")
    server = await lab.loop.create_unix_server(factory, path, **kwargs)
    return server, path


async def client(lab, address):
    sock = lab.keep(socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET))
    sock.setblocking(False)
    await lab.loop.sock_connect(sock, address)
    return sock


@pytest.fixture
def tmp(tmp_path):
    return str(tmp_path)


@kinds
def test_an_echo_server(same, tmp, kind):
    async def main(lab):
        server, address = await serve(lab, kind, tmp, lambda: lab.protocol(data_received=lambda p, data: p.transport.write(data)))
        got = []
        for i in range(3):
            sock = await client(lab, address)
            await lab.send(sock, b"hello %d" % i)
            got.append(await lab.receive(sock, 7))
            sock.close()
            await lab.seen("lost", i + 1)
        server.close()
        await server.wait_closed()
        return got
    got = same(scenario(main))
    assert got["result"] == [b"hello 0", b"hello 1", b"hello 2"] and quiet(got)
    assert got["log"] == [e for i in range(3) for e in (["made"], ["data", b"hello %d" % i], ["eof"], ["lost", None])]


def test_many_clients_at_once(aio):
    with Lab(aio) as lab:
        async def main():
            server, address = await serve(lab, "tcp", factory=lambda: lab.protocol(data_received=lambda p, d: p.transport.write(d[::-1])),
                                          backlog=50)

            async def one(i):
                sock = await client(lab, address)
                await lab.send(sock, b"%04d" % i)
                assert await lab.receive(sock, 4) == (b"%04d" % i)[::-1]
                sock.close()
            await asyncio.gather(*(one(i) for i in range(150)))
            await lab.seen("lost", 150)
            server.close()
            await server.wait_closed()
        lab.run(main())
        assert lab.reports() == []


@kinds
def test_extra_info_of_an_accepted_connection(same, tmp, kind):
    async def main(lab):
        made = []
        server, address = await serve(lab, kind, tmp, lambda: lab.protocol(connection_made=lambda p: made.append(p.transport)))
        sock = await client(lab, address)
        await lab.until(lambda: made)
        t = made[0]
        raw = t.get_extra_info("socket")
        found = [sorted(t._extra), t.get_extra_info("sockname") == address, t.get_extra_info("peername") == sock.getsockname(),
                 raw.family, raw.type, raw.proto, raw.gettimeout(), type(raw).__name__, os.get_inheritable(raw.fileno())]
        if kind == "tcp":
            found.append(raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)
        sock.close()
        server.close()
        await lab.seen("lost")
        return found
    got = same(scenario(main))
    assert got["result"][1:3] == [True, True]


@kinds
def test_starting_later(same, tmp, kind):
    async def main(lab):
        server, address = await serve(lab, kind, tmp, start_serving=False)
        states = [server.is_serving(), server.get_loop() is lab.loop, len(server.sockets), type(server.sockets).__name__]
        await server.start_serving()
        await server.start_serving()
        states.append(server.is_serving())
        sock = await client(lab, address)
        await lab.seen("made")
        sock.close()
        await lab.seen("lost")
        server.close()
        server.close()
        states += [server.is_serving(), server.sockets]
        await server.wait_closed()
        try:
            await server.serve_forever()
        except RuntimeError as e:
            states.append(str(e).partition("<")[0] + str(e).rpartition(">")[2])
        return states
    got = same(scenario(main))
    assert got["result"][0] is False and got["result"][-1] == "server  is closed"


@kinds
def test_serve_forever_is_cancelled(same, tmp, kind):
    async def main(lab):
        server, address = await serve(lab, kind, tmp, start_serving=False)
        task = asyncio.ensure_future(server.serve_forever())
        await lab.ticks()
        states = [server.is_serving()]
        try:
            await server.serve_forever()
        except RuntimeError as e:
            states.append(str(e).rpartition(">")[2])
        sock = await client(lab, address)
        await lab.seen("made")
        sock.close()
        await lab.seen("lost")
        task.cancel()
        await asyncio.wait([task])
        return states + [task.cancelled(), server.is_serving(), server.sockets]
    assert same(scenario(main))["result"] == [True, " is already being awaited on serve_forever()", True, False, []]


@kinds
def test_async_with(same, tmp, kind):
    async def main(lab):
        server, address = await serve(lab, kind, tmp)
        async with server as s:
            states = [s is server, s.is_serving()]
        return states + [server.is_serving(), server.sockets, outcome(server.get_loop)[0]]
    assert same(scenario(main))["result"] == [True, True, False, [], "returned"]


@kinds
def test_wait_closed_waits_for_connections(same, tmp, kind):
    async def main(lab):
        server, address = await serve(lab, kind, tmp)
        waiting = asyncio.ensure_future(server.wait_closed())
        sock = await client(lab, address)
        await lab.seen("made")
        await lab.ticks()
        states = [waiting.done()]
        server.close()
        await lab.ticks()
        states.append(waiting.done())
        lab.log.append("close the client")
        sock.close()
        await lab.seen("lost")
        await lab.ticks()
        states.append(waiting.done())
        await asyncio.wait_for(waiting, 5)
        await server.wait_closed()
        return states
    got = same(scenario(main))
    if PY >= (3, 12, 1):
        assert got["result"] == [False, False, True]


@pytest.mark.skipif(PY < (3, 13), reason="new in 3.13")
@pytest.mark.parametrize("method", ["close_clients", "abort_clients"])
def test_closing_the_clients(same, method):
    async def main(lab):
        server, address = await serve(lab, "tcp")
        socks = [await client(lab, address) for _ in range(3)]
        await lab.seen("made", 3)
        server.close()
        getattr(server, method)()
        await asyncio.wait_for(server.wait_closed(), 5)
        return [await lab.receive_all(sock) for sock in socks], server._clients == set() or len(server._clients)
    got = same(scenario(main))
    assert got["log"] == [["server", "made"]] * 3 + [["server", "lost", None]] * 3


@kinds
def test_repr(same, tmp, kind):
    async def main(lab):
        server, address = await serve(lab, kind, tmp)
        found = [repr(server).partition("laddr")[0]]
        server.close()
        return found + [repr(server)]
    assert same(scenario(main))["result"][1].startswith("<Server sockets=")


# asyncio leaves the connection whose protocol failed to the garbage collector
forgets = pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")


@forgets
@kinds
def test_a_factory_that_raises(same, tmp, kind):
    async def main(lab, what):
        count = []

        def factory():
            count.append(1)
            if len(count) == 1:
                raise what("no protocol")
            return lab.protocol("server")
        server, address = await serve(lab, kind, tmp, factory)
        first = await client(lab, address)
        got = await lab.receive_all(first)
        second = await client(lab, address)
        await lab.seen("made")
        second.close()
        await lab.seen("lost")
        server.close()
        await asyncio.wait_for(server.wait_closed(), 5)
        return got
    for what in (ValueError, OSError, asyncio.CancelledError):
        got = same(scenario(main), what)
        assert got["result"] == b"" and got["reports"] == []


@forgets
def test_a_factory_that_raises_in_debug_mode(same):
    async def main(lab):
        def factory():
            raise ValueError("no protocol")
        server, address = await serve(lab, "tcp", None, factory)
        sock = await client(lab, address)
        await lab.until(lambda: lab.errors.contexts)
        sock.close()
        server.close()
        lab.records.records.clear()
    got = same(scenario(main, debug=True))
    gc.collect()
    assert [r["message"] for r in got["reports"]] == ["Error on transport creation for incoming connection"]


def test_connection_made_that_raises_on_the_server(same):
    async def main(lab):
        def fail(p):
            raise ValueError("made")
        server, address = await serve(lab, "tcp", None, lambda: lab.protocol(connection_made=fail))
        sock = await client(lab, address)
        await lab.send(sock, b"still served")
        await lab.seen("data")
        sock.close()
        await lab.seen("lost")
        server.close()
    got = same(scenario(main))
    assert len(got["reports"]) == 1 and got["log"][1] == ["data", b"still served"]


def test_closing_the_server_inside_callbacks(same):
    async def main(lab, where):
        servers = []

        def close(*args):
            servers[0].close()
            return lab.protocol()
        if where == "factory":
            factory = close
        else:
            def factory():
                return lab.protocol(**{where: close})
        server, address = await serve(lab, "tcp", None, factory)
        servers.append(server)
        sock = await client(lab, address)
        await lab.send(sock, b"x")
        await asyncio.sleep(0.02)
        sock.close()
        await asyncio.wait_for(server.wait_closed(), 5)
        await lab.ticks()
    for where in ("connection_made", "data_received", "connection_lost"):
        same(scenario(main), where)


def test_several_hosts(same):
    async def main(lab):
        port = free_port()
        server = await lab.loop.create_server(lambda: lab.protocol("server"), ["127.0.0.1", "::1"], port)
        found = [sorted(str(s.family) for s in server.sockets)]
        for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            t, p = await lab.loop.create_connection(lambda: lab.protocol("client"), host, port, family=family)
            await lab.until(lambda: lab.log.count(["server", "made"]) == lab.log.count(["client", "made"]))
            t.close()
            await lab.until(lambda: sum(e[1] == "lost" for e in lab.log) % 2 == 0 and any(e[1] == "lost" for e in lab.log))
        server.close()
        await server.wait_closed()
        return found
    same(scenario(main))


def test_arguments_of_create_server(same, tmp):
    async def main(lab):
        found = []

        async def attempt(coroutine):
            try:
                server = await coroutine
                server.close()
                await server.wait_closed()
                found.append("served")
            except Exception as e:
                found.append([type(e).__name__, str(e)])
        create, unix = lab.loop.create_server, lab.loop.create_unix_server
        with socket.socket() as bound, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
            bound.bind(("127.0.0.1", 0))
            port = bound.getsockname()[1]
            await attempt(create(asyncio.Protocol))
            await attempt(create(asyncio.Protocol, "127.0.0.1", 0, ssl=True))
            await attempt(create(asyncio.Protocol, "127.0.0.1", 0, sock=bound))
            await attempt(create(asyncio.Protocol, sock=datagram))
            await attempt(create(asyncio.Protocol, "127.0.0.1", 0, ssl_handshake_timeout=1))
            await attempt(create(asyncio.Protocol, "127.0.0.1", 0, reuse_port=True))
            await attempt(create(asyncio.Protocol, "127.0.0.1", 0, reuse_address=False, backlog=1))
            bound.listen()
            try:
                await create(asyncio.Protocol, "127.0.0.1", port)
            except OSError as e:
                found.append([e.errno == errno.EADDRINUSE, str(e).replace(str(port), "PORT")])
        await attempt(unix(asyncio.Protocol))
        await attempt(unix(asyncio.Protocol, "/nowhere/at/all.sock"))
        regular = os.path.join(tmp, "regular")
        open(regular, "w").close()
        await attempt(unix(asyncio.Protocol, regular))
        await attempt(unix(asyncio.Protocol, os.path.join(tmp, "new"), ssl=True))
        with socket.socket(socket.AF_UNIX) as unbound, socket.socket(socket.AF_INET) as inet:
            await attempt(unix(asyncio.Protocol, "both", sock=unbound))
            await attempt(unix(asyncio.Protocol, sock=inet))
        return found
    got = same(scenario(main))
    assert got["result"][0] == ["ValueError", "Neither host/port nor sock were specified"]


def test_unix_paths(same, tmp):
    async def main(lab):
        path = os.path.join(tmp, lab.aio.__name__ + ".sock")
        found = []
        for kind in (path, os.fsencode(path), "\0pyasync-" + os.path.basename(tmp)):
            server = await lab.loop.create_unix_server(lambda: lab.protocol("server"), kind)
            t, p = await lab.loop.create_unix_connection(lambda: lab.protocol("client"), kind)
            await lab.seen("made", 2)
            t.close()
            server.close()
            await lab.until(lambda: sum("lost" in e for e in lab.log) == 2)
            found.append([sorted(map(str, lab.log)), os.path.exists(path)])
            lab.log.clear()
        # A stale socket is replaced, a live file of another kind is not.
        server = await lab.loop.create_unix_server(asyncio.Protocol, path)
        server.close()
        return found
    same(scenario(main))


def test_a_server_without_descriptors_waits_and_goes_on(same):
    """EMFILE at accept(): reported once, tried again after a second, nobody lost."""
    async def main(lab):
        server, address = await serve(lab, "tcp")
        sock = lab.keep(socket.socket())
        sock.setblocking(False)
        with no_descriptors():
            await lab.loop.sock_connect(sock, address)
            await lab.until(lambda: lab.errors.contexts)
            states = [server.is_serving(), len(lab.log)]
        await lab.seen("made")
        sock.close()
        await lab.seen("lost")
        del lab.errors.contexts[1:]  # asyncio says it backlog times over
        lab.errors.contexts[0]["socket"] = type(lab.errors.contexts[0]["socket"]).__name__
        server.close()
        return states
    got = same(scenario(main))
    assert got["reports"][0] == {"message": "socket.accept() out of system resource", "socket": "TransportSocket",
                                 "exception": ["OSError", "[Errno 24] Too many open files"]}


@pytest.mark.parametrize("meanwhile", ["nothing", "closed", "bare"])
def test_how_a_server_without_descriptors_comes_back(aio, errors, loop, meanwhile, monkeypatch):
    """By loop.call_later(1, loop._start_serving, ...): what asyncio's own tests and patched loops look for."""
    later = []

    async def main():
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        address, server = listening.getsockname(), None
        if meanwhile == "bare":
            loop._start_serving(asyncio.Protocol, listening)
        else:
            server = await loop.create_server(asyncio.Protocol, sock=listening)
        monkeypatch.setattr(type(loop), "call_later", lambda self, *args: later.append(args), raising=False)
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as sock:
            sock.setblocking(False)
            fillers = []
            resource.setrlimit(resource.RLIMIT_NOFILE, (sock.fileno() + 1, limits[1]))
            try:
                with contextlib.suppress(OSError):
                    while True:
                        fillers.append(os.dup(0))
                with contextlib.suppress(BlockingIOError):
                    sock.connect(address)
                while not errors.contexts:
                    await asyncio.sleep(0)
            finally:
                for fd in fillers:
                    os.close(fd)
                resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        monkeypatch.undo()
        assert {context["message"] for context in errors.take()} == {"socket.accept() out of system resource"}
        delay, start, *args = later[0]
        assert (delay, start.__name__, args[0]) == (1, "_start_serving", asyncio.Protocol)
        assert args[1].getsockname() == address
        timeouts = [60.0, 30.0] if meanwhile == "bare" else [None, None]
        assert args[2:7] == [None, server, 100, *timeouts]
        assert len(args) == len(inspect.signature(asyncio.SelectorEventLoop._start_serving).parameters) - 1
        if meanwhile == "closed":
            server.close()
            with pytest.raises(ValueError, match="Invalid file descriptor: -1"):
                start(*args)
            return
        start(*args)
        reader, writer = await asyncio.open_connection(*address)
        writer.close()
        loop._stop_serving(listening) if server is None else server.close()
    loop.run_until_complete(main())


# --- connecting -----------------------------------------------------------------------------------------------------------

def test_connection_refused(same):
    async def main(lab):
        found = []
        port = free_port()
        for kwargs in ({}, {"all_errors": True} if PY >= (3, 12) else {}, {"happy_eyeballs_delay": 0.05}):
            for host in ("127.0.0.1", "localhost"):
                try:
                    await lab.loop.create_connection(asyncio.Protocol, host, port, **kwargs)
                except Exception as e:
                    errors = getattr(e, "exceptions", [e])
                    found.append([type(e).__name__, str(e).replace(str(port), "PORT"), [type(x).__name__ for x in errors]])
        try:
            await lab.loop.create_unix_connection(asyncio.Protocol, "/nowhere/at/all")
        except Exception as e:
            found.append([type(e).__name__, str(e)])
        return found
    assert same(scenario(main))["result"][0][0] == "ConnectionRefusedError"


def test_arguments_of_create_connection(same):
    async def main(lab):
        found = []
        a, b = lab.pair("unix")

        async def attempt(**kwargs):
            try:
                t, p = await lab.loop.create_connection(asyncio.Protocol, **kwargs)
                t.abort()
                found.append("connected")
            except Exception as e:
                found.append([type(e).__name__, str(e)])
        await attempt()
        await attempt(host="127.0.0.1", port=1, sock=a)
        await attempt(host="127.0.0.1", port=1, server_hostname="x")
        await attempt(sock=a, ssl=True)
        await attempt(host="127.0.0.1", port=1, ssl_handshake_timeout=1)
        await attempt(host="127.0.0.1", port=1, ssl_shutdown_timeout=1)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
            try:
                await lab.loop.create_connection(asyncio.Protocol, sock=datagram)
            except ValueError as e:
                found.append(str(e).partition("got")[0])
        return found
    assert same(scenario(main))["result"][0] == ["ValueError", "host and port was not specified and no sock specified"]


def test_local_addr_and_happy_eyeballs(same):
    async def main(lab):
        server, address = await serve(lab, "tcp")
        port = free_port()
        t, p = await lab.loop.create_connection(lambda: lab.protocol("client"), *address, local_addr=("127.0.0.1", port))
        found = [t.get_extra_info("sockname") == ("127.0.0.1", port)]
        t.abort()
        await lab.until(lambda: sum("lost" in e for e in lab.log) == 2)
        lab.log.clear()
        t, p = await lab.loop.create_connection(lambda: lab.protocol("client"), "localhost", address[1], happy_eyeballs_delay=0.01)
        found.append(t.get_extra_info("peername")[:2] == address)
        t.abort()
        await lab.until(lambda: sum("lost" in e for e in lab.log) == 2)
        lab.log.clear()
        server.close()
        return found
    assert same(scenario(main))["result"] == [True, True]


def test_two_transports_on_one_descriptor(same):
    async def main(lab):
        p, peer = await lab.connect("unix")
        sock = p.transport.get_extra_info("socket")._sock
        fd, found = sock.fileno(), []  # by number: 3.15 closes the socket that create_connection() could not use
        calls = [lambda: lab.loop.sock_recv(sock, 1)]
        if PY >= (3, 12):  # asyncio 3.11 lets two transports fight over one descriptor; pyasync never does
            calls.append(lambda: lab.loop.create_connection(asyncio.Protocol, sock=sock))
        for call in calls:
            try:
                found.append(await asyncio.wait_for(call(), 0.05))
            except (RuntimeError, TimeoutError, asyncio.TimeoutError) as e:
                found.append([type(e).__name__, clean(str(e)).partition("is used")[1]])
        found += [outcome(lab.loop.add_reader, fd, print)[:2], outcome(lab.loop.remove_reader, fd)[:2],
                  outcome(lab.loop.add_writer, fd, print)[:2], outcome(lab.loop.remove_writer, fd)[:2]]
        p.transport.abort()
        await lab.seen("lost")
        return found
    assert same(scenario(main))["result"][0] == ["RuntimeError", "is used"]


@kinds
def test_connect_accepted_socket(same, kind):
    async def main(lab):
        sock, peer = lab.pair(kind)
        t, p = await lab.loop.connect_accepted_socket(lambda: lab.protocol(), sock)
        await lab.send(peer, b"x")
        await lab.seen("data")
        t.close()
        await lab.seen("lost")
        return t.get_protocol() is None
    assert same(scenario(main))["log"] == [["made"], ["data", b"x"], ["lost", None]]


def test_closing_the_loop_under_a_server(same):
    def run(aio):
        with Lab(aio) as lab:
            server, address = lab.run(serve(lab, "tcp"))
            lab.loop.close()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                found = [server.is_serving(), outcome(server.close)[0], server.sockets]
                del server
                gc.collect()
            return found + [len([w for w in caught if w.category is ResourceWarning])]
    same(run)


# --- the streams API ------------------------------------------------------------------------------------------------------

@kinds
def test_streams(same, tmp, kind):
    async def main(lab):
        async def handle(reader, writer):
            while line := await reader.readline():
                writer.write(line.upper())
                await writer.drain()
            writer.close()
            await writer.wait_closed()
            lab.log.append("served")
        if kind == "tcp":
            server = await lab.aio.start_server(handle, "127.0.0.1", 0)
            reader, writer = await lab.aio.open_connection(*server.sockets[0].getsockname())
        else:
            path = os.path.join(tmp, lab.aio.__name__ + ".s")
            server = await lab.aio.start_unix_server(handle, path)
            reader, writer = await lab.aio.open_unix_connection(path)
        found = []
        for line in (b"one\n", b"two\n", b"x" * 30_000 + b"\n"):
            writer.write(line)
            await writer.drain()
            found.append(await reader.readuntil() == line.upper())
        writer.writelines([b"a", b"b\n"])
        writer.write_eof()
        found += [await reader.readexactly(3), await reader.read(), reader.at_eof(), writer.can_write_eof(), writer.is_closing()]
        writer.close()
        await writer.wait_closed()
        server.close()
        await lab.until(lambda: "served" in lab.log)
        return found
    assert same(scenario(main))["result"] == [True, True, True, b"AB\n", b"", True, True, False]


def test_streams_big_both_ways(aio):
    with Lab(aio) as lab:
        size = 8_000_000

        async def handle(reader, writer):
            writer.write(b"s" * size)
            got = 0
            while got < size:
                got += len(await reader.read(70_000))
                if got % 7 == 0:
                    await asyncio.sleep(0.001)
            await writer.drain()
            writer.write_eof()
            lab.log.append(got)
            await reader.read()
            writer.close()

        async def main():
            server = await lab.aio.start_server(handle, "127.0.0.1", 0)
            reader, writer = await lab.aio.open_connection(*server.sockets[0].getsockname())
            sending = asyncio.ensure_future(send(writer))
            data = await reader.read()
            await sending
            assert len(data) == size and set(data) == {ord("s")}
            writer.close()
            await writer.wait_closed()
            await lab.until(lambda: lab.log == [size])
            server.close()
            await lab.ticks()

        async def send(writer):
            for _ in range(80):
                writer.write(b"c" * (size // 80))
                await writer.drain()
            writer.write_eof()
        lab.run(main())
        assert lab.reports() == []


def test_a_unix_servers_file_is_removed_by_asyncios_code(same, tmp_path, monkeypatch):
    """blockbuster, which aiohttp's and starlette's tests use, lets asyncio's own functions call os.stat() in a loop, by file and name."""
    path = str(tmp_path / "socket")

    def scenario(aio):
        seen, stat = [], os.stat

        def noted(what, *args, **kwargs):
            if what == path:
                code = sys._getframe(1).f_code
                seen.append((code.co_filename.rpartition("/")[2], code.co_name))
            return stat(what, *args, **kwargs)

        async def main():
            with monkeypatch.context() as patch:
                patch.setattr(os, "stat", noted)
                server = await aio.start_unix_server(lambda reader, writer: None, path)
                server.close()
            await server.wait_closed()
        aio.run(main())
        exists = os.path.exists(path)
        if exists:                               # up to 3.12 it stays
            os.unlink(path)
        return seen, exists
    same(scenario)
