"""The stream transport's methods: write, EOF, limits, extra info, what it warns of and logs, as asyncio's."""
import asyncio
import contextlib
import gc
import itertools
import logging
import os
import socket
import sys
import warnings
from unittest import mock

import pytest

from bare_transport import Recorder, connected, drain
from support import Errors, fresh_loop, nonblocking_pair, outcome, scrub, spin


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
