"""Data over TLS: writing and reading of every kind and size, pausing, water marks, both kinds of protocol."""
import array
import asyncio
import hashlib
import os

import pytest

from lab import BufferedRecorder, Lab, protocols, reset
from lab_tls import (CLOSE_NOTIFY, PIECE, ended, failure, got_data, secure, sides, silent, tls_scenario, versions,
                     write_until_paused)
from support import outcome


# ---- writing ----

PIECES = {
    "bytes": b"hello", "bytearray": bytearray(b"hello"), "memoryview": memoryview(b"hello"), "a slice": memoryview(b"xhellox")[1:-1],
    "every second": memoryview(b"h-e-l-l-o")[::2], "empty": b"", "an array's view": memoryview(array.array("H", [1, 2, 3])),
    "two dimensions": memoryview(bytes(6)).cast("B", (2, 3)), "str": "hello", "int": 5, "None": None, "array": array.array("B", b"hello"),
    "list": [1, 2],
}


@sides
@pytest.mark.parametrize("kind", PIECES)
def test_what_can_be_written(same, tls, side, kind):
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        found = outcome(p.transport.write, PIECES[kind])
        p.transport.write(b"|end")
        data = b""
        if kind in ("every second", "two dimensions"):
            await lab.ticks()                    # ssl takes contiguous memory only; what becomes of the connection is the question
        else:
            while not data.endswith(b"|end"):
                data += await peer.read(1)
        closing = p.transport.is_closing()
        if closing:
            await lab.seen("lost")
        else:
            await ended(lab, p, peer)
        return found, data, closing
    same(tls_scenario(main))


LINES = {
    "list": [b"one", b"two"], "tuple": (b"one", bytearray(b"two")), "views": [memoryview(b"one"), b"",
                                                                              b"two"], "nothing": [], "None": None, "int": 7,
    "str": ["one"], "bytes": b"onetwo", "mixed": [b"one", 5], "none within": [b"one", None, b"two"],
}


@sides
@pytest.mark.parametrize("kind", [*LINES, "generator", "raising generator"])
def test_writelines(same, tls, side, kind):
    async def main(lab):
        def generate():
            yield b"one"
            if kind == "raising generator":
                raise LookupError("no more")
            yield b"two"
        p, peer = await secure(lab, tls, side)
        found = outcome(p.transport.writelines, generate() if "generator" in kind else LINES[kind])
        p.transport.write(b"|end")
        await lab.ticks()
        if p.transport.is_closing():
            await lab.seen("lost")
            return found, "closed"
        p.transport.close()
        data = await peer.read_all()
        peer.close()
        await lab.seen("lost")
        return found, data
    same(tls_scenario(main))


@sides
@versions
def test_many_writes_and_one_big_one(same, tls, side, version):
    async def main(lab):
        p, peer = await secure(lab, tls, side, version)
        data = os.urandom(300_000)
        for i in range(0, 3000, 30):
            p.transport.write(data[i:i + 30])
        p.transport.write(memoryview(data)[3000:])
        found = (await peer.read(len(data))) == data
        await ended(lab, p, peer)
        return found, p.transport.get_write_buffer_size()
    assert same(tls_scenario(main))["result"] == [True, 0]


@sides
def test_written_at_every_moment(same, tls, side):
    """In connection_made(), in the same tick, from callbacks, tasks and timers, from data_received(): the order is that of the calls."""
    async def main(lab):
        def made(p):
            p.transport.write(b"1")
            p.transport.writelines([b"2", b"3"])
            lab.loop.call_soon(p.transport.write, b"4")

        def data(p, data):
            p.transport.write(b"[" + data + b"]")
        p, peer = await secure(lab, tls, side, hooks={"connection_made": made, "data_received": data})
        found = [await peer.read(4)]
        await peer.write(b"x")
        found.append(await peer.read(3))

        async def write():
            p.transport.write(b"6")
            await asyncio.sleep(0)
            p.transport.write(b"7")
        p.transport.write(b"5")
        await write()
        lab.loop.call_later(0.001, p.transport.write, b"8")
        found.append(await peer.read(4))
        lab.loop.call_soon_threadsafe(p.transport.write, b"9")
        found.append(await peer.read(1))
        await ended(lab, p, peer)
        return found
    assert same(tls_scenario(main))["result"] == [b"1234", b"[x]", b"5678", b"9"]


@sides
def test_written_between_runs_of_the_loop(same, tls, side):
    """Nothing is lost that was written while the loop stood still."""
    def run(aio):
        with Lab(aio) as lab:
            p, peer = lab.run(secure(lab, tls, side))
            p.transport.write(b"outside")
            found = [lab.run(peer.read(7))]
            p.transport.write(b"again")
            p.transport.close()
            found.append(lab.run(peer.read_all()))
            peer.close()
            lab.run(lab.seen("lost"))
            return found, lab.reports()
    assert same(run) == ([b"outside", (b"again", CLOSE_NOTIFY)], [])


# ---- reading ----

@sides
@versions
@protocols
def test_reading(same, tls, side, version, buffered):
    async def main(lab):
        p, peer = await secure(lab, tls, side, version, buffered=buffered)
        await peer.write(b"hello")
        await got_data(lab, 5)
        big = bytes(range(256)) * 400
        await peer.write(big)
        await got_data(lab, 5 + len(big))
        await ended(lab, p, peer)
        return hashlib.md5(big).hexdigest()
    log = same(tls_scenario(main))["log"]
    assert [e[0] for e in log] == ["made", "data", "eof", "lost"]


@sides
def test_a_record_in_pieces(same, tls, side):
    """Byte by byte, and two and a half at once: data_received() has whole records."""
    async def main(lab):
        pieces = []
        p, peer = await secure(lab, tls, side, hooks={"data_received": lambda p, data: pieces.append(data)})
        for byte in peer.record(b"slowly"):
            await peer.raw(bytes([byte]))
            await lab.ticks(1)
        await got_data(lab, 6)
        three = peer.record(b"one") + peer.record(b"two"), peer.record(b"three")
        peer.raw_now(three[0] + three[1][:7])
        await got_data(lab, 12)
        peer.raw_now(three[1][7:])
        await got_data(lab, 17)
        await ended(lab, p, peer)
        return pieces
    assert same(tls_scenario(main))["result"] == [b"slowly", b"onetwo", b"three"]


@sides
@pytest.mark.parametrize("size", [1, 7, 100, 5000, 100_000])
def test_buffers_of_every_size(same, tls, side, size):
    async def main(lab):
        p = BufferedRecorder(lab.log, size=size, get_buffer=lambda p: memoryview(p.buffer))
        p, peer = await secure(lab, tls, side, protocol=p)
        data = os.urandom(20_000 if size > 7 else 1000)
        await peer.write(data)
        await got_data(lab, len(data))
        found = lab.log[1][1] == data
        lab.log.clear()
        await ended(lab, p, peer)
        return found
    assert same(tls_scenario(main))["result"] is True


# ---- pausing ----

@sides
@protocols
def test_pausing(same, tls, side, buffered):
    async def main(lab):
        p, peer = await secure(lab, tls, side, buffered=buffered)
        t, found = p.transport, []
        t.pause_reading()
        t.pause_reading()
        found.append(t.is_reading())
        await peer.write(b"one")
        await lab.ticks()
        found.append(len(lab.log))
        t.resume_reading()
        t.resume_reading()
        found.append([t.is_reading(), len(lab.log)])              # it is delivered in the next tick, not at once
        await got_data(lab, 3)
        t.pause_reading()
        await peer.write(b"two")
        await lab.ticks()
        t.resume_reading()
        t.pause_reading()
        await lab.ticks()
        found.append(len(lab.log[-1][-1]))
        t.resume_reading()
        await got_data(lab, 6)
        await ended(lab, p, peer)
        return found
    assert same(tls_scenario(main))["result"] == [False, 1, [True, 1], 3]


@sides
@protocols
def test_paused_in_a_callback_with_more_inside(same, tls, side, buffered):
    """The rest stays inside until reading goes on; nothing new need arrive for that."""
    async def main(lab):
        def stop(p, arg):
            p.transport.pause_reading()
        hooks = {"buffer_updated" if buffered else "data_received": stop}
        p, peer = await secure(lab, tls, side, buffered=buffered, hooks=hooks)
        peer.raw_now(peer.record(b"a" * 1500) + peer.record(b"b" * 1500) + peer.record(b"c" * 1500))
        await got_data(lab, 1000)
        sizes, last = [], 0
        for _ in range(10):
            await lab.ticks()
            size = sum(len(e[-1]) for e in lab.log if "data" in e)
            if size == last:
                if size == 4500:
                    break
                p.transport.resume_reading()
            elif buffered or size == 4500:
                sizes.append(size)
            last = size
        p.hooks.clear()
        p.transport.resume_reading()
        await ended(lab, p, peer)
        return sizes
    same(tls_scenario(main))


@sides
@pytest.mark.parametrize("end", ["close_notify", "eof", "reset", "close", "abort"])
def test_the_end_comes_while_paused(same, tls, side, end):
    """What had arrived is delivered after resume_reading(), and only then the end."""
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        t = p.transport
        t.pause_reading()
        await peer.write(b"before the end")
        if end == "close_notify":
            await peer.close_notify()
        elif end == "eof":
            peer.shutdown()
        elif end == "reset":
            reset(peer.sock)
        await lab.ticks()
        if end in ("close", "abort"):
            getattr(t, end)()
        await lab.ticks()
        early = list(lab.log)
        if end not in ("reset", "abort"):
            t.resume_reading()
            if end == "close":
                await failure(peer.unwrap())
                peer.close()
        await lab.seen("lost")
        return early, t.is_closing()
    same(tls_scenario(main))


def test_a_paused_reader_holds_the_peer_up(aio, tls):
    """The peer cannot send without limit: what is kept has one, and the kernel's buffers have one."""
    with Lab(aio) as lab:
        async def main():
            p, peer = await secure(lab, tls, "server")
            p.transport.pause_reading()
            sent, record = 0, peer.record(b"x" * 16000)
            try:
                for _ in range(3000):
                    left = memoryview(record)
                    while left:
                        left = left[peer.sock.send(left):]
                    sent += 16000
                    record = peer.record(b"x" * 16000)
                    await asyncio.sleep(0)
            except BlockingIOError:
                pass
            for _ in range(200):
                await lab.ticks()
                try:
                    while left:
                        left = left[peer.sock.send(left):]
                    break
                except BlockingIOError:
                    pass
            assert sent < 30_000_000 and len(lab.log) == 1
            p.transport.abort()
            peer.close()
            await lab.seen("lost")
        lab.run(main())


# ---- water marks ----

@sides
def test_limits(same, tls, side):
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        t = p.transport
        found = [t.get_write_buffer_limits(), t.get_read_buffer_limits(), t.get_write_buffer_size(), t.get_read_buffer_size()]
        for kwargs in ({"high": 1000}, {"low": 10}, {"high": 50, "low": 20}, {"high": 10, "low": 20}, {"high": -1}, {"low": -1},
                       {"high": "x"}, {}):
            found.append([outcome(t.set_write_buffer_limits, **kwargs), t.get_write_buffer_limits()])
            found.append([outcome(t.set_read_buffer_limits, **kwargs), t.get_read_buffer_limits()])
        found += [outcome(t.set_write_buffer_limits, 1, 2, 3)[:2], t.can_write_eof(), outcome(t.write_eof), lab.log]
        await ended(lab, p, peer)
        return found
    same(tls_scenario(main))


@sides
@protocols
def test_pause_and_resume_writing(same, tls, side, buffered):
    async def main(lab):
        p, peer = await secure(lab, tls, side, buffered=buffered)
        t = p.transport
        t.set_write_buffer_limits(high=100_000, low=10_000)
        total = write_until_paused(lab, p)
        found = [list(lab.log), t.get_write_buffer_size() >= 100_000]
        data = await peer.read(total)
        await lab.seen("resume")
        found += [data == b"z" * total, t.get_write_buffer_size() <= 10_000]
        await ended(lab, p, peer)
        return found
    got = same(tls_scenario(main))
    assert got["log"] == [["made"], ["pause"], ["resume"], ["eof"], ["lost", None]] and all(got["result"][1:]) and silent(got)


@sides
@pytest.mark.parametrize("writes", ["one", "lines"])
def test_everything_written_at_once(same, tls, side, writes):
    """asyncio hands one write, however big, to the transport below before it asks how much there is. Whether pause_writing() is
    called is not compared, but what was paused is resumed."""
    async def main(lab):
        p, peer = await secure(lab, tls, side)
        if writes == "one":
            p.transport.write(PIECE * 100)
        else:
            p.transport.writelines([PIECE] * 100)
        data = await peer.read(100 * len(PIECE))
        await lab.ticks()
        await ended(lab, p, peer)
        events = p.events()
        lab.log[:] = [e for e in lab.log if e[0] not in ("pause", "resume")]
        return data == PIECE * 100, events.count("pause") == events.count("resume") <= 1
    assert same(tls_scenario(main))["result"] == [True, True]


def test_a_high_mark_of_zero(same, tls):
    """pause_writing() comes at once, with nothing in the buffer."""
    async def main(lab):
        p, peer = await secure(lab, tls, "server")
        p.transport.set_write_buffer_limits(high=0)
        found = list(lab.log), p.transport.get_write_buffer_limits(), p.transport._protocol_paused
        p.transport.set_write_buffer_limits()
        await ended(lab, p, peer)
        return found
    same(tls_scenario(main))


# ---- much ----

@versions
@protocols
@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_ten_megabytes_both_ways_at_once(aio, tls, version, buffered, kind):
    size = 10_000_000
    data = os.urandom(1_000_000) * 10
    expected = hashlib.md5(data).digest()
    with Lab(aio) as lab:
        ends = []

        class Both(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport, self.sum, self.count, self.lost = transport, hashlib.md5(), 0, False
                ends.append(self)
                transport.write(memoryview(data)[:size // 2])

            def data_received(self, part):
                self.sum.update(part)
                self.count += len(part)

            def connection_lost(self, exc):
                self.lost = True

        class BothBuffered(Both, asyncio.BufferedProtocol):
            data_received, memory = None, None

            def get_buffer(self, hint):
                self.memory = self.memory or memoryview(bytearray(70_000))
                return self.memory

            def buffer_updated(self, n):
                Both.data_received(self, self.memory[:n])

        async def main():
            a, b = lab.pair(kind)
            one = BothBuffered if buffered else Both
            (t, _), (u, _) = await asyncio.gather(
                lab.loop.create_connection(one, sock=a, ssl=tls.client(version), server_hostname="localhost"),
                lab.loop.connect_accepted_socket(one, b, ssl=tls.server(version)))
            for start in range(size // 2, size, 50_000):
                t.write(data[start:start + 50_000])
                u.writelines([data[start:start + 20_000], data[start + 20_000:start + 50_000]])
            await lab.until(lambda: [e.count for e in ends] == [size, size], timeout=50)
            assert [e.sum.digest() for e in ends] == [expected] * 2
            t.close()
            await lab.until(lambda: all(e.lost for e in ends))
        lab.run(main())
        assert lab.reports() == []
