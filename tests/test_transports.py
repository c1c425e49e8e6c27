"""Stream transports over TCP and Unix sockets, Protocol and BufferedProtocol: asyncio's behaviour, whichever loop made them."""
import array
import asyncio
import contextvars
import gc
import hashlib
import itertools
import os
import socket
import struct
import sys
import threading
import warnings
import weakref

import pytest

from lab import BUFFERED_CALLBACKS, CALLBACKS, KINDS, BufferedRecorder, Lab, Recorder, clean, quiet, reset, scenario
from support import PY, outcome

var = contextvars.ContextVar("var", default="unset")
kinds = pytest.mark.parametrize("kind", KINDS)
protocols = pytest.mark.parametrize("buffered", [False, True], ids=["protocol", "buffered"])


# --- kinds, order, contexts, threads ------------------------------------------------------------------------------------

@kinds
def test_classes(aio, kind):
    with Lab(aio) as lab:
        async def main():
            p, peer = await lab.connect(kind)
            t = p.transport
            assert isinstance(t, asyncio.Transport) and isinstance(t, asyncio.transports._FlowControlMixin)
            native = any(c.__module__.startswith("pyasync._core") for c in type(t).__mro__)
            assert native == (aio is not asyncio)
            t.anything = 1
            assert weakref.ref(t)() is t and {t: 1}[t] == 1 and t.anything == 1
            assert t._start_tls_compatible is True and t.max_size == 256 * 1024
            t.close()
            await lab.seen("lost")
        lab.run(main())


@kinds
@protocols
def test_life_of_a_connection(same, kind, buffered):
    async def main(lab):
        p, peer = await lab.connect(kind, buffered=buffered)
        await lab.send(peer, b"first")
        await lab.seen("data")
        p.transport.write(b"answer")
        got = await lab.receive(peer, 6)
        await lab.send(peer, b" second")
        await lab.until(lambda: lab.log[-1] == ["data", b"first second"])
        peer.shutdown(socket.SHUT_WR)
        await lab.seen("lost")
        return got, await lab.receive_all(peer)
    got = same(scenario(main))
    assert got["log"] == [["made"], ["data", b"first second"], ["eof"], ["lost", None]] and quiet(got)
    assert got["result"] == [b"answer", b""]


@kinds
def test_order_of_the_beginning(same, kind):
    """connection_made before data, and the creator goes on before data that already waits is delivered."""
    async def main(lab):
        sock, peer = lab.pair(kind)
        peer.send(b"early")
        lab.loop.call_soon(lab.log.append, "before")
        p = lab.protocol(connection_made=lambda p: lab.loop.call_soon(lab.log.append, "soon after made"))
        t = await lab.attach(p, sock)
        lab.log.append("created")
        await lab.seen("data")
        t.abort()
        await lab.seen("lost")
    got = same(scenario(main))
    assert got["log"] == ["before", ["made"], "soon after made", "created", ["data", b"early"], ["lost", None]]


@kinds
def test_the_private_factory_schedules_like_asyncio(same, kind):
    """Third parties call _make_socket_transport() themselves: what it schedules, tick by tick."""
    async def main(lab):
        sock, peer = lab.pair(kind)
        waiter = lab.loop.create_future()
        waiter.add_done_callback(lambda f: lab.log.append(["waiter", f.result()]))
        p = lab.protocol()
        t = lab.loop._make_socket_transport(sock, p, waiter, extra={"mine": 1})
        states = []
        for _ in range(4):
            lab.log.append("tick")
            states.append([p.transport is not None, waiter.done()])
            await asyncio.sleep(0)
        t.abort()
        await lab.seen("lost")
        return states, t.get_extra_info("mine")
    assert same(scenario(main))["log"] == ["tick", ["made"], "tick", ["waiter", None], "tick", "tick", ["lost", None]]


@kinds
@protocols
def test_contexts(same, kind, buffered):
    async def main(lab):
        seen = []

        def look(name):
            def hook(p, *args):
                seen.append([name, var.get()])
                var.set(name)
                return True if name == "eof_received" else None
            return hook
        names = set(CALLBACKS) | {"buffer_updated"}
        var.set("creator")
        p, peer = await lab.connect(kind, buffered=buffered, sndbuf=20_000, **{n: look(n) for n in names})
        t = p.transport
        var.set("after creation")
        await lab.send(peer, b"a")
        await lab.seen("data")
        await lab.send(peer, b"b")
        await lab.until(lambda: len(seen) >= 3)
        t.pause_reading()
        var.set("at resume_reading")
        t.resume_reading()
        await lab.send(peer, b"c")
        await lab.until(lambda: len(seen) >= 4)
        var.set("writer")
        total = lab.fill(t)
        t.set_write_buffer_limits(high=1, low=0)
        var.set("after the write")
        await lab.receive(peer, total)
        await lab.seen("resume")
        peer.shutdown(socket.SHUT_WR)
        await lab.seen("eof")
        var.set("closer")
        t.close()
        var.set("after close")
        await lab.seen("lost")
        return seen, var.get()
    got = same(scenario(main))
    assert [name for name, _ in got["result"][0]][0] == "connection_made" and got["result"][0][0][1] == "creator"


@kinds
def test_all_callbacks_come_in_the_loops_thread(aio, kind):
    with Lab(aio) as lab:
        threads = []
        hooks = {n: lambda p, *args: threads.append(threading.get_ident()) for n in CALLBACKS}

        async def main():
            p, peer = await lab.connect(kind, **hooks)
            await lab.send(peer, b"a")
            await lab.seen("data")
            total = lab.fill(p.transport, 100_000)
            await lab.receive(peer, total)
            await lab.seen("resume")
            peer.shutdown(socket.SHUT_WR)
            await lab.seen("lost")
        thread = threading.Thread(target=lab.run, args=(main(),))
        thread.start()
        ident = thread.ident
        thread.join(30)
        assert threads == [ident] * 6


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
@pytest.mark.parametrize("bad", ["empty", "None", "int", "readonly", "raises", "str", "wide", "strided"])
def test_bad_buffers(same, kind, bad):
    def give(p):
        if bad == "raises":
            raise ValueError("no buffer")
        return {"empty": bytearray(), "int": 5, "readonly": b"123", "str": "text", "wide": array.array("I", [0] * 10),
                "strided": memoryview(bytearray(10))[::2]}[bad]

    async def main(lab):
        p, peer = await lab.connect(kind, buffered=True)
        if bad == "None":
            p.get_buffer = lambda sizehint: None
        else:
            p.get_buffer = lambda sizehint: give(p)
        p.buffer_updated = lambda n: lab.log.append(["updated", n])
        await lab.send(peer, b"data")
        await lab.until(lambda: len(lab.log) > 1)
        if not p.transport.is_closing():
            p.transport.abort()
        await lab.seen("lost")
    got = same(scenario(main))
    if bad != "wide":
        assert len(got["reports"]) == 1 and got["log"][-1][0] == "lost" and got["log"][-1][1] is not None
    if bad == "empty":
        assert got["reports"][0]["exception"] == ["RuntimeError", "get_buffer() returned an empty buffer"]
        assert got["reports"][0]["message"] == "Fatal error: protocol.get_buffer() call failed."


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


# --- set_protocol -------------------------------------------------------------------------------------------------------

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


@kinds
def test_a_protocol_may_be_any_object(same, kind):
    class Duck:
        def __init__(self, log):
            self.log = log

        def __getattr__(self, name):
            if name.startswith("_"):
                raise AttributeError(name)
            return lambda *args: self.log.append([name, *(a for a in args if isinstance(a, (bytes, type(None))))])

    async def main(lab):
        duck = Duck(lab.log)
        sock, peer = lab.pair(kind)
        t = await lab.attach(duck, sock)
        await lab.send(peer, b"quack")
        await lab.seen("data_received")
        peer.shutdown(socket.SHUT_WR)
        await lab.seen("connection_lost")
        return t.get_protocol()
    assert same(scenario(main))["log"] == [["connection_made"], ["data_received", b"quack"], ["eof_received"], ["connection_lost", None]]


@kinds
def test_a_protocol_without_methods(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        p.transport.set_protocol(object())
        await lab.send(peer, b"x")
        await lab.until(lambda: p.transport.is_closing())
        await lab.ticks()
        return [[c["message"].split("(")[0], type(c["exception"]).__name__] for c in lab.errors.take()]
    got = same(scenario(main))
    assert got["result"][0] == ["Fatal error: protocol.data_received", "AttributeError"] and len(got["result"]) == 2


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
    assert got["result"][0][0] == ["raised", "TypeError", "data argument must be a bytes-like object, not 'str'"]
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
            [b"1", bytearray(b"2"), memoryview(b"3")], (b"4",), [], (), [b"", b"5", b""], [b""])]
        found += [outcome(t.writelines, data, text=False) for data in (["text"], [5], [None], 5, [b"no", "text", b"no"])]
        return found, await lab.receive(peer, 5), t.is_closing(), t.close(), await lab.seen("lost")
    got = same(scenario(main))
    assert got["result"][1] == b"12345" and got["result"][0][6][:2] == ["raised", "TypeError"]


@kinds
def test_writelines_of_generators_and_dicts(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        p.transport.writelines(c for c in (b"a", b"b", b"c"))
        p.transport.writelines({b"d": 1, b"e": 2})
        return await lab.receive(peer, 5), p.transport.close(), await lab.seen("lost")
    assert same(scenario(main))["result"][0] == b"abcde"


@kinds
def test_an_iterable_that_raises_or_closes(same, kind):
    async def main(lab, action):
        p, peer = await lab.connect(kind)
        t = p.transport

        def chunks():
            yield b"first"
            if action == "raise":
                raise ValueError("middle")
            getattr(t, action)()
            yield b"second"
        found = outcome(t.writelines, chunks())
        states = [t.is_closing()]
        t.close()
        await lab.seen("lost")
        return found, states
    for action in ("raise", "close", "abort"):
        same(scenario(main), action)


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


@kinds
def test_write_eof_after_close_does_nothing(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        t.close()
        t.write_eof()
        found = [outcome(t.write, b"x"), outcome(t.writelines, [b"x"])]
        await lab.seen("lost")
        return found + [outcome(t.write, b"x"), outcome(t.write, "x"), outcome(t.writelines, [b"x"], text=False)][:2], await lab.receive_all(peer)
    assert same(scenario(main))["result"][1] == b""


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
                for _ in range(40):
                    p.transport.write(bytes([64 + len(rounds)]) * 50_000)
            else:
                p.transport.close()
        p, peer = await lab.connect(kind, resume_writing=more)
        for _ in range(200):
            p.transport.write(b"x" * 50_000)
        data = await lab.receive_all(peer)
        await lab.seen("lost")
        return hashlib.sha256(data).hexdigest(), len(data), len(rounds), [s <= 16384 for s in rounds]
    got = same(scenario(main))
    assert got["result"][1:3] == [(200 + 3 * 40) * 50_000, 4]
    assert got["log"] == [["made"], ["pause"], ["resume"]] + [["pause"], ["resume"]] * 3 + [["lost", None]]


@kinds
def test_closing_sends_what_is_buffered(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        total = lab.fill(t, 100_000)
        found = [t.close(), t.close(), t.is_closing(), t.get_write_buffer_size() > 0]
        # What is written while the transport closes, but is not lost yet, is sent too.
        found += [outcome(t.write, b"late"), outcome(t.writelines, [b"r"])]
        await lab.ticks()
        found.append(len(lab.log))
        data = await lab.receive_all(peer)
        await lab.seen("lost")
        return found, len(data) - total, data[-5:]
    got = same(scenario(main))
    assert got["result"][1:] == [5, b"later"] and got["log"][-1] == ["lost", None]


@kinds
@pytest.mark.parametrize("first", ["abort", "close"])
def test_aborting_drops_what_is_buffered(same, kind, first):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        total = lab.fill(t, 100_000)
        getattr(t, first)()
        t.abort()
        t.abort()
        t.close()
        found = [t.is_closing(), t.get_write_buffer_size()]
        lab.log.append("aborted")
        await lab.seen("lost")
        data = await lab.receive_all(peer)
        return found, len(data) < total, data[:10]
    got = same(scenario(main))
    assert got["result"][:2] == [[True, 0], True] and got["log"][-2:] == ["aborted", ["lost", None]]


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


@kinds
def test_thousands_of_tiny_writes(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        for i in range(20_000):
            p.transport.write(b"%d," % i)
        p.transport.close()
        data = await lab.receive_all(peer)
        await lab.seen("lost")
        return hashlib.sha256(data).hexdigest(), data == b"".join(b"%d," % i for i in range(20_000))
    assert same(scenario(main))["result"][1] is True


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
