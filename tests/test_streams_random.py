"""StreamReader under random programs: data in random pieces, random reads, cancellations, EOF and errors at random points. The trace on
pyasync (on its own loop, and on asyncio's) has to be asyncio's: results, errors and what they carry, order, what stays in the buffer,
when the transport is paused and resumed."""
import asyncio
import contextlib
import gc
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pyasync
from support import finish

SEVERAL_SEPARATORS = sys.version_info >= (3, 13)


@pytest.fixture(scope="module", autouse=True)
def thawed():
    """Hypothesis warns if the garbage collector knows of nobody who has its Random, and of frozen objects it knows nothing."""
    gc.unfreeze()


pieces = st.one_of(st.binary(max_size=12), st.text("ab\n;", max_size=30).map(str.encode),
                   st.integers(1, 90).map(lambda n: b"x" * n), st.sampled_from([b"\n", b"\r\n", b"\r", b"ab", b"a", b"b;"]))
separators = st.sampled_from([b"\n", b"\r\n", b";", b"ab", b"abab", b""])
if SEVERAL_SEPARATORS:
    separators |= st.lists(st.sampled_from([b"\n", b"\r\n", b";", b"ab", b"b", b""]), max_size=3).map(tuple)
reads = st.one_of(
    st.tuples(st.just("read"), st.integers(-2, 40)),
    st.tuples(st.just("readexactly"), st.integers(-1, 60)),
    st.tuples(st.just("readuntil"), separators),
    st.tuples(st.just("readline")),
    st.tuples(st.just("__anext__")),
)
steps = st.one_of(
    st.tuples(st.just("feed"), pieces), st.tuples(st.just("feed"), pieces), st.tuples(st.just("feed"), pieces),
    st.tuples(st.just("start"), reads), st.tuples(st.just("start"), reads), st.tuples(st.just("start"), reads),
    st.tuples(st.just("tick")), st.tuples(st.just("tick")), st.tuples(st.just("tick")),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.just("eof")),
    st.tuples(st.just("fail"), st.sampled_from(["reset", "incomplete", "overrun"])),
    st.tuples(st.just("look")),
    st.tuples(st.just("hold")),
    st.tuples(st.just("poke"), st.binary(max_size=5)),
    st.tuples(st.just("bytearray"), pieces),
)


class Transport:
    def __init__(self, log, pausable):
        self.log, self.pausable = log, pausable

    def pause_reading(self):
        if not self.pausable:
            raise NotImplementedError
        self.log.append("pause")

    def resume_reading(self):
        self.log.append("resume")


def describe(exc):
    told = [type(exc).__name__, str(exc)]
    if isinstance(exc, asyncio.IncompleteReadError):
        told += [exc.partial, exc.expected]
    if isinstance(exc, asyncio.LimitOverrunError):
        told += [exc.consumed]
    context = exc.__context__
    return told + ([describe(context)] if context is not None else [])


def failure(kind):
    return {"reset": ConnectionResetError("gone"), "incomplete": asyncio.IncompleteReadError(b"part", 9),
            "overrun": asyncio.LimitOverrunError("over", 2)}[kind]


async def play(aio, program, limit, transport_kind, make):
    log, tasks, held = [], [], []
    reader = make(limit=limit, loop=asyncio.get_running_loop())
    if transport_kind != "none":
        reader.set_transport(Transport(log, transport_kind == "pausable"))

    async def one(number, name, *args):
        log.append(["begins", number])
        try:
            result = await getattr(reader, name)(*args)
            assert type(result) is bytes
            log.append([number, result])
        except BaseException as exc:
            log.append([number, describe(exc)])
            if isinstance(exc, asyncio.CancelledError):
                raise

    for step, *args in program:
        try:
            if step == "feed":
                reader.feed_data(args[0])
            elif step == "bytearray":
                reader.feed_data(bytearray(args[0]))
            elif step == "start":
                tasks.append(asyncio.ensure_future(one(len(tasks), *args[0])))
            elif step == "tick":
                await asyncio.sleep(0)
            elif step == "cancel" and args[0] < len(tasks):
                log.append(["cancel", args[0], tasks[args[0]].cancel("stop")])
            elif step == "eof":
                reader.feed_eof()
            elif step == "fail":
                reader.set_exception(failure(args[0]))
            elif step == "look":
                log.append([bytes(reader._buffer), reader._eof, reader._paused, reader._waiter is None, reader.at_eof(), repr(reader._limit)])
            elif step == "hold":
                held.append(reader._buffer)
            elif step == "poke":
                reader._buffer.extend(args[0])
        except (AssertionError, BufferError) as exc:
            log.append([step, str(exc)])
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    exc = reader.exception()
    log.append(["left", bytes(reader._buffer), reader._eof, reader._paused, reader._waiter is None, exc and describe(exc)])
    return log


def trace(loop_maker, make, *args):
    loop = loop_maker()
    try:
        return loop.run_until_complete(asyncio.wait_for(play(None, *args, make), 30))
    finally:
        finish(loop)


class PlainSubclass(pyasync.StreamReader):
    """Overrides nothing."""


class OverridingSubclass(pyasync.StreamReader):
    """Overrides with the same meaning: everything goes through asyncio's own methods."""

    async def _wait_for_data(self, func_name):
        await super()._wait_for_data(func_name)


VARIANTS = {
    "native": (pyasync.new_event_loop, pyasync.StreamReader),
    "foreign loop": (asyncio.new_event_loop, pyasync.StreamReader),
    "subclass": (pyasync.new_event_loop, PlainSubclass),
    "overridden": (pyasync.new_event_loop, OverridingSubclass),
}


@pytest.mark.parametrize("variant", VARIANTS)
@settings(max_examples=300, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(program=st.lists(steps, max_size=30), limit=st.integers(1, 40), transport=st.sampled_from(["pausable", "not", "none"]))
def test_traces(variant, program, limit, transport):
    expected = trace(asyncio.new_event_loop, asyncio.StreamReader, program, limit, transport)
    assert trace(*VARIANTS[variant], program, limit, transport) == expected


# Over sockets the pieces are the kernel's, so results are compared, not traces.
def exchange(aio, data, cuts, requests, limit):
    async def main():
        results, done = [], asyncio.Event()

        async def serve(reader, writer):
            for name, *args in requests:
                try:
                    results.append(await getattr(reader, name)(*args))
                except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, StopAsyncIteration) as exc:
                    results.append(describe(exc) if not isinstance(exc, asyncio.LimitOverrunError) else type(exc).__name__)
            results.append(await reader.read())
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            done.set()

        server = await aio.start_server(serve, "127.0.0.1", 0, limit=limit)
        reader, writer = await aio.open_connection(*server.sockets[0].getsockname())
        at = 0
        for cut in [*sorted(c % (len(data) + 1) for c in cuts), len(data)]:
            writer.write(data[at:cut])
            await writer.drain()
            await asyncio.sleep(0)
            at = cut
        writer.write_eof()
        assert await reader.read() == b""
        await done.wait()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        return results

    loop = aio.new_event_loop()
    try:
        return loop.run_until_complete(asyncio.wait_for(main(), 30))
    finally:
        finish(loop)


# What is read does not depend on the cuts with these.
definite = st.one_of(st.tuples(st.just("readexactly"), st.integers(0, 300)), st.tuples(st.just("readuntil"), st.sampled_from([b"\n", b"ab"])),
                     st.tuples(st.just("readline")))


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.lists(pieces, max_size=60).map(b"".join), cuts=st.lists(st.integers(0, 3000), max_size=6),
       requests=st.lists(definite, max_size=12))
def test_sockets(data, cuts, requests):
    expected = exchange(asyncio, data, cuts, requests, 1 << 16)
    assert exchange(pyasync, data, cuts, requests, 1 << 16) == expected
