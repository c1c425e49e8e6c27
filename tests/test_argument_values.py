"""Arguments of the wrong kind: what a call says, returns, and does to the loop is what asyncio's says, returns and does.

Each case is a call with one argument left open; each of VALUES is put there.
"""
import asyncio
import concurrent.futures
import contextlib
import contextvars
import gc
import re
import socket
import sys
import warnings

import pytest

from support import finish, loop_class

VALUES = {
    "None": None, "object": object(), "text": "x", "empty text": "", "bytes": b"x", "no bytes": b"", "bytearray": bytearray(b"ab"),
    "-1": -1, "0": 0, "1.5": 1.5, "-0.5": -0.5, "nan": float("nan"), "inf": float("inf"), "-inf": float("-inf"), "huge": 10 ** 30,
    "-huge": -10 ** 30, "float of huge": 1e300, "list": [], "list of None": [None], "tuple": (1, 2), "dict": {}, "set": {1},
    "class": int, "exception": ValueError("v"), "exception class": KeyError, "StopIteration": StopIteration, "base": KeyboardInterrupt,
    "generator": (i for i in ()), "context": contextvars.Context(), "function": lambda *args: None,
}
CASES = {}


def case(function):
    """function(aio, value) is a coroutine function; what it returns is compared."""
    CASES[function.__name__] = function
    return function


def simple(name, call):
    async def function(aio, loop, v):
        return call(aio, loop, v)
    CASES[name] = function


def awaited(name, call):
    async def function(aio, loop, v):
        return await call(aio, loop, v)
    CASES[name] = function


def nothing(*args):
    return None


async def soon(*args):
    return "done"


def future(loop, result="r"):
    f = loop.create_future()
    if result is not None:
        f.set_result(result)
    return f


simple("call_soon", lambda aio, loop, v: loop.call_soon(v))
simple("call_soon context", lambda aio, loop, v: loop.call_soon(nothing, context=v))
simple("call_soon_threadsafe", lambda aio, loop, v: loop.call_soon_threadsafe(v))
simple("call_later", lambda aio, loop, v: loop.call_later(v, nothing).cancel())
simple("call_later callback", lambda aio, loop, v: loop.call_later(0, v))
simple("call_at", lambda aio, loop, v: loop.call_at(v, nothing).cancel())
simple("call_at callback", lambda aio, loop, v: loop.call_at(0, v))
simple("add_reader", lambda aio, loop, v: loop.add_reader(v, nothing))
simple("add_writer", lambda aio, loop, v: loop.add_writer(v, nothing))
simple("remove_reader", lambda aio, loop, v: loop.remove_reader(v))
simple("remove_writer", lambda aio, loop, v: loop.remove_writer(v))
simple("set_debug", lambda aio, loop, v: (loop.set_debug(v), loop.get_debug(), loop.set_debug(False)))
simple("set_task_factory", lambda aio, loop, v: (loop.set_task_factory(v), loop.get_task_factory() is v, loop.set_task_factory(None)))
simple("set_exception_handler", lambda aio, loop, v: loop.set_exception_handler(v))
simple("call_exception_handler", lambda aio, loop, v: loop.call_exception_handler(v))
simple("set_default_executor", lambda aio, loop, v: loop.set_default_executor(v))
simple("add_signal_handler", lambda aio, loop, v: loop.add_signal_handler(v, nothing))
simple("remove_signal_handler", lambda aio, loop, v: loop.remove_signal_handler(v))
awaited("run_in_executor", lambda aio, loop, v: loop.run_in_executor(v, nothing))
awaited("run_in_executor function", lambda aio, loop, v: loop.run_in_executor(None, v))
simple("run_until_complete", lambda aio, loop, v: loop.run_until_complete(v))
simple("Semaphore", lambda aio, loop, v: aio.Semaphore(v).locked())
simple("BoundedSemaphore", lambda aio, loop, v: aio.BoundedSemaphore(v).release())
simple("Barrier", lambda aio, loop, v: aio.Barrier(v).parties)
simple("Condition", lambda aio, loop, v: aio.Condition(v).locked())
simple("Queue", lambda aio, loop, v: [(q := aio.Queue(v)).maxsize, q.put_nowait(1), q.full(), q.qsize()])
simple("LifoQueue", lambda aio, loop, v: [(q := aio.LifoQueue(v)).maxsize, q.put_nowait(1), q.full(), q.qsize()])
simple("PriorityQueue", lambda aio, loop, v: [(q := aio.PriorityQueue()).put_nowait(v), q.put_nowait(5), q.get_nowait()])
simple("Timeout", lambda aio, loop, v: aio.Timeout(v).when())
simple("timeout", lambda aio, loop, v: aio.timeout(v).when() is None)
simple("timeout_at", lambda aio, loop, v: aio.timeout_at(v).when())
simple("StreamReader limit", lambda aio, loop, v: aio.StreamReader(limit=v)._limit)
simple("StreamReader loop", lambda aio, loop, v: aio.StreamReader(loop=v)._loop is v)
simple("StreamReaderProtocol", lambda aio, loop, v: aio.StreamReaderProtocol(v)._stream_reader)
simple("Future loop", lambda aio, loop, v: aio.Future(loop=v))
simple("Task", lambda aio, loop, v: aio.Task(v))
simple("create_task", lambda aio, loop, v: aio.create_task(v))
simple("loop.create_task", lambda aio, loop, v: loop.create_task(v))
simple("Runner debug", lambda aio, loop, v: aio.Runner(debug=v).close())
simple("ensure_future", lambda aio, loop, v: aio.ensure_future(v))
simple("wrap_future", lambda aio, loop, v: aio.wrap_future(v))
simple("wrap_future loop", lambda aio, loop, v: aio.wrap_future(concurrent.futures.Future(), loop=v))
simple("run_coroutine_threadsafe", lambda aio, loop, v: aio.run_coroutine_threadsafe(v, loop))
simple("current_task", lambda aio, loop, v: aio.current_task(v) is not None)
simple("all_tasks", lambda aio, loop, v: len(aio.all_tasks(v)))
simple("isfuture", lambda aio, loop, v: aio.isfuture(v))
simple("iscoroutine", lambda aio, loop, v: aio.iscoroutine(v))
simple("iscoroutinefunction", lambda aio, loop, v: aio.iscoroutinefunction(v))
simple("set_result", lambda aio, loop, v: [(f := future(loop, None)).set_result(v), f.result() is v])
simple("set_exception", lambda aio, loop, v: [(f := future(loop, None)).set_exception(v), repr(f.exception())])
simple("add_done_callback", lambda aio, loop, v: future(loop).add_done_callback(v))
simple("add_done_callback context", lambda aio, loop, v: future(loop).add_done_callback(nothing, context=v))
simple("remove_done_callback", lambda aio, loop, v: future(loop, None).remove_done_callback(v))
simple("cancel message", lambda aio, loop, v: [(f := future(loop, None)).cancel(v), repr(f)])
simple("set_name", lambda aio, loop, v: [aio.current_task().set_name(v), aio.current_task().get_name()])
simple("get_stack", lambda aio, loop, v: len(aio.current_task().get_stack(limit=v)) > 0)
simple("timeout reschedule", lambda aio, loop, v: aio.Timeout(None).reschedule(v))
simple("notify", lambda aio, loop, v: aio.Condition().notify(v))
simple("feed_data", lambda aio, loop, v: [(r := aio.StreamReader()).feed_data(v), bytes(r._buffer)])
simple("reader set_exception", lambda aio, loop, v: [(r := aio.StreamReader()).set_exception(v), r.exception()])
awaited("sleep", lambda aio, loop, v: aio.sleep(v))
awaited("sleep result", lambda aio, loop, v: aio.sleep(0, v))
awaited("gather", lambda aio, loop, v: aio.gather(v))
awaited("gather return_exceptions", lambda aio, loop, v: aio.gather(future(loop), soon(), return_exceptions=v))
awaited("shield", lambda aio, loop, v: aio.shield(v))
awaited("wait", lambda aio, loop, v: aio.wait(v))
awaited("wait timeout", lambda aio, loop, v: aio.wait({future(loop, None)}, timeout=v))
awaited("wait return_when", lambda aio, loop, v: aio.wait({future(loop)}, return_when=v))
awaited("wait_for", lambda aio, loop, v: aio.wait_for(v, 1))
awaited("wait_for timeout", lambda aio, loop, v: aio.wait_for(future(loop, None), v))
awaited("wait_for timeout of a done future", lambda aio, loop, v: aio.wait_for(future(loop), v))
awaited("to_thread", lambda aio, loop, v: aio.to_thread(v))
awaited("queue put", lambda aio, loop, v: aio.Queue().put(v))


@case
async def wait_for_timeout_of_a_coroutine(aio, loop, v):
    with contextlib.closing(aio.sleep(0, "slept")) as coro:
        return await aio.wait_for(coro, v)


@case
async def send_to_an_operation(aio, loop, v):
    with contextlib.closing(aio.Queue().get()) as coro:
        return coro.send(v)


@case
async def throw_into_an_operation(aio, loop, v):
    with contextlib.closing(aio.Queue().get()) as coro:
        return coro.throw(v)


@case
async def as_completed(aio, loop, v):
    return [await f for f in aio.as_completed(v)]


@case
async def as_completed_timeout(aio, loop, v):
    return [await f for f in aio.as_completed([future(loop)], timeout=v)]


@case
async def timeout_entered(aio, loop, v):
    async with aio.timeout(v) as t:
        return t.when() is None, t.expired()


@case
async def timeout_at_entered(aio, loop, v):
    async with aio.timeout_at(v) as t:
        await aio.sleep(0)
        return t.when(), t.expired()


@case
async def timeout_rescheduled(aio, loop, v):
    async with aio.timeout(None) as t:
        t.reschedule(v)
        await aio.sleep(0)
        return t.when(), t.expired()


@case
async def group_create_task(aio, loop, v):
    async with aio.TaskGroup() as group:
        group.create_task(v)


@case
async def group_exit(aio, loop, v):
    group = await aio.TaskGroup().__aenter__()
    return await group.__aexit__(v, None, None)


@case
async def task_name(aio, loop, v):
    task = aio.create_task(soon(), name=v)
    return task.get_name(), await task


@case
async def condition_wait_for(aio, loop, v):
    condition = aio.Condition()
    async with condition:
        return await condition.wait_for(v)


@case
async def notified(aio, loop, v):
    condition = aio.Condition()

    async def waiter():
        async with condition:
            return await condition.wait()
    tasks = [aio.create_task(waiter()) for _ in range(3)]
    await aio.sleep(0)
    async with condition:
        try:
            condition.notify(v)
        finally:
            await aio.sleep(0)
            woken = sum(t.done() for t in tasks), len(condition._waiters)
            for t in tasks:
                t.cancel()
    return woken


def with_reader(name, call, fed=b"hello\nworld"):
    async def function(aio, loop, v):
        reader = aio.StreamReader(limit=64)
        reader.feed_data(fed)
        reader.feed_eof()
        try:
            return await call(reader, v), bytes(reader._buffer)
        except Exception as e:
            return repr(e), bytes(reader._buffer)
    CASES[name] = function


with_reader("read", lambda reader, v: reader.read(v))
with_reader("readexactly", lambda reader, v: reader.readexactly(v))
with_reader("readuntil", lambda reader, v: reader.readuntil(v))


def with_transport(name, call):
    async def function(aio, loop, v):
        a, b = socket.socketpair()
        with b:
            transport, protocol = await loop.create_connection(aio.Protocol, sock=a)
            try:
                return call(transport, v), transport.get_write_buffer_limits(), transport.is_closing()
            except Exception as e:
                return repr(e), transport.get_write_buffer_limits(), transport.is_closing()
            finally:
                transport.abort()
    CASES[name] = function


with_transport("write", lambda transport, v: transport.write(v))
with_transport("writelines", lambda transport, v: transport.writelines(v))
with_transport("limits high", lambda transport, v: transport.set_write_buffer_limits(v))
with_transport("limits low", lambda transport, v: transport.set_write_buffer_limits(low=v))
with_transport("get_extra_info", lambda transport, v: transport.get_extra_info(v))


def with_writer(name, call):
    async def function(aio, loop, v):
        a, b = socket.socketpair()
        with b:
            reader, writer = await aio.open_connection(sock=a)
            try:
                return call(writer, v), writer.is_closing()
            except Exception as e:
                return repr(e), writer.is_closing()
            finally:
                writer.transport.abort()
    CASES[name] = function


with_writer("writer write", lambda writer, v: writer.write(v))
with_writer("writer writelines", lambda writer, v: writer.writelines(v))


def with_datagrams(name, call):
    async def function(aio, loop, v):
        a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        with b:
            transport, protocol = await loop.create_datagram_endpoint(aio.DatagramProtocol, sock=a)
            try:
                return call(transport, v), transport.is_closing()
            except Exception as e:
                return repr(e), transport.is_closing()
            finally:
                transport.abort()
    CASES[name] = function


with_datagrams("sendto", lambda transport, v: transport.sendto(v))


def with_socket(name, call):
    async def function(aio, loop, v):
        a, b = socket.socketpair()
        a.setblocking(False)
        with a, b:
            b.send(b"received")
            return await call(loop, a, v)
    CASES[name] = function


with_socket("sock_recv", lambda loop, sock, v: loop.sock_recv(v, 10))
with_socket("sock_recv size", lambda loop, sock, v: loop.sock_recv(sock, v))
with_socket("sock_recv_into", lambda loop, sock, v: loop.sock_recv_into(sock, v))
with_socket("sock_recvfrom size", lambda loop, sock, v: loop.sock_recvfrom(sock, v))
with_socket("sock_sendall", lambda loop, sock, v: loop.sock_sendall(v, b"x"))
with_socket("sock_sendall data", lambda loop, sock, v: loop.sock_sendall(sock, v))
with_socket("sock_accept", lambda loop, sock, v: loop.sock_accept(v))
with_socket("sock_connect", lambda loop, sock, v: loop.sock_connect(v, "/nowhere"))
with_socket("sock_connect address", lambda loop, sock, v: loop.sock_connect(sock, v))
with_socket("create_connection", lambda loop, sock, v: loop.create_connection(asyncio.Protocol, sock=v))
with_socket("create_server", lambda loop, sock, v: loop.create_server(asyncio.Protocol, sock=v))
with_socket("create_datagram_endpoint", lambda loop, sock, v: loop.create_datagram_endpoint(asyncio.Protocol, sock=v))


def described(value):
    text = repr(value) if not isinstance(value, BaseException) else f"{type(value).__name__}({value})"
    text = re.sub(r"0x[0-9a-f]+|(?<=Task-)\d+|(?<=at )/\S+py:\d+|(?<=fd=)\d+|(?<=when=)[\d.]+", "N", text)
    text = re.sub(r"\(\) at N", "()", text)      # a function in C has no line
    return re.sub(r"(?<=[<'])(asyncio\.\w+|pyasync|_asyncio)\.", "", re.sub(r"_?(Unix)?(Selector)?EventLoop", "EventLoop", text))


def outcome(aio, function, value):
    """What a call gave, and what the exception handler was told."""
    loop, told = loop_class(aio)(), []
    loop.set_exception_handler(lambda loop, context: told.append((context["message"], context.get("exception"))))

    async def main():
        task = loop.create_task(function(aio, loop, value))
        await aio.sleep(0)
        for _ in range(6):
            if not task.done():
                await aio.sleep(0.001)
        if task.done():
            return task.exception() if not task.cancelled() and task.exception() is not None else task
        task.cancel()
        try:
            return "waits", await task
        except BaseException as e:
            return "waits", e
    try:
        result = loop.run_until_complete(main())
        result = result.result() if asyncio.isfuture(result) and not result.cancelled() else result
        return described(result), [described(t) for t in told]
    except BaseException as e:
        return "ended the loop", described(e), [described(t) for t in told]
    finally:
        loop.set_exception_handler(None)
        loop._default_executor = None if not hasattr(loop._default_executor, "shutdown") else loop._default_executor
        finish(loop)


def skip(name, value):
    """Ints that are somebody's descriptor, and a signal's number. An iterator of as_completed()'s whose time-out is nonsense is left
    half made in asyncio, and complains in the futures' callbacks: ours was not made. A debug build of CPython fails a check of its own
    where a StopIteration is thrown into a coroutine that was not started."""
    if name == "throw_into_an_operation" and value == "StopIteration":
        return hasattr(sys, "gettotalrefcount")
    if name == "as_completed_timeout":
        return not isinstance(VALUES[value], (int, float))
    return value == "0" and name.startswith(("add_", "remove_", "sock", "create_", "connect")) and "_done_" not in name


@pytest.mark.parametrize("name", CASES)
def test_value(aio, name):
    right, ours = found(asyncio, name), found(aio, name)
    differences = [f"{value}: {right[value]}, not {ours[value]}" for value in right if right[value] != ours[value]]
    assert not differences, "\n".join(differences)


def found(aio, name):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")         # an exception class given to throw()
        outcomes = {value: outcome(aio, CASES[name], VALUES[value]) for value in VALUES if not skip(name, value)}
        gc.collect()
    return outcomes
