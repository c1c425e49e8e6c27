"""Stream transports that write: write, writelines, write_eof, water marks, much data, sendfile."""
import array
import asyncio
import contextlib
import hashlib
import os
import socket
import struct
import threading
import time

import pytest

from lab import FAMILIES, BufferedRecorder, Lab, Noter, Recorder, connected, fill, quiet, read_all, scenario, kinds, protocols
from support import PY, fresh_loop, outcome, spin, spin_until


# --- writing ------------------------------------------------------------------------------------------------------------

@kinds
def test_write_takes_bytes_like_objects_only(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport

        class Mine(bytes):
            pass
        found = [outcome(t.write, data) for data in (
            "text", 5, None, [b"x"], array.array("B", b"x"), object(), 1.5, b"", bytearray(), memoryview(b""), b"1", bytearray(b"2"),
            memoryview(b"3"), Mine(b"4"), memoryview(bytearray(b"5")), memoryview(b"-6-")[1:2])]
        found += [outcome(t.write, text=False), outcome(t.write, b"x", b"y", text=False)]
        return found, await lab.receive(peer, 6), t.close(), await lab.seen("lost")
    got = same(scenario(main))
    kinds_of_data = "a bytes-like object" if PY < (3, 14) else "a bytes, bytearray, or memoryview object"
    assert got["result"][0][0] == ["raised", "TypeError", f"data argument must be {kinds_of_data}, not 'str'"]
    assert got["result"][1] == b"123456"


@kinds
def test_memoryviews_that_are_not_plain_bytes(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        t.write(memoryview(array.array("I", [1, 2, 3])))
        t.write(memoryview(b"abcdef").cast("B", (2, 3)))
        return await lab.receive(peer, 18), t.close(), await lab.seen("lost")
    got = same(scenario(main))
    assert got["result"][0] == struct.pack("III", 1, 2, 3) + b"abcdef" and quiet(got)


@kinds
def test_a_strided_memoryview_is_fatal(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        found = outcome(p.transport.write, memoryview(b"abcdef")[::2])
        await lab.until(lambda: p.transport.is_closing())
        await lab.seen("lost")
        return found
    got = same(scenario(main))
    assert got["reports"][0]["message"] == "Fatal write error on socket transport" and got["log"][-1][1][0] == "BufferError"


@kinds
@pytest.mark.parametrize("blocked", [False, True])
def test_what_was_written_is_what_it_was(aio, kind, blocked):
    """A mutable buffer may be reused as soon as write() returns. (asyncio itself keeps a reference from 3.12 on.)"""
    if blocked and aio is asyncio and PY >= (3, 12):
        pytest.skip("asyncio 3.12+ sends what the buffer holds by then")
    with Lab(aio) as lab:
        async def main():
            p, peer = await lab.connect(kind)
            t = p.transport
            total = lab.fill(t) if blocked else 0
            buffer = bytearray(b"original")
            t.write(buffer)
            buffer[:] = b"changed!"
            t.write(memoryview(buffer))
            buffer[:] = b"again!!!"
            t.writelines([buffer, memoryview(buffer)[:5]])
            buffer.clear()
            data = await lab.receive(peer, total + 29)
            assert data[total:] == b"originalchanged!again!!!again"
            t.abort()
            await lab.seen("lost")
        lab.run(main())


@kinds
def test_writelines(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport

        class Odd:
            def __bool__(self):
                return False

            def __iter__(self):
                lab.log.append("iterated")
                return iter([b"odd"])
        found = [outcome(t.writelines, data) for data in (
            [b"1", bytearray(b"2"), memoryview(b"3")], (b"4",), [], (), [b"", b"5"])]
        found += [outcome(t.writelines, data, text=False) for data in (["text"], [5], [None], 5)]
        return found, await lab.receive(peer, 5), t.is_closing(), t.close(), await lab.seen("lost")
    got = same(scenario(main))
    assert got["result"][1] == b"12345" and got["result"][0][5][:2] == ["raised", "TypeError"]


@kinds
@pytest.mark.parametrize("blocked", [False, True])
def test_writelines_of_nothing_but_empty_chunks(aio, kind, blocked):
    if aio is asyncio and PY >= (3, 12):
        pytest.skip("asyncio 3.12+ never gets rid of a last chunk that is empty, and tries without end")
    with Lab(aio) as lab:
        async def main():
            p, peer = await lab.connect(kind)
            total = lab.fill(p.transport) if blocked else 0
            p.transport.writelines([b""])
            p.transport.writelines([b"end", b"", bytearray(), memoryview(b"")])
            assert (await lab.receive(peer, total + 3))[-3:] == b"end"
            await lab.ticks()
            assert p.transport.get_write_buffer_size() == 0
            p.transport.close()
            await lab.seen("lost")
        lab.run(main())


@kinds
def test_writelines_of_generators_and_dicts(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        p.transport.writelines(c for c in (b"a", b"b", b"c"))
        p.transport.writelines({b"d": 1, b"e": 2})
        return await lab.receive(peer, 5), p.transport.close(), await lab.seen("lost")
    assert same(scenario(main))["result"][0] == b"abcde"


def chunks_that_raise():
    yield b"first"
    raise ValueError("middle")


@kinds
@pytest.mark.parametrize("chunks, raised", [(chunks_that_raise, "ValueError"), (lambda: [b"first", "text", b"last"], "TypeError")])
def test_writelines_takes_all_or_nothing(aio, kind, chunks, raised):
    if aio is asyncio and PY >= (3, 15):
        pytest.skip("asyncio 3.15 keeps what came before the error, does not send it and waits for it in close()")
    with Lab(aio) as lab:
        async def main():
            p, peer = await lab.connect(kind)
            assert outcome(p.transport.writelines, chunks())[:2] == ["raised", raised]
            p.transport.close()
            assert await lab.receive_all(peer) == b""
            await lab.seen("lost")
        lab.run(main())


@kinds
@pytest.mark.parametrize("action", ["close", "abort", "write_eof"])
def test_an_iterable_that_closes(aio, kind, action):
    if aio is asyncio and PY >= (3, 12):
        pytest.skip("asyncio 3.12+ calls None")
    with Lab(aio) as lab:
        async def main():
            p, peer = await lab.connect(kind)
            t = p.transport

            def chunks():
                yield b"first"
                getattr(t, action)()
                yield b"second"
            try:
                t.writelines(chunks())
            except RuntimeError as e:
                assert (action, str(e)) == ("write_eof", "Cannot call write() after write_eof()")
            t.close()
            assert await lab.receive_all(peer) == b""
            await lab.seen("lost")
        lab.run(main())


@kinds
def test_write_eof(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        found = [t.can_write_eof()]
        t.write(b"all")
        found += [t.write_eof(), t.write_eof(), outcome(t.write, b"x"), outcome(t.write, b""), outcome(t.write, "text"),
                  outcome(t.writelines, [b"x"]), outcome(t.writelines, [])]
        found.append(await lab.receive_all(peer))
        await lab.send(peer, b"still read")
        await lab.seen("data")
        peer.close()
        await lab.seen("lost")
        return found + [outcome(t.write_eof), t.can_write_eof()]
    got = same(scenario(main))
    assert got["result"][3] == ["raised", "RuntimeError", "Cannot call write() after write_eof()"]
    assert got["result"][8] == b"all" and got["log"][1:] == [["data", b"still read"], ["eof"], ["lost", None]]


@kinds
def test_write_eof_waits_for_what_is_buffered(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        total = lab.fill(t, 200_000)
        t.write_eof()
        await lab.ticks()
        found = [outcome(t.write, b"x"), t.is_closing(), t.get_write_buffer_size() > 0]
        data = await lab.receive_all(peer)
        found += [len(data) == total, data[-200_000:] == b"y" * 200_000, t.is_closing()]
        await lab.send(peer, b"reply")
        await lab.seen("data")
        t.close()
        await lab.seen("lost")
        return found
    got = same(scenario(main))
    assert got["result"][1:] == [False, True, True, True, False]


def test_a_header_and_a_body_in_one_callback_are_one_packet(aio):
    """pyasync joins what is written in a callback (asyncio sends each write at once); nothing else is to tell them apart."""
    if aio is asyncio:
        pytest.skip("asyncio sends each write by itself")
    with Lab(aio) as lab:
        async def main():
            def answer(p, data):
                p.transport.write(b"header ")
                p.transport.write(bytearray(b"body "))
                p.transport.writelines([b"and ", b"tail"])
            a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            lab.keep(a, b)
            b.setblocking(False)
            p = lab.protocol(data_received=answer)
            await lab.attach(p, a)
            await lab.send(b, b"?")
            got = await lab.loop.sock_recv(b, 1000)
            assert got == b"header body and tail"
            p.transport.close()
            await lab.seen("lost")
        lab.run(main())


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


@pytest.mark.parametrize("bad", ["text", None, 5, [b"x"], object()])
def test_write_wants_bytes(same, bad):
    def scenario(aio):
        with fresh_loop(aio) as loop, connected(loop) as (t, p, peer):
            return [outcome(t.write, bad), outcome(t.write, text=False), outcome(t.writelines, [bad], text=False)[:2], t.is_closing()]
    same(scenario)


def test_writelines_then_write(aio, loop):
    with connected(loop) as (t, p, peer):
        assert t.writelines([b"a", bytearray(b"b"), memoryview(b"c")]) is None
        t.writelines([])
        t.writelines(iter([b"d", b"e"])) if PY >= (3, 12) else t.writelines([b"d", b"e"])
        big = [os.urandom(1000) for _ in range(3000)]
        t.writelines(big)
        t.write(b"end")
        expected = b"abcde" + b"".join(big) + b"end"
        assert read_all(loop, peer, lambda g: len(g) == len(expected)) == expected


@pytest.mark.parametrize("family", FAMILIES)
def test_write_eof_then_reading(aio, loop, family):
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


def test_write_from_another_thread_is_not_a_crash(aio, loop):
    """Not allowed, but it must not bring the process down."""
    with connected(loop) as (t, p, peer):
        def thread():
            for _ in range(200):
                t.write(b"x" * 100)
        th = threading.Thread(target=thread)
        th.start()
        got = read_all(loop, peer, lambda g: len(g) == 20_000)
        th.join()
        assert got == b"x" * 20_000


# --- the write buffer ---------------------------------------------------------------------------------------------------

@kinds
def test_limits(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        found = [t.get_write_buffer_limits(), t.get_write_buffer_size()]
        for kwargs in ({}, {"high": 100}, {"low": 100}, {"high": 100, "low": 50}, {"high": 100, "low": 100}, {"high": 0}, {"low": 0},
                       {"high": 10, "low": 20}, {"high": -1}, {"low": -1}, {"high": 5, "low": -1}, {"high": "5"}, {"low": "5"},
                       {"high": 5.5}, {"high": 1 << 70}, {"high": 5.5, "low": 2.5}, {"high": None, "low": None}, {"high": True},
                       {"high": float("inf"), "low": 0}, {"high": 3, "low": 1}, {"height": 3}):
            found.append([outcome(t.set_write_buffer_limits, text="height" not in kwargs, **kwargs), t.get_write_buffer_limits()])
        found += [outcome(t.set_write_buffer_limits, 7), outcome(t.set_write_buffer_limits, 9, 8), t.get_write_buffer_limits()]
        t.close()
        await lab.seen("lost")
        return found + [outcome(t.get_write_buffer_limits), outcome(t.get_write_buffer_size)]
    got = same(scenario(main))
    assert got["result"][0] == [16384, 65536] and got["result"][1] == 0
    assert ["raised", "ValueError", "high (10) must be >= low (20) must be >= 0"] in [f[0] for f in got["result"][2:9 + 2] if isinstance(f, list)]


@kinds
def test_small_writes_leave_no_buffer(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        found = []
        for i in range(3):
            p.transport.write(b"small")
            p.transport.writelines([b"small", b"small"])
            found += [p.transport.get_write_buffer_size(), p.transport.is_closing()]
        data = await lab.receive(peer, 45)
        p.transport.close()
        await lab.seen("lost")
        return found, data
    assert same(scenario(main))["result"][0] == [0, False] * 3


@kinds
def test_pause_and_resume_writing(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        total = lab.fill(t)
        base = t.get_write_buffer_size()
        t.set_write_buffer_limits(high=base + 1000, low=500)
        lab.log.append("filled")
        t.write(b"a" * 1000)
        lab.log.append(["at the mark", t.get_write_buffer_size() - base])
        t.write(b"b")
        lab.log.append(["above", t.get_write_buffer_size() - base])
        t.write(b"c" * 1000)
        lab.log.append(["more", t.get_write_buffer_size() - base])
        t.set_write_buffer_limits(high=base + 500, low=500)
        t.set_write_buffer_limits(high=base + 50_000, low=500)
        lab.log.append("higher mark")
        data = await lab.receive(peer, total + 2001)
        await lab.seen("resume")
        lab.log.append(["drained", t.get_write_buffer_size(), data[total:] == b"a" * 1000 + b"b" + b"c" * 1000])
        t.set_write_buffer_limits(high=0)
        t.close()
        await lab.seen("lost")
    log = same(scenario(main))["log"]
    i = log.index("filled")
    assert log[i:] == ["filled", ["at the mark", 1000], ["pause"], ["above", 1001], ["more", 2001], "higher mark", ["resume"],
                       ["drained", 0, True], ["lost", None]] or ["pause"] in log[:i]


@kinds
def test_lowering_the_mark_pauses(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        t.set_write_buffer_limits(high=10_000_000, low=0)
        total = lab.fill(t)
        lab.log.append("filled")
        t.set_write_buffer_limits(high=0)
        lab.log.append("lowered")
        t.set_write_buffer_limits(high=10_000_000, low=0)
        await lab.receive(peer, total)
        await lab.seen("resume")
        t.close()
        await lab.seen("lost")
    assert same(scenario(main))["log"] == [["made"], "filled", ["pause"], "lowered", ["resume"], ["lost", None]]


@kinds
@pytest.mark.parametrize("high", [0, 1, 100])
def test_a_mark_of_zero_pauses_at_every_buffered_byte(same, kind, high):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        t.set_write_buffer_limits(high=high, low=0)
        t.write(b"goes out at once" * 100)
        lab.log.append("written")
        total = lab.fill(t)
        await lab.receive(peer, total + 1600)
        await lab.seen("resume")
        t.close()
        await lab.seen("lost")
    log = same(scenario(main))["log"]
    assert log == [["made"], "written", ["pause"], ["resume"], ["lost", None]]


@kinds
def test_writing_on_in_resume_writing(same, kind):
    async def main(lab):
        rounds = []

        def more(p):
            rounds.append(p.transport.get_write_buffer_size())
            if len(rounds) < 4:
                for _ in range(200):
                    p.transport.write(bytes([64 + len(rounds)]) * 50_000)
            else:
                lab.loop.call_soon(p.transport.close)  # close() right here makes asyncio call connection_lost() twice
        p, peer = await lab.connect(kind, resume_writing=more)
        for _ in range(200):
            p.transport.write(b"x" * 50_000)
        data = await lab.receive_all(peer)
        await lab.seen("lost")
        return hashlib.sha256(data).hexdigest(), len(data), len(rounds), [s <= 16384 for s in rounds]
    got = same(scenario(main))
    assert got["result"][1:3] == [(200 + 3 * 200) * 50_000, 4]
    assert got["log"] == [["made"], ["pause"], ["resume"]] + [["pause"], ["resume"]] * 3 + [["lost", None]]


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


def test_pausing_and_resuming_at_the_marks(aio, loop):
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


def test_writing_from_resume_writing(aio, loop):
    """A protocol that writes until paused, and goes on when resumed."""
    total = 3_000_000

    class Pump(Noter):
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


# --- much data ----------------------------------------------------------------------------------------------------------

@kinds
def test_thousands_of_tiny_writes(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        for i in range(3_000 if kind == "unix" else 20_000):
            p.transport.write(b"%d," % i)
        p.transport.close()
        data = await lab.receive_all(peer)
        await lab.seen("lost")
        lab.log[:] = [entry for entry in lab.log if entry not in (["pause"], ["resume"])]  # many small packets fill a socket sooner
        return data == b"".join(b"%d," % i for i in range(3_000 if kind == "unix" else 20_000))
    assert same(scenario(main))["result"] is True


@kinds
def test_tiny_writes_of_every_kind_and_size_while_blocked(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind, sndbuf=8_000)
        t = p.transport
        expected = b"x" * lab.fill(t)
        for i in range(3_000):
            data = bytes([i % 256]) * (i % 7)
            if i % 3 == 0:
                t.write(data)
            elif i % 3 == 1:
                t.write(memoryview(data))
            else:
                t.writelines([data, data])
                expected += data
            expected += data
            if i % 500 == 0:
                await asyncio.sleep(0)
        task = asyncio.ensure_future(lab.receive_all(peer))
        await asyncio.sleep(0)
        t.close()
        data = await task
        await lab.seen("lost")
        return data == expected
    assert same(scenario(main))["result"] is True


@kinds
@protocols
def test_big_transfers_both_ways_with_slow_readers(aio, kind, buffered):
    """20 MB each way at once, both ends transports that stop reading now and then and heed pause_writing()."""
    size, piece = 20_000_000, 61_001
    source = os.urandom(piece * 3)
    with Lab(aio) as lab:
        class End:
            def __init__(self, salt):
                self.salt, self.sent, self.got = salt, 0, 0
                self.sums = [hashlib.md5(), hashlib.md5()]
                self.going = True

            def hooks(self):
                def data(p, arg):
                    data = arg if not buffered else p.buffer[:arg]
                    self.got += len(data)
                    self.sums[1].update(data)
                    if self.got % 13 == 0:
                        p.transport.pause_reading()
                        lab.loop.call_later(0.002, p.transport.resume_reading)

                def pause(p):
                    self.going = False

                def resume(p):
                    self.going = True
                    self.write(p)
                return {"buffer_updated" if buffered else "data_received": data, "pause_writing": pause, "resume_writing": resume,
                        "eof_received": lambda p: True}

            def write(self, p):
                while self.going and self.sent < size:
                    start = (self.sent * 7 + self.salt) % piece
                    data = source[start:start + min(piece, size - self.sent)]
                    self.sent += len(data)
                    self.sums[0].update(data)
                    if self.sent % 2:
                        p.transport.writelines([data[:100], data[100:]])
                    else:
                        p.transport.write(data)
                if self.sent == size and not p.transport._eof:
                    p.transport.write_eof()

        async def main():
            ends, protocols = [End(1), End(2)], []
            for end, sock in zip(ends, lab.pair(kind)):
                p = (BufferedRecorder([], size=100_000, **end.hooks()) if buffered else Recorder([], **end.hooks()))
                p.note = lambda *args: None
                await lab.attach(p, sock)
                protocols.append(p)
            for end, p in zip(ends, protocols):
                end.write(p)
            await lab.until(lambda: all(end.got == size for end in ends), timeout=50)
            assert ends[0].sums[0].digest() == ends[1].sums[1].digest() and ends[1].sums[0].digest() == ends[0].sums[1].digest()
            for p in protocols:
                p.transport.close()
            await lab.ticks()
        lab.run(main())
        assert lab.reports() == []


@pytest.mark.parametrize("family", FAMILIES)
def test_large_writes(aio, loop, family):
    data = os.urandom(4_000_000)
    with connected(loop, family=family) as (t, p, peer):
        t.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)    # by itself a kernel may take all of it
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


def test_echo_from_data_received(aio, loop):
    p = Noter(data=lambda p, d: p.transport.write(d))
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


# --- after the end ------------------------------------------------------------------------------------------------------

@kinds
def test_write_eof_after_close_does_nothing(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        t.close()
        t.write_eof()
        found = [outcome(t.write, b"x")]
        await lab.seen("lost")
        return found + [outcome(t.write, b"x"), outcome(t.write, "x")], await lab.receive_all(peer)
    assert same(scenario(main))["result"][1] == b""


@kinds
def test_writelines_after_close(aio, kind):
    if aio is asyncio and PY >= (3, 12):
        pytest.skip("asyncio 3.12+ calls None")
    with Lab(aio) as lab:
        async def main():
            for blocked in (False, True):
                p, peer = await lab.connect(kind)
                total = lab.fill(p.transport) if blocked else 0
                p.transport.close()
                assert p.transport.writelines([b"sent if ", b"not lost"]) is None
                data = await lab.receive_all(peer)
                assert data[total:] == (b"sent if not lost" if blocked else b"")
                await lab.until(lambda: p.transport._sock is None)
        lab.run(main())
        assert lab.records.records == []


@kinds
def test_writes_on_a_lost_connection_are_counted_and_logged(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        t.close()
        counts = []
        for i in range(8):
            t.write(b"x")
            counts.append([t._conn_lost, len(lab.records.records)])
        t.write(b"")
        t.writelines([])
        await lab.seen("lost")
        for i in range(2):
            t.write(b"x")
            counts.append([t._conn_lost, len(lab.records.records)])
        return counts
    got = same(scenario(main))
    assert got["records"] == [["WARNING", "socket.send() raised exception."]] * 6
    assert [c[1] for c in got["result"]] == [0, 0, 0, 0, 1, 2, 3, 4, 5, 6]


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


# --- sendfile -----------------------------------------------------------------------------------------------------------

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
