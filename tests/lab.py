"""The bench for tests of transports and servers: connections between a protocol that writes everything down and a bare socket.

A scenario is a coroutine function main(lab). scenario(main) makes of it what `same` wants: run on asyncio and on the module under
test, everything that was written down, reported to the loop's exception handler, logged or returned has to be equal.
"""
import asyncio
import contextlib
import gc
import logging
import re
import socket
import struct
import time

import pytest

from support import Errors, check_kind, finish, nonblocking_pair, plain, spin

KINDS = ("tcp", "unix")
kinds = pytest.mark.parametrize("kind", KINDS)
protocols = pytest.mark.parametrize("buffered", [False, True], ids=["protocol", "buffered"])
CALLBACKS = ("connection_made", "data_received", "eof_received", "pause_writing", "resume_writing", "connection_lost")
BUFFERED_CALLBACKS = ("connection_made", "get_buffer", "buffer_updated", "eof_received", "pause_writing", "resume_writing",
                      "connection_lost")
TICK = 0.002  # seconds; longer than loopback needs to deliver what was sent


def clean(value):
    """plain(), without what may differ from run to run: ports, the names of the transport classes."""
    return _tidy(plain(value))


def _tidy(value):
    if isinstance(value, (list, tuple)):
        return [_tidy(v) for v in value]
    if isinstance(value, dict):
        return {k: _tidy(v) for k, v in value.items()}
    if isinstance(value, str):
        value = re.sub(r"\b_?(Selector|Unix)?((Socket|Datagram|ReadPipe|WritePipe)Transport)\b", r"\2", value)
        return re.sub(r"\('(127\.0\.0\.1|::1)', \d+", r"('\1', PORT", value)
    return value


class Recorder(asyncio.Protocol):
    """Writes each callback down in `log`, then does what the test wants in it: hooks are called with the protocol and the argument."""

    def __init__(self, log, name=None, **hooks):
        self.log, self.name, self.hooks, self.transport = log, name, hooks, None

    def entry(self, event, *args):
        return [event, *args] if self.name is None else [self.name, event, *args]

    def note(self, event, *args):
        entry = self.entry(event, *args)
        # How a stream is cut into pieces is the kernel's affair.
        if event == "data" and self.log and self.log[-1][:-1] == entry[:-1]:
            self.log[-1] = entry[:-1] + [self.log[-1][-1] + entry[-1]]
        else:
            self.log.append(entry)

    def hook(self, event, *args):
        return self.hooks[event](self, *args) if event in self.hooks else None

    def connection_made(self, transport):
        self.transport = transport
        self.note("made")
        return self.hook("connection_made")

    def connection_lost(self, exc):
        self.note("lost", plain(exc))
        return self.hook("connection_lost", exc)

    def data_received(self, data):
        assert type(data) is bytes
        self.note("data", data)
        return self.hook("data_received", data)

    def eof_received(self):
        self.note("eof")
        return self.hook("eof_received")

    def pause_writing(self):
        self.note("pause")
        return self.hook("pause_writing")

    def resume_writing(self):
        self.note("resume")
        return self.hook("resume_writing")

    def events(self):
        return [entry[0 if self.name is None else 1] for entry in self.log]


class BufferedRecorder(Recorder, asyncio.BufferedProtocol):
    data_received = None

    def __init__(self, log, name=None, size=1000, **hooks):
        super().__init__(log, name, **hooks)
        self.buffer = bytearray(size)

    def get_buffer(self, sizehint):
        assert sizehint >= -1  # -1 of a plain transport; sslproto knows how much it has
        got = self.hook("get_buffer")
        return self.buffer if got is None else got

    def buffer_updated(self, nbytes):
        self.note("data", bytes(self.buffer[:nbytes]))
        return self.hook("buffer_updated", nbytes)


class Records(logging.Handler):
    """What asyncio's logger was told."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        text = clean(record.getMessage())
        if record.exc_info and record.exc_info[1] is not None:
            text += f" [{type(record.exc_info[1]).__name__}]"
        if not text.startswith(("Using selector", "<Server", "poll ", "Executing", "Close <")):
            self.records.append([record.levelname, text])


class Lab:
    def __init__(self, aio, debug=False):
        self.aio, self.log, self.sockets, self.errors, self.debug = aio, [], [], Errors(), debug

    def __enter__(self):
        self.records = Records()
        self.logger = logging.getLogger("asyncio")
        self.level = self.logger.level
        self.logger.setLevel(logging.DEBUG if self.debug else logging.WARNING)
        self.logger.addHandler(self.records)
        self.logger.propagate = False
        self.loop = self.aio.new_event_loop()
        check_kind(self.aio, self.loop)
        self.loop.set_debug(self.debug)
        self.loop.slow_callback_duration = 10
        self.loop.set_exception_handler(self.errors)
        self.run = self.loop.run_until_complete
        return self

    def __exit__(self, *exc_info):
        try:
            if not self.loop.is_closed():
                finish(self.loop)
        finally:
            self.loop.set_exception_handler(None)
            for sock in self.sockets:
                sock.close()
            gc.collect()
            self.logger.removeHandler(self.records)
            self.logger.setLevel(self.level)
            self.logger.propagate = True

    # ---- making connections ----

    def keep(self, *socks):
        self.sockets += socks
        return socks[0] if len(socks) == 1 else socks

    def pair(self, kind, sndbuf=None):
        """Two connected, non-blocking sockets."""
        if kind == "unix":
            a, b = socket.socketpair()
        else:
            with socket.socket() as server:
                server.bind(("127.0.0.1", 0))
                server.listen()
                a = socket.create_connection(server.getsockname())
                b, _ = server.accept()
        for sock in (a, b):
            sock.setblocking(False)
            if sndbuf is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, sndbuf)
        return self.keep(a, b)

    def protocol(self, name=None, buffered=False, **hooks):
        return (BufferedRecorder if buffered else Recorder)(self.log, name, **hooks)

    async def attach(self, protocol, sock):
        transport, got = await self.loop.create_connection(lambda: protocol, sock=sock)
        assert got is protocol
        return transport

    async def connect(self, kind, name=None, buffered=False, sndbuf=None, **hooks):
        """A protocol on one end, the bare socket of the other."""
        sock, peer = self.pair(kind, sndbuf)
        protocol = self.protocol(name, buffered, **hooks)
        protocol.transport = await self.attach(protocol, sock)
        return protocol, peer

    async def end(self, *protocols):
        """Closes their transports; when nothing waits to be sent, connection_lost() has been called then."""
        for protocol in protocols:
            protocol.transport.close()
        await self.ticks()

    # ---- the peer ----

    async def receive(self, peer, nbytes):
        data = bytearray()
        while len(data) < nbytes:
            piece = await asyncio.wait_for(self.loop.sock_recv(peer, min(nbytes - len(data), 1 << 18)), 10)
            if not piece:
                break
            data += piece
        return bytes(data)

    async def receive_all(self, peer):
        return await self.receive(peer, 1 << 60)

    async def send(self, peer, data):
        await asyncio.wait_for(self.loop.sock_sendall(peer, data), 10)

    # ---- waiting ----

    async def ticks(self, count=3):
        """Long enough for what loopback carries to arrive, and then some whole ticks."""
        await asyncio.sleep(TICK)
        for _ in range(count):
            await asyncio.sleep(0)

    async def until(self, condition, timeout=10):
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"did not happen in time; the log: {self.log!r}"
            await asyncio.sleep(0.001)

    async def seen(self, event, count=1):
        """Until the event is in the log that many times."""
        await self.until(lambda: sum(event in entry for entry in self.log) >= count)

    def fill(self, transport, extra=0):
        """Writes until the kernel takes no more, then `extra` bytes; returns how much was written."""
        total = 0
        while transport.get_write_buffer_size() == 0:
            transport.write(b"x" * 50_000)
            total += 50_000
            assert total < 100_000_000
        if extra:
            transport.write(b"y" * extra)
        return total + extra

    def reports(self):
        """Takes what the exception handler saw."""
        return [self._report(context) for context in self.errors.take()]

    def _report(self, context):
        context = {k: clean(v) for k, v in context.items()}
        if "handle" in context:
            # The callback's text is shortened in the middle, and the classes' names are of different lengths.
            context["message"], context["handle"] = context["message"].partition("(")[0], "<Handle>"
        return context


def reset(sock):
    """Closes a TCP socket so that its peer gets ECONNRESET."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def scenario(main, debug=False):
    def run(aio, *args):
        with Lab(aio, debug) as lab:
            result = clean(lab.run(asyncio.wait_for(main(lab, *args), 60)))
            return {"result": result, "log": clean(lab.log), "reports": lab.reports(), "records": lab.records.records}
    return run


def quiet(got):
    """Nothing was reported or logged."""
    return got["reports"] == [] and got["records"] == []


# ---- without a Lab: for tests that run the loop tick by tick from outside ----

class Noter(asyncio.Protocol):
    """Notes every call; `on` maps a call's name to what is to happen in it."""

    def __init__(self, **on):
        self.calls, self.data, self.on, self.transport = [], bytearray(), on, None

    def note(self, name, *args):
        self.calls.append([name, *map(plain, args)])
        if name in self.on:
            return self.on[name](self, *args)

    def connection_made(self, transport):
        self.transport = transport
        self.note("made")

    def data_received(self, data):
        assert type(data) is bytes
        self.data += data
        if not self.calls or self.calls[-1] != ["data"]:
            self.calls.append(["data"])
        if "data" in self.on:
            self.on["data"](self, data)

    def eof_received(self):
        return self.note("eof")

    def connection_lost(self, exc):
        self.note("lost", exc)

    def pause_writing(self):
        self.note("pause")

    def resume_writing(self):
        self.note("resume")

    @property
    def names(self):
        return [c[0] for c in self.calls]


class BufferedNoter(asyncio.BufferedProtocol):
    def __init__(self, size=10, on=None):
        self.buffer, self.data, self.calls, self.on = bytearray(size), bytearray(), [], on or {}

    def connection_made(self, transport):
        self.transport = transport
        self.calls.append(["made"])

    def get_buffer(self, sizehint):
        self.calls.append(["get_buffer", sizehint])
        if "get_buffer" in self.on:
            return self.on["get_buffer"](self)
        return self.buffer

    def buffer_updated(self, nbytes):
        self.calls.append(["updated", nbytes])
        self.data += self.buffer[:nbytes]
        if "updated" in self.on:
            self.on["updated"](self)

    def eof_received(self):
        self.calls.append(["eof"])

    def connection_lost(self, exc):
        self.calls.append(["lost", plain(exc)])


def attach(loop, protocol, family=socket.AF_UNIX):
    """A transport for one end of a connected pair; the other end is a plain non-blocking socket."""
    if family == socket.AF_UNIX:
        a, b = nonblocking_pair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as server:
            b = socket.create_connection(server.getsockname())
            a, _ = server.accept()
        a.setblocking(False)
        b.setblocking(False)
    transport, got = loop.run_until_complete(loop.connect_accepted_socket(lambda: protocol, a))
    assert got is protocol
    return transport, b


@contextlib.contextmanager
def connected(loop, protocol=None, family=socket.AF_UNIX):
    protocol = Noter() if protocol is None else protocol
    transport, peer = attach(loop, protocol, family)
    try:
        yield transport, protocol, peer
    finally:
        if transport.get_protocol() is not None:       # asyncio's abort() fails after a close() that had to flush
            transport.abort()
        peer.close()
        spin(loop, 2)


def read_all(loop, sock, until, timeout=10):
    """Reads from a plain socket while the loop runs."""
    got, deadline = bytearray(), time.monotonic() + timeout
    while not until(got):
        assert time.monotonic() < deadline, f"only {len(got)} bytes came"
        try:
            data = sock.recv(1 << 20)
            if not data:
                break
            got += data
        except BlockingIOError:
            loop.call_later(0.001, loop.stop)
            loop.run_forever()
    return bytes(got)


def fill(t):
    """Writes until the kernel takes no more."""
    t.set_write_buffer_limits(high=1 << 30)
    while t.get_write_buffer_size() == 0:
        t.write(b"x" * 100_000)


FAMILIES = [pytest.param(socket.AF_UNIX, id="unix"), pytest.param(socket.AF_INET, id="tcp")]
