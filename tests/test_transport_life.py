"""The life of a stream transport over TCP and Unix sockets: making, order, contexts, closing, being forgotten."""
import asyncio
import contextlib
import contextvars
import gc
import os
import socket
import threading
import warnings
import weakref

import pytest

from lab import CALLBACKS, FAMILIES, Lab, Noter, attach, clean, connected, fill, quiet, read_all, scenario, kinds, protocols
from support import free_port, fresh_loop, nonblocking_pair, outcome, scrub, spin, spin_until

var = contextvars.ContextVar("var", default="unset")


# --- making -------------------------------------------------------------------------------------------------------------

@kinds
@protocols
def test_life_of_a_connection(same, kind, buffered):
    async def main(lab):
        p, peer = await lab.connect(kind, buffered=buffered)
        await lab.send(peer, b"first")
        await lab.seen("data")
        p.transport.write(b"answer")
        got = await lab.receive(peer, 6)
        await lab.send(peer, b" second")
        await lab.until(lambda: lab.log[-1] == ["data", b"first second"])
        peer.shutdown(socket.SHUT_WR)
        await lab.seen("lost")
        return got, await lab.receive_all(peer)
    got = same(scenario(main))
    assert got["log"] == [["made"], ["data", b"first second"], ["eof"], ["lost", None]] and quiet(got)
    assert got["result"] == [b"answer", b""]


@kinds
def test_order_of_the_beginning(same, kind):
    """connection_made before data, and the creator goes on before data that already waits is delivered."""
    async def main(lab):
        sock, peer = lab.pair(kind)
        peer.send(b"early")
        lab.loop.call_soon(lab.log.append, "before")
        p = lab.protocol(connection_made=lambda p: lab.loop.call_soon(lab.log.append, "soon after made"))
        t = await lab.attach(p, sock)
        lab.log.append("created")
        await lab.seen("data")
        t.abort()
        await lab.seen("lost")
    got = same(scenario(main))
    assert got["log"] == ["before", ["made"], "soon after made", "created", ["data", b"early"], ["lost", None]]


@kinds
def test_the_private_factory_schedules_like_asyncio(same, kind):
    """Third parties call _make_socket_transport() themselves: what it schedules, tick by tick."""
    async def main(lab):
        sock, peer = lab.pair(kind)
        waiter = lab.loop.create_future()
        waiter.add_done_callback(lambda f: lab.log.append(["waiter", f.result()]))
        p = lab.protocol()
        t = lab.loop._make_socket_transport(sock, p, waiter, extra={"mine": 1})
        states = []
        for _ in range(4):
            lab.log.append("tick")
            states.append([p.transport is not None, waiter.done()])
            await asyncio.sleep(0)
        t.abort()
        await lab.seen("lost")
        return states, t.get_extra_info("mine")
    assert same(scenario(main))["log"] == ["tick", ["made"], "tick", ["waiter", None], "tick", "tick", ["lost", None]]


@kinds
@protocols
def test_contexts(same, kind, buffered):
    async def main(lab):
        seen = []

        def look(name):
            def hook(p, *args):
                seen.append([name, var.get()])
                var.set(name)
                return True if name == "eof_received" else None
            return hook
        names = set(CALLBACKS) | {"buffer_updated"}
        var.set("creator")
        p, peer = await lab.connect(kind, buffered=buffered, sndbuf=20_000, **{n: look(n) for n in names})
        t = p.transport
        var.set("after creation")
        await lab.send(peer, b"a")
        await lab.seen("data")
        await lab.send(peer, b"b")
        await lab.until(lambda: len(seen) >= 3)
        t.pause_reading()
        var.set("at resume_reading")
        t.resume_reading()
        await lab.send(peer, b"c")
        await lab.until(lambda: len(seen) >= 4)
        var.set("writer")
        total = lab.fill(t)
        t.set_write_buffer_limits(high=1, low=0)
        var.set("after the write")
        await lab.receive(peer, total)
        await lab.seen("resume")
        peer.shutdown(socket.SHUT_WR)
        await lab.seen("eof")
        var.set("closer")
        t.close()
        var.set("after close")
        await lab.seen("lost")
        return seen, var.get()
    got = same(scenario(main))
    assert [name for name, _ in got["result"][0]][0] == "connection_made" and got["result"][0][0][1] == "creator"


@kinds
def test_all_callbacks_come_in_the_loops_thread(aio, kind):
    with Lab(aio) as lab:
        threads = []
        hooks = {n: lambda p, *args: threads.append(threading.get_ident()) for n in CALLBACKS}

        async def main():
            p, peer = await lab.connect(kind, **hooks)
            await lab.send(peer, b"a")
            await lab.seen("data")
            total = lab.fill(p.transport, 100_000)
            await lab.receive(peer, total)
            await lab.seen("resume")
            peer.shutdown(socket.SHUT_WR)
            await lab.seen("lost")
        thread = threading.Thread(target=lab.run, args=(main(),))
        thread.start()
        ident = thread.ident
        thread.join(30)
        assert threads == [ident] * 6


def test_reading_starts_after_connection_made(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            a, b = nonblocking_pair()
            b.send(b"early")
            p = Noter(made=lambda p: p.note("made ends"))
            t = loop.create_task(loop.connect_accepted_socket(lambda: p, a))
            t.add_done_callback(lambda t: p.note("waiter"))
            spin_until(loop, lambda: p.data)
            transport, _ = t.result()
            transport.abort()
            spin(loop, 2)
            b.close()
            return p.calls
    same(scenario)


def test_connection_made_order(same):
    """connection_made, the start of reading and the waiter are three steps of one tick."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            a, b = nonblocking_pair()
            seen = []
            p = Noter(made=lambda p: (seen.append("made"), loop.call_soon(seen.append, "from made")))

            async def main():
                t, _ = await loop.connect_accepted_socket(lambda: p, a)
                seen.append("connected")
                return t
            loop.call_soon(seen.append, "before")
            task = loop.create_task(main())
            loop.call_soon(seen.append, "after")
            for _ in range(5):
                spin(loop)
                seen.append("tick")
            task.result().abort()
            spin(loop, 2)
            b.close()
            return seen
    same(scenario)


@pytest.mark.parametrize("family", FAMILIES)
def test_create_connection_with_a_socket(aio, loop, family):
    """uvloop #738 and #763: a socket given to the loop is owned by the transport, and closed once."""
    a, b = nonblocking_pair()
    if family == socket.AF_INET:
        a.close()
        b.close()
        with socket.create_server(("127.0.0.1", 0)) as server:
            a = socket.create_connection(server.getsockname())
            b, _ = server.accept()
    a.setblocking(False)
    make = loop.create_connection if family == socket.AF_INET else loop.create_unix_connection
    t, p = loop.run_until_complete(make(Noter, sock=a))
    fd = a.fileno()
    t.close()
    spin(loop, 2)
    assert a.fileno() == -1
    reused = os.open(os.devnull, os.O_RDONLY)
    a.close()
    gc.collect()
    os.fstat(reused)
    os.close(reused)
    b.close()


def test_create_connection_errors(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            port = free_port()
            r = loop.run_until_complete
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as dgram, socket.socket() as tcp:
                found = [outcome(r, loop.create_connection(Noter, "127.0.0.1", port))[:2], outcome(r, loop.create_connection(Noter)),
                         outcome(r, loop.create_connection(Noter, "127.0.0.1", port, sock=tcp)),
                         outcome(r, loop.create_connection(Noter, sock=dgram))[:2],
                         outcome(r, loop.create_connection(Noter, "127.0.0.1", port, server_hostname="x")),
                         outcome(r, loop.create_unix_connection(Noter, "/nonexistent/socket")),
                         outcome(r, loop.create_unix_connection(Noter)), outcome(r, loop.create_unix_connection(Noter, "/x", sock=tcp)),
                         outcome(r, loop.create_unix_connection(Noter, sock=tcp))[:2],
                         outcome(r, loop.create_connection(Noter, "localhost", 1, happy_eyeballs_delay=0.1))[:1]]
            return found
    same(scenario)


def test_cancelled_create_connection_leaks_nothing(aio, loop):
    with socket.create_server(("127.0.0.1", 0)) as server:
        for ticks in range(6):
            task = loop.create_task(loop.create_connection(Noter, *server.getsockname()))
            spin(loop, ticks)
            task.cancel()
            spin(loop, 5)
            if task.done() and not task.cancelled() and task.exception() is None:
                task.result()[0].abort()
            spin(loop, 2)
        server.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                server.accept()[0].close()
        loop.run_until_complete(loop.shutdown_default_executor())


# --- closing ------------------------------------------------------------------------------------------------------------

@kinds
def test_closing_sends_what_is_buffered(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        total = lab.fill(t, 100_000)
        found = [t.close(), t.close(), t.is_closing(), t.get_write_buffer_size() > 0]
        # What is written while the transport closes, but is not lost yet, is sent too.
        found += [outcome(t.write, b"late"), outcome(t.write, b"r")]
        await lab.ticks()
        found.append(len(lab.log))
        data = await lab.receive_all(peer)
        await lab.seen("lost")
        return found, len(data) - total, data[-5:]
    got = same(scenario(main))
    assert got["result"][1:] == [5, b"later"] and got["log"][-1] == ["lost", None]


@kinds
@pytest.mark.parametrize("first", ["abort", "close"])
def test_aborting_drops_what_is_buffered(same, kind, first):
    async def main(lab):
        p, peer = await lab.connect(kind)
        t = p.transport
        total = lab.fill(t, 100_000)
        getattr(t, first)()
        t.abort()
        t.abort()
        t.close()
        found = [t.is_closing(), t.get_write_buffer_size()]
        lab.log.append("aborted")
        await lab.seen("lost")
        data = await lab.receive_all(peer)
        return found, len(data) < total, data[:10]
    got = same(scenario(main))
    assert got["result"][:2] == [[True, 0], True] and got["log"][-2:] == ["aborted", ["lost", None]]


def test_close(aio, loop):
    with connected(loop) as (t, p, peer):
        assert t.close() is None and t.is_closing() and not t.is_reading()
        assert p.names == ["made"]
        t.close()
        spin(loop, 2)
        assert p.calls == [["made"], ["lost", None]] and peer.recv(1) == b""
        t.close()
        t.abort()
        spin(loop, 2)
        assert p.calls == [["made"], ["lost", None]]


def test_close_stops_reading(aio, loop):
    with connected(loop) as (t, p, peer):
        fill(t)
        t.close()
        peer.send(b"ignored")
        spin(loop, 3)
        assert not p.data
        t.pause_reading()
        t.resume_reading()
        assert not t.is_reading()


def test_abort(aio, loop):
    with connected(loop) as (t, p, peer):
        t.write(b"x" * 3_000_000)
        assert t.abort() is None and t.is_closing() and t.get_write_buffer_size() == 0
        spin(loop, 2)
        assert p.calls[-1] == ["lost", None]
        t.abort()
        t.close()
        spin(loop, 2)
        assert p.names.count("lost") == 1
        assert len(read_all(loop, peer, lambda g: False)) < 3_000_000


def test_abort_after_close_with_data_pending(aio, loop):
    with connected(loop) as (t, p, peer):
        fill(t)
        t.close()
        spin(loop, 2)
        assert "lost" not in p.names
        t.abort()
        spin(loop, 2)
        assert p.calls[-1] == ["lost", None]


def test_everything_after_the_connection_is_lost(same):
    """Each method of a transport whose connection is gone."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            t, peer = attach(loop, Noter())
            t.close()
            spin(loop, 2)
            found = [outcome(m) for m in (t.is_closing, t.is_reading, t.pause_reading, t.resume_reading, t.close, t.abort, t.get_write_buffer_size,
                                          t.can_write_eof, t.get_protocol, t.write_eof, lambda: t.write(b""), lambda: t.write(b"x"),
                                          t.get_write_buffer_limits, lambda: t.get_extra_info("socket").fileno())]
            peer.close()
            return found + [scrub(repr(t)).split(" ", 1)[1]]
    same(scenario)


# --- forgotten transports -----------------------------------------------------------------------------------------------

@kinds
def test_the_protocol_is_let_go(aio, kind):
    """After connection_lost() neither transport nor loop hold the protocol or the transport."""
    with Lab(aio) as lab:
        async def main():
            p, peer = await lab.connect(kind)
            t = p.transport
            await lab.send(peer, b"x")
            await lab.seen("data")
            t.close()
            await lab.seen("lost")
            await lab.ticks()
            assert t.get_protocol() is None and t._loop is None and t._sock is None
            p.transport = None
            ref, tref = weakref.ref(p), weakref.ref(t)
            del p
            gc.collect()
            assert ref() is None
            del t
            gc.collect()
            assert tref() is None
        lab.run(main())


def warned(action):
    """The ResourceWarnings of unclosed transports that action() brings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        action()
        gc.collect()
    return sorted(clean(str(w.message)) for w in caught if w.category is ResourceWarning and "transport" in str(w.message))


@kinds
@pytest.mark.parametrize("state", ["reading", "paused", "blocked", "closing"])
def test_closing_the_loop_under_a_transport(same, kind, state):
    def run(aio):
        with Lab(aio) as lab:
            p, peer = lab.run(lab.connect(kind))
            if state == "paused":
                p.transport.pause_reading()
            if state in ("blocked", "closing"):
                lab.fill(p.transport)
            if state == "closing":
                p.transport.close()
            lab.loop.close()
            found = [clean(repr(p.transport)), p.transport.is_closing()]

            def drop():
                p.transport = None
            found += [warned(drop), lab.log]
            try:
                while peer.recv(1_000_000):
                    pass
                found.append("end")
            except BlockingIOError:
                found.append("still open")
            except ConnectionError as e:
                found.append(type(e).__name__)
            return found
    assert same(run)[2] == ["unclosed transport <SocketTransport fd=N>"] or state == "closing"


@kinds
def test_methods_after_the_loop_was_closed(same, kind):
    def run(aio):
        with Lab(aio) as lab:
            p, peer = lab.run(lab.connect(kind))
            lab.loop.close()
            t = p.transport
            found = [outcome(getattr(t, name), *args) for name, args in (
                ("is_closing", ()), ("is_reading", ()), ("get_write_buffer_size", ()), ("get_write_buffer_limits", ()),
                ("write", (b"sent all the same",)), ("get_protocol", ()))]
            found.append(peer.recv(100))
            found += [outcome(t.close, text=False), t.is_closing()]

            def drop():
                nonlocal t
                p.transport = t = None
            return found, warned(drop), lab.log
    assert same(run)[0][6] == b"sent all the same"


@kinds
def test_a_dropped_transport_that_reads_is_kept(same, kind):
    """The loop holds what it watches, and with it the protocol."""
    async def main(lab):
        p, peer = await lab.connect(kind)
        ref = weakref.ref(p)
        del p
        gc.collect()
        peer.send(b"x")
        await lab.seen("data")
        peer.close()
        await lab.seen("lost")
        await lab.ticks()
        gc.collect()
        return ref() is None
    assert same(scenario(main))["result"] is True


@kinds
def test_a_dropped_transport_that_does_not_read_is_collected(same, kind):
    """What was written before is not lost by that."""
    async def main(lab):
        p, peer = await lab.connect(kind)
        p.transport.pause_reading()
        p.transport.write(b"written before")
        ref = weakref.ref(p.transport)
        found = warned(lambda: p.__dict__.clear())
        await lab.ticks()
        gc.collect()
        return ref() is None, await lab.receive_all(peer), len(found) <= 1
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        assert same(scenario(main))["result"] == [True, b"written before", True]


@kinds
def test_a_dropped_transport_with_a_buffer_sends_it(same, kind):
    async def main(lab):
        p, peer = await lab.connect(kind)
        p.transport.pause_reading()
        total = lab.fill(p.transport, 100_000)
        p.transport.close()
        ref = weakref.ref(p.transport)
        p.transport = None
        gc.collect()
        data = await lab.receive_all(peer)
        await lab.seen("lost")
        await lab.ticks()
        gc.collect()
        return len(data) == total, ref() is None
    assert same(scenario(main))["result"] == [True, True]


def test_the_socket_closed_under_the_transport(same):
    """A protocol that closes the transport's socket object must not make it read somebody else's descriptor."""
    async def main(lab):
        p, peer = await lab.connect("tcp")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sock = p.transport._sock
        other, far = lab.pair("unix")
        p.transport.abort()
        await lab.seen("lost")
        return sock.fileno(), other.fileno() >= 0
    assert same(scenario(main))["result"] == [-1, True]


@pytest.mark.parametrize("how", ["drop", "drop with data"])
def test_unclosed_transport_warns(aio, loop, how):
    a, b = nonblocking_pair()
    p = Noter()

    async def main():
        await loop.connect_accepted_socket(lambda: p, a)
    loop.run_until_complete(main())
    if how == "drop with data":
        p.transport.pause_reading()
        fill(p.transport)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loop.close()
        p.transport = None
        del p, a
        gc.collect()
        gc.collect()
    # the collector may come to the socket first, which then warns too
    assert [w.category for w in caught if str(w.message).startswith("unclosed transport <")] == [ResourceWarning]
    b.setblocking(True)
    while b.recv(1 << 20):
        pass
    b.close()


def test_transport_is_released_after_the_loss(aio, loop):
    """No reference is kept by the loop once connection_lost was called."""
    t, peer = attach(loop, Noter())
    ref, proto = weakref.ref(t), weakref.ref(t.get_protocol())
    t.close()
    spin(loop, 2)
    del t
    gc.collect()
    assert ref() is None and proto() is None
    peer.close()


def test_an_open_transport_is_kept_by_its_loop(aio, loop):
    t, peer = attach(loop, Noter())
    ref = weakref.ref(t)
    del t
    gc.collect()
    assert ref() is not None
    peer.close()
    spin_until(loop, lambda: ref() is None or ref().is_closing())
    spin(loop, 2)
    gc.collect()
    assert ref() is None


def test_loop_closed_with_open_transports(aio):
    loop = aio.new_event_loop()
    t, peer = attach(loop, Noter())
    fill(t)
    gc.collect()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loop.close()
        del t
        gc.collect()
    assert [w.category for w in caught if str(w.message).startswith("unclosed transport <")] == [ResourceWarning]
    peer.close()


def test_transport_used_after_its_loop_closed(same):
    def scenario(aio):
        loop = aio.new_event_loop()
        t, peer = attach(loop, Noter())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            loop.close()
            found = [outcome(m) for m in (t.pause_reading, t.resume_reading, lambda: t.write(b"x"), t.close)]
            del t
            gc.collect()
        peer.close()
        return found
    same(scenario)
