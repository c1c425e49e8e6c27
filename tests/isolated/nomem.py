"""Runs one operation of the core again and again, the n-th memory allocation failing, for n = 1, 2, 3, ...: python nomem.py CASE

Whatever fails may raise MemoryError; nothing may crash, now or in a later garbage collection, no other error may come up, and the loop
has to go on serving. The interpreter is short of memory exactly once each time, so that its own cleaning up works. --list names the cases.
"""
import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
import warnings
import weakref

import _testcapi

import nomem_tls
import pyasync

LIMIT = 400  # allocations; no case needs as many
CALM = 10    # so many runs in a row must be through before a case counts as swept: an allocation may also fail unnoticed

IN_PYTHON = {"gather", "all_tasks"}  # asyncio's Python code runs, in which CPython then loses references: asyncio's own loop stays, too

cases = {}
pair = socket.socketpair()
for sock in pair:
    sock.setblocking(False)
drain = bytearray(1 << 16)
reports = []  # what the exception handler saw in the present run


def case(function):
    """function(loop) prepares, and returns what is done under want of memory."""
    cases[function.__name__] = function
    return function


def noop(*args):
    pass


async def identity(value):
    return value


async def wait(awaitable):
    return await awaitable


def ticks(loop, count):
    loop._stopping = True  # the poller is not to wait for what want of memory has lost
    try:
        for _ in range(count):
            loop._run_once()
    finally:
        loop._stopping = False


@case
def create_task(loop):
    coro = identity(1)

    def act():
        try:
            loop.create_task(coro, name="named")
        finally:
            coro.close()
    return act


@case
def task_class(loop):
    coro = identity(1)

    def act():
        try:
            pyasync.Task(coro, loop=loop)
        finally:
            coro.close()
    return act


@case
def run_task(loop):
    loop.create_task(wait(loop.create_task(identity(1))))
    return lambda: ticks(loop, 3)


@case
def current_task(loop):
    """Again and again no task is current: asyncio's dict of current tasks fills up with deleted entries, and has to be made anew."""
    async def steps():
        for _ in range(12):
            loop.call_soon(noop)
            await pyasync.sleep(0)
    loop.create_task(steps())
    return lambda: ticks(loop, 13)


@case
def await_future(loop):
    future = loop.create_future()
    loop.create_task(wait(future))
    ticks(loop, 1)

    def act():
        for _ in range(12):
            future.add_done_callback(noop)
        future.set_result((1, 2))
        ticks(loop, 2)
    return act


@case
def await_failed(loop):
    future = loop.create_future()
    task = loop.create_task(wait(future))
    ticks(loop, 1)

    def act():
        future.set_exception(ValueError("no"))
        ticks(loop, 2)
        task.exception()
    return act


@case
def await_foreign(loop):
    future = asyncio.Future(loop=loop)
    loop.create_task(wait(future))

    def act():
        ticks(loop, 1)
        if not future.done():
            future.set_result(1)
        ticks(loop, 2)
    return act


@case
def cancel_waiting(loop):
    task = loop.create_task(wait(loop.create_future()))
    ticks(loop, 1)

    def act():
        task.cancel("message")
        ticks(loop, 2)
        if task.done():
            try:
                task.result()
            except asyncio.CancelledError:
                pass
    return act


@case
def callbacks(loop):
    future = loop.create_future()

    def act():
        for _ in range(6):
            future.add_done_callback(noop)
        list(future._callbacks)
        future.remove_done_callback(print)
        future.cancel()
        ticks(loop, 1)
    return act


@case
def call_soon(loop):
    def act():
        for i in range(40):
            loop.call_soon(noop, i)
        ticks(loop, 1)
    return act


@case
def call_soon_threadsafe(loop):
    def act():
        for i in range(40):
            loop.call_soon_threadsafe(noop, i)
        ticks(loop, 1)
    return act


@case
def call_later(loop):
    def act():
        loop.call_later(0, noop)
        loop.call_later(60, noop).cancel()
        loop.call_at(loop.time() - 1, noop).when()
        ticks(loop, 1)
    return act


@case
def sleep(loop):
    async def nap():
        await asyncio.sleep(0)
        await pyasync.sleep(0)
    loop.create_task(nap())
    return lambda: ticks(loop, 4)


@case
def gather(loop):
    async def both():
        await pyasync.gather(identity(1), wait(loop.create_future()), return_exceptions=True)
    task = loop.create_task(both())

    def act():
        ticks(loop, 2)
        task.cancel()
        ticks(loop, 3)
    return act


@case
def all_tasks(loop):
    tasks = [loop.create_task(identity(i)) for i in range(3)]

    def act():  # no repr: short of memory, CPython itself crashes where that asks a coroutine for its frame
        tasks[1].set_name(7)
        tasks[2].get_name()
        asyncio.all_tasks(loop)
        list(loop._ready)
    return act


@case
def sock_recv(loop):
    here, there = pair
    loop.create_task(loop.sock_recv(here, 10))

    def act():
        try:
            ticks(loop, 2)
            there.send(b"x" * 10)
            ticks(loop, 4)
        finally:
            with contextlib.suppress(BlockingIOError, MemoryError):
                here.recv(100)
    return act


@case
def sock_sendall(loop):
    here, there = pair
    with contextlib.suppress(BlockingIOError):
        while True:
            here.send(bytes(1 << 16))
    loop.create_task(loop.sock_sendall(here, b"x" * 10))

    def act():
        try:
            ticks(loop, 2)
        finally:
            with contextlib.suppress(BlockingIOError, MemoryError):
                while there.recv_into(drain):
                    pass
        ticks(loop, 4)
    return act


class Received(asyncio.Protocol):
    data, lost, transport = b"", None, None

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.data += data

    def connection_lost(self, exc):
        self.lost = exc


@case
def read_pipe(loop):
    """What was taken from the kernel arrives, or the connection ends: no gap that nobody can see."""
    receiving, sending = os.pipe()
    protocol = Received()
    transport = loop._make_read_pipe_transport(open(receiving, "rb", 0), protocol)
    ticks(loop, 3)
    os.write(sending, b"data")

    def act():
        try:
            ticks(loop, 3)
        finally:
            os.close(sending)
            ticks(loop, 4)
            transport.close()
            assert protocol.data == b"data" or isinstance(protocol.lost, MemoryError), (protocol.data, protocol.lost)
    return act


@case
def accept(loop):
    """Who is let in is served or turned away, or somebody hears of it: no connection on which nothing begins."""
    protocols = []

    def factory():
        protocols.append(Received())
        return protocols[-1]
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    loop._start_serving(factory, listener)
    ticks(loop, 1)
    client = socket.create_connection(listener.getsockname())
    client.send(b"data")

    def act():
        try:
            ticks(loop, 4)
        finally:
            ticks(loop, 4)
            served = False
            for protocol in protocols:
                served = served or protocol.data == b"data"
                assert protocol.transport is None or protocol.data == b"data" or protocol.lost or reports
                if protocol.transport is not None:
                    protocol.transport.abort()
            loop._stop_serving(listener)
            listener.close()
            client.close()
        if not served:
            raise MemoryError("turned away, which asyncio tells of in debug mode only")
    return act


def reported_by_python():  # no generator expression: CPython before 3.14 frees its code once too often if there is no memory for it
    for exc in reports:
        if exc is not None and exc.__traceback__ is not None:
            return True
    return False


@case
def signals(loop):
    """Those that were read are not lost when there is no memory to tell of them; asyncio's own code may lose them after that."""
    got = []
    for number in (signal.SIGUSR1, signal.SIGUSR2):
        loop.add_signal_handler(number, got.append, number)

    def act():
        try:
            signal.raise_signal(signal.SIGUSR1)
            signal.raise_signal(signal.SIGUSR2)
            ticks(loop, 4)
        finally:
            ticks(loop, 4)
            assert reported_by_python() or got == [signal.SIGUSR1, signal.SIGUSR2], got
    return act


look_back = nomem_tls.add(case, ticks)


async def serve():
    """What the loop must still be able to do."""
    future = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0, future.set_result, 1)
    assert await asyncio.create_task(wait(future)) == 1
    assert asyncio.current_task() in asyncio.all_tasks()


def tidy(loop):
    """Ends what the run left behind."""
    asyncio._set_running_loop(loop)
    look_back()
    for task in asyncio.all_tasks(loop):
        task.cancel()
    ticks(loop, 4)
    asyncio._set_running_loop(None)
    for handle in list(loop._scheduled):
        handle.cancel()
    loop.run_until_complete(serve())
    gc.collect()
    assert loop._current_handle is None and asyncio.current_task(loop) is None


def run(loop, prepare, n):
    """One run in which the n-th allocation fails. The exception that came out of it, or None."""
    asyncio._set_running_loop(loop)
    act = prepare(loop)
    failure = None
    gc.disable()
    _testcapi.set_nomemory(n, n + 1)
    try:
        act()
    except Exception as exc:
        failure = exc
    finally:
        _testcapi.remove_mem_hooks()
        gc.enable()
        asyncio._set_running_loop(None)
    return failure


def is_memory_error(exc):
    if isinstance(exc, SystemError):  # CPython's coroutine.throw() loses the MemoryError; the same happens to asyncio's tasks
        return "'throw' of 'coroutine' objects" in str(exc)
    return isinstance(exc, MemoryError) or isinstance(exc.__context__, MemoryError)


def sweep(name):
    loop = pyasync.new_event_loop()
    loop.set_exception_handler(lambda loop, context: reports.append(context.get("exception")))
    failed = calm = 0
    for n in range(LIMIT):
        reports.clear()
        unraisable.clear()
        failure = run(loop, cases[name], n)
        seen = [exc for exc in (failure, *reports, *unraisable) if exc is not None]
        assert all(map(is_memory_error, seen)), f"{name}, allocation {n}: {seen!r}"
        failed, calm = failed + bool(seen), 0 if seen else calm + 1
        failure = seen = None
        tidy(loop)
        if calm == CALM:
            break
    assert failed and calm == CALM, f"{name}: {failed} failures, then {calm} quiet runs"
    loop.close()
    gone = weakref.ref(loop)
    del loop
    reports.clear()
    unraisable.clear()
    gc.collect()
    assert gone() is None or name in IN_PYTHON, f"{name}: somebody still has the loop"
    print(f"{name}: swept")


unraisable = []
sys.unraisablehook = lambda args: unraisable.append(args.exc_value)

warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
warnings.filterwarnings("ignore", "unclosed", ResourceWarning)  # what want of memory left behind, on debug builds

if __name__ == "__main__":
    if sys.argv[1] == "--list":
        print(*cases, sep="\n")
    else:
        sweep(sys.argv[1])
