"""Warnings and log records: category, text, the file and line that they are laid to, their source; logger, level, text and exception. On
asyncio and on pyasync the same, also where the one comes from Python code and the other from C."""
import asyncio
import gc
import inspect
import logging
import os
import re
import socket
import sys
import warnings

import pytest

from support import PY, fresh_loop, none, nonblocking_pair, plain, scrub, spin

HERE = os.path.basename(__file__)


def tidy(text):
    text = re.sub(r"\('127.0.0.1', \d+\)", "ADDRESS", scrub(text))
    text = re.sub(r"\bpid=\d+", "pid=N", text)
    text = re.sub(r"\b(_?Unix|_?Selector)*(?=EventLoop|(Socket|Datagram|ReadPipe|WritePipe|Subprocess)Transport)", "", text)
    return re.sub(r"^(<|unclosed.*?<)_+", r"\1", text)


def caught(same, main, *args, native=()):
    """What main(aio, loop, *args) made Python warn of. A line counts from the function's first one; of other files only the name is taken,
    and not of those warnings whose text begins with something in `native`, where asyncio has a frame and pyasync none."""
    first = main.__code__.co_firstlineno

    def scenario(aio):
        with warnings.catch_warnings(record=True) as seen, fresh_loop(aio) as loop:
            warnings.simplefilter("always")
            result = main(aio, loop, *args)
            if inspect.iscoroutine(result):
                result = loop.run_until_complete(result)
            gc.collect()
            spin(loop, 2)
            loop.errors.take()
        got = []
        for w in seen:
            name = os.path.basename(w.filename)
            where = [name, w.lineno - first if name == HERE else None]
            text = tidy(str(w.message))
            got.append([w.category.__name__, text, None if text.startswith(native) and native else where,
                        w.source is not None and re.sub(r"^_?(Unix|Selector)*", "", type(w.source).__name__).lstrip("_")])
        return sorted(got, key=str), plain(result)
    return same(scenario)


# ---- warnings ----

@pytest.mark.parametrize("name", ["sleep", "wait_for", "wait", "to_thread", "open_connection", "start_server", "Queue.get", "Queue.put",
                                  "Queue.join",
                                  "Lock.acquire", "Event.wait", "Condition.wait", "Condition.wait_for", "Semaphore.acquire", "Barrier.wait",
                                  "StreamReader.read", "StreamReader.readline", "StreamReader.readexactly", "StreamReader.readuntil",
                                  "StreamWriter.drain", "StreamWriter.wait_closed"])
def test_never_awaited(same, name):
    """The coroutine's qualified name is asyncio's, and the line is that where it was dropped."""
    async def main(aio, loop):
        future = loop.create_future()
        made = {"sleep": (1,), "wait_for": (future, 1), "wait": ([future],), "to_thread": (int,), "open_connection": ("x", 1),
                "start_server": (int,), "put": (1,), "wait_for_": (bool,), "readexactly": (1,)}
        cls, _, method = name.rpartition(".")
        if not cls:
            coro = getattr(aio, method)(*made[method])
        else:
            if cls.startswith("Stream"):
                a, b = nonblocking_pair()
                reader, writer = await aio.open_unix_connection(sock=a)
                owner = reader if cls == "StreamReader" else writer
            else:
                owner = aio.Barrier(2) if cls == "Barrier" else getattr(aio, cls)()
            args = {"put": (1,), "wait_for": (bool,), "readexactly": (1,)}.get(method, ())
            coro = getattr(owner, method)(*args)
        del coro
        if cls.startswith("Stream"):
            writer.close()
            b.close()
            await asyncio.sleep(0)
        return True
    got, _ = caught(same, main)
    assert got and got[0][0] == "RuntimeWarning" and "was never awaited" in got[0][1]


def test_a_task_that_is_not_made(same):
    def main(aio, loop):
        closed = aio.new_event_loop()
        closed.close()
        result = []
        for make in (closed.create_task, lambda c: aio.Task(c, loop=closed), lambda c: aio.ensure_future(c, loop=closed),
                     closed.run_until_complete,
                     aio.create_task):
            coro = none()
            try:
                make(coro)
            except RuntimeError as e:
                result.append(str(e))
            del coro
        return result
    caught(same, main)


def test_unclosed_loops_and_transports(same):
    """ResourceWarning names the object, and has it as its source for tracemalloc."""
    async def transports(aio, loop):
        pairs = [nonblocking_pair(), nonblocking_pair(socket.SOCK_DGRAM)]
        stream, _ = await loop.create_connection(asyncio.Protocol, sock=pairs[0][0])
        datagram, _ = await loop.create_datagram_endpoint(asyncio.DatagramProtocol, sock=pairs[1][0])
        r, w = os.pipe()
        reading, _ = await loop.connect_read_pipe(asyncio.Protocol, open(r, "rb", 0))
        writing, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(w, "wb", 0))
        for transport in (reading, writing, datagram, stream):
            transport.__del__()
            transport.close()
        del transport, stream, datagram, reading, writing
        for _ in range(3):
            await asyncio.sleep(0)
        for a, b in pairs:
            b.close()
        return True
    got, _ = caught(same, transports, native=("unclosed transport",))
    assert len(got) >= 4 and {w[0] for w in got} == {"ResourceWarning"}

    def loops(aio, loop):
        other = aio.new_event_loop()
        other.__del__()
        other.close()
        other.__del__()
        return True
    got, _ = caught(same, loops)
    assert [w[0] for w in got] == ["ResourceWarning"]


def test_unclosed_streams(same):
    async def main(aio, loop):
        a, b = nonblocking_pair()
        reader, writer = await aio.open_unix_connection(sock=a)
        writer.transport.get_protocol()._stream_reader_ref = None
        writer.__del__() if hasattr(writer, "__del__") else None
        writer.transport.abort()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        b.close()
        return True
    caught(same, main)


def test_unclosed_subprocess(same):
    async def main(aio, loop):
        transport, _ = await loop.subprocess_exec(asyncio.SubprocessProtocol, sys.executable, "-c", "input()", stdout=None, stderr=None)
        transport.__del__()
        await transport._wait()
        for _ in range(5):
            await asyncio.sleep(0.001)
        return True
    got, _ = caught(same, main)
    assert any("unclosed transport" in w[1] for w in got)


def test_asynchronous_generators_after_the_shutdown(same):
    async def main(aio, loop):
        async def generator():
            yield 1
        await loop.shutdown_asyncgens()
        made = generator()
        await made.__anext__()
        await made.aclose()
        loop._asyncgens_shutdown_called = False
        return True
    got, _ = caught(same, main)
    assert got[0][0] == "ResourceWarning"


def test_deprecations_of_this_python(same):
    """What this version warns of when it is used: at the same line, in the same words."""
    async def main(aio, loop):
        result = []
        for attempt in (lambda: asyncio.iscoroutinefunction(main), lambda: aio.iscoroutinefunction(main),
                        lambda: aio.get_event_loop() is loop,
                        lambda: aio.ensure_future(none(), loop=loop).cancel(), lambda: aio.wait([none()]).close(),
                        lambda: loop.set_task_factory(None),
                        lambda: aio.gather(none()).cancel(), lambda: aio.Future().cancel()):
            try:
                result.append(attempt())
            except Exception as e:
                result.append(str(e))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return result
    caught(same, main)


@pytest.mark.skipif(PY < (3, 12), reason="throw() with three arguments was no matter before")
def test_throw_with_three_arguments(same):
    async def main(aio, loop):
        async def waits():
            await aio.sleep(0)
        iterator = aio.sleep(1).__await__()
        coro = aio.Lock().acquire()
        for thrown in (iterator, coro, loop.create_future().__await__()):
            try:
                thrown.throw(ValueError, ValueError("x"), None)
            except ValueError:
                pass
        return True
    got, _ = caught(same, main)
    assert {w[0] for w in got} <= {"DeprecationWarning"}


# ---- log records ----

def logged(same, main, *args, debug=False):
    """What the loop logged: logger, level, text without addresses, exception, extra stack."""
    def scenario(aio):
        records = []

        class Handler(logging.Handler):
            def emit(self, record):
                stack = [line for line in (record.exc_text or "").splitlines()]
                text = tidy(record.getMessage())
                text = re.sub(r"^  .*\n?", "", text, flags=re.M)              # the lines of a traceback
                text = re.sub(r"\(<\w*\.\.\.[^)]*\)", "(ARGUMENTS)", text)       # shortened in the middle, where names differ in length
                # Where asyncio has a Python frame of its own that C code has not; and what is shortened in the middle ends there.
                text = re.sub(r"(created|running) at (<pyasync>|[^\s>]+):\d+", r"\1 at LINE", re.sub(r"\.\.\.[\w./]+:\d+>", "...>", text))
                records.append([record.name, record.levelname, re.sub(r"took N seconds|poll .*", "", text), bool(record.args),
                                plain(record.exc_info[1]) if record.exc_info else None, bool(record.stack_info), stack, record.threadName])
        logger, handler = logging.getLogger("asyncio"), Handler()
        logger.addHandler(handler)
        level, propagate = logger.level, logger.propagate
        logger.setLevel(logging.DEBUG)
        logger.propagate = False
        try:
            with fresh_loop(aio, debug=debug) as loop:
                loop.slow_callback_duration = 100
                records.clear()                                              # "Using selector": its name is the poller's
                loop.set_exception_handler(None)
                result = main(aio, loop, *args)
                if inspect.iscoroutine(result):
                    result = loop.run_until_complete(result)
                gc.collect()
                spin(loop, 2)
            return [r for r in records if r[2]], plain(result)
        finally:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate
    return same(scenario)


@pytest.mark.parametrize("debug", [False, True], ids=["", "debug"])
def test_errors_nobody_took(same, debug):
    async def main(aio, loop):
        future = loop.create_future()
        future.set_exception(ValueError("in a future"))
        del future

        async def fails():
            raise ValueError("in a task")
        loop.create_task(fails())
        loop.call_soon(lambda: 1 / 0)
        loop.call_later(0, lambda: [][0])
        taken = loop.create_future()
        taken.add_done_callback(lambda f: {}["key"])
        taken.set_result(1)
        for _ in range(4):
            await asyncio.sleep(0)
        lost = aio.gather(fails(), fails())
        for _ in range(3):
            await asyncio.sleep(0)
        del lost
        gc.collect()
        pending = aio.Task(aio.sleep(100), loop=loop, name="pending")
        await asyncio.sleep(0)
        pending.__del__()
        pending.cancel()
        await asyncio.sleep(0)
        loop.call_exception_handler({"message": "mine", "exception": OSError("x"), "extra": [1], "future": pending and None})
        loop.call_exception_handler({})
        return True
    got, _ = logged(same, main, debug=debug)
    assert len(got) >= 7 and {r[0] for r in got} == {"asyncio"}


def test_a_handler_that_fails(same):
    def main(aio, loop):
        def handler(loop, context):
            raise TypeError("in the handler")
        loop.set_exception_handler(handler)
        loop.call_soon(lambda: 1 / 0)
        spin(loop)
        loop.set_exception_handler(None)
        loop.default_exception_handler = lambda context: [][0]
        loop.call_soon(lambda: 1 / 0)
        spin(loop)
        del loop.default_exception_handler
        return True
    got, _ = logged(same, main)
    assert len(got) == 2


def test_writes_into_the_void(same):
    """Counted silently at first, then a warning for each."""
    async def main(aio, loop):
        class P(asyncio.Protocol):
            def connection_made(self, transport):
                self.lost = loop.create_future()

            def connection_lost(self, exc):
                self.lost.set_result(exc)
        a, b = nonblocking_pair()
        transport, protocol = await loop.create_connection(P, sock=a)
        transport.abort()
        for _ in range(8):
            transport.write(b"x")
        await protocol.lost
        b.close()
        r, w = os.pipe()
        writing, protocol = await loop.connect_write_pipe(P, open(w, "wb", 0))
        os.close(r)
        writing.abort()
        for _ in range(8):
            writing.write(b"x")
        await protocol.lost
        return True
    got, _ = logged(same, main)
    assert got and {r[1] for r in got} == {"WARNING"}


def test_protocols_that_fail(same):
    async def main(aio, loop):
        seen = []

        def failing(event):
            def method(self, *args):
                seen.append(event)
                raise ValueError(event)
            return method
        for event in ("connection_made", "data_received", "eof_received", "connection_lost", "pause_writing"):
            a, b = nonblocking_pair()
            try:
                transport, _ = await loop.create_connection(type("P", (asyncio.Protocol,), {event: failing(event)}), sock=a)
                transport.set_write_buffer_limits(0)
                b.send(b"data")
                transport.write(b"x" * (1_000_000 if event == "pause_writing" else 1))
                if event == "eof_received":
                    b.shutdown(socket.SHUT_WR)
                for _ in range(6):
                    await asyncio.sleep(0.001)
                transport.abort()
                for _ in range(3):
                    await asyncio.sleep(0)
            except ValueError as e:
                seen.append(str(e))
            b.close()
        return seen
    got, _ = logged(same, main)
    assert len(got) >= 4


def test_debug_mode_tells_of_what_is_slow(same):
    def main(aio, loop):
        loop.slow_callback_duration = 0

        async def task():
            await asyncio.sleep(0)
        loop.run_until_complete(task())
        loop.call_soon(gc.isenabled)
        spin(loop)
        loop.slow_callback_duration = 100
        return True
    got, _ = logged(same, main, debug=True)
    assert any(r[2].startswith("Executing <") for r in got)
