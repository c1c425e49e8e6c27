"""loop.sendfile() and sock_sendfile(): which part of the file, where the file stands afterwards, when it is read and written instead."""
import asyncio
import io
import os
import ssl

import pytest

from lab import clean, reset, scenario
from support import outcome

SIZE = 700_000


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(bytes(i * 7 % 251 for i in range(1000)) * (SIZE // 1000))
    return path


async def refusal(awaitable):
    try:
        return ["returned", await awaitable]
    except Exception as e:
        return [type(e).__name__, clean(str(e)).split("<")[0]]


PARTS = [(0, None), (10, None), (0, 5), (5, 5), (SIZE - 3, None), (SIZE, None), (SIZE + 10, None), (0, SIZE), (0, SIZE + 100),
         (SIZE - 10, 100), (1, SIZE // 2)]


@pytest.mark.parametrize("offset,count", PARTS)
@pytest.mark.parametrize("how", ["sock", "sock fallback", "transport", "transport fallback"])
def test_parts(same, path, offset, count, how):
    """What is sent, what is returned, where the file stands."""
    async def main(lab):
        whole = path.read_bytes()
        wanted = whole[offset:] if count is None else whole[offset:offset + count]
        with open(path, "rb") as f:
            f.seek(3)
            source = io.BytesIO(whole) if "fallback" in how else f
            if how.startswith("sock"):
                a, b = lab.pair("tcp")
                task = lab.loop.create_task(lab.loop.sock_sendfile(a, source, offset, count))
            else:
                p, b = await lab.connect("tcp")
                task = lab.loop.create_task(lab.loop.sendfile(p.transport, source, offset, count))
            received = await lab.receive(b, len(wanted))
            n = await task
            got = [n, received == wanted, source.tell()]
            if how.startswith("transport"):
                p.transport.write(b"after")
                got.append(await lab.receive(b, 5))
                await lab.end(p)
        return got
    same(scenario(main))


def test_no_fallback(same, path):
    async def main(lab):
        a, b = lab.pair("tcp")
        p, peer = await lab.connect("tcp")
        data = io.BytesIO(b"data")
        got = [await refusal(lab.loop.sock_sendfile(a, data, fallback=False)),
               await refusal(lab.loop.sendfile(p.transport, data, fallback=False))]
        r, w = os.pipe()
        os.close(w)
        with open(r, "rb", buffering=0) as pipe:
            got.append(await refusal(lab.loop.sock_sendfile(a, pipe, fallback=False)))
        got.append(await refusal(lab.loop.sock_sendfile(a, data)))
        got.append(await lab.receive(b, 4))
        await lab.end(p)
        got.append(await refusal(lab.loop.sendfile(p.transport, data)))
        t, _ = await lab.loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
        got.append(await refusal(lab.loop.sendfile(t, data)))
        t.close()
        await lab.ticks()
        return got
    got = same(scenario(main))
    assert got["result"][0][0] == "SendfileNotAvailableError"


@pytest.mark.parametrize("left", [0, 1000])
def test_a_file_that_shrinks(same, path, left):
    """What is there is sent, and the number of bytes told."""
    async def main(lab):
        a, b = lab.pair("tcp", sndbuf=16_000)
        data = path.read_bytes()
        with open(path, "r+b") as f:
            task = lab.loop.create_task(lab.loop.sock_sendfile(a, f))
            first = await lab.receive(b, 1000)
            f.truncate(left)
            while not task.done():
                try:
                    first += b.recv(1 << 16)
                except BlockingIOError:
                    await asyncio.sleep(0.001)
            n = await task
            first += await lab.receive(b, n - len(first))
            # what is under way shares the file's pages, and the last page was cut: only what had arrived is sure
            ok = [n == len(first), data[:1000] == first[:1000], n < SIZE, f.tell() == n]
        path.write_bytes(data)
        return ok
    assert same(scenario(main))["result"] == [True] * 4


def test_a_file_that_grows(same, path):
    async def main(lab):
        a, b = lab.pair("tcp", sndbuf=100_000)
        with open(path, "rb") as f, open(path, "ab") as more:
            task = lab.loop.create_task(lab.loop.sock_sendfile(a, f, 0, SIZE))
            await lab.receive(b, 1000)
            more.write(b"more")
            more.flush()
            received = await lab.receive(b, SIZE - 1000)
            got = [await task, len(received) + 1000]
        os.truncate(path, SIZE)
        return got
    assert same(scenario(main))["result"] == [SIZE, SIZE]


@pytest.mark.parametrize("how", ["sock", "transport"])
def test_the_peer_resets(same, path, how):
    async def main(lab):
        if how == "sock":
            a, b = lab.pair("tcp", sndbuf=16_000)
            sending = lambda f: lab.loop.sock_sendfile(a, f)
        else:
            p, b = await lab.connect("tcp", sndbuf=16_000)
            sending = lambda f: lab.loop.sendfile(p.transport, f)
        with open(path, "rb") as f:
            task = lab.loop.create_task(sending(f))
            await lab.receive(b, 1000)
            reset(b)
            got = await refusal(task)
        if how == "transport":
            p.transport.abort()
            await lab.ticks()
            lab.log.clear()
        return got[0]
    same(scenario(main))


@pytest.mark.parametrize("how", ["sock", "transport"])
def test_cancelled(same, path, how):
    async def main(lab):
        if how == "sock":
            a, b = lab.pair("tcp", sndbuf=16_000)
            sending = lambda f: lab.loop.sock_sendfile(a, f)
        else:
            p, b = await lab.connect("tcp", sndbuf=16_000)
            sending = lambda f: lab.loop.sendfile(p.transport, f)
        with open(path, "rb") as f:
            task = lab.loop.create_task(sending(f))
            received = await lab.receive(b, 1000)
            task.cancel()
            try:
                await task
            except asyncio.CancelledError:
                received += b"!"
            if how == "sock":
                end = lab.loop.create_task(lab.send(a, b"end"))
            else:
                p.transport.write(b"end")
            rest = b""
            while not rest.endswith(b"end"):
                rest += await asyncio.wait_for(lab.loop.sock_recv(b, 1 << 16), 30)
        if how == "sock":
            await end
        else:
            await lab.end(p)
        return [received[-1:], len(rest) < SIZE]
    assert same(scenario(main))["result"] == [b"!", True]


def test_over_tls(same, path, certificate):
    """The fallback; without it an error."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(certificate)
    client_context = ssl.create_default_context(cafile=certificate)

    async def main(lab):
        received, over = bytearray(), lab.loop.create_future()

        class Server(asyncio.Protocol):
            def data_received(self, data):
                received.extend(data)

            def connection_lost(self, exc):
                over.set_result(None)
        server = await lab.loop.create_server(Server, "127.0.0.1", 0, ssl=server_context)
        t, _ = await lab.loop.create_connection(asyncio.Protocol, *server.sockets[0].getsockname(), ssl=client_context,
                                                server_hostname="localhost")
        with open(path, "rb") as f:
            got = [(await refusal(lab.loop.sendfile(t, f, fallback=False)))[0]]
            got += [await lab.loop.sendfile(t, f, 100), f.tell()]
        t.close()
        await over
        server.close()
        await lab.ticks()
        return got + [bytes(received) == path.read_bytes()[100:]]
    assert same(scenario(main))["result"] == ["RuntimeError", SIZE - 100, SIZE, True]


def test_two_at_once(same, path):
    async def main(lab):
        p, b = await lab.connect("tcp", sndbuf=16_000)
        with open(path, "rb") as f, open(path, "rb") as g:
            task = lab.loop.create_task(lab.loop.sendfile(p.transport, f, 0, 100_000))
            await lab.ticks()
            second = await refusal(lab.loop.sendfile(p.transport, g, 0, 5))
            assert second[0] in ("RuntimeError", "KeyError")     # the latter asyncio's own bookkeeping
            got = [outcome(p.transport.write, b"between")]
            got += [len(await lab.receive(b, 100_000)), await task]
            got.append(await lab.loop.sendfile(p.transport, g, 0, 5))
        await lab.end(p)
        return got
    same(scenario(main))
