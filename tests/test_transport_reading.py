"""Stream transports that read: pausing, end of file, Protocol and BufferedProtocol, and changing between them."""
import array
import asyncio
import itertools
import os
import socket

import pytest

from lab import BufferedNoter, Noter, clean, connected, quiet, reset, scenario, kinds, protocols
from support import spin, spin_until


# --- reading ------------------------------------------------------------------------------------------------------------

@kinds
@protocols
def test_pause_and_resume_reading(same, kind, buffered):
    async def main(lab):
        p, peer = await lab.connect(kind, buffered=buffered)
        t = p.transport
        states = [t.is_reading()]
        states += [t.pause_reading(), t.pause_reading(), t.is_reading()]
        await lab.send(peer, b"while paused")
        await lab.ticks()
        states.append(len(lab.log))
        states += [t.resume_reading(), t.resume_reading(), t.is_reading()]
        await lab.seen("data")
        t.close()
        states += [t.is_reading(), t.pause_reading(), t.resume_reading(), t.is_reading()]
        await lab.seen("lost")
        states += [t.is_reading(), t.pause_reading(), t.resume_reading()]
        return states
    got = same(scenario(main))
    assert got["result"] == [True, None, None, False, 1, None, None, True, False, None, None, False, False, None, None] and quiet(got)


@kinds
@protocols
@pytest.mark.parametrize("end", ["eof", "reset"])
def test_large_and_small_messages(same, kind, buffered, end):
    """A read is made for as much as the one before brought, which may be too little or too much."""
    sizes = [5, 4095, 4096, 4096, 4097, 1, 30000, 30000, 70000, 30000, 0x8000, 2, 5000, 70001, 4096]

    async def main(lab):
        got = []

        def updated(p, n):
            got.append(bytes(p.buffer[:n]))

        hooks = {"buffer_updated": updated} if buffered else {"data_received": lambda p, data: got.append(data)}
        p, peer = await lab.connect(kind, buffered=buffered, **hooks)
        for turn, size in enumerate(sizes):
            message = bytes((i * 7 + turn) % 251 for i in range(size))
            sending = asyncio.ensure_future(lab.send(peer, message))
            await lab.until(lambda: len(b"".join(got)) >= size)
            await sending
            assert b"".join(got) == message and {type(data) for data in got} == {bytes}
            got.clear()
        if end == "eof":
            peer.close()
        else:
            reset(peer)
        await lab.seen("lost")
        lab.log = [entry for entry in lab.log if entry[0] != "data"]
    same(scenario(main))


@kinds
@pytest.mark.parametrize("where", ["connection_made", "data_received"])
def test_pausing_inside_a_callback(same, kind, where):
    async def main(lab):
        p, peer = await lab.connect(kind, **{where: lambda p, *args: p.transport.pause_reading()})
        await lab.send(peer, b"1")
        await lab.ticks()
        await lab.send(peer, b"2")
        await lab.ticks()
        lab.log.append(["resume", p.transport.is_reading()])
        p.transport.resume_reading()
        await lab.seen("data", 1 if where == "connection_made" else 2)
        p.transport.abort()
        await lab.seen("lost")
    got = same(scenario(main))
    assert (["data", b"1"] in got["log"]) == (where == "data_received")


@kinds
@protocols
@pytest.mark.parametrize("answer", [None, False, True, 0, 5, "", "yes"])
def test_eof_received_decides(same, kind, buffered, answer):
    async def main(lab):
        p, peer = await lab.connect(kind, buffered=buffered, eof_received=lambda p: answer)
        peer.shutdown(socket.SHUT_WR)
        await lab.seen("eof")
        await lab.ticks()
        states = [p.transport.is_closing(), p.transport.is_reading()]
        if not answer:
            await lab.seen("lost")
            return states, await lab.receive_all(peer)
        p.transport.write(b"still here")
        got = await lab.receive(peer, 10)
        p.transport.write_eof()
        rest = await lab.receive_all(peer)
        states += [p.transport.is_closing(), p.transport.is_reading()]
        p.transport.close()
        await lab.seen("lost")
        return states, got, rest
    got = same(scenario(main))
    assert got["log"] == [["made"], ["eof"], ["lost", None]]
    assert got["result"][0][0] == (not answer)


@kinds
def test_an_eof_answer_whose_truth_fails(same, kind):
    class Neither:
        def __bool__(self):
            raise ValueError("neither")

    async def main(lab):
        p, peer = await lab.connect(kind, eof_received=lambda p: p.transport.pause_reading() or Neither())
        peer.shutdown(socket.SHUT_WR)
        await lab.seen("eof")
        await lab.ticks()
        p.transport.abort()
        await lab.seen("lost")
        return [clean(c["exception"]) for c in lab.errors.take()]
    assert same(scenario(main))["result"] == [["ValueError", "neither"]]


@kinds
def test_eof_comes_again_when_reading_is_resumed(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind, eof_received=lambda p: True)
        peer.shutdown(socket.SHUT_WR)
        await lab.seen("eof")
        p.transport.pause_reading()
        p.transport.resume_reading()
        await lab.seen("eof", 2)
        p.transport.abort()
        await lab.seen("lost")
    assert same(scenario(main))["log"] == [["made"], ["eof"], ["eof"], ["lost", None]]


@kinds
def test_eof_after_data_that_waited(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        p.transport.pause_reading()
        await lab.send(peer, b"z" * 3000)
        peer.close()
        await lab.ticks()
        p.transport.resume_reading()
        await lab.seen("lost")
    assert same(scenario(main))["log"] == [["made"], ["data", b"z" * 3000], ["eof"], ["lost", None]]


def test_large_reads(aio, loop):
    data = os.urandom(5_000_000)
    with connected(loop) as (t, p, peer):
        view = memoryview(data)
        while view:
            try:
                view = view[peer.send(view[:1 << 20]):]
            except BlockingIOError:
                spin(loop)
        spin_until(loop, lambda: len(p.data) == len(data))
        assert p.data == data


def test_kept_data_is_not_overwritten(aio, loop):
    """What data_received got stays what it was although the buffer is used again."""
    kept = []
    p = Noter(data=lambda p, d: kept.append(d))
    with connected(loop, p) as (t, p, peer):
        for i in range(20):
            peer.send(bytes([i]) * (1000 * (i + 1)))
            spin_until(loop, lambda: len(p.data) == sum(1000 * (k + 1) for k in range(i + 1)))
    assert b"".join(kept) == b"".join(bytes([i]) * (1000 * (i + 1)) for i in range(20))


def test_pausing_and_resuming_reading_twice(aio, loop):
    with connected(loop) as (t, p, peer):
        assert t.pause_reading() is None and not t.is_reading()
        t.pause_reading()
        peer.send(b"x")
        spin(loop, 3)
        assert not p.data
        assert t.resume_reading() is None and t.is_reading()
        t.resume_reading()
        spin_until(loop, lambda: p.data == b"x")


def test_pause_and_resume_within_one_callback(aio, loop):
    p = Noter(data=lambda p, d: (p.transport.pause_reading(), p.transport.resume_reading()))
    with connected(loop, p) as (t, p, peer):
        for n in range(1, 4):
            peer.send(b"x")
            spin_until(loop, lambda: len(p.data) == n)


def test_closing_within_data_received(aio, loop):
    p = Noter(data=lambda p, d: p.transport.close())
    with connected(loop, p) as (t, p, peer):
        peer.send(b"x")
        spin_until(loop, lambda: p.calls[-1][0] == "lost")
        assert p.calls == [["made"], ["data"], ["lost", None]] and t.is_closing()


def test_eof_while_paused(aio, loop):
    with connected(loop) as (t, p, peer):
        t.pause_reading()
        peer.send(b"x")
        peer.close()
        spin(loop, 3)
        assert p.names == ["made"]
        t.resume_reading()
        spin_until(loop, lambda: p.names[-1] == "lost")
        assert p.names == ["made", "data", "eof", "lost"]


# --- BufferedProtocol ---------------------------------------------------------------------------------------------------

@kinds
@pytest.mark.parametrize("kind_of_buffer", ["bytearray", "memoryview", "array", "slice", "one byte"])
def test_kinds_of_buffers(same, kind, kind_of_buffer):
    async def main(lab):
        store = bytearray(100)
        buffer = {"bytearray": store, "memoryview": memoryview(store), "array": array.array("B", bytes(100)),
                  "slice": memoryview(store)[10:50], "one byte": bytearray(1)}[kind_of_buffer]
        got = bytearray()
        p, peer = await lab.connect(kind, buffered=True, get_buffer=lambda p: buffer)
        p.buffer_updated = lambda n: got.extend(memoryview(buffer)[:n])
        await lab.send(peer, bytes(range(200)))
        await lab.until(lambda: len(got) == 200)
        p.transport.abort()
        await lab.seen("lost")
        return bytes(got)
    assert same(scenario(main))["result"] == bytes(range(200))


@kinds
def test_a_buffer_freed_or_resized_by_the_protocol(same, kind):
    """The transport lets the buffer go before it says that it was updated."""
    async def main(lab):
        buffers = []

        def fresh(sizehint):
            buffers.append(bytearray(64))
            return buffers[-1]

        def updated(n):
            data = bytes(buffers[-1][:n])
            buffers[-1].clear()  # BufferError while anybody holds it
            buffers.clear()
            p.note("data", data)
        p, peer = await lab.connect(kind, buffered=True)
        p.get_buffer, p.buffer_updated = fresh, updated
        for i in range(5):
            await lab.send(peer, bytes([65 + i]) * 100)
            await lab.ticks()
        p.transport.abort()
        await lab.seen("lost")
    got = same(scenario(main))
    assert got["log"][1] == ["data", b"".join(bytes([65 + i]) * 100 for i in range(5))]


@kinds
def test_get_buffer_that_closes(same, kind):
    async def main(lab, action):
        p, peer = await lab.connect(kind, buffered=True)

        def give(sizehint):
            lab.log.append("get_buffer")
            getattr(p.transport, action)()
            return bytearray(10)
        p.get_buffer = give
        p.buffer_updated = lambda n: lab.log.append(["updated", n])
        await lab.send(peer, b"data")
        await lab.ticks(10)
        states = [p.transport.is_closing()]
        p.transport.abort()
        await lab.seen("lost")
        return states
    for action in ("close", "abort", "pause_reading"):
        same(scenario(main), action)


def test_buffered_protocol(aio, loop):
    with connected(loop, BufferedNoter()) as (t, p, peer):
        peer.send(b"0123456789ABCDE")
        spin_until(loop, lambda: len(p.data) == 15)
        assert p.data == b"0123456789ABCDE" and p.calls == [["made"], ["get_buffer", -1], ["updated", 10], ["get_buffer", -1], ["updated", 5]]
        peer.close()
        spin_until(loop, lambda: p.calls[-1] == ["lost", None])
        assert ["eof"] in p.calls
        p.buffer.append(1)                         # no export is left


# --- changing protocols -------------------------------------------------------------------------------------------------

@kinds
@pytest.mark.parametrize("first,second", list(itertools.product([False, True], repeat=2)))
@pytest.mark.parametrize("inside", [False, True])
def test_set_protocol_mid_stream(same, kind, first, second, inside):
    async def main(lab):
        new = lab.protocol("second", buffered=second)
        new.transport = None

        def switch(p, *args):
            p.transport.set_protocol(new)
            lab.log.append(["now", p.transport.get_protocol() is new])
        hooks = {("buffer_updated" if first else "data_received"): switch} if inside else {}
        p, peer = await lab.connect(kind, "first", buffered=first, **hooks)
        await lab.send(peer, b"one")
        await lab.seen("data")
        if not inside:
            switch(p)
        await lab.send(peer, b"two")
        await lab.until(lambda: lab.log[-1][:2] == ["second", "data"])
        peer.shutdown(socket.SHUT_WR)
        await lab.seen("lost")
        return p.transport.get_protocol() is None
    got = same(scenario(main))
    assert got["log"] == [["first", "made"], ["first", "data", b"one"], ["now", True], ["second", "data", b"two"], ["second", "eof"],
                          ["second", "lost", None]]


def test_set_protocol(aio, loop):
    with connected(loop) as (t, p, peer):
        q = Noter()
        assert t.set_protocol(q) is None and t.get_protocol() is q
        peer.send(b"x")
        spin_until(loop, lambda: q.data)
        b = BufferedNoter()
        t.set_protocol(b)
        peer.send(b"y")
        spin_until(loop, lambda: b.data == b"y")
        t.set_protocol(q)
        peer.send(b"z")
        spin_until(loop, lambda: q.data == b"xz")
        t.close()
        spin(loop, 2)
        assert p.calls == [["made"]] and q.names == ["data", "lost"] and b.calls == [["get_buffer", -1], ["updated", 1]]


def test_set_protocol_within_data_received(aio, loop):
    q = Noter()
    p = Noter(data=lambda p, d: p.transport.set_protocol(q))
    with connected(loop, p) as (t, p, peer):
        peer.send(b"x")
        spin_until(loop, lambda: p.data)
        peer.send(b"y")
        spin_until(loop, lambda: q.data == b"y")
        assert p.data == b"x"


def test_methods_replaced_on_the_protocol_instance(aio, loop):
    """The methods are looked up when data comes, not kept from the beginning."""
    with connected(loop) as (t, p, peer):
        peer.send(b"x")
        spin_until(loop, lambda: p.data == b"x")
        got = []
        p.data_received = got.append
        peer.send(b"y")
        spin_until(loop, lambda: got)
        assert got == [b"y"] and p.data == b"x"
