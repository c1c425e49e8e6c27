"""A grpc.aio server and its client: all four kinds of call, deadlines, cancellation by either side, errors, a graceful end. Messages are
plain bytes, so that no generated code is needed."""
import asyncio
import sys

import grpc
import grpc.aio
from reporting import report, where


class Service:

    def __init__(self):
        self.cancelled = asyncio.Event()
        self.called = 0

    async def reverse(self, request, context):
        self.called += 1
        await asyncio.sleep(0.001 * (self.called % 3))
        return request[::-1]

    async def count(self, request, context):
        for i in range(int(request)):
            yield str(i).encode()

    async def total(self, requests, context):
        return str(sum([int(r) async for r in requests])).encode()

    async def echo(self, requests, context):
        async for request in requests:
            await context.write(b"re: " + request)

    async def hang(self, request, context):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    async def fail(self, request, context):
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today", trailing_metadata=(("why", "rain"),))

    def handler(self):
        unary = grpc.unary_unary_rpc_method_handler
        return grpc.method_handlers_generic_handler("Tests", {
            "reverse": unary(self.reverse), "hang": unary(self.hang), "fail": unary(self.fail),
            "count": grpc.unary_stream_rpc_method_handler(self.count),
            "total": grpc.stream_unary_rpc_method_handler(self.total),
            "echo": grpc.stream_stream_rpc_method_handler(self.echo)})


async def calls(channel):
    reverse = channel.unary_unary("/Tests/reverse")
    got = await asyncio.gather(*(reverse(f"{n:05}".encode()) for n in range(300)))
    numbers = [int(m) async for m in channel.unary_stream("/Tests/count")(b"1000")]

    async def requests():
        for i in range(500):
            yield str(i).encode()
    total = await channel.stream_unary("/Tests/total")(requests())
    echo = channel.stream_stream("/Tests/echo")()
    answers = []
    for i in range(100):
        await echo.write(b"x" * 1000 * i)
        answers.append(len(await echo.read()))
    await echo.done_writing()
    ended = await echo.read() is grpc.aio.EOF
    return [[int(g[::-1]) for g in got] == list(range(300)), numbers == list(range(1000)), int(total),
            answers == [4 + 1000 * i for i in range(100)], ended, (await echo.code()).name]


async def troubles(channel, service):
    hang = channel.unary_unary("/Tests/hang")
    seen = []
    call = hang(b"")
    await asyncio.sleep(0.1)
    call.cancel()
    try:
        await call
    except asyncio.CancelledError:
        seen.append([call.cancelled(), (await call.code()).name])
    await asyncio.wait_for(service.cancelled.wait(), 10)
    service.cancelled.clear()
    task = asyncio.create_task(asyncio.wait_for(hang(b""), 0.1))
    outcome, = await asyncio.gather(task, return_exceptions=True)
    seen.append(type(outcome).__name__)
    await asyncio.wait_for(service.cancelled.wait(), 10)
    try:
        await hang(b"", timeout=0.05)
    except grpc.aio.AioRpcError as error:
        seen.append(error.code().name)
    for method in ("fail", "unheard_of"):
        try:
            await channel.unary_unary(f"/Tests/{method}")(b"")
        except grpc.aio.AioRpcError as error:
            seen.append([error.code().name, error.details(), dict(error.trailing_metadata() or ()).get("why")])
    stream = channel.unary_stream("/Tests/count")(b"1000000")
    await stream.read()
    seen.append(stream.cancel())
    return seen


async def main(certificate, key, authority):
    result = where(asyncio.get_running_loop(), asyncio.current_task())
    with open(certificate, "rb") as c, open(key, "rb") as k, open(authority, "rb") as a:
        server_side = grpc.ssl_server_credentials([(k.read(), c.read())])
        client_side = grpc.ssl_channel_credentials(a.read())
    for name in ("plain", "tls"):
        server, service = grpc.aio.server(), Service()
        server.add_generic_rpc_handlers((service.handler(),))
        port = server.add_insecure_port("127.0.0.1:0") if name == "plain" else server.add_secure_port("127.0.0.1:0", server_side)
        await server.start()
        if name == "plain":
            channel = grpc.aio.insecure_channel(f"127.0.0.1:{port}")
        else:
            channel = grpc.aio.secure_channel(f"localhost:{port}", client_side)
        async with channel:
            result[name] = {"calls": await calls(channel), "troubles": await troubles(channel, service)}
        await server.stop(1)
        result[name]["terminated"] = await server.wait_for_termination(5)
    return result


if __name__ == "__main__":
    report(asyncio.run(main(*sys.argv[1:])))
