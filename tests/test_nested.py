"""nest_asyncio lets a task run the loop that it runs in. It patches asyncio's names and the methods of the loop's class, drives the loop
by its private parts (`_ready`, `_scheduled`, `_selector`, `_process_events`), and so works on loops that have them: on pyasync's as well.
Each program runs in a process of its own on asyncio and by each way into pyasync, and has to print the same."""
import functools
import importlib.util
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

PACKAGES = ["nest_asyncio", "nest_asyncio2"]
WAYS = {
    "asyncio": "import asyncio; new = asyncio.new_event_loop",
    "loop": "import asyncio, pyasync; new = pyasync.new_event_loop",
    "install": "import pyasync; pyasync.install(); import asyncio; new = asyncio.new_event_loop",
    "import": "import pyasync as asyncio; new = asyncio.new_event_loop",
}

START = """
import os, socket, sys, threading, traceback, warnings
warnings.simplefilter("ignore")
{way}
import {package} as nest

class Outer:
    # How the outermost run is started: with nest's methods, or before they were put in place, as in a notebook.
    def __init__(self, early):
        self.loop = new()
        asyncio.set_event_loop(self.loop)
        if early:
            nest.apply(self.loop)
        self.early = early

    def run(self, coro):
        async def late():
            nest.apply(self.loop)
            return await coro
        return self.loop.run_until_complete(coro if self.early else late())

async def after(delay, value):
    await asyncio.sleep(delay)
    return value

def nested(coro):
    return asyncio.get_event_loop().run_until_complete(coro)

probe = new()
probe.close()
cls = type(probe)
before = dict(vars(cls))

def unpatch():
    for name, value in list(vars(cls).items()):
        if name not in before:
            delattr(cls, name)
        elif before[name] is not value:
            setattr(cls, name, before[name])

def play(text):
    for early in (False, True):
        unpatch()
        assert not hasattr(cls, "_nest_patched")
        outer = Outer(early)
        loop = outer.loop
        try:
            print(type(loop).__module__.partition(".")[0] == "pyasync" or "asyncio" == {name!r})
            program = dict(globals())
            exec(text, program)
            print(outer.run(program["main"]()))
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

for name, text in {programs!r}.items():
    print("PROGRAM", name)
    try:
        play(text)
    except BaseException:
        traceback.print_exc(file=sys.stdout)
"""

PROGRAMS = {
    "timers and gather, deep": """
        async def level(n):
            if n == 0:
                return await asyncio.gather(after(0.002, "a"), after(0.001, "b"), after(0, "c"))
            await asyncio.sleep(0.001)
            got = nested(level(n - 1))
            await asyncio.sleep(0.001)
            return [n, got]

        async def main():
            me = asyncio.current_task()
            beside = asyncio.ensure_future(after(0.001, "beside"))
            got = nested(level(5))
            assert asyncio.current_task() is me and beside.done()
            return got, await asyncio.gather(level(1), level(2)), beside.result(), nested(asyncio.gather(level(1), after(0, 5)))
    """,
    "what asyncio offers, within": """
        async def leaf(n):
            lock, queue, event = asyncio.Lock(), asyncio.Queue(), asyncio.Event()
            async with lock:
                await queue.put(n)
            asyncio.get_event_loop().call_later(0.001, event.set)
            async with asyncio.timeout(5):
                await event.wait()
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(after(0.001, i)) for i in range(3)]
            done, pending = await asyncio.wait([asyncio.ensure_future(after(0, 1))])
            return [await queue.get(), [t.result() for t in tasks], len(done), await asyncio.wait_for(after(0, 2), 5),
                    await asyncio.to_thread(int, "3"), await asyncio.shield(after(0, 4)),
                    [await f for f in asyncio.as_completed([after(0, 6), after(0.002, 7)])]]

        async def main():
            return nested(leaf(1)), await asyncio.gather(leaf(2), leaf(3))
    """,
    "errors, cancellation and time-outs": """
        async def fails():
            await asyncio.sleep(0)
            raise LookupError("from within")

        async def main():
            seen = []
            for coro in (fails(), asyncio.wait_for(after(10, None), 0.001)):
                try:
                    nested(coro)
                except Exception as e:
                    seen.append((type(e).__name__, str(e)))
            task = asyncio.ensure_future(after(10, None))
            asyncio.get_event_loop().call_later(0.001, task.cancel)
            try:
                nested(task)
            except asyncio.CancelledError:
                seen.append(("cancelled", task.cancelled()))
            seen.append(await after(0.001, "goes on"))
            return seen
    """,
    "streams and what was written before": """
        async def talk():
            async def serve(reader, writer):
                while line := await reader.readline():
                    writer.write(line.upper())
                    nested(writer.drain())
                writer.close()
            server = await asyncio.start_server(serve, "127.0.0.1", 0)
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            got = []
            for i in range(5):
                writer.write(b"line %d\\n" % i)              # goes out although this task does not give way
                got.append(nested(asyncio.wait_for(reader.readline(), 10)))
            writer.close()
            await writer.wait_closed()
            await asyncio.sleep(0.02)
            server.close()
            return got

        async def main():
            first = nested(talk())                        # all of it in one step of this task
            return first, await talk()
    """,
    "what a protocol wrote before": """
        async def main():
            loop = asyncio.get_event_loop()

            class Receiver(asyncio.Protocol):
                def __init__(self):
                    self.got = asyncio.get_event_loop().create_future()

                def data_received(self, data):
                    self.got.set_result(data)

            async def send():
                a, b = socket.socketpair()
                transport, _ = await loop.create_connection(Receiver, sock=a)
                other, protocol = await loop.create_connection(Receiver, sock=b)
                transport.write(b"at once")
                got = nested(asyncio.wait_for(protocol.got, 10))
                transport.close(), other.close()
                return got
            return nested(send()), await send()
    """,
    "from callbacks, readers and other threads": """
        async def main():
            loop, seen = asyncio.get_event_loop(), []
            a, b = socket.socketpair()
            a.setblocking(False)
            ready, told = loop.create_future(), loop.create_future()

            def readable():
                loop.remove_reader(a)
                seen.append((a.recv(10), nested(after(0.001, "in a reader"))))
                ready.set_result(None)
            loop.add_reader(a, readable)
            b.send(b"data")
            loop.call_soon(lambda: seen.append(nested(after(0.001, "in a callback"))))
            thread = threading.Thread(target=lambda: loop.call_soon_threadsafe(told.set_result, None))
            thread.start()
            nested(told)
            thread.join()
            await ready
            loop.call_later(0.001, lambda: seen.append(nested(after(0, "in a timer"))))
            await asyncio.sleep(0.02)
            a.close(), b.close()
            return sorted(map(str, seen))
    """,
    "a child process": """
        async def main():
            async def child():
                process = await asyncio.create_subprocess_exec(sys.executable, "-c", "print(input() * 2)", stdin=-1, stdout=-1)
                return (await process.communicate(b"ab"))[0]
            return nested(asyncio.wait_for(child(), 30))
    """,
    "asyncio.run() in a task": """
        async def main():
            return asyncio.run(after(0.001, 1)) if asyncio.__name__ == "asyncio" else nested(after(0.001, 1))
    """,
}


ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(Path(__file__).parent.parent), os.environ.get("PYTHONPATH")]))}


@functools.cache
def output(package, way):
    """What each program printed, and whatever else the process said."""
    programs = {name: textwrap.dedent(text) for name, text in PROGRAMS.items()}
    text = START.format(way=WAYS[way], package=package, name=way, programs=programs)
    try:
        done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
    except subprocess.TimeoutExpired:
        return {}, (None, "it hangs")
    printed = dict(part.split("\n", 1) for part in done.stdout.split("PROGRAM ")[1:])
    return printed, (done.returncode, done.stderr)


@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.parametrize("way", [way for way in WAYS if way != "asyncio"])
@pytest.mark.parametrize("package", PACKAGES)
def test_a_loop_within_a_loop(package, way, name):
    if importlib.util.find_spec(package) is None:
        pytest.skip(f"{package} is not installed: nothing shows that nested loops work with it")
    if package == "nest_asyncio" and sys.version_info >= (3, 14):
        pytest.skip("nest_asyncio was not made for this Python: it takes the current task out of a dict that is not used any more")
    expected, ending = output(package, "asyncio")
    if sys.version_info >= (3, 15) and (ending != (0, "") or "Traceback" in expected[name]):
        pytest.skip(f"{package} does not work on asyncio itself: {ending[1][-200:] or expected[name][-200:]}")
    got, got_ending = output(package, way)
    assert ending == got_ending == (0, "")
    assert "Traceback" not in expected[name]
    assert got[name] == expected[name]
