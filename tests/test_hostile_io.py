"""Datagrams, pipes and streams whose loop, protocol or buffers work against them while they are being called."""
import asyncio
import contextlib
import os
import selectors
import socket
import sys
import tempfile
import time

import pytest

from support import Errors, outcome, spin

PY = sys.version_info
needs_python_buffers = pytest.mark.skipif(PY < (3, 12), reason="no __buffer__ in Python")


def loop_class(aio):
    return asyncio.SelectorEventLoop if aio is asyncio else aio.EventLoop


@contextlib.contextmanager
def ready(loop):
    loop.errors = Errors()
    loop.set_exception_handler(loop.errors)
    with contextlib.closing(loop):
        yield loop


def messages(loop):
    return [[context["message"], repr(context.get("exception"))] for context in loop.errors.take()]


@contextlib.contextmanager
def pipe():
    r, w = os.pipe()
    reader, writer = os.fdopen(r, "rb", 0), os.fdopen(w, "wb", 0)
    try:
        yield reader, writer
    finally:
        reader.close()
        writer.close()


class Ending(asyncio.Protocol):
    def __init__(self):
        self.lost = []

    def connection_lost(self, exc):
        self.lost.append(repr(exc))


@pytest.mark.parametrize("act", ["stop", "call_later", "call_soon", "call_soon_threadsafe", "pause", "close"])
def test_what_a_datagram_makes_its_protocol_do_comes_before_the_next(same, act):
    def scenario(aio):
        log = []

        class Protocol(asyncio.DatagramProtocol):
            def datagram_received(self, data, addr):
                log.append(data)
                if act == "stop":
                    loop.stop()
                elif act == "call_later":
                    loop.call_later(0, log.append, b"later " + data)
                elif act == "close":
                    transport.close()
                elif act != "pause":
                    getattr(loop, act)(log.append, b"then " + data)

        with ready(loop_class(aio)()) as loop, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            transport, _ = loop.run_until_complete(loop.create_datagram_endpoint(Protocol, local_addr=("127.0.0.1", 0)))
            spin(loop)
            for i in range(5):
                sender.sendto(b"%d" % i, transport.get_extra_info("sockname"))
            if act != "stop":
                loop.call_later(0.1, loop.stop)
            loop.run_forever()
            transport.close()
            spin(loop)
        return [x.decode() for x in log]
    same(scenario)


def test_a_selector_that_refuses_to_watch_for_room(same):
    """The datagram that did not fit is lost with the error, the next ones go out, and the endpoint closes."""
    class Selector(selectors.EpollSelector):
        fails = False

        def modify(self, fileobj, events, data=None):
            if self.fails and events & selectors.EVENT_WRITE:
                self.fails = False
                raise OSError(12, "refused")
            return super().modify(fileobj, events, data)

    class Protocol(asyncio.DatagramProtocol, Ending):
        pass

    def scenario(aio):
        selector = Selector()
        with (ready(loop_class(aio)(selector)) as loop, tempfile.TemporaryDirectory() as folder,
              socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as server):
            server.bind(folder + "/s")
            server.setblocking(False)
            client = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            client.connect(folder + "/s")
            transport, protocol = loop.run_until_complete(loop.create_datagram_endpoint(Protocol, sock=client))
            spin(loop)
            selector.fails, error = True, None
            try:
                while selector.fails:
                    transport.sendto(b"x")
            except OSError as e:
                error = [e.errno, transport.get_write_buffer_size()]
            transport.sendto(b"next")
            got = []

            def receive():
                with contextlib.suppress(BlockingIOError):
                    while True:
                        got.append(server.recv(100))
            loop.add_reader(server, receive)
            deadline = time.monotonic() + 5
            while b"next" not in got and time.monotonic() < deadline:
                spin(loop)
            transport.close()
            while not protocol.lost and time.monotonic() < deadline:
                spin(loop)
            loop.remove_reader(server)
            return [error, got.count(b"next"), protocol.lost]
    same(scenario)


def test_sending_a_datagram_is_audited(same, script):
    done = script("""
import asyncio, sys
events = []
sys.addaudithook(lambda name, args: events.append([name, args[1:]]) if name.startswith("socket.send") else None)
loop = aio.new_event_loop()
transport, _ = loop.run_until_complete(loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)))
transport.sendto(b"x", ("127.0.0.1", 9))
print(events)
transport.close()
loop.run_until_complete(aio.sleep(0))
loop.close()
""")
    assert done.stdout == "[['socket.sendto', (('127.0.0.1', 9),)]]\n" and not done.stderr


@pytest.mark.parametrize("act", ["another protocol", "the end"])
def test_asking_a_pipes_protocol_for_eof_received_changes_it(same, act):
    def scenario(aio):
        class Protocol:
            def __init__(self):
                self.lost = []

            def connection_made(self, transport):
                pass

            def connection_lost(self, exc):
                log.append("lost")

            @property
            def eof_received(self):
                if act == "the end":
                    transport._call_connection_lost(None)
                    return lambda: log.append("eof")
                transport.set_protocol(Other())
                del self
                raise AttributeError("eof_received")

        class Other(asyncio.Protocol):
            def connection_lost(self, exc):
                log.append("other lost")
        log = []
        with ready(loop_class(aio)()) as loop, pipe() as (reader, writer):
            transport, _ = loop.run_until_complete(loop.connect_read_pipe(Protocol, reader))
            del _
            writer.close()
            spin(loop, 5)
            reports = [m[0] for m in messages(loop)]
            if act == "another protocol":
                transport.close()
                transport._call_connection_lost(None)        # it is closing already, and nobody else ends it
                spin(loop, 2)
            return [log, reports]
    if act == "the end":
        # asyncio goes on with the transport that has ended and fails in another way; that nothing crashes is what counts
        import pyasync
        assert scenario(pyasync)[0][0] == "lost"
    else:
        same(scenario)


def test_a_loop_that_ends_a_pipe_when_asked_to_stop_watching(same):
    def scenario(aio):
        class Loop(loop_class(aio)):
            armed = False

            def _remove_reader(self, fd):
                result = super()._remove_reader(fd)
                if self.armed:
                    self.armed = False
                    transport._call_connection_lost(None)
                return result
        with ready(Loop()) as loop, pipe() as (reader, writer):
            transport, protocol = loop.run_until_complete(loop.connect_read_pipe(Ending, reader))
            spin(loop, 2)
            loop.armed = True
            outcome(transport.close)
            spin(loop, 3)
            loop.errors.take()                               # asyncio calls connection_lost() of nobody once more
            return protocol.lost
    same(scenario)


def test_a_loop_that_refuses_to_watch_a_pipe_for_room(same):
    """What was not written is lost with the error; later writes go out, and the transport closes."""
    def scenario(aio):
        class Loop(loop_class(aio)):
            fails = False

            def _add_writer(self, fd, callback, *args):
                if self.fails:
                    self.fails = False
                    raise OSError(28, "refused")
                return super()._add_writer(fd, callback, *args)
        with ready(Loop()) as loop, pipe() as (reader, writer):
            transport, protocol = loop.run_until_complete(loop.connect_write_pipe(Ending, writer))
            loop.fails = True
            got = [outcome(transport.write, b"a" * 200_000)[:2], transport.get_write_buffer_size()]
            os.set_blocking(reader.fileno(), False)
            with contextlib.suppress(BlockingIOError):
                while reader.read(1 << 20):
                    pass
            transport.write(b"next")
            spin(loop, 3)
            got.append(reader.read(100).decode())
            transport.close()
            spin(loop, 3)
            return got + protocol.lost
    same(scenario)


def releasing(act):
    class Data(bytearray):
        def __buffer__(self, flags):
            return super().__buffer__(flags)

        def __release_buffer__(self, view):
            act()
            super().__release_buffer__(view)
    return Data


@needs_python_buffers
@pytest.mark.parametrize("act", ["close", "get_write_buffer_size"])
def test_a_pipes_buffer_acts_when_it_is_released(aio, act):
    with ready(loop_class(aio)()) as loop, pipe() as (reader, writer):
        os.set_blocking(reader.fileno(), False)
        transport, protocol = loop.run_until_complete(loop.connect_write_pipe(Ending, writer))
        transport.write(releasing(lambda: getattr(transport, act)())(b"a" * 200_000))
        got = []

        def read():
            data = reader.read(1 << 20)
            got.append(data)
            if not data:
                loop.remove_reader(reader)
        loop.add_reader(reader, read)
        deadline = time.monotonic() + 5
        while sum(map(len, got)) < 200_000 and time.monotonic() < deadline:
            spin(loop)
        transport.close()
        while not protocol.lost and time.monotonic() < deadline:
            spin(loop)
        loop.remove_reader(reader)
        assert sum(map(len, got)) == 200_000 and protocol.lost == ["None"]


@needs_python_buffers
def test_a_streams_buffer_empties_the_queue_when_it_is_released(aio):
    """Then there is nothing to wait for: the descriptor, always ready to be written to, must not be watched for that."""
    a, b = socket.socketpair()
    b.setblocking(False)
    got = []

    def drain():
        with contextlib.suppress(BlockingIOError):
            while data := b.recv(1 << 20):
                got.append(data)

    def act():
        drain()
        transport.get_write_buffer_size()
    with ready(loop_class(aio)()) as loop, b:
        transport, protocol = loop.run_until_complete(loop.connect_accepted_socket(Ending, a))

        async def main():
            transport.write(releasing(act)(b"a" * 230_000))
            start = time.process_time()
            await asyncio.sleep(0.3)
            return time.process_time() - start
        used = loop.run_until_complete(main())
        drain()
        spin(loop, 3)
        drain()
        assert sum(map(len, got)) == 230_000 and used < 0.15
        transport.close()
        spin(loop, 3)
        assert protocol.lost == ["None"]


def test_a_protocol_that_goes_when_asked_to_help_draining(same):
    class Transport(asyncio.Transport):
        closing = False

        def is_closing(self):
            return self.closing

        def close(self):
            self.closing = True

    def scenario(aio):
        class Protocol:
            @property
            def _drain_helper(self):
                writer._protocol = None
                del self
                raise AttributeError("_drain_helper")

        async def main():
            nonlocal writer
            writer = aio.StreamWriter(Transport(), Protocol(), None, asyncio.get_running_loop())
            try:
                await writer.drain()
            except AttributeError as e:
                found = str(e)
            writer.transport.closing = True
            return found
        writer = None
        with ready(loop_class(aio)()) as loop:
            return loop.run_until_complete(main())
    same(scenario)
