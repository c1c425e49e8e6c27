"""A loop class that overrides a method is asked where asyncio's loop asks itself: each method of asyncio's loop is overridden, a program
that uses everything runs, and the names that were called are compared."""
import asyncio
import inspect
import os
import socket
import ssl
import sys

import pytest

from support import fresh_loop, loop_class, nonblocking_pair, plain, spin

# asyncio's own plumbing between these methods: its self-pipe, the halves of a socket operation, and the Python code of its transports.
INNER = {"_close_self_pipe", "_make_self_pipe", "_process_self_data", "_read_from_self", "_remove_writer", "_add_writer", "_remove_reader",
         "_add_reader", "_sock_accept", "_sock_connect", "_sock_connect_cb", "_sock_read_done", "_sock_recv", "_sock_recv_into",
         "_sock_recvfrom",
         "_sock_recvfrom_into", "_sock_sendall", "_sock_sendto", "_sock_write_done", "_sock_add_cancellation_callback"}


def recording(aio, names):
    """A loop class that notes which methods of asyncio's loop are called."""
    base, namespace = loop_class(aio), {}
    for name in dir(asyncio.SelectorEventLoop):
        method = inspect.getattr_static(asyncio.SelectorEventLoop, name)
        if not inspect.isfunction(method) or name.startswith("__") or not hasattr(base, name):
            continue

        def record(name=name, original=getattr(base, name), is_coroutine=inspect.iscoroutinefunction(method)):
            def call(self, *args, **kwargs):
                names.add(name)
                return original(self, *args, **kwargs)

            async def coroutine(self, *args, **kwargs):
                names.add(name)
                return await original(self, *args, **kwargs)
            return coroutine if is_coroutine else call
        namespace[name] = record()
    return type("Recording", (base,), namespace)


class Closes(asyncio.Protocol):
    def connection_made(self, transport):
        transport.close()


async def everything(loop, aio, path):
    a, b = nonblocking_pair()
    reader, writer = await asyncio.open_unix_connection(sock=a)
    b.send(b"x")
    await reader.read(1)
    writer.write(b"y" * 300_000)
    received = 0
    while received < 300_000:
        received += len(await loop.sock_recv(b, 100_000))
    await writer.drain()
    with open(__file__, "rb") as file:
        await loop.sendfile(writer.transport, file)
    writer.close()
    await writer.wait_closed()
    b.close()
    server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.1", 0)
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    await reader.read()
    writer.close()
    await writer.wait_closed()
    server.close()
    unix = await loop.create_unix_server(Closes, path)
    transport, _ = await loop.create_unix_connection(asyncio.Protocol, path)
    await asyncio.sleep(0.005)
    transport.close()
    unix.close()
    transport, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0))
    transport.sendto(b"x", transport.get_extra_info("sockname"))
    await asyncio.sleep(0.005)
    transport.close()
    r, w = os.pipe()
    reading, _ = await loop.connect_read_pipe(asyncio.Protocol, open(r, "rb", 0))
    writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(w, "wb", 0))
    writing.write(b"x")
    writing.close()
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "", stdout=-1)
    await process.communicate()
    await (await asyncio.create_subprocess_shell("exit 3")).wait()
    await asyncio.to_thread(int)
    loop.set_default_executor(loop._default_executor)
    a, b = nonblocking_pair()
    loop.add_reader(a, int)
    loop.add_writer(a, int)
    loop.remove_reader(a)
    loop.remove_writer(a)
    await loop.sock_sendall(a, b"data")
    await loop.sock_recv_into(b, bytearray(4))
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setblocking(False)
    client = socket.socket()
    client.setblocking(False)
    accepted = asyncio.ensure_future(loop.sock_accept(listening))
    await loop.sock_connect(client, listening.getsockname())
    for each in (a, b, client, listening, (await accepted)[0]):
        each.close()
    await loop.getnameinfo(("127.0.0.1", 80))
    future = loop.create_future()
    loop.call_later(0.001, loop.call_soon_threadsafe, future.set_result, 1)
    await future
    async with asyncio.timeout(1):
        await asyncio.sleep(0)

    async def generator():
        yield 1
    async for _ in generator():
        pass
    kept = generator()
    await kept.__anext__()
    del kept
    loop.call_soon(lambda: 1 / 0)
    loop.add_signal_handler(10, int)
    loop.remove_signal_handler(10)
    await asyncio.sleep(0.005)


def test_the_same_methods_are_called(same, tmp_path):
    def scenario(aio):
        names = set()
        loop = recording(aio, names)()
        try:
            seen = []
            loop.set_exception_handler(lambda loop, context: seen.append(context["message"].partition("(")[0]))
            loop.run_until_complete(everything(loop, aio, str(tmp_path / aio.__name__)))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()
        assert len(names) > 60
        return sorted(names - INNER), seen
    same(scenario)


@pytest.mark.parametrize("name", ["_make_socket_transport", "_make_datagram_transport", "_make_read_pipe_transport",
                                  "_make_write_pipe_transport",
                                  "_make_ssl_transport", "_make_subprocess_transport"])
def test_factories_of_transports(same, name):
    """What they return is what the program gets."""
    def scenario(aio):
        made, base = [], loop_class(aio)

        def factory(self, *args, **kwargs):
            made.append([len(args), sorted(k for k in kwargs if kwargs[k] is not None)])
            raise LookupError(name)
        loop = type("Loop", (base,), {name: factory})()
        a, b = nonblocking_pair(socket.SOCK_DGRAM if "datagram" in name else socket.SOCK_STREAM)
        r, w = os.pipe()
        reading, writing = open(r, "rb", 0), open(w, "wb", 0)
        calls = {"_make_socket_transport": lambda: loop.create_connection(asyncio.Protocol, sock=a),
                 "_make_datagram_transport": lambda: loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=a),
                 "_make_read_pipe_transport": lambda: loop.connect_read_pipe(asyncio.Protocol, reading),
                 "_make_write_pipe_transport": lambda: loop.connect_write_pipe(asyncio.BaseProtocol, writing),
                 "_make_ssl_transport": lambda: loop.create_connection(asyncio.Protocol, sock=a, ssl=ssl.create_default_context(),
                                                                       server_hostname="x"),
                 "_make_subprocess_transport": lambda: loop.subprocess_exec(asyncio.SubprocessProtocol, "true")}
        try:
            loop.run_until_complete(calls[name]())
        except LookupError as e:
            made.append(str(e))
        finally:
            loop.close()
            for each in (a, b, reading, writing):
                each.close()
        return made
    same(scenario)


def test_methods_of_tasks_and_futures_that_asyncio_calls(same):
    """Which of an overridden task's or future's methods others call, and how often."""
    def scenario(aio):
        seen = []

        def noting(cls):
            namespace = {}
            for name in ("add_done_callback", "remove_done_callback", "cancel", "cancelled", "done", "result", "exception", "set_result",
                         "set_exception", "get_loop", "get_name", "set_name", "uncancel", "cancelling", "get_coro",
                         "_make_cancelled_error"):
                if hasattr(cls, name):
                    def method(self, *args, name=name, **kwargs):
                        seen.append([cls.__name__, name, len(args), sorted(kwargs)])
                        return getattr(cls, name)(self, *args, **kwargs)
                    namespace[name] = method
            return type("Noting", (cls,), namespace)
        OurTask, OurFuture = noting(aio.Task), noting(aio.Future)

        async def main():
            loop = aio.get_running_loop()
            loop.set_task_factory(lambda loop, coro, **kwargs: OurTask(coro, loop=loop, **kwargs))

            async def leaf(result=1):
                await aio.sleep(0)
                return result
            for step in (lambda: aio.create_task(leaf(), name="n"), lambda: aio.gather(leaf(), leaf()), lambda: aio.shield(leaf()),
                         lambda: aio.wait([aio.create_task(leaf())]), lambda: aio.wait_for(leaf(), 5),
                         lambda: aio.wait_for(aio.create_task(leaf()), 5)):
                seen.append("step")
                await step()
            async with aio.TaskGroup() as group:
                group.create_task(leaf())
            for future in aio.as_completed([leaf()]):
                await future
            task = aio.create_task(leaf())
            await aio.sleep(0)
            task.cancel("why")
            await aio.wait([task])
            seen.append("futures")
            future = OurFuture()
            loop.call_soon(future.set_result, 1)
            await future
            future = OurFuture()
            loop.call_soon(future.set_exception, ValueError())
            await aio.wait([future])
            future.exception()
            future = OurFuture()
            waiting = aio.ensure_future(aio.wait_for(future, 0.001))
            await aio.wait([waiting])
            waiting.exception()
            loop.set_task_factory(None)
            return True
        with fresh_loop(aio) as loop:
            loop.run_until_complete(main())
        return seen
    same(scenario)


def test_reader_and_writer_hooks(same):
    """Subclasses of the stream classes, with their own protocol: what is called between them."""
    def scenario(aio):
        seen = []

        class Reader(aio.StreamReader):
            def feed_data(self, data):
                seen.append(["feed_data", len(data)])
                super().feed_data(data)

            def feed_eof(self):
                seen.append(["feed_eof"])
                super().feed_eof()

            def set_transport(self, transport):
                seen.append(["set_transport"])
                super().set_transport(transport)

            def set_exception(self, exc):
                seen.append(["set_exception", plain(exc)])
                super().set_exception(exc)

        class Protocol(aio.StreamReaderProtocol):
            def connection_made(self, transport):
                seen.append(["made"])
                super().connection_made(transport)

            def connection_lost(self, exc):
                seen.append(["lost"])
                super().connection_lost(exc)

            def _get_close_waiter(self, stream):
                seen.append(["close waiter"])
                return super()._get_close_waiter(stream)

            async def _drain_helper(self):
                seen.append(["drain helper"])
                return await super()._drain_helper()

        async def main():
            loop = aio.get_running_loop()
            a, b = nonblocking_pair()
            reader = Reader(loop=loop)
            protocol = Protocol(reader, loop=loop)
            transport, _ = await loop.create_connection(lambda: protocol, sock=a)
            writer = aio.StreamWriter(transport, protocol, reader, loop)
            b.send(b"line\n")
            seen.append(await reader.readline())
            writer.write(b"x")
            await writer.drain()
            b.shutdown(socket.SHUT_WR)
            seen.append(await reader.read())
            writer.close()
            await writer.wait_closed()
            b.close()
        with fresh_loop(aio) as loop:
            loop.run_until_complete(main())
            spin(loop, 2)
        return seen
    same(scenario)
