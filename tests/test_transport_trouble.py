"""Stream transports in trouble: protocols that raise or re-enter, peers that go away."""
import array
import asyncio
import contextlib
import gc
import socket
import time

import pytest

from lab import BUFFERED_CALLBACKS, CALLBACKS, BufferedNoter, BufferedRecorder, Lab, Noter, Recorder, attach, clean, connected, fill, quiet, read_all, reset, scenario, kinds, protocols
from support import Errors, fresh_loop, nonblocking_pair, outcome, plain, report, scrub, spin, spin_until


# --- what protocols raise -----------------------------------------------------------------------------------------------

@kinds
@pytest.mark.parametrize("bad", ["empty", "None", "int", "readonly", "raises", "str", "wide", "strided"])
def test_bad_buffers(same, kind, bad):
    def give(p):
        if bad == "raises":
            raise ValueError("no buffer")
        return {"empty": bytearray(), "int": 5, "readonly": b"123", "str": "text", "wide": array.array("I", [0] * 10),
                "strided": memoryview(bytearray(10))[::2]}[bad]

    async def main(lab):
        p, peer = await lab.connect(kind, buffered=True)
        if bad == "None":
            p.get_buffer = lambda sizehint: None
        else:
            p.get_buffer = lambda sizehint: give(p)
        p.buffer_updated = lambda n: lab.log.append(["updated", n])
        await lab.send(peer, b"data")
        await lab.until(lambda: len(lab.log) > 1)
        if not p.transport.is_closing():
            p.transport.abort()
        await lab.seen("lost")
    got = same(scenario(main))
    if bad != "wide":
        assert len(got["reports"]) == 1 and got["log"][-1][0] == "lost" and got["log"][-1][1] is not None
    if bad == "empty":
        assert got["reports"][0]["exception"] == ["RuntimeError", "get_buffer() returned an empty buffer"]
        assert got["reports"][0]["message"] == "Fatal error: protocol.get_buffer() call failed."


@kinds
def test_a_protocol_may_be_any_object(same, kind):
    class Duck:
        def __init__(self, log):
            self.log = log

        def __getattr__(self, name):
            if name.startswith("_"):
                raise AttributeError(name)
            return lambda *args: self.log.append([name, *(a for a in args if isinstance(a, (bytes, type(None))))])

    async def main(lab):
        duck = Duck(lab.log)
        sock, peer = lab.pair(kind)
        t = await lab.attach(duck, sock)
        await lab.send(peer, b"quack")
        await lab.seen("data_received")
        peer.shutdown(socket.SHUT_WR)
        await lab.seen("connection_lost")
        return t.get_protocol()
    assert same(scenario(main))["log"] == [["connection_made"], ["data_received", b"quack"], ["eof_received"], ["connection_lost", None]]


@kinds
def test_a_protocol_without_methods(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        p.transport.set_protocol(object())
        await lab.send(peer, b"x")
        await lab.until(lambda: p.transport.is_closing())
        await lab.ticks()
        return [[c["message"].split("(")[0], type(c["exception"]).__name__] for c in lab.errors.take()]
    got = same(scenario(main))
    assert got["result"][0] == ["Fatal error: protocol.data_received", "AttributeError"] and len(got["result"]) == 2


async def drive(lab, p, peer):
    """Takes a connection through every callback, as far as it goes."""
    t = p.transport
    steps = [
        lambda: peer.send(b"some data"),
        lambda: lab.loop.call_soon(lab.fill, t, 70_000),  # what is raised comes out of the loop, not out of the task
        lambda: peer.recv(10_000_000),
        lambda: peer.recv(10_000_000),
        lambda: peer.recv(10_000_000),
        lambda: peer.shutdown(socket.SHUT_WR),
        lambda: t.close(),
    ]
    for step in steps:
        if t.is_closing() or t._eof:
            break
        step()
        await lab.ticks(2)
    for _ in range(500):
        if "lost" in p.events():
            break
        # Reads what is still on its way, so that closing comes to its end.
        try:
            while peer.recv(1_000_000):
                pass
        except (BlockingIOError, ConnectionResetError):
            pass
        if not t.is_closing():
            t.close()
        await asyncio.sleep(0.001)
    await lab.ticks(2)
    return [t.is_closing(), t.is_reading(), t.get_protocol() is None]


@kinds
@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("what", [ValueError, OSError, asyncio.CancelledError, GeneratorExit, BaseException])
def test_exceptions_in_protocol_callbacks(same, kind, callback, what):
    async def main(lab):
        def fail(p, *args):
            raise what("from the protocol")
        p, peer = await lab.connect(kind, sndbuf=50_000, **{callback: fail})
        return await drive(lab, p, peer)
    got = same(scenario(main))
    if callback in ("data_received", "eof_received") and what is ValueError:
        assert got["reports"][0]["message"] == f"Fatal error: protocol.{callback}() call failed."
        assert set(got["reports"][0]) == {"message", "exception", "transport", "protocol"}
        assert got["log"][-1] == ["lost", ["ValueError", "from the protocol"]]
    if callback in ("pause_writing", "resume_writing"):
        assert got["reports"][0]["message"] == f"protocol.{callback}() failed" and got["log"][-1] == ["lost", None]
    if callback in ("connection_made", "connection_lost"):
        assert got["reports"][0]["message"].startswith("Exception in callback ")


@kinds
@pytest.mark.parametrize("callback", ["get_buffer", "buffer_updated"])
@pytest.mark.parametrize("what", [ValueError, OSError, asyncio.CancelledError])
def test_exceptions_in_buffered_callbacks(same, kind, callback, what):
    async def main(lab):
        def fail(p, *args):
            raise what("from the protocol")
        p, peer = await lab.connect(kind, sndbuf=50_000, buffered=True, **{callback: fail})
        return await drive(lab, p, peer)
    got = same(scenario(main))
    if what is ValueError:
        assert got["reports"][0]["message"] == f"Fatal error: protocol.{callback}() call failed."
    assert got["log"][-1][0] == "lost" and got["log"][-1][1][1] == "from the protocol"


@kinds
@pytest.mark.parametrize("callback", ["data_received", "eof_received", "pause_writing", "connection_lost"])
def test_exceptions_in_debug_mode(same, kind, callback):
    """OSErrors of a connection are logged in debug mode only."""
    async def main(lab):
        def fail(p, *args):
            raise OSError(5, "from the protocol")
        p, peer = await lab.connect(kind, sndbuf=50_000, **{callback: fail})
        found = await drive(lab, p, peer)
        for context in lab.errors.contexts:
            context.pop("source_traceback", None)
        return found
    same(scenario(main, debug=True))


@pytest.mark.parametrize("what", [SystemExit, KeyboardInterrupt])
@pytest.mark.parametrize("callback", sorted(set(CALLBACKS + BUFFERED_CALLBACKS)))
def test_exits_in_protocol_callbacks(same, callback, what):
    """SystemExit and KeyboardInterrupt come out of run_forever(); then the loop goes on where it was."""
    def run(aio):
        with Lab(aio) as lab:
            def leave(p, *args):
                if not left:
                    left.append(1)
                    raise what("leaving")
            left = []
            protocol = lab.protocol(buffered=callback in BUFFERED_CALLBACKS and callback not in CALLBACKS, **{callback: leave})
            sock, peer = lab.pair("tcp", sndbuf=50_000)
            found = []

            async def main():
                protocol.transport = await lab.attach(protocol, sock)
                return await drive(lab, protocol, peer)
            task = lab.loop.create_task(main())
            for _ in range(3):
                try:
                    found.append(clean(lab.run(task)))
                    break
                except BaseException as e:
                    found.append([type(e).__name__, str(e), aio.all_tasks(lab.loop) == {task}, protocol.transport.is_closing()])
            # left out of resume_writing(), asyncio's loop still watches a descriptor for which nothing is queued, and may find it ready
            reports = [r for r in lab.reports() if aio is not asyncio or "Data should not be empty" not in str(r)]
            return found, lab.log, reports, lab.records.records
    found = same(run)[0]
    assert found[0][:2] == [what.__name__, "leaving"] and len(found) == 2


@pytest.mark.parametrize("what", ["empty", "raises", "none", "read only", "updated raises", "memoryview", "interrupt"])
def test_buffered_protocol_errors(same, what):
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            on = {"empty": {"get_buffer": lambda p: bytearray()}, "raises": {"get_buffer": lambda p: 1 / 0},
                  "none": {"get_buffer": lambda p: None}, "read only": {"get_buffer": lambda p: b"12345"},
                  "updated raises": {"updated": lambda p: 1 / 0}, "memoryview": {"get_buffer": lambda p: memoryview(p.buffer)[:3]},
                  "interrupt": {"updated": interrupt}}[what]
            p = BufferedNoter(on=on)
            t, peer = attach(loop, p)
            peer.send(b"xy")
            found = [outcome(spin, loop, 3)]
            calls = list(p.calls)
            t.abort()
            spin(loop, 3)
            peer.close()
            contexts = errors.take()
            if what == "read only":             # the words are those of whoever rejects it
                calls[-1][-1] = calls[-1][-1][0]
            return found + [calls[:3], [[sorted(c), c["message"], type(c["exception"]).__name__] for c in contexts]]
    same(scenario)


def interrupt(*args):
    raise KeyboardInterrupt("now")


@pytest.mark.parametrize("which", ["pause", "resume"])
def test_flow_control_callbacks_that_raise(same, which):
    def scenario(aio):
        errors = Errors()

        def broken(p):
            raise ValueError("flow")
        with fresh_loop(aio, errors) as loop, connected(loop, Noter(**{which: broken})) as (t, p, peer):
            fill(t)
            t.set_write_buffer_limits(high=10)
            t.write(b"x" * 100)
            read_all(loop, peer, lambda g: t.get_write_buffer_size() == 0)
            spin(loop, 2)
            found = [{**report(c), "same": c["transport"] is t and c["protocol"] is p} for c in errors.take()]
            return [p.names, t.is_closing(), found]
    same(scenario)


@pytest.mark.parametrize("exc", [ValueError("broken"), OSError("broken"), KeyboardInterrupt("broken"), asyncio.CancelledError("broken"),
                                 ConnectionResetError("broken")])
@pytest.mark.parametrize("where", ["made", "data", "eof", "lost"])
def test_callbacks_that_raise(same, where, exc):
    def scenario(aio):
        errors = Errors()

        def broken(p, *args):
            raise exc
        with fresh_loop(aio, errors) as loop:
            a, b = nonblocking_pair()
            p = Noter(**{where: broken})
            task = loop.create_task(loop.connect_accepted_socket(lambda: p, a))
            found = [outcome(spin, loop, 4)]
            b.send(b"x")
            found.append(outcome(spin, loop, 4))
            b.shutdown(socket.SHUT_WR)
            found.append(outcome(spin, loop, 4))
            if p.transport is not None:
                p.transport.abort()
            found.append(outcome(spin, loop, 4))
            found.append(task.done() and outcome(task.result)[:1])
            if task.done() and not task.cancelled() and task.exception() is None:
                transport = task.result()[0]
                transport.abort()
                spin(loop, 2)
            b.close()
            contexts = [[sorted(c), scrub(c["message"]).split(" at ")[0].split("(")[0], plain(c["exception"])] for c in errors.take()]
            exc.__traceback__ = None
            return found + [p.calls, contexts, a.fileno()]
    same(scenario)


class Bare:
    """A protocol without a base class: what it lacks is missed where it is needed."""

    def connection_made(self, transport):
        self.transport = transport


def test_a_class_without_methods(same):
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            p = Bare()
            t, peer = attach(loop, p)
            peer.send(b"x")
            spin_until(loop, lambda: errors.contexts)
            spin(loop, 3)
            peer.close()
            return [[scrub(c["message"]).split(" at ")[0].split("(")[0], type(c["exception"]).__name__] for c in errors.take()]
    same(scenario)


def test_a_factory_that_fails(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            a, b = nonblocking_pair()

            def factory():
                raise ZeroDivisionError("factory")
            found = [outcome(loop.run_until_complete, loop.connect_accepted_socket(factory, a)), a.fileno() >= 0]
            a.close()
            b.close()
            return found
    same(scenario)


# --- peers that go away -------------------------------------------------------------------------------------------------

@protocols
@pytest.mark.parametrize("stage", ["at once", "after data", "unread data here", "while blocked", "after eof there", "while paused", "while closing"])
def test_peer_resets(same, stage, buffered):
    async def main(lab):
        p, peer = await lab.connect("tcp", buffered=buffered, eof_received=lambda p: True)
        t = p.transport
        if stage == "after data":
            await lab.send(peer, b"x")
            await lab.seen("data")
        elif stage == "unread data here":
            t.pause_reading()
            await lab.send(peer, b"unread")
            await lab.ticks()
        elif stage == "while blocked":
            lab.fill(t)
        elif stage == "after eof there":
            peer.shutdown(socket.SHUT_WR)
            await lab.seen("eof")
        elif stage == "while paused":
            t.pause_reading()
        elif stage == "while closing":
            lab.fill(t)
            t.close()
        reset(peer)
        await lab.ticks()
        if stage in ("while paused", "unread data here"):
            states = [t.is_closing()]
            t.resume_reading()
        elif stage == "after eof there":
            states = [t.is_closing()]
            t.write(b"x")
        else:
            states = []
        await lab.until(t.is_closing)
        await lab.seen("lost")
        return states
    got = same(scenario(main))
    assert got["log"][-1][1][0] in ("ConnectionResetError", "BrokenPipeError") and quiet(got)


@kinds
def test_writing_to_a_peer_that_is_gone(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind, eof_received=lambda p: True)
        t = p.transport
        peer.close()
        await lab.seen("eof")
        states = []
        for i in range(20):
            t.write(b"x" * 10)
            await lab.ticks(1)
            if t.is_closing():
                break
        await lab.seen("lost")
        t.write(b"after")
        t.writelines([])
        return states, t.is_closing()
    got = same(scenario(main))
    assert got["log"][-1][0] == "lost" and got["log"][-1][1][0] in ("BrokenPipeError", "ConnectionResetError") and quiet(got)


def test_a_failed_write_is_known_at_the_end_of_the_tick(same):
    """asyncio knows at once; pyasync, which joins what a callback writes, when the callback has returned."""
    async def main(lab):
        p, peer = await lab.connect("unix", eof_received=lambda p: True)
        t = p.transport
        peer.close()
        await lab.seen("eof")
        t.write(b"x")
        await asyncio.sleep(0)
        states = [t.is_closing(), t.is_reading(), t.get_write_buffer_size()]
        for i in range(8):
            t.write(b"x")
        states.append(len(lab.records.records))
        t.write(b"")
        await lab.seen("lost")
        return states
    got = same(scenario(main))
    assert got["result"] == [True, False, 0, 4] and len(got["records"]) == 4
    assert got["log"][-1] == ["lost", ["BrokenPipeError", "[Errno 32] Broken pipe"]]


def test_unix_peer_closes_with_unread_data(same):
    async def main(lab):
        p, peer = await lab.connect("unix")
        p.transport.write(b"never read")
        await lab.ticks()
        peer.close()
        await lab.seen("lost")
    assert same(scenario(main))["log"][-1] == ["lost", ["ConnectionResetError", "[Errno 104] Connection reset by peer"]]


@pytest.mark.parametrize("stage", ["idle", "paused", "writing", "buffered", "after eof", "closing"])
def test_peer_resets_on_tcp(same, stage):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            p = Noter(eof=lambda p: True)
            t, peer = attach(loop, p, socket.AF_INET)
            if stage == "paused":
                t.pause_reading()
            if stage in ("buffered", "closing"):
                fill(t)
            if stage == "closing":
                t.close()
            if stage == "after eof":
                peer.shutdown(socket.SHUT_WR)
                spin_until(loop, lambda: "eof" in p.names)
            reset(peer)
            if stage in ("writing", "paused", "after eof"):
                deadline = time.monotonic() + 5
                while "lost" not in p.names and time.monotonic() < deadline:
                    t.write(b"x")
                    loop.call_later(0.002, loop.stop)
                    loop.run_forever()
            else:
                spin_until(loop, lambda: "lost" in p.names)
            spin(loop, 2)
            # both ends of the race between reading and writing are errors of the connection
            names = [n for n in p.names if n not in ("pause", "resume")]
            lost, = [c for c in p.calls if c[0] == "lost"]
            return [names, lost[1] and lost[1][0] in ("ConnectionResetError", "BrokenPipeError"), t.is_closing()]
    same(scenario)


def test_broken_pipe_on_write(aio, loop, errors):
    with connected(loop) as (t, p, peer):
        t.pause_reading()
        peer.close()
        t.write(b"x")
        t.write(b"y")
        spin_until(loop, lambda: p.names[-1] == "lost")
        assert p.calls[-1][1][0] in ("BrokenPipeError", "ConnectionResetError") and errors.contexts == []


def test_network_errors_are_logged_in_debug_only(same, caplog):
    def scenario(aio):
        caplog.set_level("DEBUG", logger="asyncio")
        found = []
        for debug in (False, True):
            with fresh_loop(aio, debug=debug) as loop, connected(loop) as (t, p, peer):
                t.pause_reading()
                peer.close()
                caplog.clear()
                t.write(b"x")
                spin_until(loop, lambda: p.names[-1] == "lost")
                found.append([[r.levelname, r.getMessage().split(": ")[-1]] for r in caplog.records if "rror" in r.getMessage()])
        return found
    same(scenario)


# --- re-entrancy --------------------------------------------------------------------------------------------------------

ACTIONS = {
    "close": lambda t, lab: t.close(),
    "abort": lambda t, lab: t.abort(),
    "write": lambda t, lab: t.write(b"w"),
    "writelines": lambda t, lab: t.is_closing() or t.writelines([b"a", b"b"]),
    "write_big": lambda t, lab: t.write(b"W" * 300_000),
    "write_eof": lambda t, lab: t.write_eof(),
    "pause_reading": lambda t, lab: t.pause_reading(),
    "resume_reading": lambda t, lab: t.resume_reading(),
    "set_protocol": lambda t, lab: t.set_protocol(Recorder(lab.log, "new")),
    "set_buffered": lambda t, lab: t.set_protocol(BufferedRecorder(lab.log, "new")),
    "limits": lambda t, lab: t.set_write_buffer_limits(high=10, low=5),
    "close_and_write": lambda t, lab: (t.close(), t.write(b"x"), t.abort()),
    "write_and_abort": lambda t, lab: (t.write(b"x"), t.abort(), t.write(b"x"), t.close()),
    "size_and_repr": lambda t, lab: lab.log.append([t.is_closing(), t.is_reading()]),
    "socket": lambda t, lab: lab.log.append([t.get_extra_info("socket").fileno() > 0]),
    "collect": lambda t, lab: gc.collect() and None,
}


@protocols
@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("action", ACTIONS)
def test_reentrancy(same, action, callback, buffered):
    """Whatever a protocol does to its transport inside a callback, what follows is what follows on asyncio."""
    if callback == "resume_writing" and action in ("close", "close_and_write", "abort", "write_and_abort"):
        pytest.skip("asyncio may call connection_lost() twice here; see the next test")
    name = "buffer_updated" if buffered and callback == "data_received" else callback

    async def main(lab):
        seen = []

        def act(p, *args):
            if seen:
                return
            seen.append(1)
            ACTIONS[action](p.transport, lab)
        p, peer = await lab.connect("tcp", buffered=buffered, sndbuf=50_000, **{name: act})
        t = p.transport
        await lab.ticks()
        peer.send(b"some data")
        await lab.ticks()
        if not t.is_closing() and not t._eof:
            lab.fill(t, 70_000)
        received = 0
        for _ in range(2000):
            try:
                piece = peer.recv(1_000_000)
                if not piece:
                    break
                received += len(piece)
            except BlockingIOError:
                if t.get_write_buffer_size() == 0:
                    break
            except ConnectionResetError:
                break
            await asyncio.sleep(0)
        await lab.ticks()
        peer.shutdown(socket.SHUT_WR) if peer.fileno() >= 0 and not t.is_closing() else None
        await lab.ticks()
        t.resume_reading()
        await lab.ticks()
        if not t.is_closing():
            t.close()
        for _ in range(1000):
            if any("lost" in entry for entry in lab.log if isinstance(entry, list)):
                break
            try:
                peer.recv(1_000_000)
            except (BlockingIOError, ConnectionResetError):
                pass
            await asyncio.sleep(0.001)
        await lab.ticks()
        return t.is_closing(), len(seen), t.get_protocol() is None
    got = same(scenario(main))
    assert got["result"][0] is True and got["result"][2] is True
    assert sum("lost" in entry for entry in got["log"]) == 1


@kinds
@protocols
@pytest.mark.parametrize("action", ["close", "abort", "close_and_write", "write_and_abort"])
def test_closing_inside_resume_writing(aio, kind, buffered, action):
    with Lab(aio) as lab:
        async def main():
            p, peer = await lab.connect(kind, buffered=buffered, resume_writing=lambda p: ACTIONS[action](p.transport, lab))
            lab.fill(p.transport, 100_000)
            await lab.receive_all(peer)
            await lab.seen("lost")
            await lab.ticks()
            assert lab.log == [["made"], ["pause"], ["resume"], ["lost", None]]
        lab.run(main())
        if aio is asyncio:
            lab.reports()
        assert lab.reports() == []


@pytest.mark.parametrize("first", ["close", "abort", "write", "write_eof", "pause_reading", "set_protocol", "stop"])
@pytest.mark.parametrize("second", ["close", "abort", "write", "write_eof", "resume_reading"])
def test_combinations_within_data_received(same, first, second):
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            q = Noter()

            def act(p, d):
                found.append([outcome(do, p.transport, first), outcome(do, p.transport, second)])

            def do(t, what):
                if what == "write":
                    t.write(b"w")
                elif what == "set_protocol":
                    t.set_protocol(q)
                elif what == "stop":
                    loop.stop()
                else:
                    getattr(t, what)()
            found = []
            p = Noter(data=act)
            t, peer = attach(loop, p)
            peer.send(b"x")
            spin_until(loop, lambda: found)
            spin(loop, 3)
            got = b""
            with contextlib.suppress(BlockingIOError):
                got = peer.recv(100)
            found += [got, t.is_closing(), p.calls, q.calls]
            t.abort()
            spin(loop, 3)
            peer.close()
            return found + [p.calls, q.calls, [c["message"] for c in errors.take()]]
    same(scenario)
