"""TLS over the loop's transports: handshakes, start_tls, failures, timeouts, big transfers."""
import asyncio
import hashlib
import os
import socket
import ssl

import pytest

from lab import Lab, scenario

both = pytest.mark.parametrize("buffered", [False, True], ids=["protocol", "buffered"])


@pytest.fixture
def contexts(certificate):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    client = ssl.create_default_context(cafile=certificate)
    return server, client


async def serve(lab, context, buffered=False, **hooks):
    return await lab.loop.create_server(lambda: lab.protocol("server", buffered, **hooks), "127.0.0.1", 0, ssl=context)


async def connect(lab, server, context, buffered=False, hostname="localhost", hooks={}, **kwargs):
    return await lab.loop.create_connection(lambda: lab.protocol("client", buffered, **hooks), *server.sockets[0].getsockname(),
                                            ssl=context, server_hostname=hostname, **kwargs)


def of(lab, name):
    return [entry[1:] for entry in lab.log if entry[0] == name]


@both
def test_echo(same, contexts, buffered):
    async def main(lab):
        def echo(p, arg):
            p.transport.write(arg if not buffered else bytes(p.buffer[:arg]))
        server = await serve(lab, contexts[0], buffered, **{"buffer_updated" if buffered else "data_received": echo})
        t, p = await connect(lab, server, contexts[1], buffered)
        t.write(b"hello")
        await lab.until(lambda: ["client", "data", b"hello"] in lab.log)
        t.close()
        await lab.seen("lost", 2)
        server.close()
        logs = of(lab, "client"), of(lab, "server")
        lab.log.clear()
        return logs
    got = same(scenario(main))
    assert got["result"][0] == [["made"], ["data", b"hello"], ["eof"], ["lost", None]] and got["reports"] == []


def test_extra_info_alpn_and_sni(same, contexts):
    async def main(lab):
        server_context, client_context = contexts
        names = []
        server_context.sni_callback = lambda obj, name, ctx: names.append(name)
        server_context.set_alpn_protocols(["h2", "http/1.1"])
        client_context.set_alpn_protocols(["http/1.1"])
        transports = []
        server = await serve(lab, server_context, connection_made=lambda p: transports.append(p.transport))
        t, p = await connect(lab, server, client_context)
        await lab.until(lambda: transports)
        found = [names, isinstance(t, asyncio.Transport), t._start_tls_compatible]
        for x in (t, transports[0]):
            obj = x.get_extra_info("ssl_object")
            found += [obj.selected_alpn_protocol(), type(obj).__name__, x.get_extra_info("cipher") == obj.cipher(), obj.version(),
                      type(x.get_extra_info("sslcontext")).__name__, bool(x.get_extra_info("peercert")), x.get_extra_info("compression"),
                      type(x.get_extra_info("socket")).__name__, len(x.get_extra_info("peername"))]
        found.append(t.get_extra_info("sockname") == transports[0].get_extra_info("peername"))
        t.close()
        await lab.seen("lost", 2)
        server.close()
        lab.log.clear()
        return found
    got = same(scenario(main))
    assert got["result"][0] == ["localhost"] and got["result"][3] == "http/1.1" and got["result"][-1] is True


def test_certificate_failures(same, contexts):
    async def main(lab):
        server = await serve(lab, contexts[0])
        found = []
        for context, hostname in ((ssl.create_default_context(), "localhost"), (contexts[1], "another.example")):
            try:
                await connect(lab, server, context, hostname=hostname)
            except ssl.SSLCertVerificationError as e:
                found.append([type(e).__name__, e.verify_code, e.reason])
        await lab.ticks()
        # The server serves on.
        t, p = await connect(lab, server, contexts[1])
        t.write(b"fine")
        await lab.until(lambda: ["server", "data", b"fine"] in lab.log)
        t.close()
        await lab.until(lambda: ["server", "lost", None] in lab.log)
        server.close()
        await lab.ticks()
        lab.log.clear()
        return found
    got = same(scenario(main))
    assert [f[0] for f in got["result"]] == ["SSLCertVerificationError"] * 2


def test_a_peer_that_does_not_speak_tls(same, contexts):
    async def main(lab):
        plain = await lab.loop.create_server(lambda: lab.protocol("server", connection_made=lambda p: p.transport.write(b"HTTP/1.0 400\r\n\r\n")),
                                             "127.0.0.1", 0)
        found = []
        try:
            await connect(lab, plain, contexts[1])
        except ssl.SSLError as e:
            found.append(type(e).__name__)
        plain.close()
        await lab.until(lambda: any("lost" in e for e in lab.log))
        lab.log.clear()
        return found
    assert same(scenario(main))["result"] == ["SSLError"]


def test_handshake_timeout(same, contexts):
    async def main(lab):
        silent = await lab.loop.create_server(lambda: lab.protocol("server"), "127.0.0.1", 0)
        try:
            await connect(lab, silent, contexts[1], ssl_handshake_timeout=0.05)
        except ConnectionAbortedError as e:
            found = str(e)
        await lab.until(lambda: any("lost" in e for e in lab.log))
        silent.close()
        lab.log.clear()
        return found
    assert same(scenario(main))["result"].startswith("SSL handshake is taking longer than N seconds")


@both
def test_start_tls_on_both_sides(same, contexts, buffered):
    async def main(lab):
        got = []

        async def upgrade(p):
            p.transport.write(b"OK")
            t = await lab.loop.start_tls(p.transport, p, contexts[0], server_side=True)
            p.transport = t
            t.write(b"secret")

        def data(p, arg):
            if b"STARTTLS" in (arg if not buffered else p.buffer[:arg]):
                got.append(asyncio.ensure_future(upgrade(p)))
        name = "buffer_updated" if buffered else "data_received"
        server = await lab.loop.create_server(lambda: lab.protocol("server", buffered, **{name: data}), "127.0.0.1", 0)
        t, p = await lab.loop.create_connection(lambda: lab.protocol("client", buffered), *server.sockets[0].getsockname())
        t.write(b"STARTTLS")
        await lab.until(lambda: ["client", "data", b"OK"] in lab.log)
        lab.log.clear()
        new = await lab.loop.start_tls(t, p, contexts[1], server_hostname="localhost")
        await lab.until(lambda: ["client", "data", b"secret"] in lab.log)
        new.write(b"back")
        await lab.until(lambda: ["server", "data", b"back"] in lab.log)
        await got[0]
        new.close()
        await lab.until(lambda: sum("lost" in e for e in lab.log) == 2)
        server.close()
        logs = of(lab, "client"), of(lab, "server")
        lab.log.clear()
        return logs
    got = same(scenario(main))
    assert got["result"] == [[["data", b"secret"], ["eof"], ["lost", None]], [["data", b"back"], ["eof"], ["lost", None]]]


def test_a_peer_that_breaks_off(same, contexts):
    async def main(lab, how):
        server = await serve(lab, contexts[0])
        t, p = await connect(lab, server, contexts[1])
        await lab.seen("made", 2)
        if how == "abort":
            t.abort()
        else:
            t.get_extra_info("socket")._sock.shutdown(socket.SHUT_RDWR)
        await lab.until(lambda: sum("lost" in e for e in lab.log) == 2)
        server.close()
        logs = [e[0] for e in of(lab, "client")], [e[0] for e in of(lab, "server")]
        lab.log.clear()
        return logs
    for how in ("abort", "shutdown"):
        same(scenario(main), how)


@both
def test_big_transfers(aio, contexts, buffered):
    size = 6_000_000
    data = os.urandom(1_000_000) * (size // 1_000_000)
    with Lab(aio) as lab:
        async def main():
            sums, counts = [hashlib.md5(), hashlib.md5()], [0, 0]

            def hook(i):
                def take(p, arg):
                    part = arg if not buffered else p.buffer[:arg]
                    sums[i].update(part)
                    counts[i] += len(part)
                    p.log.clear()
                # sslproto slices the buffer to fill the rest of it: of a bytearray that would be a copy.
                return {"buffer_updated" if buffered else "data_received": take, "get_buffer": lambda p: memoryview(p.buffer)}

            def begin(p):
                p.transport.write(data)
            server = await serve(lab, contexts[0], buffered, connection_made=begin, **hook(0))
            t, p = await connect(lab, server, contexts[1], buffered, hooks=hook(1))
            for i in range(0, size, 100_001):
                t.write(data[i:i + 100_001])
            await lab.until(lambda: counts == [size, size], timeout=40)
            assert sums[0].digest() == sums[1].digest() == hashlib.md5(data).digest()
            t.close()
            await lab.until(lambda: sum("lost" in e for e in lab.log) == 2)
            server.close()
        lab.run(main())
        assert lab.reports() == []


def test_streams_over_tls(same, contexts):
    async def main(lab):
        async def handle(reader, writer):
            writer.write((await reader.readline()).upper())
            await writer.drain()
            writer.close()
            await writer.wait_closed()
        server = await lab.aio.start_server(handle, "127.0.0.1", 0, ssl=contexts[0])
        reader, writer = await lab.aio.open_connection(*server.sockets[0].getsockname(), ssl=contexts[1], server_hostname="localhost")
        writer.write(b"hello\n")
        got = await reader.read()
        found = [got, writer.can_write_eof()]
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        return found
    assert same(scenario(main))["result"] == [b"HELLO\n", False]
