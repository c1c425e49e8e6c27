"""For tests of stream transports without a Lab: a transport over a socketpair, made by the loop's own method, and a protocol with hooks."""
import asyncio
import contextlib
import socket
import time

from support import Errors, fresh_loop, nonblocking_pair, plain, report, spin


class Recorder(asyncio.Protocol):
    """Notes every call; `hooks` maps a method's name to what it does besides, with the transport as argument."""

    def __init__(self, hooks=None, events=None):
        self.hooks = hooks or {}
        self.events = [] if events is None else events
        self.transport = None

    def note(self, name, *values):
        self.events.append((name, *map(plain, values)))
        hook = self.hooks.get(name)
        return hook(self.transport) if hook is not None else None

    def connection_made(self, transport):
        self.transport = transport
        return self.note("connection_made")

    def data_received(self, data):
        return self.note("data_received", data if len(data) < 100 else len(data))

    def eof_received(self):
        return self.note("eof_received")

    def connection_lost(self, exc):
        return self.note("connection_lost", exc)

    def pause_writing(self):
        return self.note("pause_writing")

    def resume_writing(self):
        return self.note("resume_writing")


class BufferedRecorder(asyncio.BufferedProtocol):
    note = Recorder.note
    __init__ = Recorder.__init__
    connection_made, eof_received, connection_lost = Recorder.connection_made, Recorder.eof_received, Recorder.connection_lost
    pause_writing, resume_writing = Recorder.pause_writing, Recorder.resume_writing
    size = 32

    def get_buffer(self, sizehint):
        self.buffer = bytearray(self.size)
        result = self.note("get_buffer", sizehint)
        return self.buffer if result is None else result

    def buffer_updated(self, nbytes):
        return self.note("buffer_updated", bytes(self.buffer[:nbytes]))


@contextlib.contextmanager
def connected(aio, hooks=None, factory=Recorder, debug=False, small=False):
    """(loop, transport, protocol, peer socket) over a socketpair, connection_made called."""
    errors = Errors()
    with fresh_loop(aio, errors, debug=debug) as loop:
        ours, peer = nonblocking_pair()
        if small:
            ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        protocol = factory(hooks)
        transport = loop._make_socket_transport(ours, protocol)
        try:
            spin(loop, 2)
            yield loop, transport, protocol, peer
        finally:
            peer.close()
            if transport._sock is not None:
                transport.abort()
            protocol.hooks = {}
            with contextlib.suppress(SystemExit, KeyboardInterrupt):
                spin(loop, 3)
            errors.seen = [report(c) for c in errors.take()]
            loop.set_exception_handler(None)


def drain(loop, peer, until=None, limit=10.0):
    """What the peer gets, until it saw `until` bytes or the end."""
    got, deadline = bytearray(), time.monotonic() + limit
    while until is None or len(got) < until:
        assert time.monotonic() < deadline, f"only {len(got)} bytes came"
        try:
            data = peer.recv(1 << 20)
        except BlockingIOError:
            spin(loop)
            continue
        except ConnectionResetError:
            break
        if not data:
            break
        got += data
    return bytes(got)
