"""How pyasync encrypts: which engine a connection gets, and what only that engine could get wrong. The behaviour itself is tested with
each engine by the other tests of TLS (`tls_engine` in tests/conftest.py)."""
import asyncio
import ctypes
import gc
import os
import socket
import ssl
import struct

import pytest

from lab_tls import Peer, failure, opened, secure, sides, tls_scenario


def engine_of(transport):
    return transport._ssl_protocol._engine


@pytest.fixture
def aio(aio):
    if aio.__name__ == "asyncio":
        pytest.skip("asyncio has one way only")
    return aio


@pytest.fixture
def alone(aio):
    """Runs a scenario on pyasync."""
    return lambda main: tls_scenario(main)(aio)["result"]


def records(data):
    """How long each TLS record in it is."""
    found = []
    while data:
        length = 5 + struct.unpack(">H", data[3:5])[0]
        found.append(length)
        data = data[length:]
    return found


def drain(peer):
    """Takes what is there: a server's session tickets."""
    try:
        while data := peer.sock.recv(1 << 16):
            peer.incoming.write(data)
    except BlockingIOError:
        pass


def test_openssl_can_be_driven_directly_here(aio):
    from pyasync import _core
    _core._use_tls_engine("auto")
    assert _core._tls_reason() is None
    _core._use_tls_engine("bio")
    assert _core._tls_reason() == "PYASYNC_TLS=bio"


@sides
def test_the_engine_asked_for(alone, tls, tls_engine, side):
    async def main(lab):
        found = []
        p, task, peer = opened(lab, side, tls.of(side), tls.other(side))
        p.hooks["connection_made"] = lambda p: found.append(engine_of(p.transport))
        await peer.handshake()
        await task
        found.append(engine_of(p.transport))
        p.transport.abort()
        peer.close()
        await lab.seen("lost")
        return found
    assert alone(main) == [tls_engine, tls_engine]


class Watched(ssl.SSLObject):
    seen = []

    def read(self, *args):
        self.seen.append("read")
        return super().read(*args)

    def write(self, data):
        self.seen.append("write")
        return super().write(data)


class Wrapping(ssl.SSLContext):
    def wrap_bio(self, *args, **kwargs):
        return super().wrap_bio(*args, **kwargs)


def sslobject_class(context):
    context.sslobject_class = Watched


def wrap_bio_of_the_instance(context):
    plain = context.wrap_bio
    context.wrap_bio = lambda *args, **kwargs: plain(*args, **kwargs)


def message_callback(context):
    context._msg_callback = lambda *args: None


@sides
@pytest.mark.parametrize("how", [sslobject_class, Wrapping, wrap_bio_of_the_instance, message_callback], ids=lambda how: how.__name__)
def test_contexts_that_want_pythons_methods(alone, tls, side, how):
    async def main(lab):
        Watched.seen.clear()
        ours = tls.of(side, kind=how) if isinstance(how, type) else tls.of(side)
        if not isinstance(how, type):
            how(ours)
        p, peer = await secure(lab, tls, side, ours=ours)
        p.transport.write(b"out")
        await peer.write(b"in")
        got = await peer.read(3)
        await lab.until(lambda: [e for e in lab.log if "data" in e])
        found = [engine_of(p.transport), got, [e[-1] for e in lab.log if "data" in e]]
        p.transport.abort()
        peer.close()
        await lab.seen("lost")
        return found
    assert alone(main) == ["bio", b"out", [b"in"]]
    if how is sslobject_class:
        assert {"read", "write"} <= set(Watched.seen)


@sides
def test_an_error_that_somebody_left_in_openssls_queue(alone, tls, tls_engine, side):
    """It is not taken for one of the connection's: half a record is no error."""
    if tls_engine != "openssl":
        pytest.skip("Python's methods take it for theirs")

    async def main(lab):
        library = ctypes.PyDLL(ssl._ssl.__file__)
        leave = library.BIO_new_file
        leave.argtypes, leave.restype = [ctypes.c_char_p, ctypes.c_char_p], ctypes.c_void_p
        p, peer = await secure(lab, tls, side)
        peer.obj.write(b"whole")
        record = peer.outgoing.read()
        assert leave(b"/no/such/file", b"r") is None
        await lab.send(peer.sock, record[:10])
        await lab.ticks()
        library.ERR_clear_error()                   # before the peer, which is Python's
        await lab.send(peer.sock, record[10:])
        await lab.until(lambda: [e for e in lab.log if "data" in e or "lost" in e])
        got = [e for e in lab.log if "data" in e]
        p.transport.abort()
        peer.close()
        await lab.seen("lost")
        return got
    assert alone(main) == [["data", b"whole"]]


def test_an_engine_of_no_such_name(script, tls_engine):
    done = script("", env={**os.environ, "PYASYNC_TLS": "gnutls"})
    assert done.returncode == 1
    assert "ValueError: PYASYNC_TLS must be 'auto', 'bio' or 'openssl', not 'gnutls'" in done.stderr


@sides
def test_what_is_written_in_a_tick_shares_a_record(alone, tls, side):
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        drain(peer)
        p.transport.write(b"header")
        p.transport.writelines([b"a" * 1000, bytearray(b"b" * 1000), memoryview(b"c" * 1000)])
        p.transport.write(b"d" * 20000)
        await lab.ticks()
        data = await lab.loop.sock_recv(peer.sock, 1 << 16)
        found = len(records(data))
        peer.incoming.write(data)
        got = await peer.read(23006)
        p.transport.abort()
        peer.close()
        await lab.seen("lost")
        return found, got == b"header" + b"a" * 1000 + b"b" * 1000 + b"c" * 1000 + b"d" * 20000
    assert alone(main) == [2, True]


@sides
def test_what_was_written_goes_before_the_end(alone, tls, side):
    """Close and abort, from a task: as with asyncio, what was written before is not lost with the tick."""
    async def main(lab):
        found = []
        for end in ("close", "abort"):
            p, peer = await secure(lab, tls, side)
            p.transport.write(b"last words")
            getattr(p.transport, end)()
            found.append((await peer.read_all())[0])
            peer.close()
            await lab.until(lambda: "lost" in p.events())
        return found
    assert alone(main) == [b"last words", b"last words"]


@sides
def test_an_ssl_object_outlives_its_connection(alone, tls, side):
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        obj = p.transport.get_extra_info("ssl_object")
        await peer.write(b"x")
        await lab.until(lambda: [e for e in lab.log if "data" in e])
        p.transport.abort()
        peer.close()
        await lab.seen("lost")
        p.transport = None
        gc.collect()
        found = [obj.version() is not None, obj.pending(), obj.cipher() is not None]
        for call in (lambda: obj.write(b"nobody hears it"), lambda: obj.read(10), obj.unwrap):
            try:
                found.append(call())
            except ssl.SSLWantReadError:
                found.append("nothing there")
        return found
    assert alone(main) == [True, 0, True, 15, "nothing there", "nothing there"]


@sides
def test_a_record_in_pieces(alone, tls, side):
    """What OpenSSL has taken of a record before it was whole comes out with the rest."""
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        data = b"".join(peer.record(bytes([i]) * 16384) for i in range(3))
        for start in range(0, len(data), 7001):
            await peer.raw(data[start:start + 7001])
            await lab.ticks()
        await lab.until(lambda: sum(len(e[-1]) for e in lab.log if "data" in e) == 3 * 16384)
        got = b"".join(e[-1] for e in lab.log if "data" in e)
        p.transport.abort()
        peer.close()
        await lab.seen("lost")
        return got == b"".join(bytes([i]) * 16384 for i in range(3))
    assert alone(main) is True


def test_a_handshake_begun_before_the_server_upgrades(alone, tls):
    """The ClientHello is in the StreamReader by the time start_tls() is called. asyncio loses it there up to 3.13."""
    async def main(lab):
        done = []

        async def handle(reader, writer):
            found = [await reader.readline()]
            await lab.until(lambda: len(reader._buffer) > 100)
            await writer.start_tls(tls.server(), ssl_handshake_timeout=5)
            found.append(await reader.readline())
            writer.write(b"heard\n")
            await writer.drain()
            done.append(found)
            writer.close()
        server = await lab.aio.start_server(handle, "127.0.0.1", 0)
        sock = lab.keep(socket.socket())
        sock.setblocking(False)
        await lab.loop.sock_connect(sock, server.sockets[0].getsockname())
        peer = Peer(lab, sock, tls.client(), False)
        peer.step(peer.obj.do_handshake)
        await peer.raw(b"STARTTLS\n" + peer.take())
        shaken = (await failure(peer.handshake()))[0]
        await peer.write(b"inside\n")
        heard = await peer.read(6)
        await peer.unwrap()
        server.close()
        await lab.until(lambda: done)
        await lab.ticks()
        return shaken, heard, done
    assert alone(main) == ["returned", b"heard\n", [[b"STARTTLS\n", b"inside\n"]]]


@sides
def test_an_idle_connection_is_small(alone, tls, side):
    """Neither a receive buffer nor what the handshake needed stays with it (asyncio's has 256 KiB of its own)."""
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        proto = p.transport._ssl_protocol
        sizes = [len(proto._ssl_buffer), proto.max_size]
        p.transport.abort()
        peer.close()
        await lab.seen("lost")
        return sizes
    assert alone(main) == [0, 262144]


def test_as_asyncios_classes(alone, tls):
    async def main(lab):
        p, peer = await secure(lab, tls, "client")
        t = p.transport
        found = [isinstance(t, asyncio.sslproto._SSLProtocolTransport), isinstance(t, asyncio.Transport), type(t).__name__,
                 isinstance(t._ssl_protocol, asyncio.sslproto.SSLProtocol), isinstance(t._ssl_protocol._transport, asyncio.Transport),
                 t._start_tls_compatible, t._ssl_protocol._app_transport is t, t._loop is lab.loop]
        t.abort()
        peer.close()
        await lab.seen("lost")
        return found
    assert alone(main) == [True, True, "_SSLProtocolTransport", True, True, True, True, True]
