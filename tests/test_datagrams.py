"""Datagram endpoints: UDP and Unix sockets, what arrives, what cannot be sent, what waits for room."""
import asyncio
import errno
import os
import socket
import sys
import tempfile

import pytest

from lab import clean, scenario
from support import outcome, plain

PY = sys.version_info
KINDS = ("udp", "udp6", "unix")


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


class Datagrams(asyncio.DatagramProtocol):
    """Writes down what it is told; hooks are called with the protocol and the arguments."""

    def __init__(self, log, name=None, **hooks):
        self.log, self.name, self.hooks, self.transport = log, name, hooks, None

    def note(self, event, *args):
        self.log.append(([self.name] if self.name else []) + [event, *args])
        if event in self.hooks:
            self.hooks[event](self, *args)

    def connection_made(self, transport):
        self.transport = transport
        self.note("made")

    def datagram_received(self, data, addr):
        assert type(data) is bytes
        self.addr = addr
        self.note("data", data)

    def error_received(self, exc):
        self.note("error", plain(exc))

    def pause_writing(self):
        self.note("pause")

    def resume_writing(self):
        self.note("resume")

    def connection_lost(self, exc):
        self.note("lost", plain(exc))


async def endpoint(lab, name=None, hooks=None, **options):
    protocol = Datagrams(lab.log, name, **(hooks or {}))
    transport, got = await lab.loop.create_datagram_endpoint(lambda: protocol, **options)
    assert got is protocol and protocol.transport is transport
    return protocol


async def bound(lab, kind="udp", name=None, hooks=None, **options):
    """An endpoint with an address of its own."""
    if kind == "unix":
        path = os.path.join(tempfile.mkdtemp(dir=getattr(lab, "tmp", None)), "s")
        return await endpoint(lab, name, hooks, local_addr=path, family=socket.AF_UNIX, **options)
    return await endpoint(lab, name, hooks, local_addr=("127.0.0.1" if kind == "udp" else "::1", 0), **options)


def address(protocol):
    return protocol.transport.get_extra_info("sockname")


def dgram_pair(lab, sndbuf=None):
    a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    for s in (a, b):
        s.setblocking(False)
        if sndbuf:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, sndbuf)
    return lab.keep(a, b)


def take(lab, name):
    """The log of one endpoint. How those of several sockets mix is the poller's affair."""
    taken, lab.log[:] = [e for e in lab.log if e[0] == name], []
    return taken


def kinds(test):
    marks = [pytest.param(k, marks=pytest.mark.skipif(k == "udp6" and not has_ipv6(), reason="no IPv6")) for k in KINDS]
    return pytest.mark.parametrize("kind", marks)(test)


# ---- sending and receiving ----

@kinds
def test_there_and_back(same, kind):
    async def main(lab):
        server = await bound(lab, kind, "server", {"data": lambda p, data: p.transport.sendto(data.upper(), p.addr)})
        client = await bound(lab, kind, "client")
        for i in range(5):
            client.transport.sendto(b"datagram %d" % i, address(server))
        await lab.until(lambda: sum(e[:2] == ["client", "data"] for e in lab.log) == 5)
        assert client.addr == address(server) and server.addr == address(client)
        assert type(client.addr) is type(address(server))
        client.transport.close()
        server.transport.close()
        await lab.ticks()
        return take(lab, "client")
    got = same(scenario(main))
    assert got["result"] == [["client", "made"]] + [["client", "data", "b'DATAGRAM %d'" % i] if False else
                                                    ["client", "data", b"DATAGRAM %d" % i] for i in range(5)] + [["client", "lost", None]]


@kinds
def test_connected_endpoint(same, kind):
    async def main(lab):
        server = await bound(lab, kind, "server", {"data": lambda p, data: None})
        client = await endpoint(lab, "client", remote_addr=address(server) if kind == "unix" else address(server)[:2],
                                family=server.transport.get_extra_info("socket").family)
        client.transport.sendto(b"one")
        client.transport.sendto(bytearray(b"two"), None)
        client.transport.sendto(memoryview(b"three"), client.transport._address)
        wrong = outcome(client.transport.sendto, b"x", ("127.0.0.1", 1), text=False)
        await lab.until(lambda: sum(e[:2] == ["server", "data"] for e in lab.log) == 3)
        peer = client.transport.get_extra_info("peername") == address(server)
        client.transport.close()
        server.transport.close()
        await lab.ticks()
        return [wrong, peer, take(lab, "server")]
    got = same(scenario(main))
    assert got["result"][0] == ["raised", "ValueError"]


def test_text_of_a_wrong_address(same):
    async def main(lab):
        client = await endpoint(lab, remote_addr=("127.0.0.1", 9))
        got = [outcome(client.transport.sendto, b"x", addr) for addr in (("127.0.0.1", 10), 5, "a")]
        client.transport.close()
        await lab.ticks()
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
        client.transport.close()
        await lab.ticks()
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
        client.transport.close()
        await lab.ticks()
        return got
    same(scenario(main))


@pytest.mark.parametrize("to", ["", "/no/such/path", b"/no/such/path", "x" * 107, "x" * 108, "x" * 200, "\0abstract", b"\0abstract", "a\0b",
                                ("a", 1), 5, bytearray(b"/no/such")], ids=repr)
def test_unix_addresses(same, to):
    async def main(lab):
        client = await bound(lab, "unix")
        got = outcome(client.transport.sendto, b"x", to)
        await lab.ticks()
        client.transport.close()
        await lab.ticks()
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
        client.transport.close()
        server.transport.close()
        await lab.ticks()
        return got
    same(scenario(main))


@pytest.mark.parametrize("data", ["text", 5, None, [1, 2], (b"a",), object], ids=repr)
def test_data_of_a_wrong_type(same, data):
    async def main(lab):
        client = await endpoint(lab, local_addr=("127.0.0.1", 0))
        got = outcome(client.transport.sendto, data, ("127.0.0.1", 9))
        client.transport.close()
        await lab.ticks()
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
        for p in (client, server):
            p.transport.close()
        await lab.ticks()
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
        server = await bound(lab, "udp", "server")
        client = await endpoint(lab, "client", remote_addr=address(server))
        client.transport.sendto(b"")
        client.transport.sendto(bytearray())
        client.transport.sendto(b"end")
        await lab.until(lambda: ["server", "data", b"end"] in lab.log)
        raw = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        raw.sendto(b"", address(server))
        raw.sendto(b"last", address(server))
        await lab.until(lambda: ["server", "data", b"last"] in lab.log)
        for p in (client, server):
            p.transport.close()
        await lab.ticks()
        return take(lab, "server")
    got = same(scenario(main))
    assert [e[2] for e in got["result"] if e[1] == "data"] == ([b"", b""] if PY >= (3, 13) else []) + [b"end", b"", b"last"]


@pytest.mark.parametrize("size", [1, 1472, 1473, 65507])
def test_sizes(same, size):
    async def main(lab):
        server = await bound(lab, "udp", "server")
        client = await endpoint(lab, "client", remote_addr=address(server))
        client.transport.sendto(os.urandom(1) * size)
        await lab.seen("data")
        for p in (client, server):
            p.transport.close()
        await lab.ticks()
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
        p.transport.close()
        await lab.ticks()
        return got
    assert same(scenario(main))["result"] == [200_000]


# ---- errors ----

@pytest.mark.parametrize("size", [65508, 100_000])
def test_a_datagram_that_is_too_large(same, size):
    async def main(lab):
        server = await bound(lab, "udp", "server")
        client = await endpoint(lab, "client", remote_addr=address(server))
        client.transport.sendto(b"x" * size)
        client.transport.sendto(b"small")
        await lab.seen("data")
        for p in (client, server):
            p.transport.close()
        await lab.ticks()
        return take(lab, "client")
    got = same(scenario(main))
    assert ["client", "error", ["OSError", f"[Errno {errno.EMSGSIZE}] {os.strerror(errno.EMSGSIZE)}"]] in got["result"]


def test_nobody_listens(same):
    """A connected endpoint hears of the ICMP message."""
    async def main(lab):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(("127.0.0.1", 0))
            nobody = s.getsockname()
        client = await endpoint(lab, remote_addr=nobody)
        client.transport.sendto(b"anyone?")
        await lab.seen("error")
        again = client.transport.is_closing()
        client.transport.sendto(b"anyone?")
        await lab.seen("error", 2)
        client.transport.close()
        await lab.ticks()
        return again
    got = same(scenario(main))
    assert got["log"][1] == ["error", ["ConnectionRefusedError", "[Errno 111] Connection refused"]]


def test_the_error_callback_fails(same):
    async def main(lab):
        def bad(p, exc):
            raise ZeroDivisionError("in error_received")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(("127.0.0.1", 0))
            nobody = s.getsockname()
        client = await endpoint(lab, remote_addr=nobody, hooks={"error": bad})
        client.transport.sendto(b"anyone?")
        await lab.seen("error")
        direct = outcome(client.transport.sendto, b"x" * 70_000)
        await lab.ticks()
        client.transport.close()
        await lab.ticks()
        return direct
    got = same(scenario(main))
    assert got["result"] == ["raised", "ZeroDivisionError", "in error_received"] and len(got["reports"]) == 1


def test_the_data_callback_fails(same):
    """Told to the loop; the next datagram is received as if nothing had been."""
    async def main(lab):
        def bad(p, data):
            if data == b"2":
                raise ZeroDivisionError(data.decode())
        server = await bound(lab, "udp", hooks={"data": bad})
        raw = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for i in range(4):
            raw.sendto(b"%d" % i, address(server))
        await lab.seen("data", 4)
        server.transport.close()
        await lab.ticks()
        return True
    got = same(scenario(main))
    assert len(got["reports"]) == 1 and got["log"][-1] == ["lost", None]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_callback_ends_the_loop(same, kind):
    """What arrived and was not delivered yet is delivered in the next run."""
    def run(aio):
        from lab import Lab
        with Lab(aio) as lab:
            def bad(p, data):
                if data == b"1":
                    raise kind("now")
            server = lab.run(bound(lab, "udp", hooks={"data": bad}))
            raw = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            for i in range(4):
                raw.sendto(b"%d" % i, address(server))
            got = []
            try:
                lab.run(asyncio.sleep(5))
            except kind as e:
                got.append(clean(e))
            lab.run(lab.seen("data", 4))
            server.transport.close()
            lab.run(lab.ticks())
            return got + clean(lab.log)
    same(run)


# ---- order ----

def test_what_the_protocol_schedules_comes_before_the_next_datagram(same):
    async def main(lab):
        def step(p, data):
            p.log.append(["soon", data])
        server = await bound(lab, "udp", hooks={"data": lambda p, data: lab.loop.call_soon(step, p, data)})
        raw = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for i in range(40):
            raw.sendto(b"%d" % i, address(server))
        await lab.until(lambda: ["soon", b"39"] in lab.log)
        server.transport.close()
        await lab.ticks()
        return True
    got = same(scenario(main))
    assert got["log"][1:-1] == [[what, b"%d" % i] for i in range(40) for what in ("data", "soon")]


def test_a_task_takes_each_datagram_before_the_next(same):
    """A protocol that keeps one datagram only: with asyncio none is lost, because each comes in a tick of its own."""
    async def main(lab):
        slot = []

        def received(p, data):
            if not slot or slot[0].done():
                lab.log.append("missed")
            else:
                slot[0].set_result(data)
        server = await bound(lab, "udp", hooks={"data": received})
        slot[:] = [lab.loop.create_future()]
        raw = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for i in range(30):
            raw.sendto(b"%d" % i, address(server))
        got = []
        for i in range(30):
            got.append(await asyncio.wait_for(slot[0], 10) if PY >= (3, 12) else await slot[0])
            slot[:] = [lab.loop.create_future()]
        server.transport.close()
        await lab.ticks()
        return got
    got = same(scenario(main))
    assert got["result"] == [b"%d" % i for i in range(30)] and "missed" not in got["log"]


def test_closing_in_a_callback_is_the_end(same):
    async def main(lab):
        server = await bound(lab, "udp", hooks={"data": lambda p, data: data == b"2" and p.transport.close()})
        raw = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for i in range(6):
            raw.sendto(b"%d" % i, address(server))
        await lab.seen("lost")
        return True
    got = same(scenario(main))
    assert [e[1] for e in got["log"] if e[0] == "data"] == [b"0", b"1", b"2"]


def test_pausing_in_a_callback(same):
    async def main(lab):
        server = await bound(lab, "udp", hooks={"data": lambda p, data: data in (b"1", b"3") and p.transport.pause_reading()})
        raw = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for i in range(6):
            raw.sendto(b"%d" % i, address(server))
        await lab.seen("data", 2)
        await lab.ticks(5)
        seen = [len(lab.log), server.transport.is_reading()]
        server.transport.resume_reading()
        await lab.seen("data", 4)
        await lab.ticks(5)
        seen += [len(lab.log), server.transport.is_reading()]
        server.transport.pause_reading()
        server.transport.resume_reading()
        server.transport.resume_reading()
        await lab.seen("data", 6)
        server.transport.close()
        server.transport.resume_reading()
        await lab.ticks()
        return seen
    assert same(scenario(main))["result"] == [3, False, 5, False]


def test_another_protocol(same):
    async def main(lab):
        second = Datagrams(lab.log, "second")
        server = await bound(lab, "udp", "first", hooks={"data": lambda p, data: p.transport.set_protocol(second)})
        raw = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for i in range(3):
            raw.sendto(b"%d" % i, address(server))
        await lab.seen("data", 3)
        got = server.transport.get_protocol() is second
        server.transport.close()
        await lab.ticks()
        return got
    assert same(scenario(main))["result"] is True


# ---- waiting for room ----

def fill(p, size=1000):
    """Sends until one has to wait; how many there were."""
    for n in range(10_000):
        if p.transport.get_write_buffer_size():
            return n
        p.transport.sendto(b"%06d" % n + b"." * (size - 6))
    raise AssertionError("never full")


def drain(sock):
    got = []
    while True:
        try:
            got.append(sock.recv(1 << 18))
        except BlockingIOError:
            return got


async def unix_sender(lab, **limits):
    """A connected sender with a slow reader: Unix datagrams wait for room, UDP's are dropped."""
    path = os.path.join(tempfile.mkdtemp(), "s")
    peer = lab.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    peer.setblocking(False)
    peer.bind(path)
    p = await endpoint(lab, remote_addr=path, family=socket.AF_UNIX)
    if limits:
        p.transport.set_write_buffer_limits(**limits)
    return p, peer


def test_queue_and_water_marks(same):
    async def main(lab):
        p, peer = await unix_sender(lab, high=3000, low=1000)
        n = fill(p)
        sizes = [p.transport.get_write_buffer_size()]
        for i in range(3):
            p.transport.sendto(b"more")
            sizes.append(p.transport.get_write_buffer_size())
        p.transport.sendto(b"x" * 3000)
        sizes.append(p.transport.get_write_buffer_size())
        limits = p.transport.get_write_buffer_limits()
        received = []
        while not received or received[-1] != b"x" * 3000:
            received += drain(peer)
            await asyncio.sleep(0)
        await lab.until(lambda: ["resume"] in lab.log)
        order = [d[:6] for d in received[:n]] == [b"%06d" % i for i in range(n)]
        p.transport.sendto(b"after")
        direct = drain(peer)
        p.transport.close()
        await lab.ticks()
        return [sizes, list(limits), order, len(received) - n, direct, repr(p.transport).split()[0]]
    got = same(scenario(main))
    cost = 8 if PY >= (3, 13) else 0
    assert got["result"][0][0] == 1000 + cost and got["result"][2] is True
    assert got["log"] == [["made"], ["pause"], ["resume"], ["lost", None]]


def test_what_is_queued_is_a_copy(same):
    async def main(lab):
        p, peer = await unix_sender(lab)
        n = fill(p)
        data = bytearray(b"mutable")
        p.transport.sendto(data)
        p.transport.sendto(memoryview(data))
        data[:] = b"CHANGED"
        received = []
        while len(received) < n + 2:
            received += drain(peer)
            await asyncio.sleep(0)
        p.transport.close()
        await lab.ticks()
        return received[n:]
    assert same(scenario(main))["result"] == [b"mutable", b"mutable"]


def test_close_sends_what_is_queued(same):
    async def main(lab):
        p, peer = await unix_sender(lab)
        n = fill(p)
        p.transport.sendto(b"last")
        p.transport.close()
        p.transport.close()
        state = [p.transport.is_closing(), p.transport.get_write_buffer_size() > 0]
        await lab.ticks()
        state.append(["lost", None] in lab.log)
        received = []
        while len(received) < n + 1:
            received += drain(peer)
            await asyncio.sleep(0)
        await lab.seen("lost")
        return state + [received[-1]]
    assert same(scenario(main))["result"] == [True, True, False, b"last"]


def test_abort_drops_what_is_queued(same):
    async def main(lab):
        p, peer = await unix_sender(lab)
        n = fill(p)
        p.transport.sendto(b"last")
        p.transport.abort()
        p.transport.abort()
        size = p.transport.get_write_buffer_size() if PY >= (3, 15) else None
        await lab.seen("lost")
        return [len(drain(peer)) - n, p.transport.is_closing()]
    assert same(scenario(main))["result"] == [-1, True]


def test_the_reader_of_queued_datagrams_goes(same):
    """Each queued datagram fails by itself, the transport stays."""
    async def main(lab):
        p, peer = await unix_sender(lab)
        fill(p)
        p.transport.sendto(b"second")
        peer.close()
        await lab.seen("error", 2)
        got = [p.transport.is_closing(), len([e for e in lab.log if e[0] == "error"])]
        p.transport.close()
        await lab.seen("lost")
        return got
    assert same(scenario(main))["result"] == [False, 2]


def test_writing_goes_on_in_resume_writing(same):
    async def main(lab):
        def more(p):
            if len(again) < 3:
                again.append(1)
                p.transport.sendto(b"from resume %d" % len(again))
        again = []
        protocol = {"resume": more}
        path = os.path.join(tempfile.mkdtemp(), "s")
        peer = lab.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        peer.setblocking(False)
        peer.bind(path)
        p = await endpoint(lab, hooks=protocol, remote_addr=path, family=socket.AF_UNIX)
        p.transport.set_write_buffer_limits(high=500, low=400)
        fill(p)
        received = []
        while b"from resume 1" not in received:
            received += drain(peer)
            await asyncio.sleep(0)
        p.transport.close()
        await lab.seen("lost")
        return received[-1]
    same(scenario(main))


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
        server.transport.close()
        await lab.ticks()
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
        import gc
        gc.collect()
    assert a.fileno() == -1
    b.close()


def test_socket_closed_behind_the_transport(same):
    async def main(lab):
        p = await bound(lab, "udp")
        sock = p.transport._sock
        p.transport.close()
        await lab.ticks()
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
        server.transport.close()
        await lab.ticks()
        return info + [repr(t)]
    same(scenario(main))


def test_debug_mode(same):
    async def main(lab):
        server = await bound(lab, "udp", "server", {"data": lambda p, data: p.transport.sendto(data, p.addr)})
        client = await endpoint(lab, "client", remote_addr=address(server))
        client.transport.sendto(b"x")
        await lab.until(lambda: ["client", "data", b"x"] in lab.log)
        client.transport.pause_reading()
        client.transport.resume_reading()
        for p in (client, server):
            p.transport.close()
        await lab.ticks()
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
        p.transport.close()
        await lab.ticks()
        lab.log.clear()
        return info
    same(scenario(main))


def test_context_of_the_callbacks(same):
    import contextvars
    var = contextvars.ContextVar("var", default="none")

    async def main(lab):
        def note(p, *args):
            p.log.append(var.get())
            var.set("changed")
        var.set("creation")
        server = await bound(lab, "udp", hooks={"made": note, "data": note, "lost": note})
        var.set("later")
        raw = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        raw.sendto(b"1", address(server))
        await lab.seen("data")
        raw.sendto(b"2", address(server))
        await lab.seen("data", 2)
        var.set("closing")
        server.transport.close()
        await lab.ticks()
        return var.get()
    same(scenario(main))


@pytest.mark.parametrize("error", [errno.ECONNREFUSED])
def test_the_loop_closes_first(same, error):
    def run(aio):
        from lab import Lab
        with Lab(aio) as lab:
            p = lab.run(bound(lab, "udp"))
            t = p.transport
            t.sendto(b"x", ("127.0.0.1", 9))
            lab.loop.close()
            got = [repr(t).split()[0], outcome(t.sendto, b"x", ("127.0.0.1", 9)), outcome(t.close, text=False)]
            t._sock.close() if t._sock is not None else None
        import warnings
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            del t, p
            import gc
            gc.collect()
        return clean(got)
    same(run)
