"""getaddrinfo(): addresses in numbers need no executor; scopes of IPv6 addresses survive."""
import asyncio
import socket

import pytest

from lab import scenario
from support import outcome

NUMERIC = [("127.0.0.1", 80), ("127.0.0.1", "80"), ("::1", 80), ("0.0.0.0", None), ("::", 0), ("fe80::1%lo", 5), ("::ffff:1.2.3.4", 1),
           ("fe80::1%1", 5)]


@pytest.mark.parametrize("host,port", NUMERIC)
@pytest.mark.parametrize("options", [{}, {"type": socket.SOCK_STREAM}, {"family": socket.AF_INET6}, {"family": socket.AF_INET},
                                     {"flags": socket.AI_PASSIVE | socket.AI_CANONNAME}, {"type": socket.SOCK_DGRAM, "proto": 17}], ids=repr)
def test_numbers(aio, loop, host, port, options):
    expected = outcome(socket.getaddrinfo, host, port, *(options.get(k, 0) for k in ("family", "type", "proto", "flags")))
    assert outcome(loop.run_until_complete, loop.getaddrinfo(host, port, **options)) == expected
    if aio is not asyncio and expected[0] == "returned":
        assert loop._default_executor is None


@pytest.mark.parametrize("host,port", [("localhost", 80), ("127.0.0.1", "http"), ("127.1", 80), (None, 80), (b"127.0.0.1", 80), ("", 80),
                                       ("fe80::1%no-such-interface", 80), ("127.0.0.1%lo", 80), ("a\0b", 80), ("127.0.0.1", -1),
                                       ("127.0.0.1", 1 << 40), ("::1", True), ("127.0.0.1", 8.5), ("1.2.3.4.5", 80), ("\udc80", 1)], ids=repr)
def test_anything_else(aio, loop, host, port):
    expected = outcome(socket.getaddrinfo, host, port, 0, socket.SOCK_STREAM)
    assert outcome(loop.run_until_complete, loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)) == expected


def test_closed_loop(same):
    def run(aio):
        loop = aio.new_event_loop()
        loop.close()
        coroutine = loop.getaddrinfo("127.0.0.1", 80)
        return outcome(coroutine.send, None)
    assert same(run)[1] == "RuntimeError"


def test_connections_to_numbers_need_no_executor(same):
    async def main(lab):
        server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        r, w = await asyncio.open_connection("127.0.0.1", port)
        got = [await r.read()]
        w.close()
        sock = lab.keep(socket.socket())
        sock.setblocking(False)
        await lab.loop.sock_connect(sock, ("127.0.0.1", port))
        await lab.ticks()
        server.close()
        return got + [lab.loop._default_executor]
    assert same(scenario(main))["result"] == [b"", None]


def test_scope_of_a_connection(same):
    """The scope reaches the socket, and asyncio's peername tells it."""
    try:
        index = socket.if_nametoindex("lo")
        socket.socket(socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6")

    async def main(lab):
        t, _ = await lab.loop.create_datagram_endpoint(asyncio.DatagramProtocol, remote_addr=("fe80::1%lo", 9))
        got = list(t.get_extra_info("peername"))
        t.close()
        await lab.ticks()
        return got
    try:
        got = same(scenario(main))
    except OSError as e:
        pytest.skip(f"link-local addresses cannot be used here: {e}")
    assert got["result"][2:] == [0, index]
