"""Watching descriptors: add_reader, add_writer and their removal."""
import asyncio
import contextlib
import contextvars
import gc
import os
import selectors
import socket
import threading
import weakref

import pytest

from support import callback, fresh_loop, nonblocking_pair, outcome, scrub, spin, spin_until


@pytest.fixture
def pipe():
    r, w = os.pipe()
    os.set_blocking(r, False)
    os.set_blocking(w, False)
    yield r, w
    for fd in (r, w):
        os.close(fd)


def test_reader(aio, loop, pair):
    a, b = pair
    seen = []
    assert loop.add_reader(a, lambda *args: seen.append((args, a.recv(10))), 1, 2) is None
    spin(loop)
    assert seen == []
    b.send(b"x")
    spin_until(loop, lambda: seen)
    assert seen == [((1, 2), b"x")]
    spin(loop, 2)
    assert len(seen) == 1
    b.send(b"y")
    spin_until(loop, lambda: len(seen) == 2)
    assert loop.remove_reader(a) is True and loop.remove_reader(a) is False
    b.send(b"z")
    spin(loop, 2)
    assert len(seen) == 2


def test_writer(aio, loop, pair):
    a, b = pair
    seen = []
    loop.add_writer(a, lambda: (seen.append("w"), loop.remove_writer(a)))
    spin_until(loop, lambda: seen)
    spin(loop, 2)
    assert seen == ["w"] and loop.remove_writer(a) is False


def test_level_triggered(aio, loop, pair):
    """What is not read stays ready."""
    a, b = pair
    seen = []
    loop.add_reader(a, seen.append, 1)
    b.send(b"xyz")
    spin(loop, 5)
    assert 4 <= len(seen) <= 5
    loop.remove_reader(a)


def test_by_number_and_by_object(aio, loop, pair):
    a, b = pair

    class File:
        def fileno(self):
            return a.fileno()
    b.send(b"x")
    for handle in (a, a.fileno(), File()):
        seen = []
        loop.add_reader(handle, seen.append, 1)
        spin_until(loop, lambda: seen)
        assert loop.remove_reader(handle) is True
        loop.add_writer(handle, seen.append, 2)
        spin_until(loop, lambda: 2 in seen)
        assert loop.remove_writer(a.fileno()) is True


def test_reader_and_writer_of_one_descriptor(aio, loop, pair):
    a, b = pair
    seen = []
    loop.add_reader(a, lambda: seen.append("r"))
    loop.add_writer(a, lambda: seen.append("w"))
    b.send(b"x")
    spin_until(loop, lambda: "r" in seen)
    # asyncio queues the reader first
    assert seen.index("r") == seen.index("w") - 1 or seen[:1] == ["w"]
    assert loop.remove_reader(a)
    seen.clear()
    spin_until(loop, lambda: seen)
    assert set(seen) == {"w"}
    assert loop.remove_writer(a) and not loop.remove_writer(a)
    seen.clear()
    spin(loop, 3)
    assert seen == []


def test_reader_is_called_before_writer(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            a, b = nonblocking_pair()
            seen = []
            b.send(b"x")
            loop.add_writer(a, seen.append, "w")
            loop.add_reader(a, seen.append, "r")
            spin(loop)
            loop.remove_reader(a)
            loop.remove_writer(a)
            a.close()
            b.close()
            return seen
    assert same(scenario) == ["r", "w"]


def test_replacing_callbacks(aio, loop, pair):
    a, b = pair
    seen = []
    loop.add_reader(a, seen.append, "old")
    loop.add_reader(a, lambda: seen.append(a.recv(1)))
    loop.add_writer(a, seen.append, "old writer")
    loop.add_writer(a, lambda: (seen.append("new writer"), loop.remove_writer(a)))
    b.send(b"x")
    spin_until(loop, lambda: len(seen) == 2)
    assert sorted(map(str, seen)) == ["b'x'", "new writer"]
    assert loop.remove_reader(a) is True and loop.remove_reader(a) is False


def test_replaced_within_the_tick_that_would_run_it(same):
    """The handle that was queued is cancelled, the new one waits for the next poll."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            pairs = [nonblocking_pair() for _ in range(2)]
            seen = []

            def first(i):
                seen.append(i)
                loop.add_reader(pairs[1 - i][0], second)
                loop.remove_reader(pairs[i][0])

            def second():
                seen.append("second")
                for a, _ in pairs:
                    loop.remove_reader(a)
            for i, (a, b) in enumerate(pairs):
                loop.add_reader(a, first, i)
                b.send(b"x")
            spin(loop)
            one = len(seen)
            spin(loop, 2)
            for a, b in pairs:
                loop.remove_reader(a)
                a.close()
                b.close()
            return [one, seen[1:]]
    same(scenario)


def test_removed_within_the_tick_that_would_run_it(aio, loop):
    pairs = [nonblocking_pair() for _ in range(5)]
    seen = []

    def one(i):
        seen.append(i)
        for a, _ in pairs:
            loop.remove_reader(a)
    for i, (a, b) in enumerate(pairs):
        b.send(b"x")
        loop.add_reader(a, one, i)
    spin(loop, 3)
    assert len(seen) == 1
    for a, b in pairs:
        a.close()
        b.close()


def test_references_are_dropped(aio, loop, pair):
    class Token:
        def __call__(self, *args):
            pass
    a, _ = pair
    t = Token()
    ref = weakref.ref(t)
    loop.add_reader(a, t, t)
    loop.add_writer(a, t, t)
    del t
    gc.collect()
    assert ref() is not None
    loop.remove_reader(a)
    assert ref() is not None
    loop.remove_writer(a)
    gc.collect()
    assert ref() is None
    t = Token()
    ref = weakref.ref(t)
    loop.add_reader(a, t)
    loop.add_reader(a, callback)
    del t
    assert ref() is None


def test_context_is_that_of_the_adder(aio, loop, pair):
    var = contextvars.ContextVar("var", default="none")
    a, b = pair
    seen = []
    var.set("adder")
    loop.add_reader(a, lambda: seen.append((var.get(), var.set("changed"))[0]))
    var.set("later")
    b.send(b"x")
    spin(loop, 3)
    assert seen[0] == "adder" and "changed" in seen[1:] and var.get() == "later"
    loop.remove_reader(a)


def test_callback_that_raises(aio, loop, errors, pair):
    a, b = pair
    b.send(b"x")
    loop.add_reader(a, lambda: 1 / 0)
    spin(loop)
    loop.remove_reader(a)
    for context in errors.take():
        assert isinstance(context["exception"], ZeroDivisionError) and context["message"].startswith("Exception in callback ")
        assert isinstance(context["handle"], asyncio.Handle)


def test_eof_and_hangup_are_readable(aio, loop, pair, pipe):
    a, b = pair
    r, w = pipe
    seen = []
    loop.add_reader(a, lambda: (seen.append(a.recv(1)), loop.remove_reader(a)))
    loop.add_reader(r, lambda: (seen.append(os.read(r, 1)), loop.remove_reader(r)))
    b.close()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, w)
    os.close(null)
    spin_until(loop, lambda: len(seen) == 2)
    assert seen == [b"", b""]


def test_writer_of_a_pipe_without_reader(aio, loop, pipe):
    r, w = pipe
    seen = []
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, r)
    os.close(null)
    loop.add_writer(w, lambda: (seen.append(1), loop.remove_writer(w)))
    spin_until(loop, lambda: seen)


@pytest.mark.parametrize("bad", [-1, "text", None, 5.5, object(), 10**6, 2**40, b"x"])
@pytest.mark.parametrize("method", ["add_reader", "add_writer", "remove_reader", "remove_writer"])
def test_bad_descriptors(same, bad, method):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            args = (callback,) if method.startswith("add") else ()
            # how an integer is too large is said in different words by each version
            return outcome(getattr(loop, method), bad, *args, text=bad != 2**40)
    same(scenario)


def test_fileno_that_misbehaves(same):
    class Raises:
        def fileno(self):
            raise ZeroDivisionError("fileno")

        def __repr__(self):
            return "Raises"

    class Text(Raises):
        def fileno(self):
            return "text"

    class Float(Raises):
        def fileno(self):
            return 5.5

    class Negative(Raises):
        def fileno(self):
            return -5

    class Value(Raises):
        def fileno(self):
            raise ValueError("closed")

    def scenario(aio):
        with fresh_loop(aio) as loop:
            return [outcome(m, x(), *args) for x in (Raises, Text, Negative, Value) for m, args in
                    ((loop.add_reader, (callback,)), (loop.remove_reader, ()), (loop.add_writer, (callback,)), (loop.remove_writer, ()))]
    same(scenario)


def test_closed_objects(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            a, b = nonblocking_pair()
            fd = a.fileno()
            a.close()
            found = []
            for what in (a, fd):
                found += [outcome(loop.add_reader, what, callback), outcome(loop.add_writer, what, callback),
                          outcome(loop.remove_reader, what), outcome(loop.remove_writer, what)]
            b.close()
            return [[x[0], x[1], scrub(str(x[2]))] if x[0] == "raised" else x for x in found]
    same(scenario)


def test_a_watched_descriptor_that_is_closed(aio, loop):
    """Closing without remove_reader: removal afterwards answers True, the number can be used anew."""
    spin(loop)                                 # a loop may open descriptors of its own when it first runs
    a, b = nonblocking_pair()
    fd = a.fileno()
    loop.add_reader(fd, callback)
    a.close()
    spin(loop, 2)
    assert loop.remove_reader(fd) is True and loop.remove_reader(fd) is False
    b.close()
    r, w = os.pipe()
    assert fd in (r, w)
    seen = []
    os.write(w, b"x")
    loop.add_reader(r, seen.append, 1)
    spin_until(loop, lambda: seen)
    loop.remove_reader(r)
    os.close(r)
    os.close(w)


def test_descriptor_number_reused_while_watched(aio, loop):
    """A closed and reopened number that is registered again is really watched (epoll forgets closed descriptors)."""
    spin(loop)
    a, b = nonblocking_pair()
    fd = a.fileno()
    seen = []
    loop.add_reader(fd, seen.append, "old")
    os.close(a.detach())
    b.close()
    c, d = nonblocking_pair()
    if c.fileno() != fd:
        os.dup2(c.fileno(), fd)
        c.close()
    else:
        c.detach()
    loop.remove_reader(fd)
    loop.add_reader(fd, lambda: seen.append(os.read(fd, 1)))
    d.send(b"n")
    spin_until(loop, lambda: seen)
    assert seen[-1] == b"n"
    loop.remove_reader(fd)
    os.close(fd)
    d.close()


def test_regular_files(aio, loop):
    """epoll refuses them, poll calls them always ready."""
    if os.environ.get("PYASYNC_POLLER") == "poll":
        with contextlib.closing(asyncio.SelectorEventLoop(selectors.PollSelector())) as other, open(__file__) as f:
            expected = [outcome(other.add_reader, f, callback)[:2], outcome(other.remove_reader, f)]
    else:
        expected = [["raised", "PermissionError"], ["returned", False]]
    if aio is asyncio and expected[0][0] == "returned":
        pytest.skip("asyncio's own loop has no poller of that name")
    with open(__file__) as f:
        assert [outcome(loop.add_reader, f, callback)[:2], outcome(loop.remove_reader, f)] == expected


def test_used_by_a_transport(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            a, b = nonblocking_pair()
            tr, _ = loop.run_until_complete(loop.connect_accepted_socket(asyncio.Protocol, a))
            found = []
            sock = tr.get_extra_info("socket")
            for m, args in ((loop.add_reader, (callback,)), (loop.remove_reader, ()), (loop.add_writer, (callback,)), (loop.remove_writer, ())):
                result = outcome(m, sock.fileno(), *args)
                found.append([result[:2], result[2].split("by transport")[0].replace(str(sock.fileno()), "N")])
            for coro in (loop.sock_recv(a, 1), loop.sock_sendall(a, b"x" * (1 << 22)), loop.sock_accept(a), loop.sock_recv_into(a, bytearray(1))):
                result = outcome(loop.run_until_complete, coro)
                found.append([result[:2], result[2].split(" ")[0:2]])
            tr.abort()
            spin(loop, 2)
            b.close()
            return found
    same(scenario)


def test_closed_loop(same):
    def scenario(aio):
        a, b = nonblocking_pair()
        loop = aio.new_event_loop()
        loop.add_reader(a, callback)
        loop.close()
        found = [outcome(loop.add_reader, a, callback), outcome(loop.remove_reader, a), outcome(loop.add_writer, a, callback),
                 outcome(loop.remove_writer, a)]
        a.close()
        b.close()
        return found
    same(scenario)


def test_arguments(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            return [outcome(m, *args, text=False) for m in (loop.add_reader, loop.add_writer, loop.remove_reader, loop.remove_writer)
                    for args in ((), (0,) if m.__name__.startswith("add") else (0, 1))]
    same(scenario)


def test_many_descriptors(aio, loop):
    pairs = [nonblocking_pair() for _ in range(150)]
    seen = set()
    for i, (a, b) in enumerate(pairs):
        loop.add_reader(a, lambda i=i, a=a: (seen.add(i), a.recv(1)))
    for a, b in pairs:
        b.send(b"x")
    spin_until(loop, lambda: len(seen) == len(pairs))
    for a, b in pairs:
        assert loop.remove_reader(a)
        a.close()
        b.close()


def test_the_selector_as_asyncio_shows_it(aio, loop, pair):
    """aiotools and twisted read loop._selector: what is registered, with which handles."""
    a, _ = pair
    loop.add_reader(a, callback, 1)
    selector = loop._selector
    key = selector.get_key(a.fileno())
    assert key.fd == a.fileno() and key.events == selectors.EVENT_READ
    reader, writer = key.data
    assert isinstance(reader, asyncio.Handle) and reader._callback is callback and reader._args == (1,) and writer is None
    loop.add_writer(a, callback, 2)
    key = selector.get_key(a.fileno())
    assert key.events == selectors.EVENT_READ | selectors.EVENT_WRITE and key.data[1]._args == (2,)
    assert a.fileno() in {k.fd for k in selector.get_map().values()}
    loop.remove_reader(a)
    loop.remove_writer(a)
    with pytest.raises(KeyError):
        selector.get_key(a.fileno())


def test_a_given_selector(aio):
    """The loop classes take a selector, whatever its kind."""
    loop = aio.new_event_loop()
    loop.close()
    a, b = nonblocking_pair()
    for make in (selectors.SelectSelector, selectors.PollSelector, selectors.DefaultSelector):
        loop = type(loop)(make())
        try:
            seen = []
            loop.add_reader(a, lambda: seen.append(a.recv(1)))
            b.send(b"x")
            spin_until(loop, lambda: seen)
            assert loop.remove_reader(a) and isinstance(loop._selector, make)
            guard = loop.call_later(10, loop.stop)
            thread = threading.Timer(0.002, loop.call_soon_threadsafe, (lambda: (seen.append(2), loop.stop()),))
            thread.start()
            loop.run_forever()
            guard.cancel()
            thread.join()
            assert seen == [b"x", 2] and loop.run_until_complete(asyncio.sleep(0, "r")) == "r"
        finally:
            loop.close()
    a.close()
    b.close()


def test_from_another_thread_wakes(aio, loop, pair):
    """add_reader is not thread safe; through call_soon_threadsafe it takes effect while the loop sleeps."""
    a, b = pair
    seen = []
    t = threading.Timer(0.02, loop.call_soon_threadsafe, (loop.add_reader, a, lambda: (seen.append(a.recv(1)), loop.stop())))
    t.start()
    b.send(b"x")
    guard = loop.call_later(10, loop.stop)
    loop.run_forever()
    guard.cancel()
    t.join()
    assert seen == [b"x"]
    loop.remove_reader(a)


def test_exceptional_condition_wakes_both(aio, loop):
    """A refused connection reports to the writer."""
    s = socket.socket()
    s.setblocking(False)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = probe.getsockname()
    outcome(s.connect, address)
    seen = []
    loop.add_writer(s, lambda: (seen.append(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)), loop.remove_writer(s)))
    spin_until(loop, lambda: seen)
    assert seen[0] != 0
    s.close()


def test_fairness(aio, loop):
    """A descriptor that is always ready starves neither the others nor timers nor callbacks."""
    a, b = nonblocking_pair()
    c, d = nonblocking_pair()
    b.send(b"x")
    d.send(b"y")
    counts = {"a": 0, "c": 0, "soon": 0}

    def soon():
        counts["soon"] += 1
        loop.call_soon(soon)

    def count(name):
        counts[name] += 1
    loop.add_reader(a, count, "a")
    loop.add_reader(c, count, "c")
    loop.call_soon(soon)
    loop.call_later(0.05, loop.stop)
    loop.run_forever()
    assert counts["a"] > 5 and abs(counts["a"] - counts["c"]) <= 2 and abs(counts["a"] - counts["soon"]) <= 2
    loop.remove_reader(a)
    loop.remove_reader(c)
    spin(loop)
    for s in (a, b, c, d):
        s.close()
