"""A websockets server and its clients: compression, fragments both ways, many clients, slow readers, pings, abrupt ends, TLS."""
import asyncio
import ssl
import sys
from collections import Counter

from reporting import report, where
from websockets.asyncio.client import connect
from websockets.asyncio.server import broadcast, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK, InvalidStatus

ends = []


async def handler(connection):
    try:
        if connection.request.path == "/flood":
            for i in range(200):
                await connection.send(bytes([i]) * 100_000)
            return
        if connection.request.path == "/die":
            await connection.send("now")
            connection.transport.abort()
            return
        async for message in connection:
            if message == "fragments":
                await connection.send([f"part {i} " for i in range(50)])
            elif message == "all":
                broadcast(connection.server.connections, "to all")
            elif message == "bye":
                await connection.close(4001, "as you wish")
                break
            else:
                await connection.send(message[::-1])
    except ConnectionClosedError:
        pass
    finally:
        await connection.close()
        ends.append((connection.request.path, connection.close_code))


def only_known(connection, request):
    if request.path == "/forbidden":
        return connection.respond(403, "not here\n")


def choose(connection, offered):
    return offered[-1] if offered else None


async def talk(visit, **options):
    async with visit("/", subprotocols=["second"], **options) as socket:
        await socket.send("hello")
        answers = [await socket.recv()]
        big = bytes(range(256)) * 4096
        await socket.send(big)
        answers.append(await socket.recv() == big[::-1])
        await socket.send(f"piece {i} " for i in range(20))
        answers.append(len(await socket.recv()))
        await socket.send("fragments")
        answers.append([part async for part in socket.recv_streaming()][:2])
        answers.append(await (await socket.ping()) >= 0)
        await socket.send("bye")
        try:
            await socket.recv()
        except ConnectionClosed as error:
            answers.append([error.rcvd.code, error.rcvd.reason])
        extensions = [type(e).__name__ for e in socket.protocol.extensions]
        return answers, extensions, socket.subprotocol


async def slow_reader(visit):
    async with visit("/flood", max_queue=2, max_size=None) as socket:
        total = 0
        for _ in range(20):
            total += len(await socket.recv())
            await asyncio.sleep(0.005)
        async for message in socket:
            total += len(message)
        return total, socket.close_code


async def crowd(visit):
    async with asyncio.timeout(30):
        sockets = await asyncio.gather(*(visit("/") for _ in range(30)))
        await sockets[0].send("all")
        got = await asyncio.gather(*(s.recv() for s in sockets))
        await asyncio.gather(*(s.close() for s in sockets))
    return sorted(set(got)), len(got), {s.close_code for s in sockets} == {1000}


async def abrupt(visit):
    seen = []
    async with visit("/die") as socket:
        seen.append(await socket.recv())
        try:
            await socket.recv()
        except ConnectionClosedError as error:
            seen.append(str(error))
    socket = await visit("/")
    waiting = asyncio.create_task(socket.recv())
    await asyncio.sleep(0)
    socket.transport.abort()                          # the client goes without a word
    try:
        await waiting
    except ConnectionClosedError as error:
        seen.append(str(error))
    try:
        await socket.send("late")
    except ConnectionClosed as error:
        seen.append(type(error).__name__)
    try:
        await visit("/forbidden")
    except InvalidStatus as error:
        seen.append([error.response.status_code, error.response.body.decode()])
    cancelled = await visit("/")
    receiving = asyncio.create_task(cancelled.recv())
    await asyncio.sleep(0.01)
    receiving.cancel()
    await asyncio.gather(receiving, return_exceptions=True)
    await cancelled.send("abc")
    seen.append(await cancelled.recv())               # a cancelled recv() loses nothing
    await cancelled.close()
    return seen


async def end_of_server(visit, server):
    """Clients hear of it when the server goes down."""
    socket = await visit("/")
    await socket.send("x")
    await socket.recv()
    server.close()
    try:
        await socket.recv()
    except ConnectionClosedOK as error:
        return str(error)
    finally:
        await server.wait_closed()


async def main(certificate, key, authority):
    server_ssl = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_ssl.load_cert_chain(certificate, key)
    client_ssl = ssl.create_default_context(cafile=authority)
    result = where(asyncio.get_running_loop(), asyncio.current_task())
    for name, contexts in (("tcp", (None, None)), ("tls", (server_ssl, client_ssl))):
        ends.clear()
        server = await serve(handler, "127.0.0.1", 0, ssl=contexts[0], process_request=only_known, select_subprotocol=choose)
        port = server.sockets[0].getsockname()[1]
        scheme, options = ("ws", {}) if contexts[1] is None else ("wss", {"ssl": contexts[1], "server_hostname": "localhost"})

        def visit(path, *, _base=f"{scheme}://127.0.0.1:{port}", _options=options, **more):
            return connect(_base + path, **_options, **more)
        result[name] = {
            "deflate": await talk(visit), "plain": await talk(visit, compression=None),
            "slow": await slow_reader(visit), "crowd": await crowd(visit), "abrupt": await abrupt(visit),
            "end": await end_of_server(visit, server), "ends": {f"{path} {code:d}": n for (path, code), n in sorted(Counter(ends).items())},
        }
    return result


if __name__ == "__main__":
    report(asyncio.run(main(*sys.argv[1:])))
