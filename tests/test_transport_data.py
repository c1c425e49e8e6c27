"""The stream transport's bytes: writes put off to the end of the tick, buffers that change, slow readers, fairness."""
import asyncio
import contextlib
import gc
import hashlib
import os
import socket
import sys
import threading
import warnings

import pytest

from bare_transport import drain
from support import nonblocking_pair, spin


def test_what_is_written_in_a_tick_is_one_message(aio, loop):
    """A header and a body cost one packet: the peer on a seqpacket-like stream sees them arrive together."""
    if aio is asyncio:
        pytest.skip("asyncio sends each write by itself")
    ours, peer = nonblocking_pair()
    transport = loop._make_socket_transport(ours, asyncio.Protocol())
    spin(loop, 2)

    def both():
        transport.write(b"header ")
        transport.write(b"body")
        with pytest.raises(BlockingIOError):
            peer.recv(20)
    loop.call_soon(both)
    spin(loop)
    assert peer.recv(20) == b"header body"
    transport.close()
    spin(loop, 2)
    peer.close()


@pytest.mark.parametrize("asks", ["get_write_buffer_size", "close", "abort", "write_eof", "_make_empty_waiter"])
def test_what_could_tell_that_a_write_was_put_off_sends_it_first(aio, loop, asks):
    ours, peer = nonblocking_pair()
    transport = loop._make_socket_transport(ours, asyncio.Protocol())
    spin(loop, 2)
    sizes = []

    def write():
        transport.write(b"now")
        result = getattr(transport, asks)()
        sizes.append(result if asks.startswith("get") else transport.get_write_buffer_size())
        assert peer.recv(10) == b"now"
    loop.call_soon(write)
    spin(loop)
    assert sizes == [0]
    transport._reset_empty_waiter()
    transport.abort()
    spin(loop, 2)
    peer.close()


def test_write_outside_of_a_tick_and_from_another_thread_goes_out_at_once(aio, loop):
    ours, peer = nonblocking_pair()
    transport = loop._make_socket_transport(ours, asyncio.Protocol())
    spin(loop, 2)
    transport.write(b"idle")
    assert peer.recv(10) == b"idle"

    def busy():
        thread = threading.Thread(target=transport.write, args=(b"thread",))
        thread.start()
        thread.join()
        assert peer.recv(10) == b"thread"
    loop.call_soon(busy)
    spin(loop)
    transport.close()
    spin(loop, 2)
    peer.close()


def test_put_off_write_survives_an_exit(aio, loop):
    ours, peer = nonblocking_pair()
    transport = loop._make_socket_transport(ours, asyncio.Protocol())
    spin(loop, 2)

    def go():
        transport.write(b"last words")
        raise SystemExit
    loop.call_soon(go)
    with pytest.raises(SystemExit):
        spin(loop)
    assert peer.recv(20) == b"last words"
    transport.close()
    spin(loop, 2)
    peer.close()


def test_put_off_write_keeps_a_forgotten_transport(aio, loop):
    ours, peer = nonblocking_pair()

    def go(transport):
        transport.write(b"bequest")
    transport = loop._make_socket_transport(ours, asyncio.Protocol())
    spin(loop, 2)
    transport.pause_reading()
    loop.call_soon(go, transport)
    transport = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spin(loop, 2)
        gc.collect()
    assert peer.recv(20) == b"bequest"
    peer.close()


def test_mutable_data_may_change_after_write(aio, loop):
    if aio is asyncio and sys.version_info >= (3, 12):
        pytest.skip("asyncio keeps a view of the caller's buffer")
    ours, peer = nonblocking_pair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    transport = loop._make_socket_transport(ours, asyncio.Protocol())
    spin(loop, 2)
    expected = hashlib.sha256()

    def go():
        buffer = bytearray(50_000)
        for i in range(20):
            buffer[:] = bytes([i]) * len(buffer)
            expected.update(buffer)
            transport.write(buffer)
            buffer[:] = b"\xff" * len(buffer)
            small = bytearray(b"%d" % i)
            expected.update(small)
            transport.write(memoryview(small))
            small.clear()
    loop.call_soon(go)
    got = drain(loop, peer, 20 * 50_000 + sum(len(str(i)) for i in range(20)))
    assert hashlib.sha256(got).digest() == expected.digest()
    transport.close()
    spin(loop, 2)
    peer.close()


def test_thousands_of_small_writes(aio, loop):
    ours, peer = nonblocking_pair()
    transport = loop._make_socket_transport(ours, asyncio.Protocol())
    spin(loop, 2)
    chunks = [b"%d," % i for i in range(20_000)]

    def go():
        for chunk in chunks[:10_000]:
            transport.write(chunk)
        transport.writelines(chunks[10_000:])
    loop.call_soon(go)
    assert drain(loop, peer, sum(map(len, chunks))) == b"".join(chunks)
    transport.close()
    spin(loop, 2)
    peer.close()


def test_received_data_is_the_receivers(aio, loop):
    """All reads go through one buffer: what was given out must not change with the next read."""
    pairs = [nonblocking_pair() for _ in range(5)]
    protocols = []

    class Keep(asyncio.Protocol):
        def __init__(self):
            self.got = []

        def data_received(self, data):
            self.got.append(data)
    for ours, _ in pairs:
        protocols.append(Keep())
        loop._make_socket_transport(ours, protocols[-1])
    spin(loop, 2)
    for i in range(50):
        for n, (_, peer) in enumerate(pairs):
            peer.send(b"%d:%d " % (n, i) * (i + 1))
        spin(loop)
    for n, protocol in enumerate(protocols):
        assert b"".join(protocol.got) == b"".join(b"%d:%d " % (n, i) * (i + 1) for i in range(50))
        assert all(type(d) is bytes for d in protocol.got)
    for _, peer in pairs:
        peer.close()
    spin(loop, 4)


def test_nested_read_does_not_clobber(aio, loop):
    """A protocol that hands its data on to another transport's write, which sends at once, keeps it."""
    a, b = nonblocking_pair(), nonblocking_pair()
    out = loop._make_socket_transport(b[0], asyncio.Protocol())

    class Forward(asyncio.Protocol):
        def data_received(self, data):
            out.write(data)
            assert out.get_write_buffer_size() == 0
            self.data = data
    protocol = Forward()
    transport = loop._make_socket_transport(a[0], protocol)
    spin(loop, 2)
    a[1].send(b"through")
    spin(loop)
    assert b[1].recv(20) == b"through" == protocol.data
    out.close()
    transport.close()
    spin(loop, 2)
    a[1].close()
    b[1].close()


@pytest.mark.parametrize("buffered", [False, True], ids=["protocol", "buffered"])
def test_100_megabytes_both_ways_with_slow_readers(aio, loop, buffered):
    size = 100_000_000 if aio is not asyncio else 10_000_000
    block = os.urandom(1_000_000)
    expected = hashlib.sha256(block * (size // len(block))).digest()

    class Side(asyncio.Protocol):
        def __init__(self):
            self.left, self.seen, self.hash = size, 0, hashlib.sha256()
            self.may, self.paused = asyncio.Event(), 0
            self.may.set()
            self.done = loop.create_future()

        def connection_made(self, transport):
            self.transport = transport
            loop.create_task(self.send())

        async def send(self):
            while self.left:
                await self.may.wait()
                self.transport.write(block)
                self.left -= len(block)

        def pause_writing(self):
            self.paused += 1
            self.may.clear()

        def resume_writing(self):
            self.may.set()

        def data_received(self, data):
            self.hash.update(data)
            before, self.seen = self.seen, self.seen + len(data)
            if before // 20_000_000 != self.seen // 20_000_000:  # slow now and then
                self.transport.pause_reading()
                loop.call_later(0.01, self.transport.resume_reading)
            if self.seen == size:
                self.done.set_result(None)

    class BufferedSide(Side, asyncio.BufferedProtocol):
        def get_buffer(self, hint):
            self.buffer = memoryview(bytearray(100_000))
            return self.buffer

        def buffer_updated(self, n):
            self.data_received(self.buffer[:n])

    async def main():
        sides = []

        def factory():
            sides.append((BufferedSide if buffered else Side)())
            return sides[-1]
        server = await loop.create_server(factory, "127.0.0.1", 0)
        await loop.create_connection(factory, *server.sockets[0].getsockname())
        while len(sides) < 2:
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*(s.done for s in sides)), 60)
        for side in sides:
            assert side.hash.digest() == expected and side.paused
            side.transport.close()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)
    loop.run_until_complete(main())


def test_busy_peer_does_not_starve_the_others(aio, loop):
    """One report, one read: who has megabytes waiting gets no more turns than who has three bytes."""
    turns = []

    class Note(asyncio.Protocol):
        def __init__(self, name):
            self.name = name

        def data_received(self, data):
            turns.append(self.name)
    busy, quiet = nonblocking_pair(), nonblocking_pair()
    transports = [loop._make_socket_transport(s, Note(n)) for s, n in ((busy[0], "busy"), (quiet[0], "quiet"))]
    spin(loop, 2)
    for _ in range(5):
        with contextlib.suppress(BlockingIOError):
            while True:
                busy[1].send(b"x" * 65536)
        quiet[1].send(b"abc")
        spin(loop)
    assert turns.count("busy") == turns.count("quiet") == 5
    for t in transports:
        t.close()
    spin(loop, 2)
    busy[1].close()
    quiet[1].close()
