"""For tests of datagrams, over a Lab (lab.py): endpoints with a protocol that writes everything down."""
import asyncio
import os
import socket
import tempfile

import pytest

from lab import Recorder
from support import plain

KINDS = ("udp", "udp6", "unix")


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


class Datagrams(Recorder, asyncio.DatagramProtocol):
    data_received = eof_received = None

    def note(self, event, *args):
        self.log.append(self.entry(event, *args))      # a datagram is not cut into pieces: the log tells each apart

    def datagram_received(self, data, addr):
        assert type(data) is bytes
        self.addr = addr
        self.note("data", data)
        self.hook("datagram_received", data)

    def error_received(self, exc):
        self.note("error", plain(exc))
        self.hook("error_received", exc)


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


async def bound_and_connected(lab, **hooks):
    """A UDP endpoint, with hooks, and one that sends to it."""
    server = await bound(lab, "udp", "server", hooks)
    return server, await endpoint(lab, "client", remote_addr=address(server))


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
