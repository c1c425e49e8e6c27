"""start_tls(): from plain text to TLS, and from TLS to TLS, by the loop's method and by the stream's."""
import asyncio
import gc
import os
import re
import socket
import warnings
import weakref

import pytest

from lab import kinds, protocols, reset
from lab_tls import EOF, RESET, Peer, ended, failure, got_data, sides, silent, tls_scenario, versions
from support import outcome


def begin(lab, tls, side, p, sock, version=None, ours=None, theirs=None, hostname="localhost", protocol=None, **kwargs):
    """The task that upgrades, and the peer whose handshake has not begun."""
    peer = Peer(lab, sock, theirs or tls.other(side, version), side == "client")
    coroutine = lab.loop.start_tls(p.transport, protocol or p, ours or tls.of(side, version), server_side=side == "server",
                                   server_hostname=hostname if side == "client" else None, **kwargs)
    return asyncio.ensure_future(coroutine), peer


async def upgraded(lab, tls, side, kind="tcp", buffered=False, version=None, hooks={}):
    p, sock = await lab.connect(kind, buffered=buffered, **hooks)
    if buffered:
        p.hooks.setdefault("get_buffer", lambda p: memoryview(p.buffer))
    task, peer = begin(lab, tls, side, p, sock, version)
    await peer.handshake()
    p.transport = await task
    await lab.ticks()
    return p, peer


@sides
@kinds
@protocols
@versions
def test_upgrade(same, tls, side, kind, buffered, version):
    async def main(lab):
        p, sock = await lab.connect(kind, buffered=buffered)
        if buffered:
            p.hooks["get_buffer"] = lambda p: memoryview(p.buffer)
        old = p.transport
        old.write(b"plain")
        await lab.send(sock, b"text")
        await got_data(lab, 4)
        found = [await lab.receive(sock, 5)]
        task, peer = begin(lab, tls, side, p, sock, version)
        await peer.handshake()
        new = await task
        found += [new is old, isinstance(new, asyncio.Transport), new.get_protocol() is p, old.is_closing(),
                  new.get_extra_info("ssl_object").version(),
                  new.get_extra_info("socket") is old.get_extra_info("socket"), old.get_extra_info("ssl_object"), lab.log[-1][0]]
        new.write(b"secret")
        found.append(await peer.read(6))
        await peer.write(b"whisper")
        await got_data(lab, 11)
        await ended(lab, p, peer)
        return found + [old.is_closing(), new.is_closing()]
    got = same(tls_scenario(main))
    assert silent(got) and [e[0] for e in got["log"]] == ["made", "data", "eof", "lost"] and got["log"][1][1] == b"textwhisper"


@sides
def test_the_end_of_an_upgraded_connection(same, tls, side):
    """connection_lost() is called once, by TLS."""
    async def main(lab):
        found = []
        for i, end in enumerate(("close", "abort", EOF, RESET, "garbage")):
            p, peer = await upgraded(lab, tls, side)
            if end in ("close", "abort"):
                getattr(p.transport, end)()
                await failure(peer.unwrap())
            elif end == EOF:
                peer.shutdown()
            elif end == RESET:
                reset(peer.sock)
            else:
                await peer.raw(b"x" * 100)
            await lab.seen("lost", i + 1)
            await lab.ticks()
            found.append(end)
            lab.log.append([end])
            peer.close()
        return found
    got = same(tls_scenario(main))
    assert sum(e[0] == "lost" for e in got["log"]) == 5 and silent(got)


def test_a_hello_that_was_in_the_kernel(same, tls):
    """The protocol pauses when it has read the command; what follows it is TLS's."""
    async def main(lab):
        p, sock = await lab.connect("tcp", data_received=lambda p, data: p.transport.pause_reading())
        peer = Peer(lab, sock, tls.client(), False)
        await lab.send(sock, b"STARTTLS")
        await got_data(lab, 8)
        peer.step(peer.obj.do_handshake)
        await peer.flush()
        await lab.ticks()
        task = asyncio.ensure_future(lab.loop.start_tls(p.transport, p, tls.server(), server_side=True))
        await peer.handshake()
        p.transport = await task
        p.hooks.clear()
        await peer.write(b"inside")
        await got_data(lab, 14)
        await ended(lab, p, peer)
        return p.transport.is_reading()
    assert silent(same(tls_scenario(main)))


@sides
def test_plain_text_still_in_the_buffer(same, tls, side):
    """It goes out before the first record."""
    async def main(lab):
        p, sock = await lab.connect("tcp", sndbuf=10_000)
        data = os.urandom(1000)
        total = 0
        while p.transport.get_write_buffer_size() == 0:
            p.transport.write(data)
            total += len(data)
        task, peer = begin(lab, tls, side, p, sock)
        found = await lab.receive(sock, total) == data * (total // 1000)
        await peer.handshake()
        p.transport = await task
        p.transport.write(b"secret")
        found = found, await peer.read(6)
        await ended(lab, p, peer)
        return found
    assert same(tls_scenario(main))["result"] == [True, b"secret"]


@pytest.mark.parametrize("where", ["in the callback", "in a task", "in a later tick"])
def test_upgraded_when_asked_to(same, tls, where):
    async def main(lab):
        tasks = []

        def data(p, data):
            if not tasks:
                p.transport.write(b"OK")
                if where == "in a later tick":
                    tasks.append(None)
                    lab.loop.call_soon(lambda: tasks.__setitem__(0, asyncio.ensure_future(upgrade(p))))
                else:
                    tasks.append(asyncio.ensure_future(upgrade(p)))
                    if where == "in the callback":
                        p.transport.pause_reading()

        async def upgrade(p):
            p.transport = await lab.loop.start_tls(p.transport, p, tls.server(), server_side=True)
            p.transport.write(b"welcome")
        p, sock = await lab.connect("tcp", data_received=data)
        await lab.send(sock, b"STARTTLS")
        found = [await lab.receive(sock, 2)]
        peer = Peer(lab, sock, tls.client(), False)
        await peer.handshake()
        found.append(await peer.read(7))
        await peer.write(b"thanks")
        await got_data(lab, 14)
        await ended(lab, p, peer)
        return found
    assert same(tls_scenario(main))["result"] == [b"OK", b"welcome"]


@sides
@pytest.mark.parametrize("how", ["garbage", "eof", "reset", "silence", "cancelled", "certificate", "alert", "abort below", "close below"])
def test_an_upgrade_that_fails(same, tls, side, how):
    async def main(lab):
        p, sock = await lab.connect("tcp")
        old = p.transport
        theirs = tls.other(side)
        if how == "certificate":
            theirs = tls.server(certificate=tls.stranger) if side == "client" else tls.client(trust=tls.stranger)
        task, peer = begin(lab, tls, side, p, sock, theirs=theirs, ssl_handshake_timeout=0.05 if how == "silence" else None)
        await lab.ticks()
        if how == "garbage":
            await peer.raw(b"220 not yet\r\n" * 10)
        elif how == "eof":
            peer.shutdown()
        elif how == "reset":
            reset(sock)
        elif how == "cancelled":
            task.cancel("enough")
        elif how == "certificate":
            await failure(peer.handshake())
        elif how == "alert":
            await peer.raw(b"\x15\x03\x03\x00\x02\x02\x28")
        elif how.endswith("below"):
            getattr(old, how.split()[0])()
        found = await failure(asyncio.wait_for(task, 0.5))
        await lab.ticks()
        old.abort()
        await lab.ticks()
        return found, old.is_closing()
    got = same(tls_scenario(main))
    assert got["result"][0] == ["returned", None] if how.endswith("below") else got["result"][0][0] != "returned"
    assert got["result"][1] is True


@sides
@pytest.mark.parametrize("state", ["closing", "aborted", "lost"])
def test_a_transport_that_is_no_more(same, tls, side, state):
    async def main(lab):
        p, sock = await lab.connect("tcp")
        t = p.transport
        if state == "closing":
            t.close()
        elif state == "aborted":
            t.abort()
        else:
            sock.close()
            await lab.seen("lost")
        task, peer = begin(lab, tls, side, p, sock if state != "lost" else lab.pair("tcp")[0], ssl_handshake_timeout=0.05)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)         # of a transport that asyncio makes and does not need
            found = await failure(asyncio.wait_for(task, 0.1))
            del task, t, p
            await lab.ticks()
            gc.collect()
        return found[0]
    same(tls_scenario(main))


def test_what_cannot_be_upgraded(same, tls):
    async def main(lab):
        r, w = os.pipe()
        pipe, _ = await lab.loop.connect_read_pipe(asyncio.Protocol, os.fdopen(r, "rb"))
        udp, _ = await lab.loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
        found = []
        for transport in (pipe, udp, asyncio.Transport(), None, "x"):
            kind, text = await failure(lab.loop.start_tls(transport, asyncio.Protocol(), tls.client(), server_hostname="localhost"))
            found.append([kind, re.sub(r"transport .* is", "transport is", text)])
        found.append(await failure(lab.loop.start_tls(pipe, asyncio.Protocol(), "context")))
        pipe.close()
        udp.close()
        os.close(w)
        await lab.ticks()
        gc.collect()
        return found
    assert same(tls_scenario(main))["result"][0] == ["TypeError", "transport is not supported by start_tls()"]


@pytest.mark.parametrize("kwargs", [{"ssl_handshake_timeout": 0}, {"ssl_shutdown_timeout": -1}, {"server_hostname": "*"},
                                    {"server_hostname": ""}], ids=repr)
def test_arguments(same, tls, kwargs):
    """What is refused leaves the connection as it was."""
    async def main(lab):
        p, sock = await lab.connect("tcp")
        task = asyncio.ensure_future(failure(lab.loop.start_tls(p.transport, p, tls.client(), **{"server_hostname": "localhost",
                                                                                                 **kwargs})))
        await lab.ticks()
        if task.done():
            await lab.send(sock, b"still plain")
            await got_data(lab, 11)
        sock.close()
        found = await task
        p.transport.abort()
        await lab.ticks()
        return found
    same(tls_scenario(main))


def test_arguments_by_position(same, tls):
    async def main(lab):
        p, sock = await lab.connect("tcp")
        found = [outcome(lab.loop.start_tls, p.transport, p, tls.client(), True)[1], outcome(lab.loop.start_tls, p.transport)[1],
                 outcome(lab.loop.start_tls, p.transport, p, tls.client(), nonsense=1)[1]]
        p.transport.abort()
        await lab.ticks()
        return found
    assert same(tls_scenario(main))["result"] == ["TypeError"] * 3


@sides
@protocols
def test_with_another_protocol(same, tls, side, buffered):
    """TLS speaks to the one that start_tls() was given; connection_made() is not called again."""
    async def main(lab):
        p, sock = await lab.connect("tcp")
        second = lab.protocol("second", buffered, **({"get_buffer": lambda p: memoryview(p.buffer)} if buffered else {}))
        task, peer = begin(lab, tls, side, p, sock, protocol=second)
        await peer.handshake()
        t = second.transport = await task
        await peer.write(b"x")
        await lab.seen("data")
        found = t.get_protocol() is second
        await ended(lab, second, peer)
        return found
    assert same(tls_scenario(main))["log"] == [["made"], ["second", "data", b"x"], ["second", "eof"], ["second", "lost", None]]


@pytest.mark.parametrize("paused", ["reading", "writing"])
def test_what_was_paused(same, tls, paused):
    """Reading goes on by itself; the limits for writing are those of a new transport."""
    async def main(lab):
        p, sock = await lab.connect("tcp")
        if paused == "reading":
            p.transport.pause_reading()
        else:
            p.transport.set_write_buffer_limits(100, 10)
        task, peer = begin(lab, tls, "client", p, sock)
        await peer.handshake()
        t = await task
        found = t.is_reading(), t.get_write_buffer_limits()
        await peer.write(b"x")
        await lab.seen("data")
        await ended(lab, p, peer)
        return found
    same(tls_scenario(main))


@sides
def test_nothing_is_left_of_an_upgrade(same, tls, side):
    async def main(lab):
        p, sock = await lab.connect("tcp")
        old = p.transport
        task, peer = begin(lab, tls, side, p, sock)
        await peer.handshake()
        new = await task
        left = [weakref.ref(x) for x in (p, old, new)]
        await ended(lab, p, peer)
        lab.log.clear()
        del p, old, new, task
        await lab.ticks()
        gc.collect()
        return [ref() is None for ref in left]
    assert same(tls_scenario(main))["result"] == [True] * 3


# ---- TLS over TLS ----

class Inner:
    """Stands for the socket of a Peer inside another Peer's TLS."""

    def __init__(self, outer):
        self.outer = outer


class InnerPeer(Peer):
    async def flush(self):
        if self.outgoing.pending:
            await self.sock.outer.write(self.outgoing.read())

    async def fill(self):
        data = await self.sock.outer.call(self.sock.outer.obj.read, 1 << 16)
        if data:
            self.incoming.write(data)
        else:
            self.incoming.write_eof()


@sides
@protocols
@pytest.mark.parametrize("end", ["close", "abort", "peer", "outer close_notify", "outer eof"])
def test_tls_over_tls(same, tls, side, buffered, end):
    async def main(lab):
        p, outer = await upgraded(lab, tls, side, buffered=buffered)
        below = p.transport
        peer = InnerPeer(lab, Inner(outer), tls.other(side), side == "client")
        task = asyncio.ensure_future(lab.loop.start_tls(below, p, tls.of(side), server_side=side == "server",
                                                        server_hostname="localhost" if side == "client" else None))
        await peer.handshake()
        t = p.transport = await task
        t.write(b"q" * 100_000)
        found = [await peer.read(100_000) == b"q" * 100_000, t.get_extra_info("ssl_object") is below.get_extra_info("ssl_object"),
                 *(t.get_extra_info(name) == below.get_extra_info(name) for name in ("socket", "peername"))]
        await peer.write(b"hello" * 10_000)
        await got_data(lab, 50_000)
        if end in ("close", "abort"):
            getattr(t, end)()
            found.append((await peer.read_all())[0])
            if end == "close":
                await failure(peer.unwrap())
                await failure(outer.unwrap())
        elif end == "peer":
            await peer.close_notify()
            found.append((await peer.read_all())[1])
            await failure(outer.unwrap())
        elif end == "outer eof":
            outer.shutdown()
        else:
            await outer.close_notify()
        await lab.seen("lost")
        outer.close()
        return found, below.is_closing()
    got = same(tls_scenario(main))
    assert got["result"][0][:4] == [True, False, True, True]


# ---- streams ----

async def handler(lab, tls, reader, writer, log):
    log.append(await reader.readline())
    writer.write(b"go ahead\n")
    await writer.start_tls(tls.server())
    log.append([writer.can_write_eof(), writer.get_extra_info("ssl_object").version(), writer.transport is writer._protocol._transport])
    writer.write((await reader.readline()).upper())
    await writer.drain()
    log.append(await reader.read())
    writer.close()
    log.append(await failure(writer.wait_closed()))


@pytest.mark.parametrize("kind", ["tcp", "unix"])
@pytest.mark.parametrize("end", ["close", "abort"])
def test_streams_on_both_sides(same, tls, kind, end, tmp_path):
    async def main(lab):
        log, tasks = [], []

        async def handle(reader, writer):
            tasks.append(asyncio.current_task())
            await handler(lab, tls, reader, writer, log)
        if kind == "tcp":
            server = await lab.aio.start_server(handle, "127.0.0.1", 0)
            reader, writer = await lab.aio.open_connection(*server.sockets[0].getsockname())
        else:
            path = str(tmp_path / f"{lab.aio.__name__}.{len(os.listdir(tmp_path))}")
            server = await lab.aio.start_unix_server(handle, path)
            reader, writer = await lab.aio.open_unix_connection(path)
        writer.write(b"STARTTLS\n")
        found = [await reader.readline()]
        old = writer.transport
        await writer.start_tls(tls.client(), server_hostname="localhost")
        found += [writer.transport is old, writer.can_write_eof(), type(writer.get_extra_info("ssl_object")).__name__]
        writer.write(b"secret\n")
        found.append(await reader.readline())
        if end == "close":
            writer.close()
        else:
            writer.transport.abort()
        found.append(await failure(writer.wait_closed()))
        await lab.until(lambda: tasks)
        await asyncio.wait(tasks)
        server.close()
        await server.wait_closed()
        return found, log
    got = same(tls_scenario(main))
    assert got["result"][0][:5] == [b"go ahead\n", False, False, "SSLObject", b"SECRET\n"] and silent(got)


@pytest.mark.parametrize("side", ["client", "server"])
def test_bytes_already_in_the_reader(same, tls, side):
    """They came as plain text and are read as such; newer Pythons take them for TLS's on the server's side."""
    async def main(lab):
        done, begun = [], []

        async def handle(reader, writer):
            done.append(await work(reader, writer, tls.server(), None))
            writer.close()

        async def work(reader, writer, context, hostname):
            found = [await reader.readline()]
            await lab.until(lambda: len(bytes(reader._buffer)) == 8)
            begun.append(True)
            found.append((await failure(writer.start_tls(context, server_hostname=hostname, ssl_handshake_timeout=0.2)))[0])
            if found[-1] == "returned":
                found.append(await reader.readexactly(8))
                found.append(await reader.readline())
            return found
        if side == "server":
            server = await lab.aio.start_server(handle, "127.0.0.1", 0)
            sock = lab.keep(await connected(lab, server))
            await lab.send(sock, b"go\nleftover")
        else:
            sock, other = lab.pair("tcp")
            reader, writer = await lab.aio.open_connection(sock=other)
            await lab.send(sock, b"go\nleftover")
            task = asyncio.ensure_future(work(reader, writer, tls.client(), "localhost"))
        peer = Peer(lab, sock, tls.other(side), side == "client")
        await lab.until(lambda: begun)
        shaken = (await failure(peer.handshake()))[0]
        if shaken in ("SSLEOFError", "ConnectionResetError"):
            shaken = "broken off"                        # whether with a reset depends on what had come by then
        if shaken == "returned":
            await peer.write(b"inside\n")
        if side == "server":
            await lab.until(lambda: done)
            server.close()
        else:
            done.append(await task)
            writer.close()
        await failure(peer.unwrap())
        await lab.ticks()
        return done, shaken
    got = same(tls_scenario(main))
    if side == "client":
        assert got["result"] == [[[b"go\n", "returned", b"leftover", b"inside\n"]], "returned"]


async def connected(lab, server):
    sock = socket.socket()
    sock.setblocking(False)
    await lab.loop.sock_connect(sock, server.sockets[0].getsockname())
    return sock


@pytest.mark.parametrize("how", ["garbage", "silence", "eof", "certificate"])
def test_a_stream_that_cannot_be_upgraded(same, tls, how):
    async def main(lab):
        sock, other = lab.pair("tcp")
        reader, writer = await lab.aio.open_connection(sock=other)
        task = asyncio.ensure_future(writer.start_tls(tls.client(trust=tls.stranger if how == "certificate" else None),
                                                      server_hostname="localhost",
                                                      ssl_handshake_timeout=0.05 if how == "silence" else 5))
        peer = Peer(lab, sock, tls.server(), True)
        if how == "garbage":
            await peer.raw(b"500 no\r\n" * 10)
        elif how == "eof":
            peer.shutdown()
        elif how == "certificate":
            await failure(peer.handshake())
        found = [await failure(task), writer.is_closing()]
        await lab.ticks()
        found += [await failure(asyncio.wait_for(reader.read(), 0.05)), (await failure(writer.drain()))[0]]
        writer.close()
        found.append(await failure(asyncio.wait_for(writer.wait_closed(), 0.05)))
        return found
    same(tls_scenario(main))


def test_flow_control_of_an_upgraded_stream(same, tls):
    async def main(lab):
        sock, other = lab.pair("tcp")
        reader, writer = await lab.aio.open_connection(sock=other, limit=1000)
        task = asyncio.ensure_future(writer.start_tls(tls.client(), server_hostname="localhost"))
        peer = Peer(lab, sock, tls.server(), True)
        await peer.handshake()
        await task
        sending = asyncio.ensure_future(peer.write(b"d" * 500_000))
        await lab.ticks()
        found = [len(await reader.readexactly(1000)), len(await reader.readexactly(499_000))]
        await sending
        for i in range(10):
            writer.write(b"w" * 50_000)
            await writer.drain() if i < 3 else None
        found.append(len(await peer.read(500_000)))
        writer.close()
        await failure(peer.unwrap())
        return found + [await failure(writer.wait_closed())]
    assert same(tls_scenario(main))["result"][:3] == [1000, 499_000, 500_000]


def test_a_context_that_is_shared(same, tls):
    """By a server, connections and upgrades, many at once."""
    async def main(lab):
        server_context, client_context = tls.server(), tls.client()
        server = await lab.aio.start_server(echo, "127.0.0.1", 0, ssl=server_context)
        plain = await lab.aio.start_server(lambda r, w: upgrade_and_echo(r, w, server_context), "127.0.0.1", 0)

        async def one(i):
            if i % 2:
                reader, writer = await lab.aio.open_connection(*server.sockets[0].getsockname(), ssl=client_context,
                                                               server_hostname="localhost")
            else:
                reader, writer = await lab.aio.open_connection(*plain.sockets[0].getsockname())
                writer.write(b"TLS\n")
                await reader.readline()
                await writer.start_tls(client_context, server_hostname="localhost")
            writer.write(b"%d\n" % i)
            answer = await reader.readline()
            writer.close()
            await writer.wait_closed()
            return answer
        found = await asyncio.gather(*(one(i) for i in range(20)))
        for s in (server, plain):
            s.close()
            await s.wait_closed()
        return found

    async def echo(reader, writer):
        writer.write(await reader.readline())
        await reader.read()
        writer.close()

    async def upgrade_and_echo(reader, writer, context):
        await reader.readline()
        writer.write(b"OK\n")
        await writer.start_tls(context)
        await echo(reader, writer)
    assert same(tls_scenario(main))["result"] == [b"%d\n" % i for i in range(20)]
