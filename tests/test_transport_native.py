"""The stream transport: what it does in asyncio's words, compared with asyncio, and what is the native one's own business."""
import asyncio
import contextlib
import contextvars
import errno
import gc
import hashlib
import itertools
import logging
import os
import resource
import socket
import sys
import threading
import time
import warnings
import weakref
from unittest import mock

import pytest

from support import Errors, fresh_loop, nonblocking_pair, outcome, plain, report, scrub, spin


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


# --- same as asyncio ---------------------------------------------------------------------------------------------------

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


@pytest.mark.parametrize("data", [None, "text", 5, [b"a"], object(), 1.5])
def test_write_refuses(same, data):
    def scenario(aio):
        with connected(aio) as (loop, transport, protocol, peer):
            return outcome(transport.write, data), outcome(transport.writelines, data)[:2], transport.is_closing()
    same(scenario)


def test_write_of_strange_but_legal_data(same):
    class Bytes(bytes):
        pass

    def scenario(aio):
        with connected(aio) as (loop, transport, protocol, peer):
            for data in (b"", bytearray(), memoryview(b""), Bytes(b"sub"), bytearray(b"array"), memoryview(b"view"), Bytes()):
                transport.write(data)
            transport.writelines([b"a", bytearray(b"b"), memoryview(b"c")])
            transport.writelines([])
            transport.writelines(iter([b"d", Bytes(b"e")]))
            spin(loop)
            return peer.recv(100)
    same(scenario)


def test_arguments_by_name(same):
    def scenario(aio):
        with connected(aio) as (loop, transport, protocol, peer):
            transport.write(data=b"named")
            transport.writelines(list_of_data=[b"too"])
            transport.set_protocol(protocol=protocol)
            transport.set_write_buffer_limits(low=5)
            spin(loop)
            return (peer.recv(20), transport.get_write_buffer_limits(), outcome(transport.write, text=False), outcome(transport.write, b"", b"", text=False),
                    outcome(transport.write, other=b"", text=False))
    same(scenario)


def test_eof(same):
    def scenario(aio):
        with connected(aio) as (loop, transport, protocol, peer):
            result = [transport.can_write_eof(), outcome(transport.write, b"last"), outcome(transport.write_eof), outcome(transport.write_eof),
                      outcome(transport.write, b"x")]
            if sys.version_info >= (3, 12):
                result.append(outcome(transport.writelines, [b"x"]))
            spin(loop)
            result += [peer.recv(10), peer.recv(10), transport.is_closing()]
            peer.send(b"still")
            spin(loop, 2)
            return result, protocol.events
    same(scenario)


def test_half_close_is_put_off_until_all_is_sent(same):
    def scenario(aio):
        with connected(aio, small=True) as (loop, transport, protocol, peer):
            transport.write(b"y" * 1_000_000)
            transport.write_eof()
            got = drain(loop, peer)
            return len(got), set(got), [e for e in protocol.events if "writing" not in e[0]]
    same(scenario)


def test_writes_on_a_lost_connection_are_counted_and_logged(same, caplog):
    def scenario(aio):
        with connected(aio) as (loop, transport, protocol, peer):
            caplog.clear()
            transport.abort()
            counts = []
            for _ in range(8):
                transport.write(b"x")
                counts.append((transport._conn_lost, len(caplog.records)))
            spin(loop, 2)
            transport.write(b"x")
            return counts, [(r.levelname, r.getMessage(), r.name) for r in caplog.records]
    same(scenario)


def test_records_go_to_the_logger_that_is_there_now(same):
    def scenario(aio):
        with connected(aio) as (loop, transport, protocol, peer), mock.patch("asyncio.selector_events.logger") as logger:
            loop.set_debug(True)
            peer.close()
            spin(loop, 3)
            for _ in range(6):
                transport.write(b"x")
            return [(name, args[0]) for name, args, _ in logger.method_calls]
    same(scenario)


def test_peer_that_vanished(same):
    def scenario(aio):
        with connected(aio) as (loop, transport, protocol, peer):
            transport.pause_reading()
            peer.close()
            transport.write(b"x" * 10)
            spin(loop, 3)
            return protocol.events, transport.is_closing()
    same(scenario)


LIMITS = [(), (None, None), (100,), (100, 10), (None, 10), (0,), (0, 0), (10, 20), (-1,), (1 << 70,), (1e6, 5), (5, -1), (1.5,), ("a",),
          (None, "b"), (float("inf"), 3)]


@pytest.mark.parametrize("limits", LIMITS, ids=repr)
def test_limits(same, limits):
    def scenario(aio):
        with connected(aio) as (loop, transport, protocol, peer):
            before = transport.get_write_buffer_limits()
            result = outcome(transport.set_write_buffer_limits, *limits)
            return before, result, transport.get_write_buffer_limits(), transport._high_water, transport._low_water
    same(scenario)


def test_flow_control(same):
    def scenario(aio):
        with connected(aio, small=True) as (loop, transport, protocol, peer):
            events = protocol.events
            transport.set_write_buffer_limits(high=50_000, low=10_000)
            while not transport.get_write_buffer_size():
                transport.write(b"q" * 1000)
            for _ in range(3):
                transport.write(b"q" * 20_000)
                events.append(("written", transport._protocol_paused))
            got = 0
            while "resume_writing" not in [e[0] for e in events]:
                with contextlib.suppress(BlockingIOError):
                    got += len(peer.recv(4096))
                spin(loop)
            events.append(("low", transport.get_write_buffer_size() <= 10_000))
            transport.set_write_buffer_limits(high=0)
            events.append(("zero", transport._protocol_paused == (transport.get_write_buffer_size() > 0)))
            return [e for e in events if e[0] != "low" or e[1]]
    same(scenario)


@pytest.mark.parametrize("more", [10, 300_000])
def test_resumed_protocol_writes_on_while_the_transport_closes(aio, more):
    if aio is asyncio and (3, 12) <= sys.version_info < (3, 14):
        pytest.skip("there asyncio's transport forgets its writer when it is closed")
    written = []

    def write_on(transport):
        if len(written) < 3:
            written.append(more)
            transport.write(b"m" * more)
    with connected(aio, {"resume_writing": write_on}, small=True) as (loop, transport, protocol, peer):
        transport.set_write_buffer_limits(high=0)
        transport.write(b"f" * 500_000)
        transport.close()
        assert len(drain(loop, peer)) == 500_000 + sum(written) and written
        spin(loop, 3)
        assert transport._sock is None and protocol.events[-1] == ("connection_lost", None)


def test_nothing_is_paused_while_the_kernel_takes_it(same):
    def scenario(aio):
        with connected(aio) as (loop, transport, protocol, peer):
            transport.set_write_buffer_limits(high=10)
            for _ in range(5):
                transport.write(b"k" * 11)
            return protocol.events, transport.get_write_buffer_size()
    same(scenario)


def test_extra_info(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            async def main():
                made = []

                def factory():
                    made.append(Recorder())
                    return made[-1]
                server = await loop.create_server(factory, "127.0.0.1", 0)
                address = server.sockets[0].getsockname()
                transport, _ = await loop.create_connection(Recorder, *address)
                while not made or made[0].transport is None:
                    await asyncio.sleep(0)
                accepted = made[0].transport
                result = []
                for t in (transport, accepted):
                    sock = t.get_extra_info("socket")
                    result.append((type(sock).__name__, sock.fileno() == t._sock_fd, sock.family, sock.type, sock.proto,
                                   sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY), sock.gettimeout(), sorted(t._extra),
                                   t.get_extra_info("nothing"), t.get_extra_info("nothing", 5), t._sock.getblocking()))
                result.append((transport.get_extra_info("peername") == address == accepted.get_extra_info("sockname"),
                               transport.get_extra_info("sockname") == accepted.get_extra_info("peername")))
                accepted._extra["more"] = 1
                result.append(accepted.get_extra_info("more"))
                transport.abort()
                accepted.abort()
                await asyncio.sleep(0.01)
                result.append((accepted.get_extra_info("socket").fileno(), accepted.get_extra_info("peername") is not None))
                server.close()
                await server.wait_closed()
                return result
            return loop.run_until_complete(main())
    same(scenario)


@pytest.mark.parametrize("family", ["path", "abstract", "unnamed"])
def test_unix_names(same, family, tmp_path):
    counter = itertools.count()

    def scenario(aio):
        with fresh_loop(aio) as loop:
            async def main():
                made = []
                path = {"path": str(tmp_path / f"s{next(counter)}"), "abstract": f"\0pyasync-test-{os.getpid()}"}.get(family)
                if path is None:
                    a, b = socket.socketpair()
                    transport, _ = await loop.create_connection(Recorder, sock=a)
                    result = [transport.get_extra_info(n) for n in ("sockname", "peername")]
                    transport.abort()
                    b.close()
                    await asyncio.sleep(0)
                    return result
                server = await loop.create_unix_server(lambda: made.append(Recorder()) or made[-1], path)
                transport, _ = await loop.create_unix_connection(Recorder, path)
                while not made or not made[0].transport:
                    await asyncio.sleep(0)
                result = [t.get_extra_info(n) for t in (transport, made[0].transport) for n in ("sockname", "peername")]
                transport.abort()
                made[0].transport.abort()
                await asyncio.sleep(0.01)
                server.close()
                await server.wait_closed()
                return [r if not isinstance(r, str) or not r.startswith("/") else "path" for r in result]
            return loop.run_until_complete(main())
    same(scenario)


def test_peername_survives_a_reset_that_came_before_anyone_asked(aio, loop):
    """Made when asked for, but from what was known when the connection was made."""
    async def main():
        lost = loop.create_future()
        names = []

        class Server(asyncio.Protocol):
            def connection_made(self, transport):
                self.transport = transport

            def connection_lost(self, exc):
                names.append((self.transport.get_extra_info("peername"), self.transport.get_extra_info("sockname")))
                lost.set_result(None)
        server = await loop.create_server(Server, "127.0.0.1", 0)
        sock = socket.create_connection(server.sockets[0].getsockname())
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        names.append((sock.getsockname(), sock.getpeername()))
        await asyncio.sleep(0.02)
        sock.close()
        await lost
        assert names[0] == names[1]
        server.close()
        await server.wait_closed()
    loop.run_until_complete(main())


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


def test_unclosed_transport_warns(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            ours, peer = nonblocking_pair()
            transport = loop._make_socket_transport(ours, asyncio.Protocol())
            spin(loop, 2)
            transport.pause_reading()
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                del transport
                gc.collect()
            fd = ours.fileno()
            peer.close()
            ours.close()
            return [(w.category.__name__, scrub(str(w.message)).replace("_SelectorSocketTransport", "SocketTransport")) for w in caught], fd
    same(scenario)


def test_loop_closed_under_a_transport(same):
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            ours, peer = nonblocking_pair()
            protocol = Recorder()
            transport = loop._make_socket_transport(ours, protocol)
            spin(loop, 2)
        result = [outcome(transport.write, b"x"), outcome(transport.close), outcome(transport.abort), transport.is_closing(), peer.recv(5)]
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            protocol.transport = protocol = None
            del transport
            gc.collect()
        peer.close()
        return result, [w.category.__name__ for w in caught], ours.fileno()
    same(scenario)


def test_made_on_a_closed_loop(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            pass
        ours, peer = nonblocking_pair()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = outcome(loop._make_socket_transport, ours, asyncio.Protocol())
            gc.collect()
        ours.close()
        peer.close()
        return result
    same(scenario)


def test_descriptor_in_use(aio, loop):
    ours, peer = nonblocking_pair()
    transport = loop._make_socket_transport(ours, asyncio.Protocol())
    spin(loop, 2)
    fd = ours.fileno()
    for call in (lambda: loop.add_reader(fd, print), lambda: loop.add_writer(ours, print), lambda: loop.remove_reader(fd)):
        with pytest.raises(RuntimeError, match="is used by transport"):
            call()
    transport.close()
    loop.add_reader(fd, print)
    loop.remove_reader(fd)
    spin(loop, 2)
    peer.close()


def test_sendfiles_hooks(same):
    def scenario(aio):
        with connected(aio, small=True) as (loop, transport, protocol, peer):
            result = []
            waiter = transport._make_empty_waiter()
            result.append((waiter.done(), outcome(transport.write, b"x"), outcome(transport._make_empty_waiter)))
            transport._reset_empty_waiter()
            transport.write(b"x" * 500_000)
            waiter = transport._make_empty_waiter()
            result.append(waiter.done())
            drain(loop, peer, 500_000)
            spin(loop)
            result.append(waiter.done() and waiter.result())
            transport._reset_empty_waiter()
            return result
    same(scenario)


def test_debug_log(same, caplog):
    caplog.set_level(logging.DEBUG, "asyncio")

    def scenario(aio):
        with connected(aio, debug=True) as (loop, transport, protocol, peer):
            caplog.clear()
            transport.pause_reading()
            transport.resume_reading()
            peer.shutdown(socket.SHUT_WR)
            spin(loop, 3)
            return [(r.levelname, scrub(r.getMessage()).replace("_SelectorSocketTransport", "SocketTransport")) for r in caplog.records
                    if "poll" not in r.getMessage()[:5]]
    same(scenario)


# --- servers -----------------------------------------------------------------------------------------------------------

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


# --- data ----------------------------------------------------------------------------------------------------------------

def test_what_is_written_in_a_tick_is_one_message(aio, loop):
    """A header and a body cost one packet: the peer on a seqpacket-like stream sees them arrive together."""
    if aio is asyncio:
        pytest.skip("asyncio sends each write by itself")
    ours, peer = nonblocking_pair()
    transport = loop._make_socket_transport(ours, asyncio.Protocol())
    spin(loop, 2)

    def both():
        transport.write(b"header ")
        transport.write(b"body")
        with pytest.raises(BlockingIOError):
            peer.recv(20)
    loop.call_soon(both)
    spin(loop)
    assert peer.recv(20) == b"header body"
    transport.close()
    spin(loop, 2)
    peer.close()


@pytest.mark.parametrize("asks", ["get_write_buffer_size", "close", "abort", "write_eof", "_make_empty_waiter"])
def test_what_could_tell_that_a_write_was_put_off_sends_it_first(aio, loop, asks):
    ours, peer = nonblocking_pair()
    transport = loop._make_socket_transport(ours, asyncio.Protocol())
    spin(loop, 2)
    sizes = []

    def write():
        transport.write(b"now")
        result = getattr(transport, asks)()
        sizes.append(result if asks.startswith("get") else transport.get_write_buffer_size())
        assert peer.recv(10) == b"now"
    loop.call_soon(write)
    spin(loop)
    assert sizes == [0]
    transport._reset_empty_waiter()
    transport.abort()
    spin(loop, 2)
    peer.close()


def test_write_outside_of_a_tick_and_from_another_thread_goes_out_at_once(aio, loop):
    ours, peer = nonblocking_pair()
    transport = loop._make_socket_transport(ours, asyncio.Protocol())
    spin(loop, 2)
    transport.write(b"idle")
    assert peer.recv(10) == b"idle"

    def busy():
        thread = threading.Thread(target=transport.write, args=(b"thread",))
        thread.start()
        thread.join()
        assert peer.recv(10) == b"thread"
    loop.call_soon(busy)
    spin(loop)
    transport.close()
    spin(loop, 2)
    peer.close()


def test_put_off_write_survives_an_exit(aio, loop):
    ours, peer = nonblocking_pair()
    transport = loop._make_socket_transport(ours, asyncio.Protocol())
    spin(loop, 2)

    def go():
        transport.write(b"last words")
        raise SystemExit
    loop.call_soon(go)
    with pytest.raises(SystemExit):
        spin(loop)
    assert peer.recv(20) == b"last words"
    transport.close()
    spin(loop, 2)
    peer.close()


def test_put_off_write_keeps_a_forgotten_transport(aio, loop):
    ours, peer = nonblocking_pair()

    def go(transport):
        transport.write(b"bequest")
    transport = loop._make_socket_transport(ours, asyncio.Protocol())
    spin(loop, 2)
    transport.pause_reading()
    loop.call_soon(go, transport)
    transport = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        spin(loop, 2)
        gc.collect()
    assert peer.recv(20) == b"bequest"
    peer.close()


def test_mutable_data_may_change_after_write(aio, loop):
    if aio is asyncio and sys.version_info >= (3, 12):
        pytest.skip("asyncio keeps a view of the caller's buffer")
    ours, peer = nonblocking_pair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    transport = loop._make_socket_transport(ours, asyncio.Protocol())
    spin(loop, 2)
    expected = hashlib.sha256()

    def go():
        buffer = bytearray(50_000)
        for i in range(20):
            buffer[:] = bytes([i]) * len(buffer)
            expected.update(buffer)
            transport.write(buffer)
            buffer[:] = b"\xff" * len(buffer)
            small = bytearray(b"%d" % i)
            expected.update(small)
            transport.write(memoryview(small))
            small.clear()
    loop.call_soon(go)
    got = drain(loop, peer, 20 * 50_000 + sum(len(str(i)) for i in range(20)))
    assert hashlib.sha256(got).digest() == expected.digest()
    transport.close()
    spin(loop, 2)
    peer.close()


def test_thousands_of_small_writes(aio, loop):
    ours, peer = nonblocking_pair()
    transport = loop._make_socket_transport(ours, asyncio.Protocol())
    spin(loop, 2)
    chunks = [b"%d," % i for i in range(20_000)]

    def go():
        for chunk in chunks[:10_000]:
            transport.write(chunk)
        transport.writelines(chunks[10_000:])
    loop.call_soon(go)
    assert drain(loop, peer, sum(map(len, chunks))) == b"".join(chunks)
    transport.close()
    spin(loop, 2)
    peer.close()


def test_received_data_is_the_receivers(aio, loop):
    """All reads go through one buffer: what was given out must not change with the next read."""
    pairs = [nonblocking_pair() for _ in range(5)]
    protocols = []

    class Keep(asyncio.Protocol):
        def __init__(self):
            self.got = []

        def data_received(self, data):
            self.got.append(data)
    for ours, _ in pairs:
        protocols.append(Keep())
        loop._make_socket_transport(ours, protocols[-1])
    spin(loop, 2)
    for i in range(50):
        for n, (_, peer) in enumerate(pairs):
            peer.send(b"%d:%d " % (n, i) * (i + 1))
        spin(loop)
    for n, protocol in enumerate(protocols):
        assert b"".join(protocol.got) == b"".join(b"%d:%d " % (n, i) * (i + 1) for i in range(50))
        assert all(type(d) is bytes for d in protocol.got)
    for _, peer in pairs:
        peer.close()
    spin(loop, 4)


def test_nested_read_does_not_clobber(aio, loop):
    """A protocol that hands its data on to another transport's write, which sends at once, keeps it."""
    a, b = nonblocking_pair(), nonblocking_pair()
    out = loop._make_socket_transport(b[0], asyncio.Protocol())

    class Forward(asyncio.Protocol):
        def data_received(self, data):
            out.write(data)
            assert out.get_write_buffer_size() == 0
            self.data = data
    protocol = Forward()
    transport = loop._make_socket_transport(a[0], protocol)
    spin(loop, 2)
    a[1].send(b"through")
    spin(loop)
    assert b[1].recv(20) == b"through" == protocol.data
    out.close()
    transport.close()
    spin(loop, 2)
    a[1].close()
    b[1].close()


@pytest.mark.parametrize("buffered", [False, True], ids=["protocol", "buffered"])
def test_100_megabytes_both_ways_with_slow_readers(aio, loop, buffered):
    size = 100_000_000 if aio is not asyncio else 10_000_000
    block = os.urandom(1_000_000)
    expected = hashlib.sha256(block * (size // len(block))).digest()

    class Side(asyncio.Protocol):
        def __init__(self):
            self.left, self.seen, self.hash = size, 0, hashlib.sha256()
            self.may, self.paused = asyncio.Event(), 0
            self.may.set()
            self.done = loop.create_future()

        def connection_made(self, transport):
            self.transport = transport
            loop.create_task(self.send())

        async def send(self):
            while self.left:
                await self.may.wait()
                self.transport.write(block)
                self.left -= len(block)

        def pause_writing(self):
            self.paused += 1
            self.may.clear()

        def resume_writing(self):
            self.may.set()

        def data_received(self, data):
            self.hash.update(data)
            before, self.seen = self.seen, self.seen + len(data)
            if before // 20_000_000 != self.seen // 20_000_000:  # slow now and then
                self.transport.pause_reading()
                loop.call_later(0.01, self.transport.resume_reading)
            if self.seen == size:
                self.done.set_result(None)

    class BufferedSide(Side, asyncio.BufferedProtocol):
        def get_buffer(self, hint):
            self.buffer = memoryview(bytearray(100_000))
            return self.buffer

        def buffer_updated(self, n):
            self.data_received(self.buffer[:n])

    async def main():
        sides = []

        def factory():
            sides.append((BufferedSide if buffered else Side)())
            return sides[-1]
        server = await loop.create_server(factory, "127.0.0.1", 0)
        await loop.create_connection(factory, *server.sockets[0].getsockname())
        while len(sides) < 2:
            await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*(s.done for s in sides)), 60)
        for side in sides:
            assert side.hash.digest() == expected and side.paused
            side.transport.close()
        server.close()
        await server.wait_closed()
        await asyncio.sleep(0.01)
    loop.run_until_complete(main())


def test_busy_peer_does_not_starve_the_others(aio, loop):
    """One report, one read: who has megabytes waiting gets no more turns than who has three bytes."""
    turns = []

    class Note(asyncio.Protocol):
        def __init__(self, name):
            self.name = name

        def data_received(self, data):
            turns.append(self.name)
    busy, quiet = nonblocking_pair(), nonblocking_pair()
    transports = [loop._make_socket_transport(s, Note(n)) for s, n in ((busy[0], "busy"), (quiet[0], "quiet"))]
    spin(loop, 2)
    for _ in range(5):
        with contextlib.suppress(BlockingIOError):
            while True:
                busy[1].send(b"x" * 65536)
        quiet[1].send(b"abc")
        spin(loop)
    assert turns.count("busy") == turns.count("quiet") == 5
    for t in transports:
        t.close()
    spin(loop, 2)
    busy[1].close()
    quiet[1].close()


# --- descriptors ---------------------------------------------------------------------------------------------------------

def test_descriptor_is_closed_once_and_by_its_owner(aio, loop):
    """After the transport let its descriptor go, the number may be anyone's."""
    async def main():
        accepted = []

        class Protocol(asyncio.Protocol):
            def connection_made(self, transport):
                accepted.append(transport)
        server = await loop.create_server(Protocol, "127.0.0.1", 0)
        for ask in (False, True):
            with socket.create_connection(server.sockets[0].getsockname()):
                while not accepted:
                    await asyncio.sleep(0)
                transport = accepted.pop()
                fd = transport._sock_fd
                if ask:
                    transport.get_extra_info("socket")
                transport.close()
                os.fstat(fd)
                await asyncio.sleep(0)
                with pytest.raises(OSError):
                    os.fstat(fd)
                held = os.open(os.devnull, os.O_RDONLY)
                transport.close()
                transport.abort()
                transport._force_close(None)
                transport._call_connection_lost(None) if aio is not asyncio else None
                ref = weakref.ref(transport)
                del transport
                gc.collect()
                os.fstat(held)
                os.close(held)
        server.close()
        await server.wait_closed()
        assert ref() is None
    loop.run_until_complete(main())


def test_socket_closed_behind_our_back(aio, loop):
    """The number must not be read or written while it may be somebody else's; the transport closes without a word."""
    ours, peer = nonblocking_pair()
    protocol = Recorder()
    transport = loop._make_socket_transport(ours, protocol)
    spin(loop, 2)
    ours.close()
    others = nonblocking_pair()
    transport.write(b"not for others")
    spin(loop, 2)
    with pytest.raises(BlockingIOError):
        others[1].recv(100)
    transport.abort()
    spin(loop, 2)
    assert [e[0] for e in protocol.events] == ["connection_made", "connection_lost"]
    for s in others:
        s.send(b"alive")
    for s in (*others, peer):
        s.close()


def test_detached_socket(aio, loop):
    ours, peer = nonblocking_pair()
    transport = loop._make_socket_transport(ours, asyncio.Protocol())
    spin(loop, 2)
    transport.pause_reading()
    fd = ours.detach()
    transport.abort()
    spin(loop, 2)
    os.write(fd, b"mine")
    assert peer.recv(10) == b"mine"
    os.close(fd)
    peer.close()


def test_many_descriptor_numbers_reused(aio, loop):
    """Connections come and go on the same few numbers; nobody gets another's bytes."""
    async def main():
        async def handle(reader, writer):
            writer.write(await reader.read(100))
            writer.close()
        server = await asyncio.start_server(handle, "127.0.0.1", 0)

        async def client(i):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            writer.write(b"%d" % i)
            got = await reader.read()
            writer.close()
            await writer.wait_closed()
            return got
        for start in range(0, 300, 10):
            got = await asyncio.gather(*(client(i) for i in range(start, start + 10)))
            assert got == [b"%d" % i for i in range(start, start + 10)]
        server.close()
        await server.wait_closed()
    loop.run_until_complete(main())


# --- the object ----------------------------------------------------------------------------------------------------------

def test_kind_of_the_native_transport(aio, loop):
    ours, peer = nonblocking_pair()
    transport = loop._make_socket_transport(ours, asyncio.Protocol())
    assert isinstance(transport, asyncio.Transport) and isinstance(transport, asyncio.transports._FlowControlMixin)
    assert transport._start_tls_compatible is True and transport.max_size == 256 * 1024
    assert weakref.ref(transport)() is transport and transport.__dict__ is not None and {transport: 1}
    seen = []
    transport.write = seen.append
    transport.write(b"assigned")
    assert seen == [b"assigned"]
    del transport.write
    assert transport._loop is loop and transport._sock is ours and transport._server is None
    transport.abort()
    spin(loop, 2)
    assert transport._loop is None and transport._sock is None and transport._protocol is None
    peer.close()


def test_patched_get_extra_info(aio, loop, monkeypatch):
    ours, peer = nonblocking_pair()
    transport = loop._make_socket_transport(ours, asyncio.Protocol())
    monkeypatch.setattr(asyncio.Transport, "get_extra_info", lambda self, name, default=None: f"patched {name}")
    assert transport.get_extra_info("peername") == "patched peername"
    monkeypatch.undo()
    assert transport.get_extra_info("peername") == ""
    transport.abort()
    spin(loop, 2)
    peer.close()


def test_uninitialised_transport_is_harmless(aio):
    if aio is asyncio:
        pytest.skip("asyncio's raises AttributeError everywhere")
    from pyasync import _core
    transport = _core.SocketTransport.__new__(_core.SocketTransport)
    assert transport.is_closing() and not transport.is_reading() and transport.get_protocol() is None
    for name in ("close", "abort", "pause_reading", "resume_reading", "write_eof", "get_write_buffer_size", "get_write_buffer_limits"):
        getattr(transport, name)()
    transport.write(b"x")
    transport._call_connection_lost(None)
    transport._fatal_error(ValueError())
    repr(transport)
    assert transport.get_extra_info("socket") is None and transport._sock is None
    with pytest.raises(ConnectionError):
        transport._make_empty_waiter()
    with pytest.raises(TypeError):
        _core.SocketTransport()
    with pytest.raises(TypeError):
        with socket.socket() as sock:
            _core.SocketTransport(object(), sock, asyncio.Protocol())
    gc.collect()


def test_cycles_are_collected(aio, loop):
    class Cyclic(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport
            transport.owner = self
    refs = []
    for paused in (False, True):
        ours, peer = nonblocking_pair()
        protocol = Cyclic()
        loop._make_socket_transport(ours, protocol)
        spin(loop, 2)
        if paused:
            protocol.transport.pause_reading()
            refs.append(weakref.ref(protocol))
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                del protocol
                gc.collect()
            assert [w.category for w in caught] == [ResourceWarning]
            caught.clear()  # a warning keeps its source
            gc.collect()
            assert refs[-1]() is None
        else:
            refs.append(weakref.ref(protocol))
            protocol.transport.close()
            del protocol
            spin(loop, 2)
            gc.collect()
            assert refs[-1]() is None
        peer.close()


def test_last_reference_dropped_in_a_callback(aio, loop):
    class Dropper(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.abort()
            del self.transport
            gc.collect()
    ours, peer = nonblocking_pair()
    loop._make_socket_transport(ours, Dropper())
    spin(loop, 2)
    peer.send(b"go")
    spin(loop, 4)
    assert ours.fileno() == -1
    peer.close()


def test_nested_loop_in_a_callback_flushes(aio, loop):
    """A protocol that runs the loop inside its callback, as nest_asyncio makes programs do, still gets its writes out."""
    ours, peer = nonblocking_pair()

    class Nest(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(b"before")
            loop._run_once()
            self.seen = peer.recv(20)
    protocol = Nest()
    transport = loop._make_socket_transport(ours, protocol)
    spin(loop, 2)
    peer.send(b"x")
    loop.call_soon(loop.call_soon, lambda: None)
    spin(loop)
    assert protocol.seen == b"before"
    transport.close()
    spin(loop, 2)
    peer.close()
