"""Cases: TLS connections, with each way of encrypting."""
import asyncio
import functools
import socket
import ssl
import subprocess
import tempfile

from cases import on_loop, swallow

CONNECTIONS = 6                                 # in a round: a handshake takes its time


@functools.cache
def contexts():
    with tempfile.NamedTemporaryFile(suffix=".pem") as file:
        made = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", "-",
                               "-out", "-", "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"],
                              check=True, capture_output=True)
        file.write(made.stdout)
        file.flush()
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(file.name)
        client = ssl.create_default_context(cafile=file.name)
    return server, client


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Client(asyncio.Protocol):
    def __init__(self, loop):
        self.length, self.enough, self.lost = 0, loop.create_future(), loop.create_future()

    def data_received(self, data):
        self.length += len(data)
        if self.length >= 40_000 and not self.enough.done():
            self.enough.set_result(None)

    def connection_lost(self, exc):
        self.lost.set_result(None)


class Buffered(Client, asyncio.BufferedProtocol):
    def __init__(self, loop):
        super().__init__(loop)
        self.buffer = memoryview(bytearray(3000))

    def get_buffer(self, sizehint):
        return self.buffer

    def buffer_updated(self, nbytes):
        self.data_received(self.buffer[:nbytes])


def with_engines(function):
    """A case for each engine."""
    for engine in ("bio", "openssl"):
        async def run(m, loop, engine=engine):
            core = getattr(m, "_core", None)                # asyncio has none
            if core is not None:
                core._use_tls_engine(engine)
            try:
                await function(m, loop)
            finally:
                if core is not None:
                    core._use_tls_engine("auto")
        run.__name__ = f"{function.__name__}_{engine}"
        on_loop(run)
    return function


async def pair(loop, make):
    """A connected client's transport and protocol, and the server's."""
    a, b = socket.socketpair()
    server_context, client_context = contexts()
    echo = Echo()
    serving = asyncio.ensure_future(loop.connect_accepted_socket(lambda: echo, a, ssl=server_context))
    transport, protocol = await loop.create_connection(make, sock=b, ssl=client_context, server_hostname="localhost")
    await serving
    return transport, protocol, echo


async def end(*transports):
    """Takes down what is left of a connection."""
    for transport in transports:
        transport.abort()
    for _ in range(4):
        await asyncio.sleep(0)


@with_engines
async def tls_echo(m, loop):
    for make in (Client, Buffered) * (CONNECTIONS // 2):
        transport, protocol, echo = await pair(loop, lambda: make(loop))
        transport.write(b"x" * 10_000)
        transport.writelines([b"y" * 10_000, bytearray(10_000), memoryview(b"z" * 10_000)])
        await protocol.enough
        transport.close()
        await protocol.lost
        await end(echo.transport)


@with_engines
async def tls_abort(m, loop):
    for i in range(CONNECTIONS):
        transport, protocol, echo = await pair(loop, lambda: Client(loop))
        echo.transport.pause_reading()
        transport.write(b"x" * 1_000_000)
        kept = transport.get_extra_info("ssl_object")
        await asyncio.sleep(0)
        (transport if i % 2 else echo.transport).abort()
        await protocol.lost
        await end(transport, echo.transport)
        kept.pending()


@with_engines
async def tls_start_tls(m, loop):
    server_context, client_context = contexts()
    for _ in range(CONNECTIONS):
        a, b = socket.socketpair()
        near, _ = await loop.connect_accepted_socket(Echo, a)
        far, protocol = await loop.create_connection(lambda: Client(loop), sock=b)
        both = await asyncio.gather(loop.start_tls(near, near.get_protocol(), server_context, server_side=True),
                                    loop.start_tls(far, protocol, client_context, server_hostname="localhost"))
        near.get_protocol()._app_protocol.transport = both[0]
        both[1].write(b"x" * 40_000)
        await protocol.enough
        both[1].close()
        await protocol.lost
        await end(both[0])


@with_engines
async def tls_failed_handshake(m, loop):
    for _ in range(CONNECTIONS):
        a, b = socket.socketpair()
        server_context, client_context = contexts()
        serving = asyncio.ensure_future(swallow(loop.connect_accepted_socket(Echo, a, ssl=server_context)))
        await swallow(loop.create_connection(asyncio.Protocol, sock=b, ssl=client_context, server_hostname="elsewhere.example"))
        await serving


@with_engines
async def tls_broken_records(m, loop):
    for _ in range(CONNECTIONS):
        transport, protocol, echo = await pair(loop, lambda: Client(loop))
        loop.set_exception_handler(lambda *args: None)
        below = echo.transport._ssl_protocol._transport
        below.write(b"\x17\x03\x03\x00\x20" + b"?" * 32)
        await protocol.lost
        await end(echo.transport)
