"""Stream transports and protocols over TCP and Unix sockets: order of calls, buffering, closing, errors."""
import asyncio
import collections
import contextlib
import gc
import os
import socket
import struct
import time
import warnings
import weakref

import pytest

from support import PY, Errors, free_port, fresh_loop, nonblocking_pair, outcome, plain, report, scrub, spin, spin_until

RESET = struct.pack("ii", 1, 0)


class Recorder(asyncio.Protocol):
    """Notes every call; `on` maps a call's name to what is to happen in it."""

    def __init__(self, **on):
        self.calls, self.data, self.on, self.transport = [], bytearray(), on, None

    def note(self, name, *args):
        self.calls.append([name, *map(plain, args)])
        if name in self.on:
            return self.on[name](self, *args)

    def connection_made(self, transport):
        self.transport = transport
        self.note("made")

    def data_received(self, data):
        assert type(data) is bytes
        self.data += data
        if not self.calls or self.calls[-1] != ["data"]:
            self.calls.append(["data"])
        if "data" in self.on:
            self.on["data"](self, data)

    def eof_received(self):
        return self.note("eof")

    def connection_lost(self, exc):
        self.note("lost", exc)

    def pause_writing(self):
        self.note("pause")

    def resume_writing(self):
        self.note("resume")

    @property
    def names(self):
        return [c[0] for c in self.calls]


def connect(loop, protocol, family=socket.AF_UNIX):
    """A transport for one end of a connected pair; the other end is a plain non-blocking socket."""
    if family == socket.AF_UNIX:
        a, b = nonblocking_pair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            b = socket.create_connection(server.getsockname())
            a, _ = server.accept()
        a.setblocking(False)
        b.setblocking(False)
    transport, got = loop.run_until_complete(loop.connect_accepted_socket(lambda: protocol, a))
    assert got is protocol
    return transport, b


@contextlib.contextmanager
def connected(loop, protocol=None, family=socket.AF_UNIX):
    protocol = Recorder() if protocol is None else protocol
    transport, peer = connect(loop, protocol, family)
    try:
        yield transport, protocol, peer
    finally:
        if transport.get_protocol() is not None:       # asyncio's abort() fails after a close() that had to flush
            transport.abort()
        peer.close()
        spin(loop, 2)


def read_all(loop, sock, until, timeout=10):
    """Reads from a plain socket while the loop runs."""
    got, deadline = bytearray(), time.monotonic() + timeout
    while not until(got):
        assert time.monotonic() < deadline, f"only {len(got)} bytes came"
        try:
            data = sock.recv(1 << 20)
            if not data:
                break
            got += data
        except BlockingIOError:
            loop.call_later(0.001, loop.stop)
            loop.run_forever()
    return bytes(got)


FAMILIES = [pytest.param(socket.AF_UNIX, id="unix"), pytest.param(socket.AF_INET, id="tcp")]


# --- making ------------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("family", FAMILIES)
def test_kinds(aio, loop, family):
    with connected(loop, family=family) as (t, p, peer):
        assert isinstance(t, asyncio.Transport) and isinstance(t, asyncio.ReadTransport) and isinstance(t, asyncio.WriteTransport)
        assert isinstance(t, asyncio.transports._FlowControlMixin)
        assert p.transport is t and t.get_protocol() is p and p.calls == [["made"]]
        assert t.is_reading() and not t.is_closing() and t.can_write_eof() is True and t.get_write_buffer_size() == 0
        assert t._start_tls_compatible is True
        t.attribute = 1
        assert t.attribute == 1 and weakref.ref(t)() is t and {t: 1}[t] == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_extra_info(aio, loop, family):
    with connected(loop, family=family) as (t, p, peer):
        sock = t.get_extra_info("socket")
        assert isinstance(sock, asyncio.trsock.TransportSocket) and sock.family == family and sock.type == socket.SOCK_STREAM
        assert sock.fileno() > 0 and sock.gettimeout() == 0
        assert t.get_extra_info("sockname") == peer.getpeername() and t.get_extra_info("peername") == peer.getsockname()
        assert t.get_extra_info("nothing") is None and t.get_extra_info("nothing", 5) == 5
        assert t.get_extra_info("sslcontext") is None
        t.close()
        spin(loop, 2)
        assert t.get_extra_info("sockname") == peer.getpeername() and t.get_extra_info("socket") is sock and sock.fileno() == -1


def test_patched_get_extra_info(aio, loop, monkeypatch):
    """websockets' tests patch asyncio.Transport."""
    with connected(loop) as (t, p, peer):
        monkeypatch.setattr(asyncio.Transport, "get_extra_info", lambda self, name, default=None: "patched", raising=False)
        assert t.get_extra_info("peername") == "patched"
        monkeypatch.undo()
        assert t.get_extra_info("peername") == ""


def test_reading_starts_after_connection_made(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            a, b = nonblocking_pair()
            b.send(b"early")
            p = Recorder(made=lambda p: p.note("made ends"))
            t = loop.create_task(loop.connect_accepted_socket(lambda: p, a))
            t.add_done_callback(lambda t: p.note("waiter"))
            spin_until(loop, lambda: p.data)
            transport, _ = t.result()
            transport.abort()
            spin(loop, 2)
            b.close()
            return p.calls
    same(scenario)


def test_connection_made_order(same):
    """connection_made, the start of reading and the waiter are three steps of one tick."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            a, b = nonblocking_pair()
            seen = []
            p = Recorder(made=lambda p: (seen.append("made"), loop.call_soon(seen.append, "from made")))

            async def main():
                t, _ = await loop.connect_accepted_socket(lambda: p, a)
                seen.append("connected")
                return t
            loop.call_soon(seen.append, "before")
            task = loop.create_task(main())
            loop.call_soon(seen.append, "after")
            for _ in range(5):
                spin(loop)
                seen.append("tick")
            task.result().abort()
            spin(loop, 2)
            b.close()
            return seen
    same(scenario)


# --- reading -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("family", FAMILIES)
def test_data_received(aio, loop, family):
    with connected(loop, family=family) as (t, p, peer):
        peer.send(b"one")
        spin_until(loop, lambda: p.data == b"one")
        peer.send(b"two")
        spin_until(loop, lambda: p.data == b"onetwo")
        assert p.names == ["made", "data"]


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
    p = Recorder(data=lambda p, d: kept.append(d))
    with connected(loop, p) as (t, p, peer):
        for i in range(20):
            peer.send(bytes([i]) * (1000 * (i + 1)))
            spin_until(loop, lambda: len(p.data) == sum(1000 * (k + 1) for k in range(i + 1)))
    assert b"".join(kept) == b"".join(bytes([i]) * (1000 * (i + 1)) for i in range(20))


def test_pause_and_resume_reading(aio, loop):
    with connected(loop) as (t, p, peer):
        assert t.pause_reading() is None and not t.is_reading()
        t.pause_reading()
        peer.send(b"x")
        spin(loop, 3)
        assert not p.data
        assert t.resume_reading() is None and t.is_reading()
        t.resume_reading()
        spin_until(loop, lambda: p.data == b"x")


def test_pausing_within_data_received(aio, loop):
    p = Recorder(data=lambda p, d: p.transport.pause_reading())
    with connected(loop, p) as (t, p, peer):
        peer.send(b"a" * 1_000)
        spin_until(loop, lambda: p.data)
        first = len(p.data)
        peer.send(b"b")
        spin(loop, 3)
        assert len(p.data) == first
        t.resume_reading()
        spin_until(loop, lambda: p.data.endswith(b"b"))
        assert not t.is_reading()


def test_pausing_within_connection_made(aio, loop):
    p = Recorder(made=lambda p: p.transport.pause_reading())
    with connected(loop, p) as (t, p, peer):
        peer.send(b"x")
        spin(loop, 3)
        assert not p.data and not t.is_reading()
        t.resume_reading()
        spin_until(loop, lambda: p.data == b"x")


def test_pause_and_resume_within_one_callback(aio, loop):
    p = Recorder(data=lambda p, d: (p.transport.pause_reading(), p.transport.resume_reading()))
    with connected(loop, p) as (t, p, peer):
        for n in range(1, 4):
            peer.send(b"x")
            spin_until(loop, lambda: len(p.data) == n)


def test_closing_within_data_received(aio, loop):
    p = Recorder(data=lambda p, d: p.transport.close())
    with connected(loop, p) as (t, p, peer):
        peer.send(b"x")
        spin_until(loop, lambda: p.calls[-1][0] == "lost")
        assert p.calls == [["made"], ["data"], ["lost", None]] and t.is_closing()


def test_eof_closes(aio, loop):
    with connected(loop) as (t, p, peer):
        peer.send(b"last")
        peer.shutdown(socket.SHUT_WR)
        spin_until(loop, lambda: p.names[-1] == "lost")
        assert p.calls == [["made"], ["data"], ["eof"], ["lost", None]] and p.data == b"last"
        assert peer.recv(1) == b""


def test_eof_kept_open(aio, loop):
    p = Recorder(eof=lambda p: True)
    with connected(loop, p) as (t, p, peer):
        peer.shutdown(socket.SHUT_WR)
        spin_until(loop, lambda: "eof" in p.names)
        spin(loop, 5)
        assert p.names == ["made", "eof"] and not t.is_closing()
        t.write(b"still here")
        spin(loop, 2)
        assert peer.recv(100) == b"still here"
        t.close()
        spin(loop, 2)
        assert p.calls[-1] == ["lost", None]


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


@pytest.mark.parametrize("value", [None, False, 0, True, 1, "yes"])
def test_eof_return_values(same, value):
    def scenario(aio):
        with fresh_loop(aio) as loop, connected(loop, Recorder(eof=lambda p: value)) as (t, p, peer):
            peer.shutdown(socket.SHUT_WR)
            spin_until(loop, lambda: "eof" in p.names)
            spin(loop, 3)
            return [p.calls, t.is_closing()]
    same(scenario)


# --- BufferedProtocol --------------------------------------------------------------------------------------------------

class Buffered(asyncio.BufferedProtocol):
    def __init__(self, size=10, on=None):
        self.buffer, self.data, self.calls, self.on = bytearray(size), bytearray(), [], on or {}

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append(["made"])

    def get_buffer(self, sizehint):
        self.calls.append(["get_buffer", sizehint])
        if "get_buffer" in self.on:
            return self.on["get_buffer"](self)
        return self.buffer

    def buffer_updated(self, nbytes):
        self.calls.append(["updated", nbytes])
        self.data += self.buffer[:nbytes]
        if "updated" in self.on:
            self.on["updated"](self)

    def eof_received(self):
        self.calls.append(["eof"])

    def connection_lost(self, exc):
        self.calls.append(["lost", plain(exc)])


def test_buffered_protocol(aio, loop):
    with connected(loop, Buffered()) as (t, p, peer):
        peer.send(b"0123456789ABCDE")
        spin_until(loop, lambda: len(p.data) == 15)
        assert p.data == b"0123456789ABCDE" and p.calls == [["made"], ["get_buffer", -1], ["updated", 10], ["get_buffer", -1], ["updated", 5]]
        peer.close()
        spin_until(loop, lambda: p.calls[-1] == ["lost", None])
        assert ["eof"] in p.calls
        p.buffer.append(1)                         # no export is left


@pytest.mark.parametrize("what", ["empty", "raises", "none", "read only", "updated raises", "memoryview", "interrupt"])
def test_buffered_protocol_errors(same, what):
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            on = {"empty": {"get_buffer": lambda p: bytearray()}, "raises": {"get_buffer": lambda p: 1 / 0},
                  "none": {"get_buffer": lambda p: None}, "read only": {"get_buffer": lambda p: b"12345"},
                  "updated raises": {"updated": lambda p: 1 / 0}, "memoryview": {"get_buffer": lambda p: memoryview(p.buffer)[:3]},
                  "interrupt": {"updated": interrupt}}[what]
            p = Buffered(on=on)
            t, peer = connect(loop, p)
            peer.send(b"xy")
            found = [outcome(spin, loop, 3)]
            calls = list(p.calls)
            t.abort()
            spin(loop, 3)
            peer.close()
            contexts = errors.take()
            if what == "read only":             # the words are those of whoever rejects it
                calls[-1][-1] = calls[-1][-1][0]
            return found + [calls[:3], [[sorted(c), c["message"], type(c["exception"]).__name__] for c in contexts]]
    same(scenario)


def interrupt(*args):
    raise KeyboardInterrupt("now")


# --- writing -----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_write(aio, loop, family, kind):
    with connected(loop, family=family) as (t, p, peer):
        assert t.write(kind(b"hello")) is None
        t.write(kind(b""))
        t.write(kind(b" world"))
        assert read_all(loop, peer, lambda g: len(g) == 11) == b"hello world"
        assert t.get_write_buffer_size() == 0


def test_a_small_write_is_out_by_the_end_of_the_tick(aio, loop):
    with connected(loop) as (t, p, peer):
        loop.call_soon(t.write, b"x")
        spin(loop)
        assert peer.recv(10) == b"x"


def test_data_can_change_after_write(aio, loop):
    """write() of a mutable object takes what it holds at that time."""
    with connected(loop) as (t, p, peer):
        data = bytearray(b"a" * 1000)
        t.write(data)
        spin(loop)
        data[:] = b"b" * 1000
        assert read_all(loop, peer, lambda g: len(g) == 1000) == b"a" * 1000


@pytest.mark.parametrize("bad", ["text", None, 5, [b"x"], object()])
def test_write_wants_bytes(same, bad):
    def scenario(aio):
        with fresh_loop(aio) as loop, connected(loop) as (t, p, peer):
            return [outcome(t.write, bad), outcome(t.write, text=False), outcome(t.writelines, [bad], text=False)[:2], t.is_closing()]
    same(scenario)


@pytest.mark.parametrize("family", FAMILIES)
def test_large_writes(aio, loop, family):
    data = os.urandom(4_000_000)
    with connected(loop, family=family) as (t, p, peer):
        t.write(data)
        assert 0 < t.get_write_buffer_size() <= len(data)
        assert read_all(loop, peer, lambda g: len(g) == len(data)) == data
        spin(loop, 2)
        assert t.get_write_buffer_size() == 0 and p.names == ["made", "pause", "resume"]


def test_many_small_writes(aio, loop):
    pieces = [bytes([i % 256]) * (i % 700) for i in range(5000)]
    with connected(loop) as (t, p, peer):
        for piece in pieces:
            t.write(piece)
        expected = b"".join(pieces)
        assert read_all(loop, peer, lambda g: len(g) == len(expected)) == expected


def test_writelines(aio, loop):
    with connected(loop) as (t, p, peer):
        assert t.writelines([b"a", bytearray(b"b"), memoryview(b"c")]) is None
        t.writelines([])
        t.writelines(iter([b"d", b"e"])) if PY >= (3, 12) else t.writelines([b"d", b"e"])
        big = [os.urandom(1000) for _ in range(3000)]
        t.writelines(big)
        t.write(b"end")
        expected = b"abcde" + b"".join(big) + b"end"
        assert read_all(loop, peer, lambda g: len(g) == len(expected)) == expected


def test_water_marks(aio, loop):
    with connected(loop) as (t, p, peer):
        assert t.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
        t.set_write_buffer_limits(high=100)
        assert t.get_write_buffer_limits() == (25, 100)
        t.set_write_buffer_limits(low=10)
        assert t.get_write_buffer_limits() == (10, 40)
        t.set_write_buffer_limits(high=0)
        assert t.get_write_buffer_limits() == (0, 0)
        t.set_write_buffer_limits()
        assert t.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
        for kwargs in ({"high": 1, "low": 2}, {"high": -1}, {"low": -1, "high": 5}):
            with pytest.raises(ValueError, match=r"^high \(.*\) must be >= low \(.*\) must be >= 0$"):
                t.set_write_buffer_limits(**kwargs)


def fill(t):
    """Writes until the kernel takes no more."""
    t.set_write_buffer_limits(high=1 << 30)
    while t.get_write_buffer_size() == 0:
        t.write(b"x" * 100_000)


def test_pause_and_resume_writing(aio, loop):
    with connected(loop) as (t, p, peer):
        t.set_write_buffer_limits(high=1000, low=200)
        fillers = 0
        while "pause" not in p.names:
            t.write(b"x" * 50_000)
            fillers += 1
        assert p.names == ["made", "pause"] and t.get_write_buffer_size() > 1000
        t.write(b"more" * 1000)
        assert p.names == ["made", "pause"]
        got = read_all(loop, peer, lambda g: p.names[-1] == "resume")
        assert t.get_write_buffer_size() <= 200 and p.names == ["made", "pause", "resume"]


def test_pause_writing_is_called_within_write(aio, loop):
    with connected(loop) as (t, p, peer):
        fill(t)
        t.set_write_buffer_limits(high=t.get_write_buffer_size() + 10)
        t.write(b"1234567890")
        assert "pause" not in p.names
        t.write(b"!")
        assert p.names[-1] == "pause"


def test_lowering_the_mark_below_what_is_buffered(same):
    def scenario(aio):
        with fresh_loop(aio) as loop, connected(loop) as (t, p, peer):
            fill(t)
            t.set_write_buffer_limits(high=0)
            return p.names
    same(scenario)


def test_writing_from_resume_writing(aio, loop):
    """A protocol that writes until paused, and goes on when resumed."""
    total = 3_000_000

    class Pump(Recorder):
        sent, paused = 0, False

        def pause_writing(self):
            super().pause_writing()
            self.paused = True

        def resume_writing(self):
            super().resume_writing()
            self.paused = False
            self.pump()

        def pump(self):
            while not self.paused and self.sent < total:
                self.transport.write(b"p" * 10_000)
                self.sent += 10_000
    with connected(loop, Pump()) as (t, p, peer):
        p.pump()
        assert len(read_all(loop, peer, lambda g: len(g) == total)) == total
        assert p.names.count("pause") == p.names.count("resume") >= 2


@pytest.mark.parametrize("which", ["pause", "resume"])
def test_flow_control_callbacks_that_raise(same, which):
    def scenario(aio):
        errors = Errors()

        def broken(p):
            raise ValueError("flow")
        with fresh_loop(aio, errors) as loop, connected(loop, Recorder(**{which: broken})) as (t, p, peer):
            fill(t)
            t.set_write_buffer_limits(high=10)
            t.write(b"x" * 100)
            read_all(loop, peer, lambda g: t.get_write_buffer_size() == 0)
            spin(loop, 2)
            found = [{**report(c), "same": c["transport"] is t and c["protocol"] is p} for c in errors.take()]
            return [p.names, t.is_closing(), found]
    same(scenario)


@pytest.mark.parametrize("family", FAMILIES)
def test_write_eof(aio, loop, family):
    with connected(loop, family=family) as (t, p, peer):
        t.write(b"all")
        assert t.write_eof() is None
        t.write_eof()
        assert read_all(loop, peer, lambda g: False) == b"all"
        for write in (lambda: t.write(b"x"), lambda: t.writelines([b"x"])):
            with pytest.raises(RuntimeError, match=r"^Cannot call write(lines)?\(\) after write_eof\(\)$"):
                write()
        assert not t.is_closing()
        peer.send(b"answer")
        spin_until(loop, lambda: p.data == b"answer")
        peer.close()
        spin_until(loop, lambda: p.names[-1] == "lost")


def test_write_eof_after_a_full_buffer(aio, loop):
    with connected(loop) as (t, p, peer):
        t.write(b"x" * 3_000_000)
        t.write_eof()
        assert t.get_write_buffer_size() > 0
        assert len(read_all(loop, peer, lambda g: False)) == 3_000_000
        assert not t.is_closing()


# --- closing -----------------------------------------------------------------------------------------------------------

def test_close(aio, loop):
    with connected(loop) as (t, p, peer):
        assert t.close() is None and t.is_closing() and not t.is_reading()
        assert p.names == ["made"]
        t.close()
        spin(loop, 2)
        assert p.calls == [["made"], ["lost", None]] and peer.recv(1) == b""
        t.close()
        t.abort()
        spin(loop, 2)
        assert p.calls == [["made"], ["lost", None]]


def test_close_flushes(aio, loop):
    with connected(loop) as (t, p, peer):
        t.write(b"x" * 3_000_000)
        t.close()
        assert t.is_closing() and p.names[:1] == ["made"] and "lost" not in p.names
        assert len(read_all(loop, peer, lambda g: False)) == 3_000_000
        spin_until(loop, lambda: p.names[-1] == "lost")
        assert p.calls[-1] == ["lost", None]


def test_close_stops_reading(aio, loop):
    with connected(loop) as (t, p, peer):
        fill(t)
        t.close()
        peer.send(b"ignored")
        spin(loop, 3)
        assert not p.data
        t.pause_reading()
        t.resume_reading()
        assert not t.is_reading()


def test_abort(aio, loop):
    with connected(loop) as (t, p, peer):
        t.write(b"x" * 3_000_000)
        assert t.abort() is None and t.is_closing() and t.get_write_buffer_size() == 0
        spin(loop, 2)
        assert p.calls[-1] == ["lost", None]
        t.abort()
        t.close()
        spin(loop, 2)
        assert p.names.count("lost") == 1
        assert len(read_all(loop, peer, lambda g: False)) < 3_000_000


def test_abort_after_close_with_data_pending(aio, loop):
    with connected(loop) as (t, p, peer):
        fill(t)
        t.close()
        spin(loop, 2)
        assert "lost" not in p.names
        t.abort()
        spin(loop, 2)
        assert p.calls[-1] == ["lost", None]


def test_writing_after_close(aio, loop, caplog):
    """asyncio ignores it, and warns from the fifth time on when the connection is lost (uvloop #506 raised)."""
    with connected(loop) as (t, p, peer):
        t.close()
        for _ in range(3):
            t.write(b"x")
        assert [r.message for r in caplog.records] == []
        spin(loop, 2)
        for _ in range(5):
            t.write(b"x")
        assert {r.message for r in caplog.records} == {"socket.send() raised exception."}
        assert {r.levelname for r in caplog.records} == {"WARNING"}


def test_write_after_loss_counts_like_asyncio(same, caplog):
    def scenario(aio):
        caplog.clear()
        with fresh_loop(aio) as loop, connected(loop) as (t, p, peer):
            counts = []
            t.abort()
            for _ in range(8):
                t.write(b"x")
                counts.append(len(caplog.records))
            spin(loop, 2)
            for _ in range(3):
                t.write(b"x")
                counts.append(len(caplog.records))
            return counts
    same(scenario)


def test_everything_after_the_connection_is_lost(same):
    """Each method of a transport whose connection is gone."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            t, peer = connect(loop, Recorder())
            t.close()
            spin(loop, 2)
            found = [outcome(m) for m in (t.is_closing, t.is_reading, t.pause_reading, t.resume_reading, t.close, t.abort, t.get_write_buffer_size,
                                          t.can_write_eof, t.get_protocol, t.write_eof, lambda: t.write(b""), lambda: t.write(b"x"),
                                          t.get_write_buffer_limits, lambda: t.get_extra_info("socket").fileno())]
            peer.close()
            return found + [scrub(repr(t)).split(" ", 1)[1]]
    same(scenario)


def test_repr(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            t, peer = connect(loop, Recorder())
            found = [repr(t)]
            t.pause_reading()
            found.append(repr(t))
            t.close()
            found.append(repr(t))
            spin(loop, 2)
            found.append(repr(t))
            peer.close()
            return [scrub(x).split(" ", 1)[1] for x in found]
    same(scenario)


@pytest.mark.parametrize("how", ["drop", "drop with data"])
def test_unclosed_transport_warns(aio, loop, how):
    a, b = nonblocking_pair()
    p = Recorder()

    async def main():
        await loop.connect_accepted_socket(lambda: p, a)
    loop.run_until_complete(main())
    if how == "drop with data":
        p.transport.pause_reading()
        fill(p.transport)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loop.close()
        p.transport = None
        del p, a
        gc.collect()
        gc.collect()
    # the collector may come to the socket first, which then warns too
    assert [w.category for w in caught if str(w.message).startswith("unclosed transport <")] == [ResourceWarning]
    b.setblocking(True)
    while b.recv(1 << 20):
        pass
    b.close()


def test_transport_is_released_after_the_loss(aio, loop):
    """No reference is kept by the loop once connection_lost was called."""
    t, peer = connect(loop, Recorder())
    ref, proto = weakref.ref(t), weakref.ref(t.get_protocol())
    t.close()
    spin(loop, 2)
    del t
    gc.collect()
    assert ref() is None and proto() is None
    peer.close()


def test_an_open_transport_is_kept_by_its_loop(aio, loop):
    t, peer = connect(loop, Recorder())
    ref = weakref.ref(t)
    del t
    gc.collect()
    assert ref() is not None
    peer.close()
    spin_until(loop, lambda: ref() is None or ref().is_closing())
    spin(loop, 2)
    gc.collect()
    assert ref() is None


# --- peers that misbehave ----------------------------------------------------------------------------------------------

def reset(peer):
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    peer.close()


@pytest.mark.parametrize("stage", ["idle", "paused", "writing", "buffered", "after eof", "closing"])
def test_peer_resets(same, stage):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            p = Recorder(eof=lambda p: True)
            t, peer = connect(loop, p, socket.AF_INET)
            if stage == "paused":
                t.pause_reading()
            if stage in ("buffered", "closing"):
                fill(t)
            if stage == "closing":
                t.close()
            if stage == "after eof":
                peer.shutdown(socket.SHUT_WR)
                spin_until(loop, lambda: "eof" in p.names)
            reset(peer)
            if stage in ("writing", "paused", "after eof"):
                deadline = time.monotonic() + 5
                while "lost" not in p.names and time.monotonic() < deadline:
                    t.write(b"x")
                    loop.call_later(0.002, loop.stop)
                    loop.run_forever()
            else:
                spin_until(loop, lambda: "lost" in p.names)
            spin(loop, 2)
            # both ends of the race between reading and writing are errors of the connection
            names = [n for n in p.names if n not in ("pause", "resume")]
            lost, = [c for c in p.calls if c[0] == "lost"]
            return [names, lost[1] and lost[1][0] in ("ConnectionResetError", "BrokenPipeError"), t.is_closing()]
    same(scenario)


def test_broken_pipe_on_write(aio, loop, errors):
    with connected(loop) as (t, p, peer):
        t.pause_reading()
        peer.close()
        t.write(b"x")
        t.write(b"y")
        spin_until(loop, lambda: p.names[-1] == "lost")
        assert p.calls[-1][1][0] in ("BrokenPipeError", "ConnectionResetError") and errors.contexts == []


def test_network_errors_are_logged_in_debug_only(same, caplog):
    def scenario(aio):
        caplog.set_level("DEBUG", logger="asyncio")
        found = []
        for debug in (False, True):
            with fresh_loop(aio, debug=debug) as loop, connected(loop) as (t, p, peer):
                t.pause_reading()
                peer.close()
                caplog.clear()
                t.write(b"x")
                spin_until(loop, lambda: p.names[-1] == "lost")
                found.append([[r.levelname, r.getMessage().split(": ")[-1]] for r in caplog.records if "rror" in r.getMessage()])
        return found
    same(scenario)


# --- protocols that misbehave ------------------------------------------------------------------------------------------

@pytest.mark.parametrize("exc", [ValueError("broken"), OSError("broken"), KeyboardInterrupt("broken"), asyncio.CancelledError("broken"),
                                 ConnectionResetError("broken")])
@pytest.mark.parametrize("where", ["made", "data", "eof", "lost"])
def test_callbacks_that_raise(same, where, exc):
    def scenario(aio):
        errors = Errors()

        def broken(p, *args):
            raise exc
        with fresh_loop(aio, errors) as loop:
            a, b = nonblocking_pair()
            p = Recorder(**{where: broken})
            task = loop.create_task(loop.connect_accepted_socket(lambda: p, a))
            found = [outcome(spin, loop, 4)]
            b.send(b"x")
            found.append(outcome(spin, loop, 4))
            b.shutdown(socket.SHUT_WR)
            found.append(outcome(spin, loop, 4))
            if p.transport is not None:
                p.transport.abort()
            found.append(outcome(spin, loop, 4))
            found.append(task.done() and outcome(task.result)[:1])
            if task.done() and not task.cancelled() and task.exception() is None:
                transport = task.result()[0]
                transport.abort()
                spin(loop, 2)
            b.close()
            contexts = [[sorted(c), scrub(c["message"]).split(" at ")[0].split("(")[0], plain(c["exception"])] for c in errors.take()]
            exc.__traceback__ = None
            return found + [p.calls, contexts, a.fileno()]
    same(scenario)


class Bare:
    """A protocol without a base class: what it lacks is missed where it is needed."""

    def connection_made(self, transport):
        self.transport = transport


def test_a_protocol_without_methods(same):
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            p = Bare()
            t, peer = connect(loop, p)
            peer.send(b"x")
            spin_until(loop, lambda: errors.contexts)
            spin(loop, 3)
            peer.close()
            return [[scrub(c["message"]).split(" at ")[0].split("(")[0], type(c["exception"]).__name__] for c in errors.take()]
    same(scenario)


def test_a_factory_that_fails(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            a, b = nonblocking_pair()

            def factory():
                raise ZeroDivisionError("factory")
            found = [outcome(loop.run_until_complete, loop.connect_accepted_socket(factory, a)), a.fileno() >= 0]
            a.close()
            b.close()
            return found
    same(scenario)


# --- changing protocols ------------------------------------------------------------------------------------------------

def test_set_protocol(aio, loop):
    with connected(loop) as (t, p, peer):
        q = Recorder()
        assert t.set_protocol(q) is None and t.get_protocol() is q
        peer.send(b"x")
        spin_until(loop, lambda: q.data)
        b = Buffered()
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
    q = Recorder()
    p = Recorder(data=lambda p, d: p.transport.set_protocol(q))
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


def test_write_assigned_on_the_instance(aio, loop):
    """uvicorn's and aiohttp's tests do."""
    with connected(loop) as (t, p, peer):
        written = []
        t.write = written.append
        t.write(b"mine")
        del t.write
        t.write(b"real")
        spin(loop)
        assert written == [b"mine"] and peer.recv(100) == b"real"


# --- re-entrancy -------------------------------------------------------------------------------------------------------

def test_echo_from_data_received(aio, loop):
    p = Recorder(data=lambda p, d: p.transport.write(d))
    with connected(loop, p) as (t, p, peer):
        data, got = os.urandom(2_000_000), bytearray()
        view = memoryview(data)
        deadline = time.monotonic() + 10
        while len(got) < len(data):
            assert time.monotonic() < deadline
            with contextlib.suppress(BlockingIOError):
                view = view[peer.send(view[:65536]):] if view else view
            with contextlib.suppress(BlockingIOError):
                got += peer.recv(1 << 20)
            spin(loop)
        assert got == data


@pytest.mark.parametrize("first", ["close", "abort", "write", "write_eof", "pause_reading", "set_protocol", "stop"])
@pytest.mark.parametrize("second", ["close", "abort", "write", "write_eof", "resume_reading"])
def test_combinations_within_data_received(same, first, second):
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            q = Recorder()

            def act(p, d):
                found.append([outcome(do, p.transport, first), outcome(do, p.transport, second)])

            def do(t, what):
                if what == "write":
                    t.write(b"w")
                elif what == "set_protocol":
                    t.set_protocol(q)
                elif what == "stop":
                    loop.stop()
                else:
                    getattr(t, what)()
            found = []
            p = Recorder(data=act)
            t, peer = connect(loop, p)
            peer.send(b"x")
            spin_until(loop, lambda: found)
            spin(loop, 3)
            got = b""
            with contextlib.suppress(BlockingIOError):
                got = peer.recv(100)
            found += [got, t.is_closing(), p.calls, q.calls]
            t.abort()
            spin(loop, 3)
            peer.close()
            return found + [p.calls, q.calls, [c["message"] for c in errors.take()]]
    same(scenario)


def test_loop_closed_with_open_transports(aio):
    loop = aio.new_event_loop()
    t, peer = connect(loop, Recorder())
    fill(t)
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loop.close()
        del t
        gc.collect()
    assert [w.category for w in caught if str(w.message).startswith("unclosed transport <")] == [ResourceWarning]
    peer.close()


def test_transport_used_after_its_loop_closed(same):
    def scenario(aio):
        loop = aio.new_event_loop()
        t, peer = connect(loop, Recorder())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loop.close()
            found = [outcome(m) for m in (t.pause_reading, t.resume_reading, lambda: t.write(b"x"), t.close)]
            del t
            gc.collect()
        peer.close()
        return found
    same(scenario)


def test_write_from_another_thread_is_not_a_crash(aio, loop):
    """Not allowed, but it must not bring the process down."""
    import threading
    with connected(loop) as (t, p, peer):
        def thread():
            for _ in range(200):
                t.write(b"x" * 100)
        th = threading.Thread(target=thread)
        th.start()
        got = read_all(loop, peer, lambda g: len(g) == 20_000)
        th.join()
        assert got == b"x" * 20_000


# --- sendfile, create_connection ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("size", [0, 100, 1_500_000])
def test_loop_sendfile(aio, loop, tmp_path, size):
    path, data = tmp_path / "file", os.urandom(size)
    path.write_bytes(data)
    with connected(loop, family=socket.AF_INET) as (t, p, peer), open(path, "rb") as f:
        t.write(b"head")

        async def main():
            n = await loop.sendfile(t, f)
            t.write(b"tail")
            return n
        task = loop.create_task(main())
        assert read_all(loop, peer, lambda g: len(g) == size + 8) == b"head" + data + b"tail"
        assert loop.run_until_complete(task) == size


def test_sendfile_rules(same, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"x" * 3_000_000)

    def scenario(aio):
        with fresh_loop(aio) as loop, open(path, "rb") as f, connected(loop, family=socket.AF_INET) as (t, p, peer):
            async def main():
                task = aio.ensure_future(loop.sendfile(t, f))
                for _ in range(3):
                    await aio.sleep(0)
                found = [outcome(t.write, b"x"), outcome(t.writelines, [b"x"])] if not task.done() else ["quick"]
                task.cancel()
                with contextlib.suppress(aio.CancelledError):
                    await task
                t.close()
                try:
                    await loop.sendfile(t, f)
                except RuntimeError as e:
                    found.append(str(e))
                return found
            return loop.run_until_complete(main())
    same(scenario)


@pytest.mark.parametrize("family", FAMILIES)
def test_create_connection_with_a_socket(aio, loop, family):
    """uvloop #738 and #763: a socket given to the loop is owned by the transport, and closed once."""
    a, b = nonblocking_pair()
    if family == socket.AF_INET:
        a.close()
        b.close()
        with socket.create_server(("127.0.0.1", 0)) as server:
            a = socket.create_connection(server.getsockname())
            b, _ = server.accept()
    a.setblocking(False)
    make = loop.create_connection if family == socket.AF_INET else loop.create_unix_connection
    t, p = loop.run_until_complete(make(Recorder, sock=a))
    fd = a.fileno()
    t.close()
    spin(loop, 2)
    assert a.fileno() == -1
    reused = os.open(os.devnull, os.O_RDONLY)
    a.close()
    gc.collect()
    os.fstat(reused)
    os.close(reused)
    b.close()


def test_create_connection_errors(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            port = free_port()
            r = loop.run_until_complete
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dgram, socket.socket() as tcp:
                found = [outcome(r, loop.create_connection(Recorder, "127.0.0.1", port))[:2], outcome(r, loop.create_connection(Recorder)),
                         outcome(r, loop.create_connection(Recorder, "127.0.0.1", port, sock=tcp)),
                         outcome(r, loop.create_connection(Recorder, sock=dgram))[:2],
                         outcome(r, loop.create_connection(Recorder, "127.0.0.1", port, server_hostname="x")),
                         outcome(r, loop.create_unix_connection(Recorder, "/nonexistent/socket")),
                         outcome(r, loop.create_unix_connection(Recorder)), outcome(r, loop.create_unix_connection(Recorder, "/x", sock=tcp)),
                         outcome(r, loop.create_unix_connection(Recorder, sock=tcp))[:2],
                         outcome(r, loop.create_connection(Recorder, "localhost", 1, happy_eyeballs_delay=0.1))[:1]]
            return found
    same(scenario)


def test_cancelled_create_connection_leaks_nothing(aio, loop):
    with socket.create_server(("127.0.0.1", 0)) as server:
        for ticks in range(6):
            task = loop.create_task(loop.create_connection(Recorder, *server.getsockname()))
            spin(loop, ticks)
            task.cancel()
            spin(loop, 5)
            if task.done() and not task.cancelled() and task.exception() is None:
                task.result()[0].abort()
            spin(loop, 2)
        server.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                server.accept()[0].close()
        loop.run_until_complete(loop.shutdown_default_executor())


def test_no_delay(aio, loop):
    """Nagle's algorithm is off on connections that the loop makes and accepts."""
    server_side = []
    server = loop.run_until_complete(loop.create_server(lambda: server_side.append(Recorder()) or server_side[-1], "127.0.0.1", 0))
    t, p = loop.run_until_complete(loop.create_connection(Recorder, *server.sockets[0].getsockname()))
    spin_until(loop, lambda: server_side and server_side[0].transport)
    for transport in (t, server_side[0].transport):
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        transport.abort()
    server.close()
    spin(loop, 3)
