"""What can be asked of a stream transport: its class, extra info, repr, signatures; its debug log."""
import asyncio
import inspect
import os
import socket
import weakref

import pytest

from lab import FAMILIES, Lab, Noter, attach, connected, reset, scenario, kinds
from support import fresh_loop, outcome, scrub, spin, spin_until


# --- kinds --------------------------------------------------------------------------------------------------------------

@kinds
def test_classes(aio, kind):
    with Lab(aio) as lab:
        async def main():
            p, peer = await lab.connect(kind)
            t = p.transport
            assert isinstance(t, asyncio.Transport) and isinstance(t, asyncio.transports._FlowControlMixin)
            assert isinstance(t, asyncio.ReadTransport) and isinstance(t, asyncio.WriteTransport)
            assert t.get_protocol() is p and lab.log == [["made"]]
            assert t.is_reading() and not t.is_closing() and t.can_write_eof() is True and t.get_write_buffer_size() == 0
            native = any(c.__module__.startswith("pyasync._core") for c in type(t).__mro__)
            assert native == (aio is not asyncio)
            t.anything = 1
            assert weakref.ref(t)() is t and {t: 1}[t] == 1 and t.anything == 1
            assert t._start_tls_compatible is True and t.max_size == 256 * 1024
            t.close()
            await lab.seen("lost")
        lab.run(main())


# --- extra info, repr, debug --------------------------------------------------------------------------------------------

@kinds
def test_extra_info(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        sock = t.get_extra_info("socket")
        found = [sorted(t._extra), t.get_extra_info("nothing"), t.get_extra_info("nothing", 5), t.get_extra_info("sslcontext"),
                 type(sock).__name__, sock.family, sock.type, sock.proto, sock.gettimeout(), sock.fileno() == t._sock_fd,
                 sock is t.get_extra_info("socket"), sock.getsockname() == t.get_extra_info("sockname") == peer.getpeername(),
                 t.get_extra_info("peername") == peer.getsockname(), type(t.get_extra_info("peername")).__name__,
                 t.get_extra_info("pipe"), t.get_extra_info("subprocess"), t.get_extra_info("compression")]
        if kind == "tcp":
            found.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0)
        found += [outcome(t.get_extra_info, text=False), outcome(t.get_extra_info, "a", "b", "c", text=False),
                  t.get_extra_info(name="nothing", default=7)]
        t._extra["mine"] = 1
        found.append(t.get_extra_info("mine"))
        before = t.get_extra_info("sockname"), t.get_extra_info("peername")
        t.close()
        await lab.seen("lost")
        await lab.ticks()
        found += [before == (t.get_extra_info("sockname"), t.get_extra_info("peername")), t.get_extra_info("socket").fileno(),
                  t.get_extra_info("socket") is sock]
        return found
    got = same(scenario(main))
    assert got["result"][0] == ["peername", "socket", "sockname"] and got["result"][-2] == -1


@kinds
def test_extra_info_asked_for_after_the_end(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        names = (peer.getpeername(), peer.getsockname())
        p.transport.close()
        await lab.seen("lost")
        await lab.ticks()
        t = p.transport
        return (t.get_extra_info("sockname"), t.get_extra_info("peername")) == names, t.get_extra_info("socket").fileno(), repr(t)
    assert same(scenario(main))["result"] == [True, -1, "<SocketTransport closed fd=N>"]


def test_extra_info_of_every_family(same):
    async def main(lab):
        found = []
        families = [(socket.AF_INET, ("127.0.0.1", 0)), (socket.AF_INET6, ("::1", 0)), (socket.AF_UNIX, b"\0pyasync-test-%d" % os.getpid())]
        for family, address in families:
            with socket.socket(family) as server:
                server.bind(address)
                server.listen()
                sock = lab.keep(socket.socket(family))
                sock.connect(server.getsockname())
                sock.setblocking(False)
                conn = lab.keep(server.accept()[0])
                p = lab.protocol()
                t = await lab.attach(p, sock)
                found.append([t.get_extra_info("sockname") == sock.getsockname(), t.get_extra_info("peername") == conn.getsockname(),
                              len(t.get_extra_info("peername")) if family != socket.AF_UNIX else t.get_extra_info("peername")[:10]])
                t.abort()
                await lab.until(lambda: t._sock is None)
        return found
    same(scenario(main))


@kinds
def test_repr(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        found = [repr(t)]
        t.pause_reading()
        found.append(repr(t))
        t.resume_reading()
        lab.fill(t)
        found.append(repr(t).replace(str(t.get_write_buffer_size()), "SIZE"))
        t.close()
        found.append(repr(t).replace(str(t.get_write_buffer_size()), "SIZE"))
        t.abort()
        found.append(repr(t))
        await lab.seen("lost")
        await lab.ticks()
        return found + [repr(t)]
    got = same(scenario(main))
    assert got["result"][0] == "<SocketTransport fd=N read=polling write=<idle, bufsize=0>>"
    assert got["result"][-1] == "<SocketTransport closed fd=N>"


@kinds
def test_repr_right_after_a_write(same, kind):
    """The kernel has it, as far as anybody can see."""
    async def main(lab):
        p, peer = await lab.connect(kind)
        p.transport.write(b"short")
        found = [repr(p.transport)]
        p.transport.close()
        await lab.seen("lost")
        return found
    assert same(scenario(main))["result"] == ["<SocketTransport fd=N read=polling write=<idle, bufsize=0>>"]


@kinds
def test_debug_log(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        t.pause_reading()
        t.pause_reading()
        t.resume_reading()
        await lab.send(peer, b"x")
        await lab.seen("data")
        peer.shutdown(socket.SHUT_WR)
        await lab.seen("lost")
    got = same(scenario(main, debug=True))
    assert ["DEBUG", "<SocketTransport fd=N read=idle write=<idle, bufsize=0>> pauses reading"] in got["records"]
    assert any("received EOF" in text for _, text in got["records"])


@kinds
def test_debug_log_of_a_reset(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        if kind == "tcp":
            reset(peer)
        else:
            p.transport.write(b"unread")
            await lab.ticks()
            peer.close()
        await lab.seen("lost")
    got = same(scenario(main, debug=True))
    assert any("Fatal read error on socket transport [ConnectionResetError]" in text for _, text in got["records"])


@pytest.mark.parametrize("family", FAMILIES)
def test_extra_info_while_open_and_after(aio, loop, family):
    with connected(loop, family=family) as (t, p, peer):
        sock = t.get_extra_info("socket")
        assert isinstance(sock, asyncio.trsock.TransportSocket) and sock.family == family and sock.type == socket.SOCK_STREAM
        assert sock.fileno() > 0 and sock.gettimeout() == 0
        assert t.get_extra_info("sockname") == peer.getpeername() and t.get_extra_info("peername") == peer.getsockname()
        assert t.get_extra_info("nothing") is None and t.get_extra_info("nothing", 5) == 5
        assert t.get_extra_info("sslcontext") is None
        t.close()
        spin(loop, 2)
        assert t.get_extra_info("sockname") == peer.getpeername() and t.get_extra_info("socket") is sock and sock.fileno() == -1


def test_repr_of_each_state(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            t, peer = attach(loop, Noter())
            found = [repr(t)]
            t.pause_reading()
            found.append(repr(t))
            t.close()
            found.append(repr(t))
            spin(loop, 2)
            found.append(repr(t))
            peer.close()
            return [scrub(x).split(" ", 1)[1] for x in found]
    same(scenario)


def test_no_delay(aio, loop):
    """Nagle's algorithm is off on connections that the loop makes and accepts."""
    server_side = []
    server = loop.run_until_complete(loop.create_server(lambda: server_side.append(Noter()) or server_side[-1], "127.0.0.1", 0))
    t, p = loop.run_until_complete(loop.create_connection(Noter, *server.sockets[0].getsockname()))
    spin_until(loop, lambda: server_side and server_side[0].transport)
    for transport in (t, server_side[0].transport):
        assert transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        transport.abort()
    server.close()
    spin(loop, 3)


# --- arguments ----------------------------------------------------------------------------------------------------------

def test_signatures(aio):
    with Lab(aio) as lab:
        async def main():
            p, peer = await lab.connect("unix")
            for name in dir(asyncio.Transport):
                if not name.startswith("_"):
                    wanted = inspect.signature(getattr(asyncio.selector_events._SelectorSocketTransport, name))
                    got = str(inspect.signature(getattr(p.transport, name))).replace("*", "")
                    assert got == str(wanted).replace("self, ", "").replace("self", ""), name
            p.transport.abort()
            await lab.seen("lost")
        lab.run(main())


def test_arguments_of_methods(same):
    async def main(lab):
        p, peer = await lab.connect("unix")
        t = p.transport
        found = [outcome(getattr(t, name), *args, text=False) for name, args in (
            ("close", (1,)), ("abort", (1,)), ("set_protocol", ()), ("set_protocol", (1, 2)), ("get_protocol", (1,)), ("is_closing", (1,)),
            ("pause_reading", (1,)), ("resume_reading", (1,)), ("write_eof", (1,)), ("can_write_eof", (1,)), ("is_reading", (1,)),
            ("get_write_buffer_size", (1,)), ("get_write_buffer_limits", (1,)), ("writelines", ()), ("set_write_buffer_limits", (1, 2, 3)))]
        t.write(data=b"by keyword")
        t.writelines(list_of_data=[b"!"])
        t.set_protocol(protocol=t.get_protocol())
        data = await lab.receive(peer, 11)
        t.abort()
        await lab.seen("lost")
        return found, data
    got = same(scenario(main))
    assert all(f[:2] == ["raised", "TypeError"] for f in got["result"][0]) and got["result"][1] == b"by keyword!"
