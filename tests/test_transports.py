"""Stream transports over TCP and Unix sockets, Protocol and BufferedProtocol: asyncio's behaviour, whichever loop made them."""
import array
import asyncio
import contextvars
import gc
import hashlib
import inspect
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


@kinds
def test_closing_sends_what_is_buffered(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        total = lab.fill(t, 100_000)
        found = [t.close(), t.close(), t.is_closing(), t.get_write_buffer_size() > 0]
        # What is written while the transport closes, but is not lost yet, is sent too.
        found += [outcome(t.write, b"late"), outcome(t.write, b"r")]
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


# --- what protocols raise ---------------------------------------------------------------------------------------------

async def drive(lab, p, peer):
    """Takes a connection through every callback, as far as it goes."""
    t = p.transport
    steps = [
        lambda: peer.send(b"some data"),
        lambda: lab.loop.call_soon(lab.fill, t, 70_000),  # what is raised comes out of the loop, not out of the task
        lambda: peer.recv(10_000_000),
        lambda: peer.recv(10_000_000),
        lambda: peer.recv(10_000_000),
        lambda: peer.shutdown(socket.SHUT_WR),
        lambda: t.close(),
    ]
    for step in steps:
        if t.is_closing() or t._eof:
            break
        step()
        await lab.ticks(2)
    for _ in range(500):
        if "lost" in p.events():
            break
        # Reads what is still on its way, so that closing comes to its end.
        try:
            while peer.recv(1_000_000):
                pass
        except (BlockingIOError, ConnectionResetError):
            pass
        if not t.is_closing():
            t.close()
        await asyncio.sleep(0.001)
    await lab.ticks(2)
    return [t.is_closing(), t.is_reading(), t.get_protocol() is None]


@kinds
@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("what", [ValueError, OSError, asyncio.CancelledError, GeneratorExit, BaseException])
def test_exceptions_in_protocol_callbacks(same, kind, callback, what):
    async def main(lab):
        def fail(p, *args):
            raise what("from the protocol")
        p, peer = await lab.connect(kind, sndbuf=50_000, **{callback: fail})
        return await drive(lab, p, peer)
    got = same(scenario(main))
    if callback in ("data_received", "eof_received") and what is ValueError:
        assert got["reports"][0]["message"] == f"Fatal error: protocol.{callback}() call failed."
        assert set(got["reports"][0]) == {"message", "exception", "transport", "protocol"}
        assert got["log"][-1] == ["lost", ["ValueError", "from the protocol"]]
    if callback in ("pause_writing", "resume_writing"):
        assert got["reports"][0]["message"] == f"protocol.{callback}() failed" and got["log"][-1] == ["lost", None]
    if callback in ("connection_made", "connection_lost"):
        assert got["reports"][0]["message"].startswith("Exception in callback ")


@kinds
@pytest.mark.parametrize("callback", ["get_buffer", "buffer_updated"])
@pytest.mark.parametrize("what", [ValueError, OSError, asyncio.CancelledError])
def test_exceptions_in_buffered_callbacks(same, kind, callback, what):
    async def main(lab):
        def fail(p, *args):
            raise what("from the protocol")
        p, peer = await lab.connect(kind, sndbuf=50_000, buffered=True, **{callback: fail})
        return await drive(lab, p, peer)
    got = same(scenario(main))
    if what is ValueError:
        assert got["reports"][0]["message"] == f"Fatal error: protocol.{callback}() call failed."
    assert got["log"][-1][0] == "lost" and got["log"][-1][1][1] == "from the protocol"


@kinds
@pytest.mark.parametrize("callback", ["data_received", "eof_received", "pause_writing", "connection_lost"])
def test_exceptions_in_debug_mode(same, kind, callback):
    """OSErrors of a connection are logged in debug mode only."""
    async def main(lab):
        def fail(p, *args):
            raise OSError(5, "from the protocol")
        p, peer = await lab.connect(kind, sndbuf=50_000, **{callback: fail})
        found = await drive(lab, p, peer)
        for context in lab.errors.contexts:
            context.pop("source_traceback", None)
        return found
    same(scenario(main, debug=True))


@pytest.mark.parametrize("what", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("callback", sorted(set(CALLBACKS + BUFFERED_CALLBACKS)))
def test_exits_in_protocol_callbacks(same, callback, what):
    """SystemExit and KeyboardInterrupt come out of run_forever(); then the loop goes on where it was."""
    def run(aio):
        with Lab(aio) as lab:
            def leave(p, *args):
                if not left:
                    left.append(1)
                    raise what("leaving")
            left = []
            protocol = lab.protocol(buffered=callback in BUFFERED_CALLBACKS and callback not in CALLBACKS, **{callback: leave})
            sock, peer = lab.pair("tcp", sndbuf=50_000)
            found = []

            async def main():
                protocol.transport = await lab.attach(protocol, sock)
                return await drive(lab, protocol, peer)
            task = lab.loop.create_task(main())
            for _ in range(3):
                try:
                    found.append(clean(lab.run(task)))
                    break
                except BaseException as e:
                    found.append([type(e).__name__, str(e), aio.all_tasks(lab.loop) == {task}, protocol.transport.is_closing()])
            return found, lab.log, lab.reports(), lab.records.records
    found = same(run)[0]
    assert found[0][:2] == [what.__name__, "leaving"] and len(found) == 2


@kinds
def test_the_protocol_is_let_go(aio, kind):
    """After connection_lost() neither transport nor loop hold the protocol or the transport."""
    with Lab(aio) as lab:
        async def main():
            p, peer = await lab.connect(kind)
            t = p.transport
            await lab.send(peer, b"x")
            await lab.seen("data")
            t.close()
            await lab.seen("lost")
            await lab.ticks()
            assert t.get_protocol() is None and t._loop is None and t._sock is None
            p.transport = None
            ref, tref = weakref.ref(p), weakref.ref(t)
            del p
            gc.collect()
            assert ref() is None
            del t
            gc.collect()
            assert tref() is None
        lab.run(main())


# --- peers that go away -------------------------------------------------------------------------------------------------

@protocols
@pytest.mark.parametrize("stage", ["at once", "after data", "unread data here", "while blocked", "after eof there", "while paused", "while closing"])
def test_peer_resets(same, stage, buffered):
    async def main(lab):
        p, peer = await lab.connect("tcp", buffered=buffered, eof_received=lambda p: True)
        t = p.transport
        if stage == "after data":
            await lab.send(peer, b"x")
            await lab.seen("data")
        elif stage == "unread data here":
            t.pause_reading()
            await lab.send(peer, b"unread")
            await lab.ticks()
        elif stage == "while blocked":
            lab.fill(t)
        elif stage == "after eof there":
            peer.shutdown(socket.SHUT_WR)
            await lab.seen("eof")
        elif stage == "while paused":
            t.pause_reading()
        elif stage == "while closing":
            lab.fill(t)
            t.close()
        reset(peer)
        await lab.ticks()
        if stage in ("while paused", "unread data here"):
            states = [t.is_closing()]
            t.resume_reading()
        elif stage == "after eof there":
            states = [t.is_closing()]
            t.write(b"x")
        else:
            states = []
        await lab.until(t.is_closing)
        await lab.seen("lost")
        return states
    got = same(scenario(main))
    assert got["log"][-1][1][0] in ("ConnectionResetError", "BrokenPipeError") and quiet(got)


@kinds
def test_writing_to_a_peer_that_is_gone(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind, eof_received=lambda p: True)
        t = p.transport
        peer.close()
        await lab.seen("eof")
        states = []
        for i in range(20):
            t.write(b"x" * 10)
            await lab.ticks(1)
            if t.is_closing():
                break
        await lab.seen("lost")
        t.write(b"after")
        t.writelines([])
        return states, t.is_closing()
    got = same(scenario(main))
    assert got["log"][-1][0] == "lost" and got["log"][-1][1][0] in ("BrokenPipeError", "ConnectionResetError") and quiet(got)


def test_a_failed_write_is_known_at_the_end_of_the_tick(same):
    """asyncio knows at once; pyasync, which joins what a callback writes, when the callback has returned."""
    async def main(lab):
        p, peer = await lab.connect("unix", eof_received=lambda p: True)
        t = p.transport
        peer.close()
        await lab.seen("eof")
        t.write(b"x")
        await asyncio.sleep(0)
        states = [t.is_closing(), t.is_reading(), t.get_write_buffer_size()]
        for i in range(8):
            t.write(b"x")
        states.append(len(lab.records.records))
        t.write(b"")
        await lab.seen("lost")
        return states
    got = same(scenario(main))
    assert got["result"] == [True, False, 0, 4] and len(got["records"]) == 4
    assert got["log"][-1] == ["lost", ["BrokenPipeError", "[Errno 32] Broken pipe"]]


def test_unix_peer_closes_with_unread_data(same):
    async def main(lab):
        p, peer = await lab.connect("unix")
        p.transport.write(b"never read")
        await lab.ticks()
        peer.close()
        await lab.seen("lost")
    assert same(scenario(main))["log"][-1] == ["lost", ["ConnectionResetError", "[Errno 104] Connection reset by peer"]]


# --- re-entrancy ----------------------------------------------------------------------------------------------------------

ACTIONS = {
    "close": lambda t, lab: t.close(),
    "abort": lambda t, lab: t.abort(),
    "write": lambda t, lab: t.write(b"w"),
    "writelines": lambda t, lab: t.is_closing() or t.writelines([b"a", b"b"]),
    "write_big": lambda t, lab: t.write(b"W" * 300_000),
    "write_eof": lambda t, lab: t.write_eof(),
    "pause_reading": lambda t, lab: t.pause_reading(),
    "resume_reading": lambda t, lab: t.resume_reading(),
    "set_protocol": lambda t, lab: t.set_protocol(Recorder(lab.log, "new")),
    "set_buffered": lambda t, lab: t.set_protocol(BufferedRecorder(lab.log, "new")),
    "limits": lambda t, lab: t.set_write_buffer_limits(high=10, low=5),
    "close_and_write": lambda t, lab: (t.close(), t.write(b"x"), t.abort()),
    "write_and_abort": lambda t, lab: (t.write(b"x"), t.abort(), t.write(b"x"), t.close()),
    "size_and_repr": lambda t, lab: lab.log.append([t.is_closing(), t.is_reading()]),
    "socket": lambda t, lab: lab.log.append([t.get_extra_info("socket").fileno() > 0]),
    "collect": lambda t, lab: gc.collect() and None,
}


@protocols
@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("action", ACTIONS)
def test_reentrancy(same, action, callback, buffered):
    """Whatever a protocol does to its transport inside a callback, what follows is what follows on asyncio."""
    if callback == "resume_writing" and action in ("close", "close_and_write", "abort", "write_and_abort"):
        pytest.skip("asyncio may call connection_lost() twice here; see the next test")
    name = "buffer_updated" if buffered and callback == "data_received" else callback

    async def main(lab):
        seen = []

        def act(p, *args):
            if seen:
                return
            seen.append(1)
            ACTIONS[action](p.transport, lab)
        p, peer = await lab.connect("tcp", buffered=buffered, sndbuf=50_000, **{name: act})
        t = p.transport
        await lab.ticks()
        peer.send(b"some data")
        await lab.ticks()
        if not t.is_closing() and not t._eof:
            lab.fill(t, 70_000)
        received = 0
        for _ in range(2000):
            try:
                piece = peer.recv(1_000_000)
                if not piece:
                    break
                received += len(piece)
            except BlockingIOError:
                if t.get_write_buffer_size() == 0:
                    break
            except ConnectionResetError:
                break
            await asyncio.sleep(0)
        await lab.ticks()
        peer.shutdown(socket.SHUT_WR) if peer.fileno() >= 0 and not t.is_closing() else None
        await lab.ticks()
        t.resume_reading()
        await lab.ticks()
        if not t.is_closing():
            t.close()
        for _ in range(1000):
            if any("lost" in entry for entry in lab.log if isinstance(entry, list)):
                break
            try:
                peer.recv(1_000_000)
            except (BlockingIOError, ConnectionResetError):
                pass
            await asyncio.sleep(0.001)
        await lab.ticks()
        return t.is_closing(), len(seen), t.get_protocol() is None
    got = same(scenario(main))
    assert got["result"][0] is True and got["result"][2] is True
    assert sum("lost" in entry for entry in got["log"]) == 1


@kinds
@protocols
@pytest.mark.parametrize("action", ["close", "abort", "close_and_write", "write_and_abort"])
def test_closing_inside_resume_writing(aio, kind, buffered, action):
    with Lab(aio) as lab:
        async def main():
            p, peer = await lab.connect(kind, buffered=buffered, resume_writing=lambda p: ACTIONS[action](p.transport, lab))
            lab.fill(p.transport, 100_000)
            await lab.receive_all(peer)
            await lab.seen("lost")
            await lab.ticks()
            assert lab.log == [["made"], ["pause"], ["resume"], ["lost", None]]
        lab.run(main())
        if aio is asyncio:
            lab.reports()
        assert lab.reports() == []


# --- extra info, repr, debug ----------------------------------------------------------------------------------------------

@kinds
def test_extra_info(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        sock = t.get_extra_info("socket")
        found = [sorted(t._extra), t.get_extra_info("nothing"), t.get_extra_info("nothing", 5), t.get_extra_info("sslcontext"),
                 type(sock).__name__, sock.family, sock.type, sock.proto, sock.gettimeout(), sock.fileno() == t._sock_fd,
                 sock is t.get_extra_info("socket"), sock.getsockname() == t.get_extra_info("sockname") == peer.getpeername(),
                 t.get_extra_info("peername") == peer.getsockname(), type(t.get_extra_info("peername")).__name__,
                 t.get_extra_info("pipe"), t.get_extra_info("subprocess"), t.get_extra_info("compression")]
        if kind == "tcp":
            found.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)
        found += [outcome(t.get_extra_info, text=False), outcome(t.get_extra_info, "a", "b", "c", text=False),
                  t.get_extra_info(name="nothing", default=7)]
        t._extra["mine"] = 1
        found.append(t.get_extra_info("mine"))
        before = t.get_extra_info("sockname"), t.get_extra_info("peername")
        t.close()
        await lab.seen("lost")
        await lab.ticks()
        found += [before == (t.get_extra_info("sockname"), t.get_extra_info("peername")), t.get_extra_info("socket").fileno(),
                  t.get_extra_info("socket") is sock]
        return found
    got = same(scenario(main))
    assert got["result"][0] == ["peername", "socket", "sockname"] and got["result"][-2] == -1


@kinds
def test_extra_info_asked_for_after_the_end(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        names = (peer.getpeername(), peer.getsockname())
        p.transport.close()
        await lab.seen("lost")
        await lab.ticks()
        t = p.transport
        return (t.get_extra_info("sockname"), t.get_extra_info("peername")) == names, t.get_extra_info("socket").fileno(), repr(t)
    assert same(scenario(main))["result"] == [True, -1, "<SocketTransport closed fd=N>"]


def test_extra_info_of_every_family(same):
    async def main(lab):
        found = []
        families = [(socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET6, ("::1", 0)), (socket.AF_UNIX, b"\0pyasync-test-%d" % os.getpid())]
        for family, address in families:
            with socket.socket(family) as server:
                server.bind(address)
                server.listen()
                sock = lab.keep(socket.socket(family))
                sock.connect(server.getsockname())
                sock.setblocking(False)
                conn = lab.keep(server.accept()[0])
                p = lab.protocol()
                t = await lab.attach(p, sock)
                found.append([t.get_extra_info("sockname") == sock.getsockname(), t.get_extra_info("peername") == conn.getsockname(),
                              len(t.get_extra_info("peername")) if family != socket.AF_UNIX else t.get_extra_info("peername")[:10]])
                t.abort()
                await lab.until(lambda: t._sock is None)
        return found
    same(scenario(main))


@kinds
def test_repr(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        found = [repr(t)]
        t.pause_reading()
        found.append(repr(t))
        t.resume_reading()
        lab.fill(t)
        found.append(repr(t).replace(str(t.get_write_buffer_size()), "SIZE"))
        t.close()
        found.append(repr(t).replace(str(t.get_write_buffer_size()), "SIZE"))
        t.abort()
        found.append(repr(t))
        await lab.seen("lost")
        await lab.ticks()
        return found + [repr(t)]
    got = same(scenario(main))
    assert got["result"][0] == "<SocketTransport fd=N read=polling write=<idle, bufsize=0>>"
    assert got["result"][-1] == "<SocketTransport closed fd=N>"


@kinds
def test_debug_log(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        t.pause_reading()
        t.pause_reading()
        t.resume_reading()
        await lab.send(peer, b"x")
        await lab.seen("data")
        peer.shutdown(socket.SHUT_WR)
        await lab.seen("lost")
    got = same(scenario(main, debug=True))
    assert ["DEBUG", "<SocketTransport fd=N read=idle write=<idle, bufsize=0>> pauses reading"] in got["records"]
    assert any("received EOF" in text for _, text in got["records"])


@kinds
def test_debug_log_of_a_reset(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        if kind == "tcp":
            reset(peer)
        else:
            p.transport.write(b"unread")
            await lab.ticks()
            peer.close()
        await lab.seen("lost")
    got = same(scenario(main, debug=True))
    assert any("Fatal read error on socket transport [ConnectionResetError]" in text for _, text in got["records"])


# --- forgotten transports ---------------------------------------------------------------------------------------------------

def warned(action):
    """The ResourceWarnings of unclosed transports that action() brings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
        gc.collect()
    return sorted(clean(str(w.message)) for w in caught if w.category is ResourceWarning and "transport" in str(w.message))


@kinds
@pytest.mark.parametrize("state", ["reading", "paused", "blocked", "closing"])
def test_closing_the_loop_under_a_transport(same, kind, state):
    def run(aio):
        with Lab(aio) as lab:
            p, peer = lab.run(lab.connect(kind))
            if state == "paused":
                p.transport.pause_reading()
            if state in ("blocked", "closing"):
                lab.fill(p.transport)
            if state == "closing":
                p.transport.close()
            lab.loop.close()
            found = [clean(repr(p.transport)), p.transport.is_closing()]

            def drop():
                p.transport = None
            found += [warned(drop), lab.log]
            try:
                while peer.recv(1_000_000):
                    pass
                found.append("end")
            except BlockingIOError:
                found.append("still open")
            except ConnectionError as e:
                found.append(type(e).__name__)
            return found
    assert same(run)[2] == ["unclosed transport <SocketTransport fd=N>"] or state == "closing"


@kinds
def test_methods_after_the_loop_was_closed(same, kind):
    def run(aio):
        with Lab(aio) as lab:
            p, peer = lab.run(lab.connect(kind))
            lab.loop.close()
            t = p.transport
            found = [outcome(getattr(t, name), *args) for name, args in (
                ("is_closing", ()), ("is_reading", ()), ("get_write_buffer_size", ()), ("get_write_buffer_limits", ()),
                ("write", (b"sent all the same",)), ("get_protocol", ()))]
            found.append(peer.recv(100))
            found += [outcome(t.close, text=False), t.is_closing()]

            def drop():
                nonlocal t
                p.transport = t = None
            return found, warned(drop), lab.log
    assert same(run)[0][6] == b"sent all the same"


@kinds
def test_a_dropped_transport_that_reads_is_kept(same, kind):
    """The loop holds what it watches, and with it the protocol."""
    async def main(lab):
        p, peer = await lab.connect(kind)
        ref = weakref.ref(p)
        del p
        gc.collect()
        peer.send(b"x")
        await lab.seen("data")
        peer.close()
        await lab.seen("lost")
        await lab.ticks()
        gc.collect()
        return ref() is None
    assert same(scenario(main))["result"] is True


@kinds
def test_a_dropped_transport_that_does_not_read_is_collected(same, kind):
    """What was written before is not lost by that."""
    async def main(lab):
        p, peer = await lab.connect(kind)
        p.transport.pause_reading()
        p.transport.write(b"written before")
        ref = weakref.ref(p.transport)
        found = warned(lambda: p.__dict__.clear())
        await lab.ticks()
        gc.collect()
        return ref() is None, await lab.receive_all(peer), len(found) <= 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert same(scenario(main))["result"] == [True, b"written before", True]


@kinds
def test_a_dropped_transport_with_a_buffer_sends_it(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        p.transport.pause_reading()
        total = lab.fill(p.transport, 100_000)
        p.transport.close()
        ref = weakref.ref(p.transport)
        p.transport = None
        gc.collect()
        data = await lab.receive_all(peer)
        await lab.seen("lost")
        await lab.ticks()
        gc.collect()
        return len(data) == total, ref() is None
    assert same(scenario(main))["result"] == [True, True]


def test_the_socket_closed_under_the_transport(same):
    """A protocol that closes the transport's socket object must not make it read somebody else's descriptor."""
    async def main(lab):
        p, peer = await lab.connect("tcp")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sock = p.transport._sock
        other, far = lab.pair("unix")
        p.transport.abort()
        await lab.seen("lost")
        return sock.fileno(), other.fileno() >= 0
    assert same(scenario(main))["result"] == [-1, True]


# --- arguments --------------------------------------------------------------------------------------------------------------

def test_signatures(aio):
    with Lab(aio) as lab:
        async def main():
            p, peer = await lab.connect("unix")
            for name in dir(asyncio.Transport):
                if not name.startswith("_"):
                    wanted = inspect.signature(getattr(asyncio.selector_events._SelectorSocketTransport, name))
                    got = str(inspect.signature(getattr(p.transport, name))).replace("*", "")
                    assert got == str(wanted).replace("self, ", "").replace("self", ""), name
            p.transport.abort()
            await lab.seen("lost")
        lab.run(main())


def test_arguments_of_methods(same):
    async def main(lab):
        p, peer = await lab.connect("unix")
        t = p.transport
        found = [outcome(getattr(t, name), *args, text=False) for name, args in (
            ("close", (1,)), ("abort", (1,)), ("set_protocol", ()), ("set_protocol", (1, 2)), ("get_protocol", (1,)), ("is_closing", (1,)),
            ("pause_reading", (1,)), ("resume_reading", (1,)), ("write_eof", (1,)), ("can_write_eof", (1,)), ("is_reading", (1,)),
            ("get_write_buffer_size", (1,)), ("get_write_buffer_limits", (1,)), ("writelines", ()), ("set_write_buffer_limits", (1, 2, 3)))]
        t.write(data=b"by keyword")
        t.writelines(list_of_data=[b"!"])
        t.set_protocol(protocol=t.get_protocol())
        data = await lab.receive(peer, 11)
        t.abort()
        await lab.seen("lost")
        return found, data
    got = same(scenario(main))
    assert all(f[:2] == ["raised", "TypeError"] for f in got["result"][0]) and got["result"][1] == b"by keyword!"
