"""start_server() and the protocol that makes readers and writers; writers and readers that are forgotten."""
import asyncio
import gc
import io
import warnings
import weakref
from contextlib import redirect_stderr
from unittest import mock

import pytest

from lab import Lab, clean, scenario
from stream_lab import finish, pair, serve, told


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
