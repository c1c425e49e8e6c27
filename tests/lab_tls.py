"""The bench for tests of TLS: a connection under test whose other end is a socket and an ssl.SSLObject moved by hand.

The peer sends and reads only what the test tells it to, record by record if need be, so that what the side under test sees, and in
which order, does not depend on chance. `tls` (tests/conftest.py) makes the contexts, secure() a connection past its handshake.
"""
import asyncio
import contextlib
import re
import socket
import ssl
import subprocess

import pytest

from lab import clean
from support import plain

SIDES = ("client", "server")
VERSIONS = ("TLSv1_2", "TLSv1_3")
sides = pytest.mark.parametrize("side", SIDES)
versions = pytest.mark.parametrize("version", VERSIONS)
CLOSE_NOTIFY, EOF, RESET = "close_notify", "eof", "reset"
PIECE = b"z" * 65536


class Tls:
    """Certificates, and contexts made of them."""

    def __init__(self, certificate, folder):
        self.certificate, self.folder = certificate, folder
        self.stranger = str(folder / "stranger.pem")
        key = folder / "stranger.key"
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout",
                        str(key),
                        "-out", self.stranger, "-days", "2", "-subj", "/CN=stranger", "-addext", "subjectAltName=DNS:stranger.example"],
                       check=True, capture_output=True)
        with open(self.stranger, "a") as file:
            file.write(key.read_text())

    def server(self, version=None, client=None, certificate=None, kind=ssl.SSLContext):
        """`client` is the file of the authority that has to have signed the client's certificate."""
        context = kind(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate or self.certificate)
        if client is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(client)
        return self._limit(context, version)

    def client(self, version=None, certificate=None, kind=ssl.SSLContext, trust=None):
        context = kind(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(trust or self.certificate)
        if certificate is not None:
            context.load_cert_chain(certificate)
        return self._limit(context, version)

    def of(self, side, version=None, **kwargs):
        return getattr(self, side)(version, **kwargs)

    def other(self, side, version=None, **kwargs):
        """The context of the peer of `side`."""
        return self.of("server" if side == "client" else "client", version, **kwargs)

    @staticmethod
    def _limit(context, version):
        if version is not None:
            context.minimum_version = context.maximum_version = getattr(ssl.TLSVersion, version)
        return context


class Peer:
    """The far end: a non-blocking socket, two memory BIOs and the SSLObject between them."""

    def __init__(self, lab, sock, context, server_side, hostname="localhost", session=None):
        self.lab, self.sock = lab, sock
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.obj = context.wrap_bio(self.incoming, self.outgoing, server_side=server_side,
                                    server_hostname=None if server_side else hostname, session=session)
        self.eof, self.kept = False, bytearray()

    # ---- the wire ----

    async def flush(self):
        """Sends what TLS wants to send."""
        if self.outgoing.pending:
            await self.lab.send(self.sock, self.outgoing.read())

    async def fill(self):
        """Receives once."""
        data = await asyncio.wait_for(self.lab.loop.sock_recv(self.sock, 1 << 18), 10)
        if data:
            self.incoming.write(data)
        else:
            self.eof = True
            self.incoming.write_eof()
        return len(data)

    async def call(self, function, *args):
        """Does it, sending and receiving until it is done."""
        while True:
            try:
                result = function(*args)
            except ssl.SSLWantReadError:
                await self.flush()
                await self.fill()
            except BaseException:
                with contextlib.suppress(OSError):   # the alert
                    await self.flush()
                raise
            else:
                await self.flush()
                return result

    def take(self):
        """What TLS wants to send, kept from being sent."""
        return self.outgoing.read()

    def step(self, function, *args):
        """Does it without receiving anything; None if it wants more."""
        try:
            return function(*args)
        except ssl.SSLWantReadError:
            return None

    async def raw(self, data):
        """Sends bytes that are no TLS."""
        await self.lab.send(self.sock, data)

    def raw_now(self, data):
        """The same, in one piece and before anything else happens."""
        assert self.sock.send(data) == len(data)

    # ---- TLS ----

    async def handshake(self):
        await self.call(self.obj.do_handshake)

    async def write(self, data):
        view = memoryview(data)
        while len(view):
            view = view[self.obj.write(view[:1 << 16]):]
            await self.flush()

    def record(self, data):
        """The data as TLS would send them, not sent."""
        assert self.obj.write(data) == len(data) and len(data) <= 16384
        return self.take()

    async def read(self, nbytes):
        data = self.kept[:nbytes]
        del self.kept[:nbytes]
        while len(data) < nbytes:
            piece = await self.call(self.obj.read, nbytes - len(data))
            if not piece:
                break
            data += piece
        return bytes(data)

    async def read_all(self):
        """Everything up to the end, and how it ended."""
        data, self.kept = self.kept, bytearray()
        try:
            while piece := await self.call(self.obj.read, 1 << 18):
                data += piece
        except ssl.SSLEOFError:
            return bytes(data), EOF
        except ConnectionResetError:
            return bytes(data), RESET
        except ssl.SSLZeroReturnError:               # instead of b"" once it has said so itself
            pass
        return bytes(data), CLOSE_NOTIFY

    async def close_notify(self):
        """Says that it will write no more. unwrap() would fail if it found data, so those are read first."""
        while self.incoming.pending and (piece := self.step(self.obj.read, 1 << 18)):
            self.kept += piece
        self.step(self.obj.unwrap)
        await self.flush()

    async def unwrap(self):
        """Both say so."""
        await self.call(self.obj.unwrap)

    async def wait_end(self):
        """Until the other side has closed the connection below TLS; returns what came before, undecrypted."""
        return await self.lab.receive_all(self.sock)

    def shutdown(self):
        """The end of the stream below TLS, without any close_notify."""
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        self.sock.close()


def tidy(value):
    """Without the lines of CPython's _ssl.c, which are those of the call that failed."""
    if isinstance(value, str):
        return re.sub(r" \(_ssl\.c:\d+\)", "", value)
    if isinstance(value, (list, tuple)):
        return [tidy(v) for v in value]
    if isinstance(value, dict):
        return {k: tidy(v) for k, v in value.items()}
    return value


def tidy_record(record):
    """Which object says it is asyncio's affair (a protocol there, maybe a transport here); durations and ports are chance."""
    level, text = record
    text = re.sub(r"<[^<>]*(<[^<>]*>[^<>]*)*>", "<>", text)
    return [level, re.sub(r":\d+: ", ":PORT: ", re.sub(r"\b\d+\.\d+ ms", "N ms", text))]


def tls_scenario(main, debug=False, limit=60):
    """lab.scenario() for TLS: of reports only the message, the exception and the names of the keys are compared, since what is
    in them is asyncio's SSLProtocol there and may be something else here."""
    from lab import Lab

    def run(aio, *args):
        with Lab(aio, debug) as lab:
            result = clean(lab.run(asyncio.wait_for(main(lab, *args), limit)))
            reports = [[sorted(c), c["message"] if "handle" not in c else "<Handle>", plain(c.get("exception"))] for c in lab.errors.take()]
            return tidy({"result": result, "log": clean(lab.log), "reports": clean(reports),
                         "records": [tidy_record(r) for r in lab.records.records]})
    return run


def silent(got):
    """Nothing was reported or logged."""
    return got["reports"] == [] and got["records"] == []


async def start(lab, side, protocol, sock, context, hostname="localhost", **kwargs):
    """Begins TLS as that side on the socket; returns the transport after the handshake."""
    if side == "client":
        transport, got = await lab.loop.create_connection(lambda: protocol, sock=sock, ssl=context, server_hostname=hostname, **kwargs)
    else:
        transport, got = await lab.loop.connect_accepted_socket(lambda: protocol, sock, ssl=context, **kwargs)
    assert got is protocol and protocol.transport is transport
    return transport


def opened(lab, side, ours, theirs, kind="tcp", protocol=None, name=None, buffered=False, sndbuf=None, tls_options={}, hooks={},
           hostname="localhost"):
    """A protocol, the task that makes its handshake, and its peer, whose handshake has not begun."""
    sock, other = lab.pair(kind, sndbuf)
    if protocol is None:
        protocol = lab.protocol(name, buffered, **hooks)
        if buffered:
            # asyncio's sslproto slices what get_buffer() gave and reads into that: of a bytearray it would be a copy.
            protocol.hooks.setdefault("get_buffer", lambda p: memoryview(p.buffer))
    peer = Peer(lab, other, theirs, side == "client")
    task = asyncio.ensure_future(start(lab, side, protocol, sock, ours, hostname, **tls_options))
    return protocol, task, peer


async def secure(lab, tls, side, version=None, *, ours=None, theirs=None, **kwargs):
    """A protocol behind TLS, and its peer, both past the handshake."""
    protocol, task, peer = opened(lab, side, ours or tls.of(side, version), theirs or tls.other(side, version), **kwargs)
    await peer.handshake()
    await task
    await lab.ticks()                                # for the session tickets of TLS 1.3
    return protocol, peer


async def ended(lab, protocol, peer, count=1):
    """Closes from the peer's side and waits for the protocol to notice."""
    await peer.close_notify()
    await peer.read_all()
    await lab.seen("lost", count)
    peer.close()


async def got_data(lab, nbytes):
    """Until that much data is in the log."""
    await lab.until(lambda: sum(len(e[-1]) for e in lab.log if "data" in e) >= nbytes)


def write_until_paused(lab, p):
    """Far more than the kernel and whatever is between take, in many pieces; returns how much."""
    total = 0
    while "pause" not in p.events():
        p.transport.write(PIECE)
        total += len(PIECE)
        assert total < 100_000_000
    return total


async def failure(awaitable):
    """What the awaitable raised, in comparable form."""
    try:
        result = await awaitable
    except (Exception, asyncio.CancelledError) as e:
        return plain(e)
    return ["returned", plain(result)]
