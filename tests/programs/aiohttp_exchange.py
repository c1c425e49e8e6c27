"""An aiohttp server and an aiohttp client in one process, over TCP and then over TLS; prints what came of it as JSON.

Arguments: the server's certificate, its key, the authority the client trusts.
"""
import asyncio
import hashlib
import json
import ssl
import sys

import aiohttp
from aiohttp import web

BIG = 50 * 1024 * 1024
CHUNK = 256 * 1024


def class_names(x):
    return [f"{c.__module__}.{c.__qualname__}" for c in type(x).__mro__]


def pattern(size):
    """That many bytes in chunks, no two chunks equal."""
    for start in range(0, size, CHUNK):
        yield start.to_bytes(8, "big") * (min(CHUNK, size - start) // 8)


# ---- the server

async def where(request):
    return web.json_response({"loop": class_names(asyncio.get_running_loop()), "task": class_names(asyncio.current_task())})


async def double(request):
    data = await request.json()
    await asyncio.sleep(0.001 * (data["n"] % 3))
    return web.json_response({"n": 2 * data["n"], "port": request.transport.get_extra_info("peername")[1]})


async def upload(request):
    digest, size = hashlib.sha256(), 0
    async for chunk in request.content.iter_chunked(CHUNK):
        digest.update(chunk)
        size += len(chunk)
    return web.json_response({"size": size, "digest": digest.hexdigest()})


async def download(request):
    response = web.StreamResponse()
    await response.prepare(request)
    for chunk in pattern(BIG):
        await response.write(chunk)
    return response


async def echo_socket(request):
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.type is aiohttp.WSMsgType.BINARY:
            await socket.send_bytes(message.data[::-1])
        elif message.data == "bye":
            await socket.close(code=4001, message=b"as you wish")
        else:
            await socket.send_str(message.data.upper())
    return socket


async def hang(request):
    request.app["hanging"].set()
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        request.app["cancelled"].set()
        raise


def application():
    app = web.Application(client_max_size=2 * BIG)
    app["hanging"], app["cancelled"] = asyncio.Event(), asyncio.Event()
    app.add_routes([web.get("/where", where), web.post("/double", double), web.put("/upload", upload),
                    web.get("/download", download), web.get("/socket", echo_socket), web.get("/hang", hang)])
    return app


# ---- the client

async def json_requests(session, url):
    async def one(n):
        async with session.post(url + "/double", json={"n": n}) as response:
            return (await response.json())["n"]
    return sum(await asyncio.gather(*(one(n) for n in range(200))))


async def keep_alive(url, ssl_context):
    ports = set()
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=1, ssl=ssl_context)) as session:
        for n in range(20):
            async with session.post(url + "/double", json={"n": n}) as response:
                ports.add((await response.json())["port"])
    return len(ports)


async def big_upload(session, url):
    async def body():
        for chunk in pattern(BIG):
            yield chunk
    async with session.put(url + "/upload", data=body()) as response:
        return await response.json()


async def big_download(session, url):
    digest, size = hashlib.sha256(), 0
    async with session.get(url + "/download") as response:
        async for chunk in response.content.iter_any():
            digest.update(chunk)
            size += len(chunk)
    return {"size": size, "digest": digest.hexdigest()}


async def web_socket(session, url):
    async with session.ws_connect(url + "/socket", max_msg_size=0) as socket:
        await socket.send_str("hello")
        text = await socket.receive_str()
        big = bytes(range(256)) * 4096
        await socket.send_bytes(big)
        echoed = await socket.receive_bytes() == big[::-1]
        burst = [f"m{i}" for i in range(100)]
        for m in burst:
            await socket.send_str(m)
        in_order = [await socket.receive_str() for _ in burst] == [m.upper() for m in burst]
        await socket.send_str("bye")
        last = await socket.receive()
        return [text, echoed, in_order, last.type.name, socket.close_code]


async def cancelled_request(session, url, app):
    """The client gives up; the server's handler, started with handler_cancellation, hears of it; both go on."""
    request = asyncio.create_task(session.get(url + "/hang"))
    await asyncio.wait_for(app["hanging"].wait(), 10)
    request.cancel()
    try:
        await request
        outcome = "answered"
    except asyncio.CancelledError:
        outcome = "cancelled"
    await asyncio.wait_for(app["cancelled"].wait(), 10)
    try:
        async with session.get(url + "/hang", timeout=aiohttp.ClientTimeout(total=0.1)):
            timed_out = False
    except asyncio.TimeoutError:
        timed_out = True
    return [outcome, timed_out]


async def exchange(app, url, ssl_context):
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=ssl_context)) as session:
        async with session.get(url + "/where") as response:
            result = {"server": await response.json(), "main task": class_names(asyncio.current_task())}
        result["json"] = await json_requests(session, url)
        result["connections for 20 requests"] = await keep_alive(url, ssl_context)
        result["upload"], result["download"] = await asyncio.gather(big_upload(session, url), big_download(session, url))
        result["socket"] = await web_socket(session, url)
        result["cancelled"] = await cancelled_request(session, url, app)
        result["json again"] = await json_requests(session, url)
    return result


async def serve_and_visit(scheme, server_ssl, client_ssl):
    app = application()
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=5)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=server_ssl).start()
        return await exchange(app, f"{scheme}://127.0.0.1:{runner.addresses[0][1]}", client_ssl)
    finally:
        await runner.cleanup()


async def main(certificate, key, authority):
    server_ssl = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_ssl.load_cert_chain(certificate, key)
    client_ssl = ssl.create_default_context(cafile=authority)
    return {"tcp": await serve_and_visit("http", None, True), "tls": await serve_and_visit("https", server_ssl, client_ssl)}


def report(result):
    print(json.dumps(result))


if __name__ == "__main__":
    report(asyncio.run(main(*sys.argv[1:])))
