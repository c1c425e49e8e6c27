"""The native transport itself: its descriptor, its attributes, lifetime, nested loops."""
import asyncio
import gc
import os
import socket
import warnings
import weakref

import pytest

from bare_transport import Recorder
from support import nonblocking_pair, spin


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
