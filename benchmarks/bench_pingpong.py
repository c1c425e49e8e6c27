"""Both ends of a socket in one loop: a message goes to and fro, one at a time. What a transport itself costs, with no batching by chance
and no other process: the same work on every run, which instructions.py needs.
"""
import socket
import ssl

import native
from harness import asyncio, case

MESSAGE = bytes(i * 131 % 256 for i in range(1024))


class Returner(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.transport.write(data)


class Player(Returner):
    """Sends, and sends again what came back, until it has been there and back `left` times."""

    def __init__(self, left, finished):
        self.left, self.finished = left, finished

    def data_received(self, data):
        assert data == MESSAGE
        self.left -= 1
        if self.left:
            self.transport.write(data)
        else:
            self.finished.set_result(None)


@case("pingpong_1k", operation="round trip", about="two protocols of one loop hand 1 KiB to and fro")
async def pingpong_1k(n):
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    player = Player(n, loop.create_future())
    returning, _ = await loop.create_connection(Returner, sock=theirs)
    playing, _ = await loop.create_connection(lambda: player, sock=ours)
    playing.write(MESSAGE)
    await player.finished
    playing.close()
    returning.close()
    await asyncio.sleep(0)
    return n


class DatagramReturner(asyncio.DatagramProtocol):
    def connection_made(self, transport):
        self.transport = transport

    def datagram_received(self, data, address):
        self.transport.sendto(data, address)


class DatagramPlayer(DatagramReturner):
    """As Player, `finished` counting the players that are still at it."""

    def __init__(self, left, finished):
        self.left, self.finished = left, finished

    def datagram_received(self, data, address):
        assert data == MESSAGE
        self.left -= 1
        if self.left:
            self.transport.sendto(data)
        else:
            self.finished()


@case("pingpong_udp_1k", operation="round trip", about="four players and one who answers them all hand datagrams of 1 KiB to and fro")
async def pingpong_udp_1k(n):
    loop, players = asyncio.get_running_loop(), 4
    all_done, playing = loop.create_future(), players

    def finished():
        nonlocal playing
        playing -= 1
        if not playing:
            all_done.set_result(None)

    returning, _ = await loop.create_datagram_endpoint(DatagramReturner, local_addr=("127.0.0.1", 0))
    ends = [await loop.create_datagram_endpoint(lambda: DatagramPlayer(max(1, n // players), finished),
                                                remote_addr=returning.get_extra_info("sockname")) for _ in range(players)]
    for transport, _ in ends:
        transport.sendto(MESSAGE)
    await all_done
    for transport, _ in [*ends, (returning, None)]:
        transport.close()
    await asyncio.sleep(0)
    return max(1, n // players) * players


@case("pingpong_tls_1k", operation="round trip", about="two protocols of one loop hand 1 KiB to and fro over TLS")
async def pingpong_tls_1k(n):
    loop = asyncio.get_running_loop()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(native.certificate())
    player = Player(n, loop.create_future())
    server = await loop.create_server(Returner, "127.0.0.1", 0, ssl=context)
    host, port = server.sockets[0].getsockname()
    playing, _ = await loop.create_connection(lambda: player, host, port, ssl=ssl.create_default_context(cafile=native.certificate()),
                                              server_hostname="localhost")
    playing.write(MESSAGE)
    await player.finished
    playing.close()
    server.close()
    await server.wait_closed()
    return n


@case("pingpong_stream_1k", operation="round trip", about="two tasks of one loop hand 1 KiB to and fro through streams")
async def pingpong_stream_1k(n):
    ours, theirs = socket.socketpair()
    reader, writer = await asyncio.open_connection(sock=ours)

    async def give_back():
        reader, writer = await asyncio.open_connection(sock=theirs)
        for _ in range(n):
            writer.write(await reader.readexactly(len(MESSAGE)))
            await writer.drain()
        writer.close()

    other = asyncio.create_task(give_back())
    for _ in range(n):
        writer.write(MESSAGE)
        assert await reader.readexactly(len(MESSAGE)) == MESSAGE
    await other
    writer.close()
    await writer.wait_closed()
    return n


@case("pingpong_sock_1k", operation="round trip", about="two tasks of one loop hand 1 KiB to and fro with sock_sendall and sock_recv")
async def pingpong_sock_1k(n):
    loop = asyncio.get_running_loop()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)

    async def give_back():
        for _ in range(n):
            await loop.sock_sendall(theirs, await loop.sock_recv(theirs, 4096))

    other = asyncio.create_task(give_back())
    for _ in range(n):
        await loop.sock_sendall(ours, MESSAGE)
        assert await loop.sock_recv(ours, 4096) == MESSAGE
    await other
    ours.close()
    theirs.close()
    return n
