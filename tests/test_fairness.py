"""A busy peer keeps neither the others nor the timers waiting: how much of its work is done before they have their turn is counted,
not timed."""
import asyncio
import os
import socket
import threading

import pytest

from lab import scenario
from lab_tls import Peer

ROUNDS = 30


class Flood:
    """Peers that send as fast as they can, from a thread; `turns` is how often the loop has served them."""

    def __init__(self, lab, kind, count):
        self.lab, self.kind, self.count, self.turns, self.hook = lab, kind, count, 0, None

    async def __aenter__(self):
        self.transports, self.peers, self.over = [], [], False
        for _ in range(self.count):
            await getattr(self, self.kind)()
        self.thread = threading.Thread(target=self.send)
        self.thread.start()
        await self.lab.until(lambda: self.turns >= self.count)
        return self

    async def __aexit__(self, *exc_info):
        self.over = True
        self.thread.join()
        for t in self.transports:
            t.abort()
        await asyncio.sleep(0.01)

    def send(self):
        data = b"x" * (60_000 if self.kind != "datagrams" else 1000)
        while not self.over:
            for peer in self.peers:
                try:
                    peer(data)
                except (BlockingIOError, ConnectionError):
                    pass

    def served(self):
        self.turns += 1
        if self.hook is not None:
            self.hook()

    def protocol(self, base):
        flood = self

        class Protocol(base):
            def data_received(self, data):
                flood.served()

            def datagram_received(self, data, addr):
                flood.served()
        return Protocol

    async def stream(self):
        a, b = self.lab.pair("tcp")
        t, _ = await self.lab.loop.create_connection(self.protocol(asyncio.Protocol), sock=a)
        self.transports.append(t)
        self.peers.append(b.send)

    async def tls(self):
        """A stream of records, each made when the last is sent."""
        a, b = self.lab.pair("tcp")
        peer = Peer(self.lab, b, self.lab.tls.client(), False)
        task = asyncio.ensure_future(self.lab.loop.connect_accepted_socket(self.protocol(asyncio.Protocol), a, ssl=self.lab.tls.server()))
        await peer.handshake()
        self.transports.append((await task)[0])
        left = b""

        def send(data):
            nonlocal left
            left = left or peer.record(data[:16000])
            left = left[b.send(left):]
        self.peers.append(send)

    async def datagrams(self):
        t, _ = await self.lab.loop.create_datagram_endpoint(self.protocol(asyncio.DatagramProtocol), local_addr=("127.0.0.1", 0))
        sock = self.lab.keep(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.setblocking(False)
        sock.connect(t.get_extra_info("sockname"))
        self.transports.append(t)
        self.peers.append(sock.send)

    async def pipe(self):
        r, w = os.pipe()
        t, _ = await self.lab.loop.connect_read_pipe(self.protocol(asyncio.Protocol), os.fdopen(r, "rb", 0))
        os.set_blocking(w, False)
        self.lab.keep(os.fdopen(w, "wb", 0))
        self.transports.append(t)
        self.peers.append(lambda data: os.write(w, data))


# How many of the flood's callbacks may come first: what one tick serves, and what the tick that was running had left.
BOUND = {"stream": 1, "pipe": 1, "tls": 1, "datagrams": 16}


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("kind", BOUND)
def test_a_quiet_connection_beside_a_flood(aio, tls, kind, count):
    async def main(lab):
        lab.tls, waits = tls, []
        a, b = lab.pair("unix")

        class Quiet(asyncio.Protocol):
            def data_received(self, data):
                waits.append(flood.turns - sent[0])
                sent[0] = None
        quiet, _ = await lab.loop.create_connection(Quiet, sock=a)
        async with Flood(lab, kind, count) as flood:
            sent = [None]

            def hook():
                if sent[0] is None:
                    b.send(b"?")
                    sent[0] = flood.turns
            flood.hook = hook
            await lab.until(lambda: len(waits) >= ROUNDS)
            flood.hook = None
        quiet.close()
        return max(waits)
    got = scenario(main)(aio)
    assert got["result"] <= 2 * BOUND[kind] * count


@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("kind", BOUND)
@pytest.mark.parametrize("what", ["call_soon", "call_later"])
def test_callbacks_and_timers_beside_a_flood(aio, tls, kind, count, what):
    async def main(lab):
        lab.tls, waits = tls, []
        async with Flood(lab, kind, count) as flood:
            sent = [None]

            def called():
                waits.append(flood.turns - sent[0])
                sent[0] = None

            def hook():
                if sent[0] is None:
                    sent[0] = flood.turns
                    if what == "call_soon":
                        lab.loop.call_soon(called)
                    else:
                        lab.loop.call_later(0, called)
            flood.hook = hook
            await lab.until(lambda: len(waits) >= ROUNDS)
            flood.hook = None
        return max(waits)
    got = scenario(main)(aio)
    assert got["result"] <= 2 * BOUND[kind] * count
