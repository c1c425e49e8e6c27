"""In which contextvars.Context and on which thread the loop calls what it was given: protocols, readers, signal handlers, done callbacks,
exception handlers. A context is that of whoever asked for the callback, or a copy of it; asyncio says which."""
import asyncio
import contextvars
import os
import re
import signal
import socket
import sys
import threading

import pytest

from support import EAGER, fresh_loop, nonblocking_pair, spin

PLACE = contextvars.ContextVar("PLACE", default="outside")
SEEN = contextvars.ContextVar("SEEN", default=())


class Watcher:
    """Notes where each callback is called: the value of PLACE, whether what earlier callbacks set in SEEN is still there (then they share a
    context), whether it is the loop's thread, the running loop and the current task."""

    def __init__(self, loop):
        self.loop, self.thread, self.notes = loop, threading.get_ident(), []

    def note(self, name):
        task = asyncio.current_task(self.loop) if asyncio._get_running_loop() is self.loop else "no loop"
        here = threading.get_ident() == self.thread
        task = task if isinstance(task, str) else task and re.sub(r"Task-\d+", "Task-N", task.get_name())
        if name == "server's factory":          # on asyncio a task accepts each connection; natively there is none
            task = None
        self.notes.append([name, PLACE.get(), SEEN.get(), here, task])
        SEEN.set((*SEEN.get(), name)[-3:])

    def callback(self, name):
        return lambda *args: self.note(name)

    def protocol(self, name, base=asyncio.Protocol):
        watcher = self

        def method(event):
            def call(self, *args):
                if not (event == "data_received" and watcher.notes and watcher.notes[-1][0] == f"{name}.{event}"):
                    watcher.note(f"{name}.{event}")
                return self.buffer if event == "get_buffer" else None
            return call
        events = ["connection_made", "connection_lost", "data_received", "eof_received", "pause_writing", "resume_writing",
                  "datagram_received",
                  "error_received", "pipe_data_received", "pipe_connection_lost", "process_exited"]
        if base is asyncio.BufferedProtocol:
            events += ["get_buffer", "buffer_updated"]
        return type("P", (base,), {**{event: method(event) for event in events if hasattr(base, event)}, "buffer": bytearray(100)})

    def made(self, name):
        """A protocol's factory that is watched, too."""
        cls = self.protocol(name)

        def factory():
            self.note(f"{name} factory")
            return cls()
        return factory


def watched(same, main, *args, order=True):
    """Everything that was noted: in order, or sorted where two ends take turns as the kernel likes."""
    def scenario(aio):
        return contextvars.Context().run(play, aio)     # what runs in nobody's context leaves nothing behind for the next

    def play(aio):
        with fresh_loop(aio) as loop:
            watcher = Watcher(loop)

            async def in_place():
                PLACE.set("main task")
                return await main(aio, loop, watcher, *args)
            loop.run_until_complete(loop.create_task(in_place(), name="main"))
            PLACE.set("outside")
            spin(loop, 4)
            assert watcher.notes
            return watcher.notes if order else sorted(map(str, watcher.notes))
    return same(scenario)


async def in_context(place, function, *args):
    """Calls or awaits function(*args) in a task of its own, where PLACE is `place`."""
    async def call():
        PLACE.set(place)
        result = function(*args)
        return await result if asyncio.iscoroutine(result) else result
    return await asyncio.get_running_loop().create_task(call(), name=place)


async def until(condition):
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.001)
    assert False, "did not happen in time"


# ---- scheduled callbacks ----

async def scheduled(aio, loop, watcher):
    await in_context("A", loop.call_soon, watcher.callback("soon"))
    await in_context("A", loop.call_later, 0, watcher.callback("later"))
    await in_context("A", loop.call_soon_threadsafe, watcher.callback("threadsafe"))
    own = contextvars.copy_context()
    own.run(PLACE.set, "own")
    for _ in range(2):
        loop.call_soon(watcher.callback("soon, own"), context=own)
        loop.call_later(0, watcher.callback("later, own"), context=own)
        loop.call_soon_threadsafe(watcher.callback("threadsafe, own"), context=own)
        await asyncio.sleep(0.002)
    future = loop.create_future()
    await in_context("B", future.add_done_callback, watcher.callback("done"))
    future.add_done_callback(watcher.callback("done, own"), context=own)
    await in_context("C", future.set_result, 1)
    await asyncio.sleep(0)
    await in_context("D", future.add_done_callback, watcher.callback("already done"))
    thread = threading.Thread(target=contextvars.copy_context().run, args=(loop.call_soon_threadsafe, watcher.callback("from a thread")))
    thread.start()
    await asyncio.sleep(0.01)
    thread.join()


async def tasks(aio, loop, watcher):
    async def child(name):
        watcher.note(f"{name} begins")
        PLACE.set(f"{PLACE.get()}+{name}")
        await asyncio.sleep(0)
        watcher.note(f"{name} goes on")
        try:
            await asyncio.sleep(30)
        finally:
            watcher.note(f"{name} ends")
    own = contextvars.copy_context()
    own.run(PLACE.set, "own")
    makers = {"create_task": aio.create_task, "ensure_future": aio.ensure_future, "loop.create_task": loop.create_task}
    made = [await in_context(name, lambda make, name: [make(child(name))], make, name) for name, make in makers.items()]
    made.append([aio.create_task(child("in own"), context=own)])
    outer = [await in_context("gather", lambda: [aio.gather(child("gathered"), child("gathered, too"))]),
             await in_context("shield", lambda: [aio.shield(child("shielded"))])]
    async with aio.TaskGroup() as group:
        of_group = [group.create_task(child("group")), group.create_task(child("group, own"), context=own)]
        await asyncio.sleep(0.002)
        for task in of_group:
            task.cancel()
    for task, in made:
        task.add_done_callback(watcher.callback("cancelled"))
        task.cancel()
    await asyncio.sleep(0.002)
    for future, in outer:
        future.add_done_callback(watcher.callback("outer is cancelled"))
        future.add_done_callback(lambda f: f.cancelled() or f.exception())
        future.cancel()
    await asyncio.sleep(0.002)
    for task in asyncio.all_tasks() - {asyncio.current_task()}:        # the shielded one
        task.cancel()
    await asyncio.sleep(0.002)
    if EAGER:
        await in_context("eager", lambda: aio.Task(child("eager"), loop=loop, eager_start=True).cancel())
        await asyncio.sleep(0.002)


async def operations(aio, loop, watcher):
    """What runs beside: threads, executors, exception handlers, asynchronous generators."""
    await in_context("thread", aio.to_thread, watcher.callback("to_thread"))
    await in_context("executor", lambda: loop.run_in_executor(None, watcher.callback("run_in_executor")))
    await until(lambda: any("run_in_executor" in n[0] for n in watcher.notes))
    await asyncio.sleep(0.01)
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda loop, context: watcher.note("exception handler of " + context["message"].partition("(")[0]))
    await in_context("raises", loop.call_soon, lambda: 1 / 0)
    await asyncio.sleep(0)
    future = loop.create_future()
    await in_context("callback raises", future.add_done_callback, lambda f: 1 / 0)
    future.set_result(1)
    await asyncio.sleep(0)
    await in_context("handler", loop.call_exception_handler, {"message": "called"})

    async def fails():
        raise ValueError
    await in_context("task fails", lambda: loop.create_task(fails()) and None)
    await asyncio.sleep(0)
    loop.set_exception_handler(before)
    concurrent = await asyncio.to_thread(lambda: asyncio.run_coroutine_threadsafe(in_context("threadsafe", watcher.note, "coroutine"),
                                                                                  loop))
    await asyncio.wrap_future(concurrent)
    await loop.shutdown_default_executor()

    async def generator():
        try:
            yield
        finally:
            watcher.note("generator closed")
    kept = generator()
    await in_context("generator", kept.__anext__)
    del kept
    await asyncio.sleep(0.002)


async def timeouts(aio, loop, watcher):
    async def wait():
        PLACE.set("waits")
        try:
            async with aio.timeout(0.001):
                await asyncio.sleep(30)
        except TimeoutError:
            watcher.note("timed out")
        try:
            await aio.wait_for(inner(), 0.001)
        except TimeoutError:
            watcher.note("wait_for timed out")

    async def inner():
        watcher.note("inner begins")
        try:
            await asyncio.sleep(30)
        finally:
            watcher.note("inner ends")
    await in_context("A", wait)


# ---- descriptors, signals ----

async def readers(aio, loop, watcher):
    a, b = nonblocking_pair()

    def readable():
        watcher.note("reader")
        loop.remove_reader(a)
    await in_context("R", loop.add_reader, a, readable)
    await in_context("S", b.send, b"x")
    await asyncio.sleep(0.005)
    await in_context("R2", loop.add_reader, a, readable)
    await asyncio.sleep(0.005)

    def writable():
        watcher.note("writer")
        loop.remove_writer(a)
    await in_context("W", loop.add_writer, a, writable)
    await asyncio.sleep(0.005)
    a.close(), b.close()


async def signals(aio, loop, watcher):
    await in_context("handler", loop.add_signal_handler, signal.SIGUSR1, watcher.callback("signal"))
    for _ in range(2):
        await in_context("kill", os.kill, os.getpid(), signal.SIGUSR1)
        await asyncio.sleep(0.005)
    loop.remove_signal_handler(signal.SIGUSR1)


# ---- transports ----

async def stream(aio, loop, watcher, buffered):
    a, b = nonblocking_pair()
    base = asyncio.BufferedProtocol if buffered else asyncio.Protocol
    transport, protocol = await in_context("connects", lambda: loop.create_connection(watcher.protocol("P", base), sock=a))
    await in_context("peer sends", b.send, b"data")
    await until(lambda: any("data" in n[0] or "updated" in n[0] for n in watcher.notes))
    await in_context("pauses", transport.pause_reading)
    await in_context("peer sends", b.send, b"more")
    await in_context("resumes", transport.resume_reading)
    await until(lambda: sum("data" in n[0] or "updated" in n[0] for n in watcher.notes) >= (2 if buffered else 1))
    await in_context("limits", transport.set_write_buffer_limits, 0)
    await in_context("writes", transport.write, b"x" * 3_000_000)
    received = 0
    while received < 3_000_000:
        received += len(await loop.sock_recv(b, 1 << 20))
    await until(lambda: any("resume" in n[0] for n in watcher.notes))
    await in_context("peer ends", b.shutdown, socket.SHUT_WR)
    await until(lambda: any("lost" in n[0] for n in watcher.notes))
    b.close()


async def closing(aio, loop, watcher, how):
    a, b = nonblocking_pair()
    transport, _ = await in_context("connects", lambda: loop.create_connection(watcher.protocol("P"), sock=a))
    await in_context("closes", getattr(transport, how))
    await until(lambda: any("lost" in n[0] for n in watcher.notes))
    b.close()


async def server(aio, loop, watcher):
    accepting = await in_context("serves", lambda: loop.create_server(watcher.made("server's"), "127.0.0.1", 0))
    transport, _ = await in_context("connects", lambda: loop.create_connection(watcher.made("client's"),
                                                                               *accepting.sockets[0].getsockname()))
    await in_context("writes", transport.write, b"data")
    await until(lambda: any("server's.data" in n[0] for n in watcher.notes))
    await in_context("closes", transport.close)
    await until(lambda: sum("lost" in n[0] for n in watcher.notes) == 2)
    accepting.close()


async def stream_server(aio, loop, watcher):
    done = loop.create_future()

    async def serve(reader, writer):
        watcher.note("serve()")
        line = await reader.readline()
        watcher.note("serve() has a line")
        writer.write(line)
        await writer.drain()
        writer.close()
        done.set_result(None)
    accepting = await in_context("serves", lambda: aio.start_server(serve, "127.0.0.1", 0))
    reader, writer = await in_context("connects", lambda: aio.open_connection(*accepting.sockets[0].getsockname()))
    await in_context("writes", writer.write, b"line\n")
    await in_context("reads", reader.readline)
    await done
    writer.close()
    accepting.close()
    await asyncio.sleep(0.005)


async def datagrams(aio, loop, watcher):
    transport, _ = await in_context("binds", lambda: loop.create_datagram_endpoint(watcher.protocol("D", asyncio.DatagramProtocol),
                                                                                   local_addr=("127.0.0.1", 0)))
    address = transport.get_extra_info("sockname")
    sender, _ = await in_context("sender", lambda: loop.create_datagram_endpoint(watcher.protocol("S", asyncio.DatagramProtocol),
                                                                                 remote_addr=address))
    await in_context("sends", sender.sendto, b"x")
    await until(lambda: any("received" in n[0] for n in watcher.notes))
    await in_context("closes", transport.close)
    await asyncio.sleep(0.002)
    await in_context("sends in vain", sender.sendto, b"x")
    await until(lambda: any("error" in n[0] for n in watcher.notes))
    await in_context("aborts", sender.abort)
    await asyncio.sleep(0.002)


async def pipes(aio, loop, watcher):
    r, w = os.pipe()
    reading, writing = open(r, "rb", 0), open(w, "wb", 0)
    await in_context("reads", lambda: loop.connect_read_pipe(watcher.protocol("R"), reading))
    out, _ = await in_context("writes", lambda: loop.connect_write_pipe(watcher.protocol("W", asyncio.BaseProtocol), writing))
    await in_context("writes", out.write, b"data")
    await until(lambda: any("data" in n[0] for n in watcher.notes))
    await in_context("closes", out.close)
    await until(lambda: sum("lost" in n[0] for n in watcher.notes) == 2)


async def processes(aio, loop, watcher):
    transport, _ = await in_context("starts", lambda: loop.subprocess_exec(
        watcher.protocol("C", asyncio.SubprocessProtocol), sys.executable, "-c", "import sys; sys.stdout.write(input())"))
    await in_context("writes", transport.get_pipe_transport(0).write, b"line\n")
    await until(lambda: any("connection_lost" in n[0] and "pipe" not in n[0] for n in watcher.notes))
    transport.close()


SCENARIOS = {
    "scheduled": scheduled, "tasks": tasks, "timeouts": timeouts, "operations": operations, "readers": readers, "signals": signals,
    "protocol": lambda *a: stream(*a, False), "buffered protocol": lambda *a: stream(*a, True),
    "close": lambda *a: closing(*a, "close"), "abort": lambda *a: closing(*a, "abort"),
}
UNORDERED = {"server": server, "streams": stream_server, "datagrams": datagrams, "pipes": pipes, "processes": processes}


@pytest.mark.parametrize("name", SCENARIOS)
def test_in_order(same, name):
    watched(same, SCENARIOS[name])


@pytest.mark.parametrize("name", UNORDERED)
def test_in_whatever_order(same, name):
    if name == "processes" and not EAGER:
        pytest.skip("3.11's asyncio learns of a child's end in a thread: it calls the protocol in an empty context")
    watched(same, UNORDERED[name], order=False)


def test_tls(same, tls):
    async def main(aio, loop, watcher):
        accepting = await in_context("serves", lambda: loop.create_server(watcher.made("server's"), "127.0.0.1", 0, ssl=tls.server()))
        transport, _ = await in_context("connects", lambda: loop.create_connection(
            watcher.made("client's"), *accepting.sockets[0].getsockname(), ssl=tls.client(), server_hostname="localhost"))
        await in_context("writes", transport.write, b"data")
        await until(lambda: any("server's.data" in n[0] for n in watcher.notes))
        await in_context("closes", transport.close)
        await until(lambda: sum("lost" in n[0] for n in watcher.notes) == 2)
        accepting.close()
    watched(same, main, order=False)
