"""Calls with arguments too few, too many, of unknown name or given twice: every public callable refuses them as asyncio's does.

Which calls those are is read off the signatures of asyncio's own functions; the values do not matter, since nothing takes them.
"""
import asyncio
import functools
import gc
import inspect
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support import loop_class

CLASSES = ("Barrier", "BoundedSemaphore", "Condition", "Event", "Future", "Handle", "LifoQueue", "Lock", "PriorityQueue", "Queue", "Runner",
           "Semaphore", "StreamReader", "StreamReaderProtocol", "StreamWriter", "Task", "TaskGroup", "Timeout", "TimerHandle")
SPECIAL = ("__aenter__", "__aexit__", "__enter__", "__exit__")
#: In C in asyncio, or in Python on some versions, and the other way round here: each says it in its language's words.
IN_ANOTHER_LANGUAGE = ("get_event_loop",)
FUNCTIONS = sorted(name for name in asyncio.__all__ if inspect.isroutine(getattr(asyncio, name)) and name not in IN_ANOTHER_LANGUAGE)


def public(obj):
    """The methods that asyncio's documentation speaks of, and what `with` calls."""
    return [name for name in dir(obj) if (not name.startswith("_") or name in SPECIAL) and callable(getattr(obj, name, None))]


def near(name):
    """A slip of the pen."""
    return name[:-1] + ("x" if name[-1] != "x" else "y")


def bad_calls(signature):
    """(number of positional arguments, names of the others): all that the signature refuses."""
    P = inspect.Parameter
    by_place = [p for p in signature.parameters.values() if p.kind in (P.POSITIONAL_ONLY, P.POSITIONAL_OR_KEYWORD)]
    named = [p.name for p in signature.parameters.values() if p.kind in (P.POSITIONAL_OR_KEYWORD, P.KEYWORD_ONLY)]
    names = [(), ("zzz",), ("zzz", "yyy"), *((name,) for name in named), *((near(name),) for name in named),
             *((name, "zzz") for name in named[:2]), *zip(named, named[1:])]
    for count in range(len(by_place) + 3):
        for keywords in names:
            try:
                signature.bind(*range(count), **dict.fromkeys(keywords, 0))
            except TypeError:
                yield count, keywords


def complaints(function, calls):
    said = {}
    for count, keywords in calls:
        try:
            result = function(*range(count), **dict.fromkeys(keywords, 0))
        except Exception as e:
            said[f"{count} {' '.join(keywords)}"] = f"{type(e).__name__}: {e}"
        else:
            said[f"{count} {' '.join(keywords)}"] = f"took it: {result!r}"
            if asyncio.iscoroutine(result):
                result.close()
    return said


def calls_of(function):
    try:
        signature = inspect.signature(function)
    except ValueError:
        return
    yield from bad_calls(signature)


def compare(expected, got, names, method=False):
    differences = {}
    for name in names:
        calls = list(calls_of(getattr(expected, name)))
        method = method and hasattr(type(expected), name)
        right, ours = (complaints(called(obj, name, method), calls) for obj in (expected, got))
        # 3.12.1 has methods in C that overlook keywords
        differences.update({(name, call): (right[call], ours[call]) for call in right
                            if right[call] != ours[call] and right[call].startswith("TypeError")})
    assert not differences, "\n".join(f"{name} {call}: {right!r}, not {ours!r}" for (name, call), (right, ours) in differences.items())


def called(obj, name, method):
    """As `obj.name(...)` is: a method is not bound before it is called, which is seen in what is said of some in C."""
    return functools.partial(getattr(type(obj), name), obj) if method else getattr(obj, name)


class Instances:
    """An object of each public class, of one module."""

    def __init__(self, aio):
        self.aio, self.loop, self.sockets = aio, loop_class(aio)(), []
        self.made = []

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        for s in self.sockets:
            s.close()
        for obj in self.made:
            if hasattr(obj, "close"):
                obj.close()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def get(self, kind):
        return self.keep(self.make(kind))

    def keep(self, making):
        self.made.append(self.loop.run_until_complete(making))
        return self.made[-1]

    async def make(self, kind):
        aio, loop = self.aio, self.loop
        if kind == "Future":
            return loop.create_future()
        if kind == "Task":
            task = aio.create_task(aio.sleep(0))
            await task
            return task
        if kind == "Handle":
            return loop.call_soon(int)
        if kind == "TimerHandle":
            return loop.call_later(0, int)
        if kind == "Barrier":
            return aio.Barrier(1)
        if kind == "Timeout":
            return aio.Timeout(None)
        if kind == "StreamReader":
            return aio.StreamReader()
        if kind == "StreamReaderProtocol":
            return aio.StreamReaderProtocol(aio.StreamReader())
        if kind == "StreamWriter":
            return (await aio.open_connection(sock=self.pair()))[1]
        if kind == "Runner":
            return aio.Runner()
        return getattr(aio, kind)()

    def pair(self, type=socket.SOCK_STREAM):
        a, b = socket.socketpair(socket.AF_UNIX, type)
        self.sockets += a, b
        return a

    def transport(self, kind):
        return self.keep(self.make_transport(kind))

    async def make_transport(self, kind):
        aio, loop = self.aio, self.loop
        if kind == "socket":
            return (await loop.create_connection(aio.Protocol, sock=self.pair()))[0]
        if kind == "datagram":
            return (await loop.create_datagram_endpoint(aio.DatagramProtocol, sock=self.pair(socket.SOCK_DGRAM)))[0]
        if kind == "server":
            return await loop.create_server(aio.Protocol, "127.0.0.1", 0)
        r, w = os.pipe()
        self.sockets += os.fdopen(r, "rb", 0), os.fdopen(w, "wb", 0)
        if kind == "reading pipe":
            return (await loop.connect_read_pipe(aio.Protocol, self.sockets[-2]))[0]
        return (await loop.connect_write_pipe(aio.BaseProtocol, self.sockets[-1]))[0]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_function(aio, name):
    compare(asyncio, aio, [name])


@pytest.mark.filterwarnings("ignore:.*StreamWriter.__del__:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("name", CLASSES)
def test_class(aio, name):
    if hasattr(asyncio, name):
        compare(asyncio, aio, [name])
        gc.collect()                                         # a StreamWriter without a transport cannot say that it was not closed


@pytest.mark.parametrize("kind", CLASSES)
def test_methods(aio, kind):
    with Instances(asyncio) as theirs, Instances(aio) as ours:
        expected, got = theirs.get(kind), ours.get(kind)
        compare(expected, got, public(expected), method=True)


def test_loop_methods(aio):
    with Instances(asyncio) as theirs, Instances(aio) as ours:
        compare(theirs.loop, ours.loop, public(theirs.loop), method=True)


@pytest.mark.parametrize("kind", ["socket", "datagram", "reading pipe", "writing pipe", "server"])
def test_transport_methods(aio, kind):
    with Instances(asyncio) as theirs, Instances(aio) as ours:
        expected, got = theirs.transport(kind), ours.transport(kind)
        compare(expected, got, public(expected), method=True)


DEFAULTS = """
import asyncio as aio, sys
if sys.argv[1] == "pyasync":
    import pyasync as aio

async def fails():
    raise ValueError("of a task")

async def main():
    said = []
    for change in ({"return_exceptions": True}, None):
        aio.gather.__kwdefaults__ = change
        try:
            said.append(repr(await aio.gather(fails(), aio.sleep(0, "slept"))))
        except Exception as e:
            said.append(repr(e))
    aio.shield.__defaults__ = (aio.sleep(0, "by default"),)
    said += [await aio.shield(), aio.shield.__defaults__ is None]
    try:
        del aio.shield.__code__
    except Exception as e:
        said.append(repr(e))
    return said

print(aio.run(main()))
"""


def test_other_defaults(aio):
    """A program may give a function other ones."""
    said = [subprocess.run([sys.executable, "-c", DEFAULTS, module], capture_output=True, text=True, cwd=Path(__file__).parents[1]).stdout
            for module in ("asyncio", aio.__name__)]
    assert said[0].startswith("[") and said[0] == said[1]
