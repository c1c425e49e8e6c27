"""hypercorn serving an ASGI application, visited by httpx over HTTP/1.1, and over HTTP/2 with TLS; a WebSocket; the end by its trigger.

Arguments: the server's certificate, its key, the authority that clients trust.
"""
import asyncio
import hashlib
import ssl
import sys

import httpx
from hypercorn.asyncio import serve
from hypercorn.config import Config
from reporting import report, where

events = []


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        for kind in ("startup", "shutdown"):
            await receive()
            events.append(kind)
            await send({"type": f"lifespan.{kind}.complete"})
        return
    if scope["path"] == "/broken":
        raise RuntimeError("on purpose")
    await send({"type": "http.response.start", "status": 200, "headers": [(b"version", scope["http_version"].encode())]})
    if scope["path"] == "/endless":
        try:
            while True:
                await send({"type": "http.response.body", "body": b"x" * 10_000, "more_body": True})
                await asyncio.sleep(0)
                message = asyncio.create_task(receive())
                await asyncio.sleep(0)
                if message.done() and message.result()["type"] == "http.disconnect":
                    return
                message.cancel()
        finally:
            events.append("left")
    digest, more = hashlib.sha256(), True
    while more:
        message = await receive()
        digest.update(message["body"])
        more = message["more_body"]
    for part in (digest.hexdigest().encode(), b" ", b"y" * 300_000):
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


async def visit(client):
    async def body():
        for i in range(50):
            yield bytes([i]) * 20_000
    expected = hashlib.sha256(b"".join(bytes([i]) * 20_000 for i in range(50))).hexdigest()
    responses = await asyncio.gather(*(client.post("/", content=body()) for _ in range(10)))
    right = sum(r.text == expected + " " + "y" * 300_000 for r in responses)
    versions = {r.headers["version"] for r in responses}
    many = await asyncio.gather(*(client.get(f"/{i}") for i in range(100)))
    broken = await client.get("/broken")
    async with client.stream("GET", "/endless") as response:
        size = 0
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > 200_000:
                break
    return [right, sorted(versions), sum(r.status_code == 200 for r in many), broken.status_code]


async def main(certificate, key, authority):
    result = where(asyncio.get_running_loop(), asyncio.current_task())
    for name in ("http/1.1", "http/2"):
        events.clear()
        sockets = []
        config = Config()
        config.bind, config.graceful_timeout, config.errorlog, config.accesslog = ["127.0.0.1:0"], 2, None, None
        if name == "http/2":
            config.certfile, config.keyfile = certificate, key
        create_sockets = config.create_sockets

        def note_sockets():
            sockets.append(create_sockets())
            return sockets[0]
        config.create_sockets = note_sockets
        end = asyncio.Event()
        server = asyncio.create_task(serve(application, config, shutdown_trigger=end.wait))
        while "startup" not in events or not sockets:
            await asyncio.sleep(0.01)
        port = (sockets[0].secure_sockets or sockets[0].insecure_sockets)[0].getsockname()[1]
        context = ssl.create_default_context(cafile=authority)
        base = f"http://127.0.0.1:{port}" if name == "http/1.1" else f"https://localhost:{port}"
        async with httpx.AsyncClient(base_url=base, verify=context, http2=name == "http/2", timeout=20) as client:
            result[name] = await visit(client)
        end.set()
        await asyncio.wait_for(server, 20)
        result[name].append(sorted(events))
    return result


if __name__ == "__main__":
    report(asyncio.run(main(*sys.argv[1:])))
