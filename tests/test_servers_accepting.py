"""A server accepts: factories that fail or close it, descriptors that run out, many connections, its clients."""
import asyncio
import contextlib
import errno
import gc
import os
import resource
import socket
import sys
import warnings

import pytest

from support import Errors, fresh_loop, report, spin


@pytest.mark.parametrize("debug", [False, True])
def test_factory_that_raises(same, debug):
    """Told in debug mode only; the connection is closed and the server goes on."""
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors, debug=debug) as loop:
            def factory():
                raise ValueError("no protocol")
            server = loop.run_until_complete(loop.create_server(factory, "127.0.0.1", 0))
            got = []
            for _ in range(2):
                with socket.create_connection(server.sockets[0].getsockname()) as client, warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    client.settimeout(5)
                    spin(loop, 5)
                    got.append([report(c) for c in errors.take()])
                    gc.collect()
                    got.append(client.recv(10))
            server.close()
            loop.run_until_complete(server.wait_closed())
            return got
    same(scenario)


def test_factory_that_ends_the_loop(aio):
    if aio is asyncio:
        pytest.skip("asyncio leaves the accepted socket to the garbage collector")
    with fresh_loop(aio) as loop:
        def factory():
            raise SystemExit(4)
        server = loop.run_until_complete(loop.create_server(factory, "127.0.0.1", 0))
        with socket.create_connection(server.sockets[0].getsockname()) as client:
            with pytest.raises(SystemExit):
                loop.run_until_complete(asyncio.sleep(5))
            assert client.recv(10) == b""
        server.close()
        loop.run_until_complete(server.wait_closed())


def test_factory_that_closes_the_server(aio, loop):
    """The rest of the batch is not accepted on a descriptor that may be another's by then."""
    if aio is asyncio:
        pytest.skip("asyncio's transport cannot attach to the closed server, and says so in __del__")

    async def main():
        made = []

        def factory():
            made.append(1)
            server.close()
            return asyncio.Protocol()
        server = await loop.create_server(factory, "127.0.0.1", 0)
        clients = [socket.create_connection(server.sockets[0].getsockname()) for _ in range(5)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(5):
                await asyncio.sleep(0)
            gc.collect()
        for client in clients:
            client.close()
        await asyncio.sleep(0.01)
        return len(made)
    assert loop.run_until_complete(main()) == 1


def test_no_descriptors_left(aio, errors, loop, monkeypatch):
    """accept() without descriptors: reported once, looked at again a second later, the waiting connection then served."""
    if aio is asyncio:
        pytest.skip("asyncio reports it for every one of backlog attempts")

    async def main():
        made = loop.create_future()

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                made.set_result(transport)
        server = await loop.create_server(Protocol, "127.0.0.1", 0)
        address = server.sockets[0].getsockname()
        client = socket.socket()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken = []
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(256, soft), hard))
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.dup(0))
            client.connect(address)
            started = loop.time()
            await asyncio.sleep(0.05)
        finally:
            for fd in taken:
                os.close(fd)
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        transport = await asyncio.wait_for(made, 5)
        assert 0.9 < loop.time() - started < 4
        context = errors.take_one()
        assert context["message"] == "socket.accept() out of system resource"
        assert context["exception"].errno == errno.EMFILE and isinstance(context["socket"], asyncio.trsock.TransportSocket)
        transport.abort()
        client.close()
        await asyncio.sleep(0)
        server.close()
        await server.wait_closed()
    loop.run_until_complete(main())


def test_replaced_factory_is_asked(aio, loop):
    calls = []
    original = loop._make_socket_transport

    def replaced(sock, protocol, *args, **kwargs):
        calls.append(type(sock))
        return original(sock, protocol, *args, **kwargs)
    loop._make_socket_transport = replaced

    async def main():
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
    loop.run_until_complete(main())
    assert calls == [socket.socket] * 2
    del loop._make_socket_transport


def test_many_connections_at_once(aio, loop):
    async def main():
        lost = []

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport
                transport.write(b"hi")

            def data_received(self, data):
                self.transport.write(data)
                self.transport.close()

            def connection_lost(self, exc):
                lost.append(exc)
        server = await loop.create_server(Protocol, "127.0.0.1", 0, backlog=400)

        async def client(i):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            assert await reader.readexactly(2) == b"hi"
            writer.write(b"%d" % i)
            assert await reader.read() == b"%d" % i
            writer.close()
            await writer.wait_closed()
        await asyncio.gather(*(client(i) for i in range(300)))
        server.close()
        await server.wait_closed()
        assert lost == [None] * 300
    loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="new in 3.13")
def test_server_knows_its_clients(aio, loop):
    async def main():
        lost = []

        class Protocol(asyncio.Protocol):
            def connection_lost(self, exc):
                lost.append(exc)
        server = await loop.create_server(Protocol, "127.0.0.1", 0)
        clients = [socket.create_connection(server.sockets[0].getsockname()) for _ in range(3)]
        while len(server._clients) < 3:
            await asyncio.sleep(0)
        server.close()
        waiting = asyncio.ensure_future(server.wait_closed())
        await asyncio.sleep(0.01)
        assert not waiting.done()
        server.close_clients()
        await waiting
        assert lost == [None] * 3 and not server._clients
        for client in clients:
            client.close()
    loop.run_until_complete(main())
