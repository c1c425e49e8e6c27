"""StreamReader, StreamWriter, StreamReaderProtocol: the classes, overriding, install(). asyncio says what is right.

What they do is in test_streams_*.py."""
import asyncio
import gc
import inspect
import sys
from unittest import mock

import pytest

from lab import scenario
from stream_lab import finish, pair, told
from support import PY, outcome
from test_package import script as run_script

# inspect's takes a mark for functions in C from 3.12 on; asyncio's is deprecated from 3.14 on.
is_coroutine_function = inspect.iscoroutinefunction if PY >= (3, 12) else asyncio.iscoroutinefunction


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


# ---- install() ----

def test_installed():
    assert run_script("""
import asyncio, pyasync
from unittest import mock
before = asyncio.StreamReader, asyncio.StreamWriter, asyncio.StreamReaderProtocol
pyasync.install()
pyasync.install()

async def main():
    asyncio.get_running_loop().slow_callback_duration = 60      # a busy machine is told of, too
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
