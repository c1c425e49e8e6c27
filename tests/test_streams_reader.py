"""StreamReader without a transport: feeding it, limits, waiting, memory."""
import asyncio
import warnings
import weakref
from unittest import mock

import pytest

from lab import clean, scenario
from stream_lab import told
from support import PY, FakeLoop, outcome


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
