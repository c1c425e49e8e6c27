"""StreamReader, StreamWriter, StreamReaderProtocol, open_connection(), start_server(): asyncio says what is right.

Random programs are in test_streams_random.py."""
import asyncio
import gc
import inspect
import io
import os
import socket
import ssl
import sys
import warnings
import weakref
from contextlib import redirect_stderr
from unittest import mock

import pytest

from lab import Lab, clean, quiet, reset, scenario
from support import PY, FakeLoop, outcome, scrub
from test_package import script as run_script

# inspect's takes a mark for functions in C from 3.12 on; asyncio's is deprecated from 3.14 on.
is_coroutine_function = inspect.iscoroutinefunction if PY >= (3, 12) else asyncio.iscoroutinefunction
kinds = pytest.mark.parametrize("kind", ["tcp", "unix"])


async def told(awaitable):
    """What awaiting it does, comparable."""
    try:
        return ["returned", clean(await awaitable)]
    except BaseException as exc:
        return ["raised", type(exc).__name__, scrub(str(exc))]


async def serve(lab, callback, kind="tcp", path=None, **kwargs):
    """A server and a function that connects to it."""
    if kind == "tcp":
        server = await lab.aio.start_server(callback, "127.0.0.1", 0, **kwargs)
        address = server.sockets[0].getsockname()
        return server, lambda **kw: lab.aio.open_connection(*address, **kw)
    server = await lab.aio.start_unix_server(callback, path, **kwargs)
    return server, lambda **kw: lab.aio.open_unix_connection(path, **kw)


async def pair(lab, kind="tcp", sndbuf=None, **kwargs):
    """A reader and a writer, and the bare socket at the other end."""
    sock, peer = lab.pair(kind, sndbuf)
    reader, writer = await lab.aio.open_connection(sock=sock, **kwargs)
    return reader, writer, peer


async def finish(*writers):
    for writer in writers:
        writer.close()
    return [await told(writer.wait_closed()) for writer in writers]


# ---- what they are ----

def test_classes(aio):
    for name in ("StreamReader", "StreamWriter", "StreamReaderProtocol"):
        cls, stdlib = getattr(aio, name), getattr(asyncio, name)
        assert issubclass(cls, stdlib) and cls.__name__ == name and getattr(aio.streams, name) is cls
        assert cls.__doc__ == stdlib.__doc__
        if aio is not asyncio:
            assert cls is not stdlib and issubclass(cls, getattr(sys.modules["pyasync._core"], name))
    assert issubclass(aio.StreamReaderProtocol, asyncio.Protocol)
    assert aio.open_connection is aio.streams.open_connection and aio.start_server is aio.streams.start_server
    for name in ("open_connection", "start_server", "open_unix_connection", "start_unix_server"):
        assert inspect.signature(getattr(aio, name)) == inspect.signature(getattr(asyncio, name))
        assert inspect.iscoroutinefunction(getattr(aio, name))
    assert aio.streams._DEFAULT_LIMIT == 2 ** 16


def test_signatures(aio):
    for name in ("StreamReader", "StreamWriter", "StreamReaderProtocol"):
        for attribute, function in vars(getattr(asyncio, name)).items():
            if inspect.isfunction(function) and attribute not in ("__init__", "__del__"):
                ours = getattr(getattr(aio, name), attribute)
                assert inspect.signature(ours).parameters.keys() == inspect.signature(function).parameters.keys(), (name, attribute)
                assert is_coroutine_function(ours) == is_coroutine_function(function) or attribute == "__anext__", attribute


def test_autospec(aio, run):
    reader = mock.create_autospec(aio.StreamReader, instance=True)
    reader.read.return_value = b"data"
    writer = mock.create_autospec(aio.StreamWriter, instance=True)

    async def main():
        assert await reader.read(4) == b"data"
        writer.write(b"x")
        await writer.drain()
    run(main())
    reader.read.assert_awaited_once_with(4)
    writer.drain.assert_awaited_once_with()


def test_coroutine_contract(aio, loop, run):
    async def main():
        reader = aio.StreamReader()
        reader.feed_data(b"one\ntwo\n")
        for operation in (reader.read(1), reader.readline(), reader.readexactly(1), reader.readuntil(b"x")):
            assert inspect.isawaitable(operation) and asyncio.iscoroutine(operation)
            operation.close()
        assert await aio.create_task(reader.readline()) == b"one\n"
        assert await aio.wait_for(reader.readline(), 5) == b"two\n"
        with pytest.warns(RuntimeWarning, match=r"coroutine 'StreamReader.read' was never awaited"):
            reader.read(1)
            gc.collect()
        operation = reader.read(0)
        assert await operation == b""
        with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
            await operation
        assert await aio.gather(reader.read(0), reader.readexactly(0)) == [b"", b""]
    run(main())


# ---- readers without a transport ----

def test_constructor(same):
    def main(aio):
        loop = aio.new_event_loop()
        try:
            found = [outcome(aio.StreamReader, limit, loop) for limit in (0, -1, 2.0 - 2, 1, "5", 10 ** 30, 2.5)]
            found += [outcome(aio.StreamReader, loop=loop, text=False, bogus=1), repr(aio.StreamReader(loop=loop)),
                      outcome(aio.StreamReaderProtocol, text=False),
                      aio.StreamReader(loop=loop)._source_traceback]
            loop.set_debug(True)
            stack = aio.StreamReader(loop=loop)._source_traceback
            found += [stack[-1].name, stack[-1].filename == __file__]
            return found
        finally:
            loop.close()
    same(main)


def test_outside_a_loop(aio):
    """Up to 3.13 the policy's loop is made; a pyasync reader must not make one of asyncio's."""
    if PY >= (3, 14):
        with pytest.raises(RuntimeError, match="no current event loop"):
            aio.StreamReader()
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        aio.set_event_loop(None)
        with pytest.raises(RuntimeError):
            aio.StreamReader()
        loop = aio.new_event_loop()
        aio.set_event_loop(loop)
        try:
            assert aio.StreamReader()._loop is loop
            assert aio.StreamReaderProtocol(None)._loop is loop
        finally:
            aio.set_event_loop(None)
            loop.close()


def test_makes_our_loop(script):
    result = script("""
import sys, warnings
warnings.simplefilter("ignore")
if sys.version_info < (3, 14):
    reader = aio.StreamReader()
    assert type(reader._loop) is type(aio.new_event_loop()), reader._loop
    reader._loop.close()
""")
    assert result.returncode == 0, result.stderr


def test_foreign_loop_object(same):
    """The least a loop has to offer."""
    class Loop(FakeLoop):
        def create_future(self):
            return asyncio.Future(loop=self)

    def main(aio):
        loop = Loop()
        reader, found = aio.StreamReader(loop=loop), []

        async def read():
            found.append(await reader.readline())
        coro = read()
        future = coro.send(None)
        found.append([future is reader._waiter, future.get_loop() is loop])
        reader.feed_data(b"line\nrest")
        with pytest.raises(StopIteration):
            coro.send(None)
        return found + [bytes(reader._buffer)]
    same(main)


def test_attributes_can_be_written(same):
    async def main(lab):
        reader = lab.aio.StreamReader(limit=4)
        found = [reader._limit, reader._buffer, reader._eof, reader._waiter, reader._exception, reader._transport, reader._paused]
        reader._buffer.extend(b"abc\n")
        found.append(await reader.readline())
        reader._buffer = bytearray(b"other")
        found.append(await reader.read(2))
        reader._eof = 1
        found += [await reader.read(), reader.at_eof(), outcome(reader.feed_data, b"x")]
        reader._eof = False
        reader._limit = 100
        reader.feed_data(b"x" * 150 + b"\n")
        found.append(await told(reader.readuntil()))
        reader._limit = 1000
        found.append(await told(reader.readuntil()))
        reader._exception = ValueError("now")
        found += [repr(reader), await told(reader.read(1)), reader.exception() is reader._exception]
        reader._exception = None
        reader._limit = 3.5
        reader.feed_data(b"12345\n7")
        found += [await told(reader.readline()), await told(reader.read(1)), await told(reader.read()) if reader._eof else None]
        reader.own = 5
        if lab.aio is not asyncio:
            with pytest.raises(TypeError, match="_buffer must be a bytearray, not bytes"):
                reader._buffer = b"bytes"
        found += [reader.own, vars(reader)["own"], weakref.ref(reader)() is reader]
        return clean(found)
    same(scenario(main))


def test_buffer_that_is_held(same):
    """A bytearray that somebody has is the buffer, for as long as it is held."""
    async def main(lab):
        reader = lab.aio.StreamReader()
        reader.feed_data(b"0123456789")
        held, found = reader._buffer, []
        found += [await reader.read(3), bytes(held)]
        held += b"\n"
        found.append(await reader.readline())
        reader.feed_data(b"more")
        found += [bytes(held), held is reader._buffer]
        with memoryview(held):
            found += [await told(reader.read(2)), outcome(reader.feed_data, b"x"), bytes(held)]
        held[:] = b"changed\n"
        found += [await reader.readline(), held is reader._buffer]
        del held
        reader.feed_data(b"after")
        found += [bytes(reader._buffer), await reader.read(100)]
        return found
    same(scenario(main))


def test_what_can_be_fed(same):
    async def main(lab):
        reader = lab.aio.StreamReader()
        found = []
        for data in (b"", b"bytes", bytearray(b"array"), memoryview(b"view"), [65, 66], None, 5, "text", [300],
                     memoryview(b"abcd").cast("I"), type("B", (bytes,), {})(b"derived")):
            found += [outcome(reader.feed_data, data), await reader.read(100) if reader._buffer else None]
        return found
    same(scenario(main))


def test_odd_arguments(same):
    async def main(lab):
        reader = lab.aio.StreamReader()
        found = []
        for name, *args in (("read", 2.5), ("read", None), ("read", True), ("read", 10 ** 30), ("readexactly", "x"), ("readexactly", 2.0),
                            ("readexactly", True), ("readuntil", bytearray(b"c")), ("readuntil", memoryview(b"c")), ("readuntil", "c"),
                            ("readuntil", None), ("readuntil", 5), ("readuntil", ()), ("readuntil", (b"",)), ("readuntil", [b"c"]),
                            ("readuntil", (b"cd", b"c")), ("readuntil", (bytearray(b"d"), b"cde")), ("readexactly", -(10 ** 30)),
                            ("readuntil", type("B", (bytes,), {})(b"c"))):
            reader._buffer[:] = b"abcdefgh"
            found.append([name, await told(getattr(reader, name)(*args)), bytes(reader._buffer)])
        reader._buffer[:] = b"key=value;"
        found += [await reader.read(n=1), await reader.readuntil(separator=b"="), await reader.readexactly(n=2)]
        for name, args in (("read", (1, 2)), ("readline", (1,)), ("readexactly", ()), ("readuntil", (1, 2)), ("feed_data", ())):
            found.append(outcome(getattr(reader, name), *args, text=False))
        return found
    same(scenario(main))


def test_second_reader(same):
    async def main(lab):
        reader = lab.aio.StreamReader()
        waiting = lab.aio.create_task(reader.read(5))
        await asyncio.sleep(0)
        found = [await told(getattr(reader, name)(*args))
                 for name, *args in (("read", 1), ("read",), ("readline",), ("readuntil", b"x"), ("readexactly", 2), ("__anext__",))]
        reader.feed_data(b"data")
        return found + [await waiting]
    got = same(scenario(main))
    assert got["result"][0] == ["raised", "RuntimeError", "read() called while another coroutine is already waiting for incoming data"]


def test_waiter_is_a_future(same):
    async def main(lab):
        reader = lab.aio.StreamReader()
        task = lab.aio.create_task(reader.read(5))
        await asyncio.sleep(0)
        waiter = reader._waiter
        found = [asyncio.isfuture(waiter), task._fut_waiter is waiter, waiter.get_loop() is lab.loop]
        waiter.cancel()
        found.append(await told(task))
        task = lab.aio.create_task(reader.read(5))
        await asyncio.sleep(0)
        reader._waiter.set_result(None)
        found += [await told(task), reader._waiter]
        task = lab.aio.create_task(reader.read(5))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.sleep(0)
        found += [task.cancelled(), reader._waiter]
        coro = reader.read(5)
        coro.send(None)
        coro.close()
        return found + [reader._waiter]
    same(scenario(main))


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_limits_to_the_byte(same, limit):
    """When the transport is paused and resumed, and which lines are too long."""
    async def main(lab):
        found = []
        for fed in range(2 * limit + 3):
            for taken in range(1, fed + 1):
                reader = lab.aio.StreamReader(limit=limit)
                reader.set_transport(mock.Mock())
                reader.feed_data(b"x" * fed)
                paused = reader._paused
                await reader.readexactly(taken)
                found.append([fed, taken, paused, reader._paused, [call[0] for call in reader._transport.method_calls]])
            for separator in (b"\n", b"\r\n", b"abc"):
                for tail in (b"", b"rest", separator[:-1]):
                    reader = lab.aio.StreamReader(limit=limit)
                    reader.feed_data(b"x" * fed + separator[:1])
                    operation = lab.aio.create_task(reader.readuntil(separator))
                    await asyncio.sleep(0)
                    reader.feed_data(separator[1:] + tail)
                    found.append([fed, separator, await told(operation), bytes(reader._buffer)])
            reader = lab.aio.StreamReader(limit=limit)
            reader.feed_data(b"x" * fed + b"\nsecond\n")
            found.append([await told(reader.readline()), bytes(reader._buffer)])
        return found
    same(scenario(main))


def test_order_of_wakeups(same):
    async def main(lab):
        reader, order = lab.aio.StreamReader(), []

        async def read():
            order.append(await reader.readexactly(4))
        task = lab.aio.create_task(read())
        await asyncio.sleep(0)
        lab.loop.call_soon(order.append, "before")
        reader.feed_data(b"ab")
        lab.loop.call_soon(order.append, "between")
        reader.feed_data(b"cd")
        lab.loop.call_soon(order.append, "after")
        await task
        await asyncio.sleep(0)
        return order
    same(scenario(main))


def test_context(same):
    """`raise self._exception` in an except clause, and readline()'s ValueError: their contexts."""
    async def main(lab):
        reader = lab.aio.StreamReader(limit=2)
        reader.feed_data(b"too long\nx")
        found = []
        try:
            raise KeyError("outer")
        except KeyError:
            try:
                await reader.readline()
            except ValueError as exc:
                found += [type(exc.__context__).__name__, type(exc.__context__.__context__).__name__, exc.__cause__, exc.args]
            reader.set_exception(OSError("set"))
            try:
                await reader.read(1)
            except OSError as exc:
                found.append(type(exc.__context__).__name__)
        return found
    same(scenario(main))


def test_iteration(same):
    async def main(lab):
        reader = lab.aio.StreamReader()
        reader.feed_data(b"one\ntwo\nthree")
        reader.feed_eof()
        return [line async for line in reader] + [aiter(reader) is reader, await told(anext(reader))]
    same(scenario(main))


def test_subprocess_streams(same):
    async def main(lab):
        process = await lab.aio.create_subprocess_exec("sh", "-c", "cat; echo late >&2", stdin=-1, stdout=-1, stderr=-1, limit=100)
        found = [type(process.stdout) is lab.aio.StreamReader, type(process.stdin) is lab.aio.StreamWriter,
                 isinstance(process._protocol, lab.aio.subprocess.SubprocessStreamProtocol), process.stdout._limit]
        process.stdin.write(b"x" * 10_000 + b"\n")
        await process.stdin.drain()
        found += [len(await process.stdout.readexactly(10_001))]
        found += [[bytes(x) for x in await process.communicate(b"last")], process.returncode]
        process = await lab.aio.subprocess.create_subprocess_shell("exit 3")
        return found + [await process.wait(), process.stdout]
    same(scenario(main))


def test_memory_is_given_back(aio):
    if aio is asyncio:
        return
    loop = aio.new_event_loop()
    reader = aio.StreamReader(limit=1 << 24, loop=loop)
    tracemalloc = pytest.importorskip("tracemalloc")
    tracemalloc.start()
    try:
        reader.feed_data(b"x" * 10_000_000)
        reader.feed_data(b"y" * 10_000_000)

        async def main():
            await reader.readexactly(19_999_990)
            waiting = aio.create_task(reader.readexactly(100))
            await asyncio.sleep(0)
            assert tracemalloc.get_traced_memory()[0] < 1_000_000
            reader.feed_data(b"z" * 90)
            assert await waiting == b"y" * 10 + b"z" * 90
        loop.run_until_complete(main())
    finally:
        tracemalloc.stop()
        loop.close()


# ---- overriding ----

def test_overridden_methods(same):
    def classes(aio):
        log = []

        class Feeding(aio.StreamReader):
            def feed_data(self, data):
                log.append(["feed", bytes(data)])
                super().feed_data(data.upper())

        class Waiting(aio.StreamReader):
            async def _wait_for_data(self, func_name):
                log.append(["wait", func_name])
                await super()._wait_for_data(func_name)

        class Waking(aio.StreamReader):
            def _wakeup_waiter(self):
                log.append("wake")
                super()._wakeup_waiter()

        class Until(aio.StreamReader):
            async def readuntil(self, separator=b"\n"):
                log.append(["until", separator])
                return b"<" + await super().readuntil(separator) + b">"

        class Failing(aio.StreamReader):
            def exception(self):
                return ZeroDivisionError("mine")

        return log, (Feeding, Waiting, Waking, Until, Failing)

    async def main(lab):
        log, made = classes(lab.aio)
        found = []
        for cls in made:
            sock, peer = lab.pair("tcp")
            reader = cls(loop=lab.loop)
            protocol = lab.aio.StreamReaderProtocol(reader, loop=lab.loop)
            transport, _ = await lab.loop.create_connection(lambda: protocol, sock=sock)
            writer = lab.aio.StreamWriter(transport, protocol, reader, lab.loop)
            task = lab.aio.create_task(reader.readline())
            await lab.ticks()
            peer.send(b"line\n")
            found.append([await told(task), await told(writer.drain()), await finish(writer)])
        return found + log
    got = same(scenario(main))
    assert ["feed", b"line\n"] in got["result"] and ["until", b"\n"] in got["result"]


@pytest.mark.parametrize("where", ["instance", "class"])
def test_patched(same, where):
    async def main(lab):
        reader, writer, peer = await pair(lab)
        log = []
        target = reader if where == "instance" else lab.aio.StreamReader
        original = lab.aio.StreamReader.feed_data

        def feed_data(*args):
            log.append(["feed", args[-1]])
            original(reader, args[-1].upper())
        with mock.patch.object(target, "feed_data", feed_data):
            peer.send(b"one\n")
            log.append(await reader.readline())
        peer.send(b"two\n")
        log.append(await reader.readline())
        protocol = writer._protocol if where == "instance" else lab.aio.StreamReaderProtocol
        with mock.patch.object(protocol, "data_received", lambda *args: log.append(["received", args[-1]])):
            peer.send(b"three\n")
            await lab.until(lambda: ["received", b"three\n"] in log)

        async def helper(*args):
            log.append("helper")
        with mock.patch.object(protocol, "_drain_helper", helper):
            await writer.drain()
        await writer.drain()
        if where == "instance":
            writer.transport.write = lambda data: log.append(["write", data])
            writer.write(b"to the mock")
        return log + await finish(writer)
    got = same(scenario(main))
    assert [b"ONE\n", b"two\n"] == [x for x in got["result"] if isinstance(x, bytes)]


def test_uninitialised(same):
    async def main(lab):
        class Reader(lab.aio.StreamReader):
            def __init__(self):
                pass

        class Writer(lab.aio.StreamWriter):
            def __init__(self):
                pass

            def __del__(self):
                pass
        reader, writer = Reader(), Writer()
        kinds = []
        for operation in (reader.read(1), reader.readline(), writer.drain()):
            kinds.append((await told(operation))[:2])
        for function, *args in ((writer.write, b""), (writer.is_closing,), (reader.feed_eof,), (reader.at_eof,)):
            kinds.append(outcome(function, *args, text=False))
        return kinds[:2] + kinds[3:5]
    same(scenario(main))


# ---- over sockets ----

@kinds
def test_echo(same, kind, tmp_path):
    async def main(lab):
        async def echo(reader, writer):
            while data := await reader.read(1000):
                writer.write(data)
                await writer.drain()
            writer.close()
            await writer.wait_closed()
            lab.log.append("server done")
        server, connect = await serve(lab, echo, kind, str(tmp_path / lab.aio.__name__))
        reader, writer = await connect()
        writer.write(b"hello ")
        writer.writelines([b"wor", bytearray(b"ld"), memoryview(b"\n")])
        found = [await reader.readline(), writer.can_write_eof(), writer.is_closing()]
        payload = os.urandom(300_000)
        writer.write(payload)
        await writer.drain()
        found.append(await reader.readexactly(len(payload)) == payload)
        writer.write_eof()
        found += [await reader.read(), reader.at_eof(), writer.get_extra_info("nothing", "default"),
                  type(writer.get_extra_info("socket")).__name__]
        found += await finish(writer)
        await lab.until(lambda: "server done" in lab.log)
        server.close()
        await server.wait_closed()
        return found
    got = same(scenario(main))
    assert quiet(got) and got["result"][0] == b"hello world\n"


def test_native_path(aio, loop, run):
    """On a pyasync loop the data does not pass through data_received(): nothing is lost by that."""
    a, b = socket.socketpair()

    async def main():
        reader, writer = await aio.open_unix_connection(sock=a)
        b.send(b"x" * 1000)
        data = await reader.read(5000)
        assert data == b"x" * 1000 and type(data) is bytes
        b.send(b"1\n")
        await asyncio.sleep(0.01)
        b.send(b"2\n")
        await asyncio.sleep(0.01)
        assert [await reader.readline(), await reader.readline()] == [b"1\n", b"2\n"]
        writer.close()
        await writer.wait_closed()
    run(main())
    b.close()


def test_limit_pauses_the_transport(same):
    async def main(lab):
        reader, writer, peer = await pair(lab, "unix", limit=1000)
        found = [reader._paused]
        await lab.send(peer, b"x" * 1500)
        await lab.ticks()
        found += [reader._paused, writer.transport.is_reading()]
        await lab.send(peer, b"y" * 1000)
        await lab.until(lambda: reader._paused)
        found += [writer.transport.is_reading(), len(reader._buffer), repr(reader)]
        found.append(len(await reader.read(1000)))
        found += [reader._paused, len(await reader.readexactly(500)), reader._paused, writer.transport.is_reading()]
        task = lab.aio.create_task(reader.readexactly(5000))
        await lab.send(peer, b"z" * 4000)
        found += [len(await task), reader._paused]
        peer.close()
        found.append(await reader.read())
        return found + await finish(writer)
    got = same(scenario(main))
    assert got["result"][1:4] == [False, True, False]


def test_a_long_line(same):
    async def main(lab):
        reader, writer, peer = await pair(lab, limit=64)
        await lab.send(peer, b"x" * 100)
        found = [await told(reader.readline()), reader._paused]
        await lab.send(peer, b"y" * 50 + b"\nnext\n")
        await lab.ticks()
        found += [await told(reader.readline()), await told(reader.readline())]
        await lab.send(peer, b"z" * 100 + b"\nlast")
        await lab.ticks()
        found += [await told(reader.readuntil()), len(reader._buffer), await told(reader.readexactly(101))]
        peer.close()
        found += [await told(reader.readuntil()), await told(reader.readline())]
        return found + await finish(writer)
    same(scenario(main))


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_the_peer_goes(same, how):
    async def main(lab):
        reader, writer, peer = await pair(lab)
        waiting = lab.aio.create_task(reader.readexactly(10))
        await lab.ticks()
        await lab.send(peer, b"some")
        await lab.ticks()
        peer.close() if how == "fin" else reset(peer)
        found = [await told(waiting), await told(reader.read(1)), await told(reader.readline()), clean(reader.exception())]
        found += [await told(writer.drain()), writer.is_closing()]
        found += await finish(writer)
        return found + [await told(writer.drain()), await told(writer.wait_closed())]
    same(scenario(main))


def test_drain_waits(same):
    async def main(lab):
        reader, writer, peer = await pair(lab, "unix", sndbuf=4096)
        writer.transport.set_write_buffer_limits(high=1000, low=100)
        lab.fill(writer.transport, 5000)
        protocol = writer._protocol
        tasks = [lab.aio.create_task(writer.drain()) for _ in range(3)]
        await asyncio.sleep(0)
        found = [protocol._paused, len(protocol._drain_waiters), [t.done() for t in tasks]]
        tasks[1].cancel()
        await asyncio.sleep(0)
        found += [len(protocol._drain_waiters), tasks[1].cancelled()]
        size = writer.transport.get_write_buffer_size()
        assert size > 1000
        total = 0
        while not tasks[0].done():
            total += len(await lab.receive(peer, 1000))
        found += [await told(tasks[0]), await told(tasks[2]), protocol._paused, len(protocol._drain_waiters)]
        writer.transport.abort()
        return found + await finish(writer)
    same(scenario(main))


@pytest.mark.parametrize("how", ["closed", "aborted", "reset"])
def test_drain_and_a_lost_connection(same, how):
    async def main(lab):
        reader, writer, peer = await pair(lab, sndbuf=4096)
        writer.transport.set_write_buffer_limits(high=1000, low=100)
        lab.fill(writer.transport, 5000)
        tasks = [lab.aio.create_task(writer.drain()) for _ in range(2)]
        await asyncio.sleep(0)
        if how == "closed":
            writer.close()
            peer.close()
        elif how == "aborted":
            writer.transport.abort()
        else:
            reset(peer)
        found = [await told(task) for task in tasks]
        found.append(await told(writer.drain()))
        return found + await finish(writer)
    got = same(scenario(main))
    assert len(got["result"]) == 4


def test_drain_while_closing(same):
    """It lets the loop turn once, so that connection_lost() comes and the error is seen."""
    async def main(lab):
        reader, writer, peer = await pair(lab)
        order = []
        writer.close()
        lab.loop.call_soon(order.append, "turned")

        async def drain():
            order.append(await told(writer.drain()))
        await lab.aio.create_task(drain())
        order.append(await told(writer.drain()))
        task = lab.aio.create_task(writer.drain())
        await asyncio.sleep(0)
        task.cancel()
        return order + [await told(task)] + await finish(writer)
    same(scenario(main))


def test_writer_without_reader(same):
    async def main(lab):
        """As subprocesses and pipes have it."""
        sock, peer = lab.pair("unix")
        transport, protocol = await lab.loop.create_connection(lambda: lab.aio.streams.FlowControlMixin(lab.loop), sock=sock)
        writer = lab.aio.StreamWriter(transport, protocol, None, lab.loop)
        writer.write(b"x")
        found = [await told(writer.drain()), await lab.ticks(), repr(writer), outcome(lab.aio.StreamWriter.__init__, writer, transport, protocol, 5, lab.loop)]
        fut = writer._complete_fut
        found += [fut.done(), fut is writer._complete_fut, await lab.receive(peer, 1)]
        writer.close()
        await lab.ticks()
        return found
    same(scenario(main))


def test_mixed_with_asyncio(aio, loop, run):
    """Each of the three classes with asyncio's two others."""
    async def main():
        for bits in range(8):
            Reader, Protocol, Writer = [
                getattr(aio if bits >> i & 1 else asyncio, name)
                for i, name in enumerate(("StreamReader", "StreamReaderProtocol", "StreamWriter"))]
            a, b = socket.socketpair()
            reader = Reader(loop=loop)
            protocol = Protocol(reader, loop=loop)
            transport, _ = await loop.create_unix_connection(lambda: protocol, sock=a)
            writer = Writer(transport, protocol, reader, loop)
            b.send(b"in\n")
            assert await reader.readline() == b"in\n"
            writer.write(b"out")
            await writer.drain()
            await asyncio.sleep(0)           # pyasync sends at the end of the tick
            assert b.recv(10) == b"out"
            b.close()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
    run(main())


@pytest.mark.parametrize("debug", [False, True])
def test_on_asyncios_loop(aio, debug):
    """The classes and functions on a loop that is not pyasync's."""
    loop = asyncio.new_event_loop()
    loop.set_debug(debug)
    served = []

    async def serve_one(reader, writer):
        served.append([type(reader) is aio.StreamReader, type(writer) is aio.StreamWriter])
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()

    async def main():
        server = await aio.start_server(serve_one, "127.0.0.1", 0)
        reader, writer = await aio.open_connection(*server.sockets[0].getsockname())
        writer.write(b"x" * 60_000 + b"\n")
        await writer.drain()
        assert await reader.read() == b"x" * 60_000 + b"\n"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
    try:
        loop.run_until_complete(asyncio.wait_for(main(), 20))
        assert served == [[True, True]]
    finally:
        loop.close()


# ---- servers ----

def test_server_callbacks(same):
    """A function, a coroutine function, one that fails, one that is cancelled."""
    async def main(lab):
        found = []

        def plain(reader, writer):
            writer.write(b"plain")
            writer.close()

        async def failing(reader, writer):
            writer.write(b"failing")
            raise ValueError("in the callback")

        async def cancelled(reader, writer):
            writer.write(b"cancelled")
            lab.loop.call_later(0.02, writer.close)      # 3.11 and 3.12 leave it open
            raise asyncio.CancelledError

        def raising(reader, writer):
            lab.loop.call_later(0.02, writer.close)      # up to 3.13 it is left open
            raise ValueError("in the function")

        for callback in (plain, failing, cancelled, raising):
            server, connect = await serve(lab, callback)
            reader, writer = await connect()
            found.append([callback.__name__, await told(reader.read())])
            await finish(writer)
            server.close()
            await server.wait_closed()
            await lab.ticks()
        return found
    got = same(scenario(main))
    assert "Unhandled exception in client_connected_cb" in str(got["reports"])


def test_server_protocol(same):
    async def main(lab):
        seen = []

        async def callback(reader, writer):
            protocol = writer._protocol
            seen.append([protocol._task is asyncio.current_task(), protocol._transport is writer.transport, protocol._over_ssl,
                         protocol._stream_reader is reader, protocol._strong_reader, protocol._client_connected_cb is callback,
                         getattr(protocol, "_stream_writer", None) is writer, protocol._paused, protocol._reject_connection,
                         protocol._closed is protocol._get_close_waiter(writer), reader._transport is writer.transport,
                         sorted(vars(protocol)) == [] or lab.aio is asyncio])
            await reader.read()
            writer.close()
            await writer.wait_closed()
            seen.append([protocol._task, protocol._transport, protocol._stream_reader, protocol._connection_lost])
        server, connect = await serve(lab, callback)
        reader, writer = await connect()
        found = [writer._protocol._client_connected_cb, hasattr(writer._protocol, "_strong_reader"), writer._protocol._task]
        writer.write_eof()
        found.append(await reader.read())
        await finish(writer)
        await lab.until(lambda: len(seen) == 2)
        server.close()
        await server.wait_closed()
        return found + seen
    same(scenario(main))


def test_forgotten_reader(same):
    """Only the protocol's weak reference is left: what arrives is dropped, the connection goes on."""
    async def main(lab):
        reader, writer, peer = await pair(lab)
        transport, protocol = writer.transport, writer._protocol
        transport.resume_reading()
        writer._reader = None
        ref = weakref.ref(reader)
        del reader
        gc.collect()
        found = [ref() is None, protocol._stream_reader is None]
        await lab.send(peer, b"nobody reads this")
        await lab.ticks()
        found += [transport.is_closing(), await told(writer.drain())]
        peer.close()
        await lab.ticks()
        return found + await finish(writer)
    same(scenario(main))


def test_rejected_connection(same):
    async def main(lab):
        reader = lab.aio.StreamReader(loop=lab.loop)
        protocol = lab.aio.StreamReaderProtocol(reader, loop=lab.loop)
        protocol._reject_connection = True
        transport = mock.Mock()
        protocol.connection_made(transport)
        return [transport.abort.called]
    def without_stack(aio):
        got = scenario(main, debug=True)(aio)
        assert got["reports"][0].pop("source_traceback")
        return got
    got = same(without_stack)
    assert got["result"] == [True] and "An open stream was garbage collected" in got["reports"][0]["message"]


@pytest.mark.parametrize("closed", [False, True])
def test_forgotten_writer(same, closed):
    """__del__ by version: nothing, or a ResourceWarning."""
    def main(aio):
        with Lab(aio) as lab, warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            reader, writer, peer = lab.run(pair(lab))
            transport = writer.transport
            if closed:
                transport.abort()
                lab.run(lab.ticks())
            del writer, reader
            gc.collect()
            found = [transport.is_closing()]
            lab.run(lab.ticks())
            transport.abort()
            lab.run(lab.ticks())
            return found + [[w.category.__name__, clean(str(w.message))] for w in caught if w.category is ResourceWarning]
    same(main)


def test_forgotten_writer_of_a_closed_loop(same):
    def main(aio):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            loop = aio.new_event_loop()
            transport = mock.Mock(**{"is_closing.return_value": False})
            writer = aio.StreamWriter(transport, None, None, loop)
            loop.close()
            del writer
            gc.collect()
            return [[w.category.__name__, str(w.message)] for w in caught] + [transport.close.called]
    errors = io.StringIO()
    with redirect_stderr(errors), warnings.catch_warnings():
        same(main)


def test_cycles_are_collected(aio):
    loop = aio.new_event_loop()
    try:
        def make():
            reader = aio.StreamReader(loop=loop)
            protocol = aio.StreamReaderProtocol(reader, lambda r, w: None, loop=loop)
            reader.me = [reader, protocol]
            protocol.me = protocol
            writer = aio.StreamWriter(mock.Mock(), protocol, reader, loop)
            writer.me = writer
            reader._buffer.extend(b"data")
            coro = reader.readexactly(100)
            coro.send(None)
            reader.coro = coro
            return [weakref.ref(x) for x in (reader, protocol, writer)]
        refs = make()
        gc.collect()
        assert [ref() for ref in refs] == [None, None, None]
    finally:
        loop.close()


# ---- TLS ----

@pytest.fixture
def contexts(certificate):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    return server, ssl.create_default_context(cafile=certificate)


def test_tls(same, contexts):
    async def main(lab):
        async def echo(reader, writer):
            lab.log.append(["over ssl", writer._protocol._over_ssl])
            async for line in reader:
                writer.write(line)
                await writer.drain()
            writer.close()
        server, connect = await serve(lab, echo, ssl=contexts[0])
        reader, writer = await connect(ssl=contexts[1], server_hostname="localhost")
        found = [writer._protocol._over_ssl, writer.can_write_eof()]
        for size in (5, 1000, 60_000):
            writer.write(b"x" * size + b"\n")
            await writer.drain()
            found.append(len(await reader.readline()))
        found += [writer.get_extra_info("ssl_object") is not None]
        found += await finish(writer)
        server.close()
        await server.wait_closed()
        return found
    assert quiet(same(scenario(main)))


def test_start_tls(same, contexts):
    async def main(lab):
        done = asyncio.Event()

        async def callback(reader, writer):
            assert await reader.readline() == b"STARTTLS\n"
            writer.write(b"go\n")
            await writer.drain()
            await writer.start_tls(contexts[0])
            lab.log.append([writer._protocol._over_ssl, writer.transport is writer._protocol._transport,
                            reader._transport is writer.transport])
            writer.write(await reader.readline())
            await writer.drain()
            await reader.read()
            writer.close()
            done.set()
        server, connect = await serve(lab, callback)
        reader, writer = await connect()
        writer.write(b"STARTTLS\n")
        found = [await reader.readline(), writer._protocol._over_ssl]
        await writer.start_tls(contexts[1], server_hostname="localhost")
        found += [writer._protocol._over_ssl, writer._protocol._transport is writer.transport, reader._transport is writer.transport]
        writer.write(b"secret\n")
        found += [await reader.readline(), type(writer.get_extra_info("ssl_object")).__name__]
        found += await finish(writer)
        await done.wait()
        server.close()
        await server.wait_closed()
        return found
    got = same(scenario(main))
    assert quiet(got) and b"secret\n" in got["result"]


# ---- install() ----

def test_installed():
    assert run_script("""
import asyncio, pyasync
from unittest import mock
before = asyncio.StreamReader, asyncio.StreamWriter, asyncio.StreamReaderProtocol
pyasync.install()
pyasync.install()

async def main():
    reader = asyncio.StreamReader()
    assert type(reader) is pyasync.StreamReader and isinstance(reader, asyncio.StreamReader) and isinstance(reader, before[0])
    assert isinstance(before[0](), asyncio.StreamReader) and issubclass(before[2], asyncio.StreamReaderProtocol)
    original = pyasync.StreamReader.readline
    with mock.patch.object(asyncio.StreamReader, "readline", lambda self: "patched"):
        assert reader.readline() == "patched"
    assert pyasync.StreamReader.readline is original
    class Mine(asyncio.StreamReader):
        async def readline(self):
            return b"<" + await super().readline()
    mine = Mine()
    mine.feed_data(b"y\\n")
    assert await mine.readline() == b"<y\\n" and isinstance(mine, before[0])
    seen = []
    async def callback(reader, writer):
        seen.append([type(reader), type(writer), type(writer._protocol)])
        writer.close()
    server = await asyncio.start_server(callback, "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    assert await reader.read() == b""
    seen.append([type(reader), type(writer), type(writer._protocol)])
    assert seen == [[pyasync.StreamReader, pyasync.StreamWriter, pyasync.StreamReaderProtocol]] * 2, seen
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()
    process = await asyncio.create_subprocess_exec("echo", "hi", stdout=asyncio.subprocess.PIPE)
    assert type(process.stdout) is pyasync.StreamReader
    assert await process.communicate() == (b"hi\\n", None)

asyncio.run(main())
pyasync.uninstall()
assert (asyncio.StreamReader, asyncio.StreamWriter, asyncio.StreamReaderProtocol) == before
assert (asyncio.streams.StreamReader, asyncio.streams.StreamWriter, asyncio.streams.StreamReaderProtocol) == before
print("well")
""", "-X", "dev") == "well\n"
