"""More of what real packages use of asyncio beyond its documented API (test_relied_upon.py has the rest), by use: as the package does."""
import asyncio
import contextvars
import socket
from concurrent.futures import Future as Concurrent
from unittest import mock

import pytest

from support import EAGER, PY, PYTASK_IS_SEEN, fresh_loop, nonblocking_pair, none, outcome, plain, scrub, spin


# --- functions by name ---

class Steps:
    """granian steps coroutines itself, with an object of its own as the current task."""

    def __init__(self, loop, coro):
        self.loop, self.coro, self.outcome = loop, coro, loop.create_future()
        self.context = contextvars.copy_context()
        loop.call_soon(self.step, context=self.context)

    def step(self, future=None):
        asyncio.tasks._enter_task(self.loop, self)
        try:
            try:
                waits_for = self.coro.send(None)
            except StopIteration as e:
                self.outcome.set_result(e.value)
                return
            except BaseException as e:
                self.outcome.set_exception(e)
                return
        finally:
            asyncio.tasks._leave_task(self.loop, self)
        if waits_for is None:
            self.loop.call_soon(self.step, context=self.context)
        else:
            assert waits_for._asyncio_future_blocking is True
            waits_for._asyncio_future_blocking = False
            waits_for.add_done_callback(self.step, context=self.context)


def test_a_current_task_that_is_none(same):
    def scenario(aio):
        async def leaf(lock, queue):
            seen = [type(asyncio.current_task()).__name__, asyncio.get_running_loop() is loop]
            await aio.sleep(0)
            await aio.sleep(0.001)
            async with lock:
                await queue.put(1)
            seen.append(await queue.get())
            seen.append(await aio.gather(aio.sleep(0, "a"), aio.sleep(0.001, "b")))
            task = aio.create_task(aio.sleep(0, "task"))
            seen.append([await task, type(asyncio.current_task()).__name__, await aio.to_thread(int), await aio.shield(aio.sleep(0, 3))])
            done, pending = await aio.wait([aio.create_task(aio.sleep(0))], timeout=5)
            return [*seen, len(done), len(pending)]
        with fresh_loop(aio) as loop:
            got = [loop.run_until_complete(Steps(loop, leaf(aio.Lock(), aio.Queue())).outcome)]
            got.append(outcome(loop.run_until_complete, Steps(loop, leaf(None, None)).outcome))
            loop.run_until_complete(loop.shutdown_default_executor())
        return got
    same(scenario)


def test_entering_and_leaving_wrongly(same):
    def scenario(aio):
        async def main():
            loop, me = aio.get_running_loop(), aio.current_task()
            other = aio.create_task(none())
            found = [outcome(asyncio.tasks._enter_task, loop, other), outcome(asyncio.tasks._leave_task, loop, other)]
            asyncio.tasks._leave_task(loop, me)
            found += [aio.current_task(), outcome(asyncio.tasks._leave_task, loop, me)]
            asyncio.tasks._enter_task(loop, me)
            await other
            if EAGER:
                previous = asyncio.tasks._swap_current_task(loop, None)
                found += [previous is me, aio.current_task(), asyncio.tasks._swap_current_task(loop, previous)]
            return [found, aio.current_task() is me]
        with fresh_loop(aio) as loop:
            return loop.run_until_complete(main())
    same(scenario)


def test_registering_what_is_no_task(same):
    """granian registers its own objects; all_tasks() takes what it can ask."""
    def scenario(aio):
        class Fake:
            def done(self):
                return False

            def get_loop(self):
                return loop
        with fresh_loop(aio) as loop:
            fake = Fake()
            got = [outcome(asyncio.tasks._register_task, fake)]
            found = [t for t in asyncio.all_tasks(loop)] if got[0][0] == "returned" else []
            got += [fake in found, outcome(asyncio.tasks._unregister_task, fake)]
            return got + [fake in asyncio.all_tasks(loop)]
    same(scenario)


def test_chained_futures(same):
    """ray joins its own concurrent futures and asyncio's by futures._chain_future."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            seen = []
            pairs = [(Concurrent, loop.create_future), (loop.create_future, Concurrent)]
            if PY < (3, 15):                    # from then on asyncio asks the source for what only a concurrent future has
                pairs.append((loop.create_future, loop.create_future))
            for ending in ("result", "exception", "cancel source", "cancel destination"):
                for kinds in pairs:
                    source, destination = (make() for make in kinds)
                    aio.futures._chain_future(source, destination)
                    if ending == "result":
                        source.set_result(1)
                    elif ending == "exception":
                        source.set_exception(ValueError("x"))
                    else:
                        (source if ending == "cancel source" else destination).cancel()
                    spin(loop, 3)
                    seen.append(ending)
                    seen += [f.cancelled() or f.done() and plain(f.exception() or f.result()) for f in (source, destination)]
            seen.append(outcome(aio.futures._chain_future, 1, loop.create_future()))
            seen.append(outcome(aio.futures._chain_future, loop.create_future(), 1))
            return seen
    same(scenario)


# --- tasks ---

def test_a_task_factory_of_subclasses(same):
    """aiomonitor's factory makes tasks of its own class, which note who made them and how they end."""
    def scenario(aio):
        ended = []

        class Traced(aio.Task):
            def __init__(self, *args, termination=None, **kwargs):
                super().__init__(*args, **kwargs)
                self.add_done_callback(self._trace)
                self._maker = getattr(asyncio.current_task(self.get_loop()), "_orig_coro_name", None)
                self._orig_coro_name = self._coro.__qualname__.rpartition(".")[2]

            @staticmethod
            def _trace(task):
                ended.append([task._orig_coro_name, task._maker, task._state, plain(task._exception)])

        async def child(result):
            await aio.sleep(0)
            return result

        async def main():
            await aio.gather(child(1), child(2))
            async with aio.TaskGroup() as group:
                group.create_task(child(3))
            await aio.wait_for(child(4), 5)
            task = aio.ensure_future(child(5))
            task.cancel()
            await aio.wait([task])
            return {type(t).__name__ for t in aio.all_tasks()}
        with fresh_loop(aio) as loop:
            loop.set_task_factory(lambda loop, coro, **kwargs: Traced(coro, loop=loop, **kwargs))
            got = loop.run_until_complete(main())
            loop.set_task_factory(None)
        return sorted(got), ended
    same(scenario)


def test_what_is_written_to_private_names_of_tasks(same):
    """anyio cancels by hand: it sets _must_cancel, or cancels _fut_waiter; nest_asyncio2 and others set _log_destroy_pending."""
    def scenario(aio):
        async def waits(future):
            try:
                await future
            except aio.CancelledError as e:
                return "cancelled", e.args
        with fresh_loop(aio) as loop:
            got = []
            future = loop.create_future()
            task = loop.create_task(waits(future))
            spin(loop)
            task._fut_waiter.cancel("by its waiter")
            got.append(loop.run_until_complete(task))
            task = loop.create_task(waits(loop.create_future()))
            got.append([outcome(setattr, task, "_must_cancel", True), task._must_cancel])
            task.cancel()
            got.append([task._must_cancel, outcome(loop.run_until_complete, task)])
            for name in ("_coro", "_fut_waiter", "_must_cancel", "_state", "_result", "_exception", "_callbacks", "_loop",
                         "_source_traceback"):
                got.append([name, outcome(setattr, task, name, None, text=False)[0], outcome(delattr, task, name, text=False)[0]])
            return got
    same(scenario)


# --- transports, servers, streams ---

def test_a_write_assigned_to_the_transport_is_what_writers_call(same):
    """uvicorn's and aiohttp's tests put a mock in the place of transport.write, and write by a StreamWriter or protocol."""
    def scenario(aio):
        async def main():
            a, b = nonblocking_pair()
            reader, writer = await aio.open_unix_connection(sock=a)
            real, seen = writer.transport.write, []
            writer.transport.write = lambda data: seen.append(bytes(data)) or real(b"<" + bytes(data) + b">")
            writer.write(b"one")
            writer.writelines([b"two", b"three"])
            await writer.drain()
            del writer.transport.write
            writer.write(b"four")
            writer.transport.close = mock.Mock()
            writer.close()
            seen.append(writer.transport.close.call_count)
            del writer.transport.close
            writer.transport.is_closing = lambda: "asked"
            seen.append(writer.is_closing())
            del writer.transport.is_closing
            await aio.sleep(0)
            writer.close()
            await writer.wait_closed()
            received = b""
            while piece := await aio.get_running_loop().sock_recv(b, 100):
                received += piece
            b.close()
            return seen, received
        with fresh_loop(aio) as loop:
            return loop.run_until_complete(main())
    same(scenario)


def test_names_of_tls_transports(same, tls):
    """aiohttp and others reach the SSLProtocol by transport._ssl_protocol, websockets the context by server._ssl_context."""
    def scenario(aio):
        async def main():
            context, seen = tls.server(), []
            server = await aio.start_server(lambda r, w: w.close(), "127.0.0.1", 0, ssl=context)
            seen.append([server._ssl_context is context, type(server.sockets).__name__, isinstance(server, asyncio.Server)])
            reader, writer = await aio.open_connection(*server.sockets[0].getsockname(), ssl=tls.client(), server_hostname="localhost")
            transport = writer.transport
            protocol = transport._ssl_protocol
            seen += [isinstance(protocol, asyncio.sslproto.SSLProtocol), protocol._app_transport is transport,
                     protocol._transport.get_protocol() is protocol, protocol._sslcontext is transport.get_extra_info("sslcontext"),
                     protocol._app_protocol is transport.get_protocol(), transport._start_tls_compatible,
                     protocol._transport._start_tls_compatible,
                     isinstance(transport, asyncio.Transport), writer._protocol._over_ssl, scrub(type(protocol._sslobj).__name__)]
            await reader.read()
            writer.close()
            try:
                await writer.wait_closed()
            except OSError:
                pass
            server.close()
            await aio.sleep(0.01)
            return seen
        with fresh_loop(aio) as loop:
            return loop.run_until_complete(main())
    same(scenario)


def test_what_anyio_asks_a_writers_protocol(same):
    """_paused is whether the transport asked to pause, and drain() waits then."""
    def scenario(aio):
        async def main():
            a, b = nonblocking_pair()
            reader, writer = await aio.open_unix_connection(sock=a)
            writer.transport.set_write_buffer_limits(0)
            seen = [writer._protocol._paused]
            writer.write(b"x" * 1_000_000)
            await aio.sleep(0)
            seen.append(writer._protocol._paused)
            draining = aio.ensure_future(writer.drain())
            received = 0
            while received < 1_000_000:
                received += len(await aio.get_running_loop().sock_recv(b, 1 << 17))
            await draining
            seen.append(writer._protocol._paused)
            writer.close()
            await writer.wait_closed()
            b.close()
            return seen
        with fresh_loop(aio) as loop:
            return loop.run_until_complete(main())
    same(scenario)


def test_patched_names_of_the_loop_are_used(same):
    """aiohttp's and anyio's tests patch the loop's methods: what asyncio's own code calls is the patch."""
    def scenario(aio):
        async def main():
            loop, seen = aio.get_running_loop(), []

            async def create_connection(factory, *args, **kwargs):
                seen.append(["create_connection", args, sorted(kwargs)])
                raise ConnectionRefusedError("patched")

            async def getaddrinfo(host, port, **kwargs):
                seen.append(["getaddrinfo", host, port, sorted(kwargs)])
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))]
            with mock.patch.object(loop, "create_connection", create_connection):
                seen.append([type(e).__name__ for e in await aio.gather(aio.open_connection("host", 1), return_exceptions=True)])
            with mock.patch.object(loop, "getaddrinfo", getaddrinfo):
                seen.append(await loop._ensure_resolved(("host", 5), loop=loop))
                seen.append([type(e).__name__ for e in await aio.gather(aio.open_connection("host", 1), return_exceptions=True)])
            with mock.patch.object(loop, "call_soon_threadsafe", wraps=loop.call_soon_threadsafe) as patched:
                await aio.to_thread(int)
                seen.append(patched.call_count)
            now = loop.time()
            with mock.patch.object(loop, "time", lambda: now + 1000):
                handle = loop.call_later(1, int)
                seen.append(round(handle.when() - now))
                handle.cancel()
            return seen
        with fresh_loop(aio) as loop:
            got = loop.run_until_complete(main())
            loop.run_until_complete(loop.shutdown_default_executor())
            return got
    same(scenario)


@pytest.mark.skipif(not PYTASK_IS_SEEN, reason="asyncio's own task in Python is not seen from 3.14 on")
def test_tasks_in_python_and_native_ones_wait_for_each_other(same):
    def scenario(aio):
        async def child(task):
            return [await task, scrub(type(asyncio.current_task()).__name__)] if task else "first"
        with fresh_loop(aio) as loop:
            task = None
            for cls in (aio.Task, asyncio.tasks._PyTask, asyncio.tasks._CTask, asyncio.tasks._PyTask, aio.Task):
                task = cls(child(task), loop=loop)
            return loop.run_until_complete(task)
    same(scenario)
