"""A tour of asyncio in eleven stops, a second or so in all.

It imports asyncio and plain helpers of the standard library, and knows nothing of pyasync, so that it can be run on both:

    python examples/tour.py                  on asyncio's own event loop
    python -m pyasync examples/tour.py       on pyasync's

Each stop opens with its title and the loop it runs on; apart from that name the two print the same lines.
"""
import asyncio
import collections.abc
import os
import signal
import threading
import time
import warnings


def heading(title, loop):
    kind = type(loop)
    print(f"\n== {title}   [loop: {kind.__module__}.{kind.__qualname__}]")


def say(what, value=""):
    print(f"   {what:<58} {value}".rstrip())


# ---- 1 -------------------------------------------------------------------------------------------------------------

async def double(x):                            # a coroutine function: calling it runs nothing yet
    await asyncio.sleep(0)
    return 2 * x


def is_coroutine_function(f):
    with warnings.catch_warnings():             # since Python 3.14 asyncio points to inspect's function of that name
        warnings.simplefilter("ignore", DeprecationWarning)
        return asyncio.iscoroutinefunction(f)


async def awaitables():
    loop = asyncio.get_running_loop()
    coroutine = double(1)                       # a coroutine: a call in waiting
    future = loop.create_future()               # a future: a result in waiting
    task = asyncio.create_task(double(3))       # a task: a coroutine that the loop is already running, and a future
    say("iscoroutinefunction(double), (print)", (is_coroutine_function(double), is_coroutine_function(print)))
    say("iscoroutine(coroutine), (future)", (asyncio.iscoroutine(coroutine), asyncio.iscoroutine(future)))
    say("isfuture(future), (task), (coroutine)", (asyncio.isfuture(future), asyncio.isfuture(task), asyncio.isfuture(coroutine)))
    say("a task is a future", isinstance(task, asyncio.Future))
    Awaitable, Coroutine = collections.abc.Awaitable, collections.abc.Coroutine
    for name, x in [("coroutine", coroutine), ("future", future), ("task", task)]:
        say(f"{name}: Awaitable, Coroutine", (isinstance(x, Awaitable), isinstance(x, Coroutine)))
    future.set_result(4)
    say("awaited: coroutine, future, task", (await coroutine, await future, await task))


# ---- 2 -------------------------------------------------------------------------------------------------------------

async def the_running_loop():
    loop = asyncio.get_running_loop()
    say("get_event_loop() is get_running_loop()", asyncio.get_event_loop() is loop)
    say("is_running, is_closed", (loop.is_running(), loop.is_closed()))
    start = loop.time()
    await asyncio.sleep(0.05)
    say("sleep(0.05) lasted that long on the loop's clock", loop.time() - start >= 0.05)
    say("sleep hands back a result", await asyncio.sleep(0.01, "good morning"))
    return "a result"


# ---- 3 -------------------------------------------------------------------------------------------------------------

async def slow_square(x):
    await asyncio.sleep(0.02 * x)
    return x * x


async def tasks():
    say("gather keeps the order of its arguments", await asyncio.gather(*map(slow_square, [3, 1, 2])))
    results = await asyncio.gather(slow_square(1), double(None), return_exceptions=True)
    say("gather with return_exceptions", [x if isinstance(x, int) else type(x).__name__ for x in results])

    try:
        await asyncio.wait_for(asyncio.sleep(60), timeout=0.02)
    except asyncio.TimeoutError as e:
        say("wait_for gave up with", type(e).__name__)

    sleeper = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)                      # let it start
    say("Task.cancel() was accepted", sleeper.cancel())
    try:
        await sleeper
    except asyncio.CancelledError as e:
        say("awaiting it raised; cancelled()", (type(e).__name__, sleeper.cancelled()))

    async def stubborn():
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            say("a coroutine may clean up on its way out")
            raise
    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])

    inner = asyncio.create_task(slow_square(5))
    try:
        await asyncio.wait_for(asyncio.shield(inner), timeout=0.01)
    except asyncio.TimeoutError:
        say("shield: the wait timed out, the task did not; it gave", await inner)


# ---- 4 -------------------------------------------------------------------------------------------------------------

async def futures():
    loop = asyncio.get_running_loop()
    heard = []
    first = heard.append                        # callbacks get the future itself
    second = lambda f: heard.append("never called")
    future = loop.create_future()
    future.add_done_callback(first)
    future.add_done_callback(second)
    say("remove_done_callback removed", future.remove_done_callback(second))
    loop.call_later(0.01, future.set_result, 42)
    say("await, result(), done(), cancelled()", (await future, future.result(), future.done(), future.cancelled()))
    say("the callback got the future", heard == [future])
    try:
        future.set_result(43)
    except asyncio.InvalidStateError as e:
        say("a second set_result", f"InvalidStateError: {e}")
    failed = loop.create_future()
    failed.set_exception(ValueError("no luck"))
    try:
        await failed
    except ValueError as e:
        say("set_exception, seen by who awaits", repr(e))


# ---- 5 -------------------------------------------------------------------------------------------------------------

async def callbacks():
    loop = asyncio.get_running_loop()
    order = []
    done = loop.create_future()
    loop.call_later(0.03, done.set_result, None)
    loop.call_at(loop.time() + 0.02, order.append, "call_at +0.02")
    loop.call_later(0.01, order.append, "call_later 0.01")
    loop.call_soon(order.append, "call_soon 1")
    loop.call_soon(order.append, "call_soon 2")
    loop.call_soon(order.append, "never").cancel()
    await done
    say("callbacks ran in this order", order)

    def from_a_thread():
        loop.call_soon_threadsafe(crossed.set_result, threading.current_thread() is threading.main_thread())
    crossed = loop.create_future()
    thread = threading.Thread(target=from_a_thread)
    thread.start()
    say("call_soon_threadsafe from the main thread", await crossed)
    thread.join()


# ---- 6 -------------------------------------------------------------------------------------------------------------

def loop_by_hand():
    loop = asyncio.new_event_loop()
    heading("The loop by hand", loop)
    say("run_until_complete", loop.run_until_complete(double(21)))
    task = loop.create_task(double(4))
    future = loop.create_future()
    loop.call_soon(future.set_result, "set by a callback")
    say("create_task, create_future", (loop.run_until_complete(task), loop.run_until_complete(future)))
    ticks = []

    def tick():
        ticks.append(loop.is_running())
        if len(ticks) == 3:
            loop.stop()
        else:
            loop.call_soon(tick)
    loop.call_soon(tick)
    loop.run_forever()
    say("run_forever until stop(); is_running in each tick", ticks)
    say("is_running, is_closed after it", (loop.is_running(), loop.is_closed()))
    loop.close()
    say("is_closed after close()", loop.is_closed())
    try:
        loop.call_soon(print)
    except RuntimeError as e:
        say("call_soon on a closed loop", f"RuntimeError: {e}")


# ---- 7 -------------------------------------------------------------------------------------------------------------

def blocking(x):
    time.sleep(0.05)                            # would stop every other task, if it ran on the loop's thread
    return x, threading.current_thread() is threading.main_thread()


async def blocking_code():
    loop = asyncio.get_running_loop()
    ticks = 0

    async def ticker():
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1
    task = asyncio.create_task(ticker())
    say("to_thread: result, in the main thread?", await asyncio.to_thread(blocking, "A"))
    say("run_in_executor: the same", await loop.run_in_executor(None, blocking, "B"))
    say("other tasks went on meanwhile", ticks > 2)
    task.cancel()
    before = ticks
    blocking("C")
    say("called directly, it holds everything up", ticks == before)


# ---- 8 -------------------------------------------------------------------------------------------------------------

class Door:
    async def __aenter__(self):
        await asyncio.sleep(0)
        say("async with: opened")
        return self

    async def __aexit__(self, kind, error, traceback):
        await asyncio.sleep(0)
        say("async with: closed, though it raised", kind.__name__)
        return True


class Countdown:
    def __init__(self, n):
        self.n = n

    def __aiter__(self):
        return self

    async def __anext__(self):
        await asyncio.sleep(0)
        if not self.n:
            raise StopAsyncIteration
        self.n -= 1
        return self.n


async def letters():
    for c in "abc":
        await asyncio.sleep(0)
        yield c


async def managers_and_iterators():
    async with Door():
        raise KeyError("lost the key")
    say("async for over an iterator", [n async for n in Countdown(3)])
    say("async for over a generator", [c async for c in letters()])
    lock = asyncio.Lock()
    async with lock:
        say("async with a Lock: locked()", lock.locked())


# ---- 9 -------------------------------------------------------------------------------------------------------------

async def queues():
    queue = asyncio.Queue(maxsize=2)
    received = []

    async def worker():
        while True:
            item = await queue.get()
            received.append(item)
            queue.task_done()
    workers = [asyncio.create_task(worker()) for _ in range(3)]
    for i in range(7):
        await queue.put(i)                      # waits whenever two items are waiting
    await queue.join()
    for w in workers:
        w.cancel()
    await asyncio.gather(*workers, return_exceptions=True)
    say("three workers took", received)
    say("and were cancelled", [w.cancelled() for w in workers])


# ---- 10 ------------------------------------------------------------------------------------------------------------

async def serve_echo(reader, writer):
    while line := await reader.readline():
        writer.write(line.upper())
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def echo_client(port, name):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    for word in ("hello", "this is", name):
        writer.write(f"{word}\n".encode())
        answers.append((await reader.readline()).decode().rstrip())
    writer.write_eof()
    rest = await reader.read()
    writer.close()
    await writer.wait_closed()
    return " ".join(answers), rest


async def echo_server():
    server = await asyncio.start_server(serve_echo, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        for answer in await asyncio.gather(*(echo_client(port, n) for n in ("ann", "bob", "cy"))):
            say("a client heard, and then the end", answer)
        say("is_serving", server.is_serving())
    say("is_serving after async with", server.is_serving())


# ---- 11 ------------------------------------------------------------------------------------------------------------

async def signals():
    loop = asyncio.get_running_loop()
    got = asyncio.Queue()
    for s in (signal.SIGUSR1, signal.SIGTERM):
        loop.add_signal_handler(s, got.put_nowait, s.name)
    for s in (signal.SIGUSR1, signal.SIGTERM):
        os.kill(os.getpid(), s)
        say("a handler on the loop got", await got.get())
    say("handlers removed", [loop.remove_signal_handler(s) for s in (signal.SIGUSR1, signal.SIGTERM)])


async def stop_at(title, section):
    heading(title, asyncio.get_running_loop())
    return await section()


def main():
    asyncio.run(stop_at("What can be awaited", awaitables))
    result = asyncio.run(stop_at("The running loop", the_running_loop))
    say("run() returned", result)
    asyncio.run(stop_at("Tasks", tasks))
    asyncio.run(stop_at("Futures", futures))
    asyncio.run(stop_at("Callbacks", callbacks))
    loop_by_hand()
    asyncio.run(stop_at("Blocking code and the executor", blocking_code))
    asyncio.run(stop_at("Async context managers and iterators", managers_and_iterators))
    asyncio.run(stop_at("Queues", queues))
    asyncio.run(stop_at("An echo server and its clients", echo_server))
    asyncio.run(stop_at("Signals", signals))
    print("\nThat was all of it.")


if __name__ == "__main__":
    main()
