"""The stream transport calls its protocol: callbacks that do anything at all, bad buffers, contexts."""
import asyncio
import contextlib
import contextvars
import errno
import hashlib
import socket

import pytest

from bare_transport import BufferedRecorder, Recorder, connected, drain
from support import Errors, fresh_loop, nonblocking_pair, plain, report, scrub, spin


def test_life_of_a_connection(same):
    def scenario(aio):
        with connected(aio) as (loop, transport, protocol, peer):
            events = protocol.events
            peer.send(b"one")
            spin(loop, 2)
            transport.write(b"two")
            events.append(("size", transport.get_write_buffer_size()))
            spin(loop)
            events.append(("peer", peer.recv(10)))
            events.append(("repr", scrub(repr(transport)).replace("_SelectorSocketTransport", "SocketTransport")))
            peer.close()
            spin(loop, 4)
            events.append(("after", transport.is_closing(), transport.is_reading(), transport.get_protocol()))
            events.append(("repr", scrub(repr(transport)).replace("_SelectorSocketTransport", "SocketTransport")))
        return events
    same(scenario)


CALLBACKS = ("connection_made", "data_received", "eof_received", "connection_lost", "pause_writing", "resume_writing")
ACTIONS = {
    "close": lambda t: t.close(),
    "abort": lambda t: t.abort(),
    "write": lambda t: t.write(b"x" * 10),
    "write_close": lambda t: (t.write(b"bye"), t.close())[1],
    "write_abort": lambda t: (t.write(b"bye"), t.abort())[1],
    "write_eof": lambda t: None if t._eof else t.write_eof(),
    "pause": lambda t: t.pause_reading(),
    "pause_resume": lambda t: (t.pause_reading(), t.resume_reading())[1],
    "value_error": lambda t: (_ for _ in ()).throw(ValueError("no")),
    "os_error": lambda t: (_ for _ in ()).throw(OSError(errno.EIO, "no")),
    "cancelled": lambda t: (_ for _ in ()).throw(asyncio.CancelledError()),
    "exit": lambda t: (_ for _ in ()).throw(SystemExit(3)),
    "interrupt": lambda t: (_ for _ in ()).throw(KeyboardInterrupt()),
    "switch": lambda t: t.set_protocol(Recorder(events=t.get_protocol().events) if t.get_protocol() else None),
}


def go_through_all(aio, factory, name, action):
    """A connection that sees every callback, one of which does something."""
    seen, lines = [], []
    errors = Errors()
    done = []

    def once(transport):
        if not done:
            done.append(1)
            return action(transport)
    with fresh_loop(aio, errors) as loop:
        ours, peer = nonblocking_pair()
        protocol = factory({name: once})
        transport = loop._make_socket_transport(ours, protocol)

        def go(ticks=2):
            try:
                spin(loop, ticks)
            except BaseException as e:
                lines.append(("raised", plain(e)))
                spin(loop, 1)
        go(3)
        if not transport.is_closing():
            with contextlib.suppress(OSError):
                peer.send(b"hello")
            go(4)
        for _ in range(2):
            if not transport.is_closing() and not transport._eof:
                transport.set_write_buffer_limits(high=1000)
                with contextlib.suppress(BaseException):
                    transport.write(b"z" * 3_000_000)
        for _ in range(200):
            with contextlib.suppress(OSError):
                while True:
                    if not (data := peer.recv(1 << 20)):
                        break
                    seen.append(data)
            go(1)
            if not transport.get_write_buffer_size():
                break
        go(3)
        with contextlib.suppress(OSError):
            peer.shutdown(socket.SHUT_WR)
        go(4)
        with contextlib.suppress(OSError):
            while data := peer.recv(1 << 20):
                seen.append(data)
        peer.close()
        if transport._sock is not None:
            transport.abort()
        go(4)
        lines.append(("state", transport.is_closing(), transport._paused, transport._sock))
        # until 3.14, asyncio calls _call_connection_lost twice if the connection is closed as its buffer runs dry
        reports = [r for r in map(report, errors.take()) if "'NoneType' object has no attribute 'close'" not in str(r["exception"])]
        for r in reports:
            r["message"] = r["message"].split("(")[0].split(" <")[0].replace("_SelectorSocket", "Socket")
        data = b"".join(seen)
        return {"events": protocol.events, "lines": lines, "reports": reports,
                "data": (len(data), hashlib.sha256(data).hexdigest())}


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("name", CALLBACKS)
def test_every_callback_may_do_anything(same, name, action):
    same(go_through_all, Recorder, name, ACTIONS[action])


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("name", ("get_buffer", "buffer_updated", "eof_received", "connection_lost"))
def test_every_buffered_callback_may_do_anything(same, name, action):
    if action == "switch":
        pytest.skip("a plain protocol gets buffer_updated() there, in asyncio too")
    same(go_through_all, BufferedRecorder, name, ACTIONS[action])


BUFFERS = {"empty": lambda: b"", "readonly": lambda: b"123", "number": lambda: 5, "none_len": object, "view": lambda: memoryview(bytearray(4)),
           "empty_view": lambda: memoryview(bytearray())}


@pytest.mark.parametrize("what", BUFFERS)
def test_bad_buffers(same, what):
    def scenario(aio):
        with connected(aio, {"get_buffer": lambda t: BUFFERS[what]()}, BufferedRecorder) as (loop, transport, protocol, peer):
            peer.send(b"abcdef")
            spin(loop, 3)
            closing = transport.is_closing()
            reports = loop.errors.take()
        texts = [scrub(str(c.get("exception"))) for c in reports] if what != "readonly" else []
        return closing, [(c["message"], type(c["exception"]).__name__, sorted(c)) for c in reports], texts
    same(scenario)


def test_contexts(same):
    var = contextvars.ContextVar("var", default="unset")

    def scenario(aio):
        with fresh_loop(aio) as loop:
            events = []

            class Protocol(asyncio.Protocol):
                def connection_made(self, transport):
                    events.append(("made", var.get()))
                    var.set("made")

                def data_received(self, data):
                    events.append(("data", var.get()))
                    var.set("data")

                def pause_writing(self):
                    events.append(("pause", var.get()))

                def resume_writing(self):
                    events.append(("resume", var.get()))
                    var.set("resume")

                def connection_lost(self, exc):
                    events.append(("lost", var.get()))
            ours, peer = nonblocking_pair()

            def run(value, function, *args):
                def go():
                    var.set(value)
                    return function(*args)
                return contextvars.copy_context().run(go)
            transport = run("creation", loop._make_socket_transport, ours, Protocol())
            spin(loop, 2)
            for _ in range(2):
                peer.send(b"x")
                spin(loop)
            run("pausing", transport.pause_reading)
            run("resuming", transport.resume_reading)
            peer.send(b"x")
            spin(loop)
            run("writing", transport.write, b"w" * 1_000_000)
            drain(loop, peer, 1_000_000)
            spin(loop)
            run("closing", transport.close)
            spin(loop, 2)
            peer.close()
            return events
    same(scenario)


def test_server_contexts(same):
    var = contextvars.ContextVar("var", default="unset")

    def scenario(aio):
        with fresh_loop(aio) as loop:
            events = []

            class Protocol(asyncio.Protocol):
                def __init__(self):
                    events.append(("factory", var.get()))
                    var.set(f"factory {len(events)}")

                def connection_made(self, transport):
                    self.transport = transport
                    events.append(("made", var.get()))

                def data_received(self, data):
                    events.append(("data", var.get()))
                    self.transport.close()

            async def main():
                var.set("serving")
                server = await loop.create_server(Protocol, "127.0.0.1", 0)
                var.set("later")
                for _ in range(2):
                    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
                    writer.write(b"x")
                    await reader.read()
                    writer.close()
                    await writer.wait_closed()
                server.close()
                await server.wait_closed()
            loop.run_until_complete(main())
            return events
    same(scenario)
