"""Datagram endpoints: what waits for room in the kernel, water marks."""
import asyncio
import os
import socket
import tempfile

from endpoints import drain, endpoint, fill, unix_sender
from lab import scenario
from support import PY


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
        await lab.end(p)
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
        await lab.end(p)
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
        path = os.path.join(tempfile.mkdtemp(), "s")
        peer = lab.keep(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        peer.setblocking(False)
        peer.bind(path)
        p = await endpoint(lab, hooks={"resume_writing": more}, remote_addr=path, family=socket.AF_UNIX)
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
