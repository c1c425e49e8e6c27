"""Datagram endpoints, UDP and Unix: addresses, what arrives, what can be asked, the end. The rest is in test_datagrams_*.py."""
import asyncio
import contextvars
import errno
import gc
import os
import socket
import warnings

import pytest

from endpoints import address, bound, bound_and_connected, dgram_pair, endpoint, has_ipv6, kinds, take
from lab import Lab, clean, scenario
from support import PY, outcome


# ---- sending and receiving ----

@kinds
def test_there_and_back(same, kind):
    async def main(lab):
        server = await bound(lab, kind, "server", {"datagram_received": lambda p, data: p.transport.sendto(data.upper(), p.addr)})
        client = await bound(lab, kind, "client")
        for i in range(5):
            client.transport.sendto(b"datagram %d" % i, address(server))
        await lab.until(lambda: sum(e[:2] == ["client", "data"] for e in lab.log) == 5)
        assert client.addr == address(server) and server.addr == address(client)
        assert type(client.addr) is type(address(server))
        await lab.end(client, server)
        return take(lab, "client")
    got = same(scenario(main))
    assert got["result"] == [["client", "made"]] + [["client", "data", b"DATAGRAM %d" % i] for i in range(5)] + [["client", "lost", None]]


@kinds
def test_connected_endpoint(same, kind):
    async def main(lab):
        server = await bound(lab, kind, "server", {"datagram_received": lambda p, data: None})
        client = await endpoint(lab, "client", remote_addr=address(server) if kind == "unix" else address(server)[:2],
                                family=server.transport.get_extra_info("socket").family)
        client.transport.sendto(b"one")
        client.transport.sendto(bytearray(b"two"), None)
        client.transport.sendto(memoryview(b"three"), client.transport._address)
        wrong = outcome(client.transport.sendto, b"x", ("127.0.0.1", 1), text=False)
        await lab.until(lambda: sum(e[:2] == ["server", "data"] for e in lab.log) == 3)
        peer = client.transport.get_extra_info("peername") == address(server)
        await lab.end(client, server)
        return [wrong, peer, take(lab, "server")]
    got = same(scenario(main))
    assert got["result"][0] == ["raised", "ValueError"]


def test_text_of_a_wrong_address(same):
    async def main(lab):
        client = await endpoint(lab, remote_addr=("127.0.0.1", 9))
        got = [outcome(client.transport.sendto, b"x", addr) for addr in (("127.0.0.1", 10), 5, "a")]
        await lab.end(client)
        return got
    got = same(scenario(main))
    assert got["result"][0] == ["raised", "ValueError", "Invalid address: must be None or ('127.0.0.1', PORT)"]


@pytest.mark.parametrize("to", [("localhost", 9), ("127.0.0.1", "9"), ("127.0.0.1",), ("127.0.0.1", -1), ("127.0.0.1", 65536),
                                ("127.0.0.1", 10**30), ("127.0.0.1", True), "127.0.0.1", 5, None, ("127.0.0.1", 9, 0),
                                ("no.such.host.invalid", 9), ("a\0b", 9), ("\udc80", 9), ["127.0.0.1", 9], ("", 9), (b"127.0.0.1", 9),
                                ("<broadcast>", 9), ("::1", 9)], ids=repr)
def test_addresses_that_are_not_plain(same, to):
    """Names are resolved, nonsense is refused, as the socket does it."""
    async def main(lab):
        client = await endpoint(lab, local_addr=("127.0.0.1", 0))
        got = outcome(client.transport.sendto, b"x", to)
        await lab.ticks()
        await lab.end(client)
        return got
    same(scenario(main))


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6")
@pytest.mark.parametrize("to", [("::1", 9), ("::1", 9, 0), ("::1", 9, 0, 0), ("::1", 9, 1 << 20), ("::1", 9, 0, 1 << 32), ("::1", 9, 0, 0, 0),
                                ("::1%1", 9), ("fe80::1", 9, 0, 77), ("localhost", 9), ("127.0.0.1", 9), ("::1", 9, -1)], ids=repr)
def test_ipv6_addresses(same, to):
    async def main(lab):
        client = await endpoint(lab, local_addr=("::1", 0))
        got = outcome(client.transport.sendto, b"x", to)
        await lab.ticks()
        await lab.end(client)
        return got
    same(scenario(main))


@pytest.mark.skipif(not has_ipv6(), reason="no IPv6")
def test_a_sender_is_named_by_the_system(same):
    """However the program wrote the address that it sent to before."""
    async def main(lab):
        got = []
        server = await endpoint(lab, "server", {"datagram_received": lambda p, data: p.transport.sendto(data, p.addr)}, local_addr=("::1", 0))
        client = await endpoint(lab, "client", {"datagram_received": lambda p, data: got.append([p.addr[0], p.addr[2:]])}, local_addr=("::1", 0))
        for host in "::1", "0:0::1", "0000::0001":
            client.transport.sendto(b"x", (host, address(server)[1]))
            sent = len(got) + 1
            await lab.until(lambda: len(got) == sent)
        await lab.end(client, server)
        return got
    assert same(scenario(main))["result"] == [["::1", [0, 0]]] * 3


@pytest.mark.parametrize("count", [1, 2, 150])
def test_many_senders(same, count):
    """Each is answered at its own address, whoever sent in between."""
    async def main(lab):
        seen = []
        server = await endpoint(lab, "server", {"datagram_received": lambda p, data: (seen.append(p.addr), p.transport.sendto(data, p.addr))},
                                local_addr=("127.0.0.1", 0))
        senders = []
        for _ in range(count):
            senders.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            senders[-1].bind(("127.0.0.1", 0))
        answers = 0
        for turn in range(3):
            for i, sender in enumerate(senders):
                sender.sendto(b"%d/%d" % (turn, i), address(server))
                if i % 10 == 9 or i == count - 1:
                    await lab.until(lambda: len(seen) == turn * count + i + 1)
            for i, sender in enumerate(senders):
                sender.settimeout(5)
                answers += sender.recvfrom(100) == (b"%d/%d" % (turn, i), address(server))
        named = seen == [sender.getsockname() for sender in senders] * 3
        for sender in senders:
            sender.close()
        await lab.end(server)
        return answers, named
    assert same(scenario(main))["result"] == [3 * count, True]


@pytest.mark.parametrize("to", ["", "/no/such/path", b"/no/such/path", "x" * 107, "x" * 108, "x" * 200, "\0abstract", b"\0abstract", "a\0b",
                                ("a", 1), 5, bytearray(b"/no/such")], ids=repr)
def test_unix_addresses(same, to):
    async def main(lab):
        client = await bound(lab, "unix")
        got = outcome(client.transport.sendto, b"x", to)
        await lab.ticks()
        await lab.end(client)
        return got
    same(scenario(main))


def test_abstract_address(same):
    async def main(lab):
        name = f"\0pyasync-{os.getpid()}-{id(lab)}"
        server = await endpoint(lab, "server", local_addr=name, family=socket.AF_UNIX)
        client = await endpoint(lab, "client", remote_addr=name, family=socket.AF_UNIX)
        client.transport.sendto(b"hidden")
        await lab.seen("data")
        got = [server.addr, type(address(server)).__name__]
        await lab.end(client, server)
        return got
    same(scenario(main))


@pytest.mark.parametrize("data", ["text", 5, None, [1, 2], (b"a",), object], ids=repr)
def test_data_of_a_wrong_type(same, data):
    async def main(lab):
        client = await endpoint(lab, local_addr=("127.0.0.1", 0))
        got = outcome(client.transport.sendto, data, ("127.0.0.1", 9))
        await lab.end(client)
        return got
    assert same(scenario(main))["result"][0] == "raised"


def test_arguments(same):
    async def main(lab):
        server = await bound(lab, "udp", "server")
        client = await endpoint(lab, "client", local_addr=("127.0.0.1", 0))
        client.transport.sendto(data=b"by name", addr=address(server))
        client.transport.sendto(memoryview(bytearray(b"a b c"))[::2].tobytes(), addr=address(server))
        got = [outcome(client.transport.sendto, text=False), outcome(client.transport.sendto, b"", 1, 2, text=False),
               outcome(client.transport.sendto, b"", nothing=1, text=False)]
        await lab.seen("data", 2)
        await lab.end(client, server)
        return got
    same(scenario(main))


def test_memory_that_is_not_contiguous(same):
    """Not an error of the network: fatal."""
    async def main(lab):
        client = await endpoint(lab, local_addr=("127.0.0.1", 0))
        client.transport.sendto(memoryview(b"abcdef")[::2], ("127.0.0.1", 9))
        await lab.ticks()
        return client.transport.is_closing()
    got = same(scenario(main))
    assert got["result"] is True and got["reports"]


def test_empty_datagrams(same):
    """They are sent from 3.13 on; received always."""
    async def main(lab):
        server, client = await bound_and_connected(lab)
        client.transport.sendto(b"")
        client.transport.sendto(bytearray())
        client.transport.sendto(b"end")
        await lab.until(lambda: ["server", "data", b"end"] in lab.log)
        raw = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        raw.sendto(b"", address(server))
        raw.sendto(b"last", address(server))
        await lab.until(lambda: ["server", "data", b"last"] in lab.log)
        await lab.end(client, server)
        return take(lab, "server")
    got = same(scenario(main))
    assert [e[2] for e in got["result"] if e[1] == "data"] == ([b"", b""] if PY >= (3, 13) else []) + [b"end", b"", b"last"]


@pytest.mark.parametrize("size", [1, 1472, 1473, 65507])
def test_sizes(same, size):
    async def main(lab):
        server, client = await bound_and_connected(lab)
        client.transport.sendto(os.urandom(1) * size)
        await lab.seen("data")
        await lab.end(client, server)
        return [len(e[2]) for e in lab.log if e[:2] == ["server", "data"]]
    assert same(scenario(lambda lab: sizes_only(main, lab)))["result"] == [size]


async def sizes_only(main, lab):
    got = await main(lab)
    lab.log.clear()
    return got


def test_the_largest_unix_datagram(same):
    async def main(lab):
        a, b = dgram_pair(lab, sndbuf=400_000)
        p = await endpoint(lab, sock=a)
        b.send(b"x" * 200_000)
        await lab.seen("data")
        got = [len(e[1]) for e in lab.log if e[0] == "data"]
        lab.log.clear()
        await lab.end(p)
        return got
    assert same(scenario(main))["result"] == [200_000]


# ---- the end ----

@pytest.mark.parametrize("how", ["close", "abort"])
def test_ends(same, how):
    async def main(lab):
        p = await bound(lab, "udp")
        t = p.transport
        getattr(t, how)()
        state = [t.is_closing(), t.is_reading()]
        await lab.ticks()
        getattr(t, how)()
        await lab.ticks()
        return state + [t.is_closing(), t.get_protocol(), repr(t)]
    same(scenario(main))


def test_sending_on_a_lost_endpoint(same):
    """One with a fixed address counts and at last warns; one without still sends until it is closed."""
    async def main(lab):
        server = await bound(lab, "udp", "server")
        fixed = await endpoint(lab, "fixed", remote_addr=address(server))
        free = await endpoint(lab, "free", local_addr=("127.0.0.1", 0))
        fixed.transport.close()
        free.transport.close()
        for i in range(8):
            fixed.transport.sendto(b"fixed")
        free.transport.sendto(b"free", address(server))
        await lab.seen("lost", 2)
        got = [outcome(free.transport.sendto, b"late", address(server)), fixed.transport._conn_lost]
        fixed.transport.sendto(b"late")
        await lab.seen("data")
        await lab.end(server)
        return got
    got = same(scenario(main))
    assert got["records"] == [["WARNING", "socket.send() raised exception."]] * 5


def test_forgotten(aio, errors, loop):
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    a.setblocking(False)

    class Quiet(asyncio.DatagramProtocol):
        pass

    transport, _ = loop.run_until_complete(loop.create_datagram_endpoint(Quiet, sock=a))
    transport.pause_reading()
    with pytest.warns(ResourceWarning, match="unclosed transport <"):
        del transport, _
        gc.collect()
    assert a.fileno() == -1
    b.close()


def test_socket_closed_behind_the_transport(same):
    async def main(lab):
        p = await bound(lab, "udp")
        sock = p.transport._sock
        await lab.end(p)
        return [sock.fileno(), p.transport._sock]
    assert same(scenario(main))["result"] == [-1, None]


# ---- what can be asked ----

def test_extra_info_and_repr(same):
    async def main(lab):
        server = await bound(lab, "udp")
        client = await endpoint(lab, remote_addr=address(server))
        t = client.transport
        info = [t.get_extra_info("peername") == address(server), t.get_extra_info("sockname") == t._sock.getsockname(),
                type(t.get_extra_info("socket")).__name__, t.get_extra_info("socket").fileno() == t._sock_fd,
                t.get_extra_info("nothing", 7), sorted(t._extra), server.transport.get_extra_info("peername", 8)]
        info += [repr(t), t.max_size, isinstance(t, asyncio.DatagramTransport) or PY < (3, 12), isinstance(t, asyncio.Transport),
                 t.get_write_buffer_size(), list(t.get_write_buffer_limits()), t._address == address(server), server.transport._address]
        client.transport.close()
        info.append(repr(t))
        await lab.end(server)
        return info + [repr(t)]
    same(scenario(main))


def test_debug_mode(same):
    async def main(lab):
        server, client = await bound_and_connected(lab, datagram_received=lambda p, data: p.transport.sendto(data, p.addr))
        client.transport.sendto(b"x")
        await lab.until(lambda: ["client", "data", b"x"] in lab.log)
        client.transport.pause_reading()
        client.transport.resume_reading()
        await lab.end(client, server)
        return take(lab, "client")

    def run(aio):
        got = scenario(main, debug=True)(aio)
        got["records"] = [r for r in got["records"] if "Datagram endpoint" in r[1] or "Transport" in r[1]]
        got["records"] = [[level, text.split(" created")[0].split(" connected")[0].split(":")[0]] for level, text in got["records"]]
        return got
    same(run)


@pytest.mark.parametrize("options", [
    {}, {"local_addr": ("127.0.0.1", 0), "reuse_port": True}, {"family": socket.AF_INET, "allow_broadcast": True},
    {"remote_addr": ("127.0.0.1", 9), "allow_broadcast": True}, {"local_addr": ("::1", 0), "remote_addr": ("127.0.0.1", 9)},
    {"local_addr": ("127.0.0.1", 0), "remote_addr": ("127.0.0.1", 9), "proto": socket.IPPROTO_UDP}, {"sock": "stream"},
    {"sock": "dgram", "local_addr": ("127.0.0.1", 0)}, {"local_addr": 5, "family": socket.AF_UNIX}, {"local_addr": "abc"},
    {"family": socket.AF_INET, "flags": socket.AI_PASSIVE}], ids=repr)
def test_options(same, options):
    async def main(lab):
        given = dict(options)
        if given.get("sock") == "stream":
            given["sock"] = lab.keep(socket.socket())
        elif "sock" in given:
            given["sock"] = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        try:
            p = await endpoint(lab, **given)
        except (OSError, ValueError, TypeError) as e:
            return [type(e).__name__, len(str(e)) > 0]
        sock = p.transport.get_extra_info("socket")
        info = [int(sock.family), sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST) != 0, p.transport.get_extra_info("peername"),
                outcome(p.transport.sendto, b"x", ("127.0.0.1", 10))]
        await lab.end(p)
        lab.log.clear()
        return info
    same(scenario(main))


def test_context_of_the_callbacks(same):
    var = contextvars.ContextVar("var", default="none")

    async def main(lab):
        def note(p, *args):
            p.log.append(var.get())
            var.set("changed")
        var.set("creation")
        server = await bound(lab, "udp", hooks={"connection_made": note, "datagram_received": note, "connection_lost": note})
        var.set("later")
        raw = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        raw.sendto(b"1", address(server))
        await lab.seen("data")
        raw.sendto(b"2", address(server))
        await lab.seen("data", 2)
        var.set("closing")
        await lab.end(server)
        return var.get()
    same(scenario(main))


@pytest.mark.parametrize("error", [errno.ECONNREFUSED])
def test_the_loop_closes_first(same, error):
    def run(aio):
        with Lab(aio) as lab:
            p = lab.run(bound(lab, "udp"))
            t = p.transport
            t.sendto(b"x", ("127.0.0.1", 9))
            lab.loop.close()
            got = [repr(t).split()[0], outcome(t.sendto, b"x", ("127.0.0.1", 9)), outcome(t.close, text=False)]
            t._sock.close() if t._sock is not None else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            del t, p
            gc.collect()
        return clean(got)
    same(run)
