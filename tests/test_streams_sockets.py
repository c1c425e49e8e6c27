"""open_connection(): readers and writers over sockets and TLS."""
import asyncio
import os
import socket
import ssl

import pytest

from lab import clean, kinds, quiet, reset, scenario
from stream_lab import finish, pair, serve, told
from support import outcome


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
