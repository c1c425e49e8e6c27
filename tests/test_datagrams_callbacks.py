"""Datagram endpoints: errors told to the protocol, callbacks that fail, and the order of callbacks and datagrams."""
import asyncio
import errno
import os
import socket

import pytest

from endpoints import Datagrams, address, bound, bound_and_connected, endpoint, take
from lab import Lab, clean, scenario
from support import PY, outcome


# ---- errors ----

@pytest.mark.parametrize("size", [65508, 100_000])
def test_a_datagram_that_is_too_large(same, size):
    async def main(lab):
        server, client = await bound_and_connected(lab)
        client.transport.sendto(b"x" * size)
        client.transport.sendto(b"small")
        await lab.seen("data")
        await lab.end(client, server)
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
        await lab.end(client)
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
        client = await endpoint(lab, remote_addr=nobody, hooks={"error_received": bad})
        client.transport.sendto(b"anyone?")
        await lab.seen("error")
        direct = outcome(client.transport.sendto, b"x" * 70_000)
        await lab.ticks()
        await lab.end(client)
        return direct
    got = same(scenario(main))
    assert got["result"] == ["raised", "ZeroDivisionError", "in error_received"] and len(got["reports"]) == 1


def test_the_data_callback_fails(same):
    """Told to the loop; the next datagram is received as if nothing had been."""
    async def main(lab):
        def bad(p, data):
            if data == b"2":
                raise ZeroDivisionError(data.decode())
        server = await bound(lab, "udp", hooks={"datagram_received": bad})
        raw = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for i in range(4):
            raw.sendto(b"%d" % i, address(server))
        await lab.seen("data", 4)
        await lab.end(server)
        return True
    got = same(scenario(main))
    assert len(got["reports"]) == 1 and got["log"][-1] == ["lost", None]


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_callback_ends_the_loop(same, kind):
    """What arrived and was not delivered yet is delivered in the next run."""
    def run(aio):
        with Lab(aio) as lab:
            def bad(p, data):
                if data == b"1":
                    raise kind("now")
            server = lab.run(bound(lab, "udp", hooks={"datagram_received": bad}))
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
        server = await bound(lab, "udp", hooks={"datagram_received": lambda p, data: lab.loop.call_soon(step, p, data)})
        raw = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for i in range(40):
            raw.sendto(b"%d" % i, address(server))
        await lab.until(lambda: ["soon", b"39"] in lab.log)
        await lab.end(server)
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
        server = await bound(lab, "udp", hooks={"datagram_received": received})
        slot[:] = [lab.loop.create_future()]
        raw = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for i in range(30):
            raw.sendto(b"%d" % i, address(server))
        got = []
        for i in range(30):
            got.append(await asyncio.wait_for(slot[0], 10) if PY >= (3, 12) else await slot[0])
            slot[:] = [lab.loop.create_future()]
        await lab.end(server)
        return got
    got = same(scenario(main))
    assert got["result"] == [b"%d" % i for i in range(30)] and "missed" not in got["log"]


def test_closing_in_a_callback_is_the_end(same):
    async def main(lab):
        server = await bound(lab, "udp", hooks={"datagram_received": lambda p, data: data == b"2" and p.transport.close()})
        raw = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for i in range(6):
            raw.sendto(b"%d" % i, address(server))
        await lab.seen("lost")
        return True
    got = same(scenario(main))
    assert [e[1] for e in got["log"] if e[0] == "data"] == [b"0", b"1", b"2"]


def test_pausing_in_a_callback(same):
    async def main(lab):
        server = await bound(lab, "udp", hooks={"datagram_received": lambda p, data: data in (b"1", b"3") and p.transport.pause_reading()})
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
        server = await bound(lab, "udp", "first", hooks={"datagram_received": lambda p, data: p.transport.set_protocol(second)})
        raw = lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        for i in range(3):
            raw.sendto(b"%d" % i, address(server))
        await lab.seen("data", 3)
        got = server.transport.get_protocol() is second
        await lab.end(server)
        return got
    assert same(scenario(main))["result"] is True
