"""What the sock_* coroutines leave behind in the poller: descriptors that are closed, reused, duplicated and handed on after they were
waited for, and everything else that waits for the same ones meanwhile."""
import asyncio
import collections
import contextlib
import os
import select
import selectors
import socket
import subprocess
import sys

import pytest

from support import fresh_loop, loop_class, nonblocking_pair, outcome, spin, spin_until

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors")


ROUNDS = 1


@pytest.fixture(autouse=True, params=["best", "busy", "poll"])
def poller(request, monkeypatch):
    """The poller that a loop of ours finds best, which may keep what was waited for, and one that does not. Busy: descriptors that were
    waited for before the loop has slept, and are told to the poller in another way then."""
    if request.param == "poll":
        monkeypatch.setenv("PYASYNC_POLLER", "poll")
    if request.param == "busy":
        monkeypatch.setitem(globals(), "ROUNDS", 3)
    return request.param


def begin(loop, coroutine):
    """A task that waits in the coroutine."""
    task = loop.create_task(coroutine)
    spin(loop, 2)
    assert not task.done()
    return task


def end(loop, task):
    return loop.run_until_complete(asyncio.wait_for(task, 10))


def receive(loop, to, fro, data=b"x", rounds=None):
    """One sock_recv() that has to wait, or several."""
    for _ in range(rounds or ROUNDS):
        task = begin(loop, loop.sock_recv(to, 100))
        fro.send(data)
        assert end(loop, task) == data


@contextlib.contextmanager
def silence(loop):
    """Checks that the kernel has nothing to report to the loop's poller, once the loop has slept, so that it goes on sleeping."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            if "eventpoll" in os.readlink(f"/proc/self/fd/{fd}"):
                found.append(int(fd))
    yield
    loop.run_until_complete(asyncio.sleep(0.001))
    waiting = select.poll()
    for fd in found:
        waiting.register(fd, select.POLLIN)
    assert waiting.poll(20) == []


def moved(sock, number):
    """The socket under another number."""
    os.dup2(sock.fileno(), number, inheritable=False)
    sock.close()
    new = socket.socket(fileno=number)
    new.setblocking(False)
    return new


# --- numbers -----------------------------------------------------------------------------------------------------------

def use_recv(loop, sock, peer):
    receive(loop, sock, peer)


def use_recv_into(loop, sock, peer):
    buffer = bytearray(5)
    task = begin(loop, loop.sock_recv_into(sock, buffer))
    peer.send(b"ab")
    assert end(loop, task) == 2 and buffer == b"ab\0\0\0"


def use_reader(loop, sock, peer):
    seen = []
    loop.add_reader(sock, lambda: seen.append(sock.recv(1)))
    peer.send(b"ab")
    spin_until(loop, lambda: len(seen) == 2)
    assert loop.remove_reader(sock) is True and loop.remove_reader(sock) is False


def use_transport(loop, sock, peer):
    async def main():
        reader, writer = await asyncio.open_connection(sock=sock)
        peer.send(b"one\ntwo\n")
        assert (await reader.readline(), await reader.readline()) == (b"one\n", b"two\n")
        writer.write(b"three")
        await writer.drain()
        assert await loop.sock_recv(peer, 10) == b"three"
        writer.close()
        await writer.wait_closed()
    loop.run_until_complete(main())


def use_sendall(loop, sock, peer):
    async def main():
        sending = asyncio.ensure_future(loop.sock_sendall(sock, b"x" * 3_000_000))
        got = 0
        while got < 3_000_000:
            got += len(await loop.sock_recv(peer, 1 << 20))
        await sending
    loop.run_until_complete(main())


USES = [use_recv, use_recv_into, use_reader, use_sendall, use_transport]


@pytest.mark.parametrize("kept", [False, True], ids=["closed", "duplicated"])
@pytest.mark.parametrize("use", USES)
def test_a_number_that_was_closed_and_is_another_sockets(aio, loop, use, kept):
    a, b = nonblocking_pair()
    c, d = nonblocking_pair()
    with b, d:
        receive(loop, a, b)
        number, still = a.fileno(), a.dup() if kept else None
        a.close()
        c = moved(c, number)
        with c:
            if kept:
                b.send(b"for the old one")
            use(loop, c, d)
        if kept:
            with still:
                assert still.recv(100) == b"for the old one"
                use(loop, still, b)


@pytest.mark.parametrize("use", USES)
def test_a_socket_used_again_after_a_wait(aio, loop, use):
    a, b = nonblocking_pair()
    with a, b:
        for _ in range(3):
            receive(loop, a, b)
        use(loop, a, b)


@pytest.mark.parametrize("use", USES)
def test_the_same_file_comes_back_to_its_number(aio, loop, use):
    a, b = nonblocking_pair()
    with b:
        receive(loop, a, b)
        number, still = a.fileno(), a.dup()
        a.close()
        with moved(still, number) as a:
            use(loop, a, b)


def test_another_file_under_a_living_socket(aio, loop):
    """os.dup2() onto the number: the socket object is the same, the connection is not."""
    (a, b), (c, d) = nonblocking_pair(), nonblocking_pair()
    with a, b, c, d:
        receive(loop, a, b)
        os.dup2(c.fileno(), a.fileno(), inheritable=False)
        receive(loop, a, d, b"from the new peer")
        assert outcome(b.send, b"x")[1] == "BrokenPipeError"


def test_a_regular_file_takes_the_number(same, tmp_path):
    def scenario(aio):
        with fresh_loop(aio) as loop, open(tmp_path / "file", "wb+") as f:
            a, b = nonblocking_pair()
            with b:
                receive(loop, a, b)
                number = a.fileno()
                a.close()
                os.dup2(f.fileno(), number)
                try:
                    return outcome(loop.add_reader, number, print), outcome(loop.remove_reader, number)
                finally:
                    os.close(number)
    if os.environ.get("PYASYNC_POLLER") == "poll":
        pytest.skip("poll() can wait for regular files")
    same(scenario)


def test_a_number_that_is_closed(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            a, b = nonblocking_pair()
            with b:
                receive(loop, a, b)
                number = a.fileno()
                a.close()
                return [outcome(method, number, *args) for method, args in (
                    (loop.remove_reader, ()), (loop.add_reader, [print]), (loop.remove_reader, ()), (loop.add_writer, [print]))]
    same(scenario)


def test_a_duplicate_of_a_closed_socket_does_not_wake_the_loop(aio, loop):
    """It goes to a worker process, say: asyncio's loop has forgotten it, and would spin on what it cannot take away."""
    a, b = nonblocking_pair()
    with b, silence(loop):
        receive(loop, a, b)
        still = a.dup()
        a.close()
        b.send(b"not for this loop")
    with still:
        assert still.recv(100) == b"not for this loop"


def test_data_for_nobody_does_not_wake_the_loop(aio, loop, pair):
    a, b = pair
    with silence(loop):
        receive(loop, a, b)
        b.send(b"y")
    assert loop.run_until_complete(loop.sock_recv(a, 10)) == b"y"
    receive(loop, a, b)


# --- giving up ---------------------------------------------------------------------------------------------------------

def test_cancelled_before_the_data_comes(aio, loop, pair):
    a, b = pair
    with silence(loop):
        receive(loop, a, b)
        task = begin(loop, loop.sock_recv(a, 10))
        task.cancel()
        spin(loop, 3)
        assert task.cancelled() and loop.remove_reader(a) is False
        b.send(b"kept")
    assert loop.run_until_complete(loop.sock_recv(a, 10)) == b"kept"
    receive(loop, a, b)


def test_cancelled_in_the_tick_of_the_data(same):
    """Whether it is cancelled before or after the poller's report, nothing gets lost."""
    def scenario(aio):
        found = []
        for early in (True, False):
            with fresh_loop(aio) as loop:
                a, b = nonblocking_pair()
                with a, b:
                    receive(loop, a, b)
                    task = begin(loop, loop.sock_recv(a, 10))
                    b.send(b"z")
                    if early:
                        task.cancel()
                    else:
                        loop.call_soon(task.cancel)
                    found.append(outcome(end, loop, task))
                    found.append(outcome(loop.run_until_complete, asyncio.wait_for(loop.sock_recv(a, 10), 0.05)))
                    receive(loop, a, b)
        return found
    same(scenario)


def test_closed_while_waiting_and_alive_in_a_duplicate(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            a, b = nonblocking_pair()
            with b:
                receive(loop, a, b)
                task = begin(loop, loop.sock_recv(a, 10))
                with a.dup() as still:
                    a.close()
                    b.send(b"x")
                    return outcome(end, loop, task), still.recv(10)
    if os.environ.get("PYASYNC_POLLER") == "poll":
        pytest.skip("poll() knows the number only, which is closed")
    same(scenario)


def test_removed_while_waiting(same):
    """The wait goes on for ever; the next one does not mind."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            a, b = nonblocking_pair()
            with a, b:
                receive(loop, a, b)
                task = begin(loop, loop.sock_recv(a, 10))
                found = [loop.remove_reader(a), loop.remove_reader(a)]
                b.send(b"x")
                spin(loop, 5)
                found.append(task.done())
                task.cancel()
                found += [outcome(end, loop, task), loop.remove_reader(a), loop.run_until_complete(loop.sock_recv(a, 10))]
                receive(loop, a, b)
                return found
    same(scenario)


# --- others at the same descriptor -------------------------------------------------------------------------------------

def test_a_reader_takes_the_place_of_a_wait(same):
    """Before the report, and between it and its end."""
    def scenario(aio):
        found = []
        for late in (False, True):
            with fresh_loop(aio) as loop:
                a, b = nonblocking_pair()
                with a, b:
                    receive(loop, a, b)
                    task, seen = begin(loop, loop.sock_recv(a, 1)), []
                    if late:
                        b.send(b"xyz")
                        loop.call_soon(loop.add_reader, a, seen.append, "reader")
                        spin(loop, 4)
                    else:
                        loop.add_reader(a, seen.append, "reader")
                        b.send(b"xyz")
                        spin(loop, 4)
                    found += [len(seen) > 1, task.done(), loop.remove_reader(a), loop.remove_reader(a)]
                    task.cancel()
                    spin(loop, 2)
        return found
    same(scenario)


def test_a_writer_beside_a_wait(aio, loop, pair):
    a, b = pair
    receive(loop, a, b)
    task, seen = begin(loop, loop.sock_recv(a, 10)), []
    loop.add_writer(a, seen.append, "w")
    spin_until(loop, lambda: len(seen) > 2)
    assert not task.done() and loop.remove_writer(a) is True
    b.send(b"x")
    assert end(loop, task) == b"x"
    loop.add_writer(a, seen.append, "w")
    receive(loop, a, b)
    count = len(seen)
    spin_until(loop, lambda: len(seen) > count + 2)
    assert loop.remove_writer(a) is True and loop.remove_reader(a) is False
    receive(loop, a, b)


def test_waiting_for_both_directions(aio, loop, pair):
    async def main():
        a, b = pair
        big, got = bytes(3_000_000), 0
        for _ in range(3):
            receiving = asyncio.ensure_future(loop.sock_recv(a, 10))
            sending = asyncio.ensure_future(loop.sock_sendall(a, big))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not receiving.done() and not sending.done()
            await loop.sock_sendall(b, b"x")
            assert await receiving == b"x"
            while got < len(big):
                got += len(await loop.sock_recv(b, 1 << 20))
            await sending
            got = 0
    loop.run_until_complete(asyncio.wait_for(main(), 30))


def test_one_socket_in_two_loops(aio, pair):
    a, b = pair
    with fresh_loop(aio) as one, fresh_loop(aio) as other:
        for loop in (one, other, one, other, other, one):
            receive(loop, a, b)
        waiting = begin(one, one.sock_recv(a, 10))
        receive(other, a, b)
        spin(one, 3)
        assert not waiting.done()
        b.send(b"last")
        assert end(one, waiting) == b"last"


def test_order_of_completions(same):
    """In which tick each of several waits ends, among callbacks that run meanwhile."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            pairs, log = [nonblocking_pair() for _ in range(3)], []

            async def wait(i):
                for _ in range(2):
                    log.append((i, await loop.sock_recv(pairs[i][0], 10)))
            tasks = [loop.create_task(wait(i)) for i in range(3)]
            spin(loop, 3)
            for data in (b"1", b"2"):
                for _, b in pairs[::-1]:
                    b.send(data)
                for n in range(5):
                    loop.call_soon(log.append, n)
                    spin(loop)
            assert all(task.done() for task in tasks)
            for a, b in pairs:
                a.close()
                b.close()
            return [entry if isinstance(entry, int) else ["received", entry[1]] for entry in log]
    same(scenario)


# --- whoever looks between the poller and the wait ---------------------------------------------------------------------

def test_the_selector_shows_a_wait(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            a, b = nonblocking_pair()
            with a, b:
                found = []

                def look():
                    key = loop._selector.get_map().get(a.fileno())
                    found.append(key and [key.events, [None if entry is None else "handle" for entry in key.data]])
                look()
                task = begin(loop, loop.sock_recv(a, 10))
                look()
                b.send(b"x")
                end(loop, task)
                look()
                task = begin(loop, loop.sock_recv(a, 10))
                look()
                task.cancel()
                spin(loop, 2)
                look()
                return found
    assert same(scenario)[1] == [selectors.EVENT_READ, ["handle", None]]


def test_a_report_that_somebody_looked_at_comes_again(aio, loop, pair):
    a, b = pair
    for _ in range(2):
        task = begin(loop, loop.sock_recv(a, 10))
        b.send(b"x")
        ready = [key.fd for key, _ in loop._selector.select(1)]
        assert a.fileno() in ready
        assert end(loop, task) == b"x"


@pytest.mark.parametrize("how", ["clear", "pop", "popleft", "delete", "assign"])
def test_a_report_that_somebody_takes_out_of_the_ready_handles_comes_again(aio, loop, pair, how):
    def interrupt():
        raise KeyboardInterrupt
    first, second = pair
    a, b = nonblocking_pair()
    loop.add_reader(first, interrupt)
    task = begin(loop, loop.sock_recv(a, 100))
    second.send(b"x")
    b.send(b"data")
    with pytest.raises(KeyboardInterrupt):
        loop.run_forever()
    loop.remove_reader(first)
    assert len(loop._ready) == 1 and not task.done()
    if how == "delete":
        del loop._ready[0]
    elif how == "assign":
        loop._ready = collections.deque()
    else:
        getattr(loop._ready, how)()
    assert end(loop, task) == b"data"
    a.close()
    b.close()


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("name", ["_process_events", "_add_callback", "_run_once"])
def test_a_loop_that_drops_reports(aio, name, early):
    """They come again, whether the method was there before the wait or replaced during it."""
    with fresh_loop(aio) as loop:
        original, dropped = getattr(loop, name), []

        def method(*args):
            if name == "_run_once" or not args or len(dropped) > 1 or name == "_process_events" and not args[0]:
                return original(*args)
            dropped.append(args)
        a, b = nonblocking_pair()
        with a, b:
            receive(loop, a, b)
            if early:
                setattr(loop, name, method)
            task = loop.create_task(loop.sock_recv(a, 10))
            loop.call_soon(setattr, loop, name, method)
            spin(loop, 3)
            b.send(b"x")
            assert end(loop, task) == b"x"
            assert len(dropped) == (0 if name == "_run_once" else 2)


def test_a_failing_add_callback(aio):
    """A tick that fails while it queues what is ready: nothing of it is lost."""
    class Loop(loop_class(aio)):
        failing = False

        def _add_callback(self, handle):
            if self.failing:
                type(self).failing = False
                raise ZeroDivisionError
            super()._add_callback(handle)
    loop = Loop()
    try:
        pairs = [nonblocking_pair() for _ in range(3)]
        for a, b in pairs:
            receive(loop, a, b)
        tasks = [begin(loop, loop.sock_recv(a, 10)) for a, _ in pairs]
        for _, b in pairs:
            b.send(b"x")
        Loop.failing = True
        with pytest.raises(ZeroDivisionError):
            loop.run_until_complete(asyncio.sleep(1))
        assert [end(loop, task) for task in tasks] == 3 * [b"x"]
        for a, b in pairs:
            a.close()
            b.close()
    finally:
        loop.close()


def test_methods_of_a_loop_that_are_overridden_are_called(same):
    def scenario(aio):
        log = []

        class Loop(loop_class(aio)):
            def remove_reader(self, fd):
                log.append("remove_reader")
                return super().remove_reader(fd)

            def _add_reader(self, fd, callback, *args):
                log.append("_add_reader")
                return super()._add_reader(fd, callback, *args)

            def _remove_reader(self, fd):
                log.append("_remove_reader")
                return super()._remove_reader(fd)

            def _ensure_fd_no_transport(self, fd):
                log.append("_ensure_fd_no_transport")
                return super()._ensure_fd_no_transport(fd)
        loop = Loop()
        a, b = nonblocking_pair()
        with a, b, contextlib.closing(loop):
            log.clear()                                         # asyncio's loop watches a socket of its own
            receive(loop, a, b, rounds=1)
            receive(loop, a, b, rounds=1)
            assert loop.add_reader(a, print, 1) is None and loop.remove_reader(a) is True and loop.remove_reader(a) is False
            found = outcome(loop.add_reader, a, print, context=None), outcome(loop.add_reader, a), outcome(loop.remove_reader)
            assert loop.add_writer(a, print) is None and loop.remove_writer(a) is True
            return [*log, *found]
    ending = ["remove_reader", "_ensure_fd_no_transport", "_remove_reader"]
    waited = ["_ensure_fd_no_transport", "_add_reader", *ending]
    assert same(scenario)[:18] == [*waited, *waited, *waited, *ending]


# --- what a socket says, and when --------------------------------------------------------------------------------------

def test_a_class_patched_while_an_operation_waits(same, monkeypatch):
    def scenario(aio):
        with fresh_loop(aio) as loop, monkeypatch.context() as patch:
            a, b = nonblocking_pair()
            with a, b:
                task = begin(loop, loop.sock_recv(a, 10))
                patch.setattr(socket.socket, "recv", lambda self, n: b"patched")
                b.send(b"x")
                found = [end(loop, task)]
                patch.setattr(socket.socket, "send", lambda self, data: 1 / 0)
                return [*found, outcome(loop.run_until_complete, loop.sock_sendall(a, b"x"))]
    assert same(scenario)[0] == b"patched"


PATCHED = """
import _socket, importlib, socket, sys
if sys.argv[1] == "method":
    socket.socket.recv = lambda self, n: b"traced " + _socket.socket.recv(self, n)
else:
    class Traced(socket.socket):
        def recv(self, n):
            return b"traced " + super().recv(n)
    socket.socket = Traced
aio = importlib.import_module(sys.argv[2])
a, b = [socket.socket(fileno=s.detach()) for s in socket.socketpair()]
a.setblocking(False)
async def main():
    loop = aio.get_running_loop()
    task = aio.create_task(loop.sock_recv(a, 10))
    await aio.sleep(0)
    b.send(b"x")
    return await task
print(aio.run(main()))
"""


@pytest.mark.parametrize("how", ["method", "class"])
def test_a_class_patched_before_the_import(aio, how):
    """A tracer that came first is asked, too."""
    root = os.path.dirname(os.path.dirname(aio.__file__))
    got = subprocess.run([sys.executable, "-c", PATCHED, how, aio.__name__], capture_output=True, text=True, timeout=30,
                         env=os.environ | {"PYTHONPATH": root})
    assert (got.returncode, got.stdout) == (0, "b'traced x'\n"), got.stderr


def test_buffers_that_change_while_an_operation_waits(same):
    def scenario(aio):
        found = []
        with fresh_loop(aio) as loop:
            a, b = nonblocking_pair()
            with a, b:
                for change in ("shrink", "empty", "release"):
                    array = bytearray(10)
                    buffer = memoryview(array) if change == "release" else array
                    task = begin(loop, loop.sock_recv_into(a, buffer))
                    if change == "release":
                        buffer.release()
                    else:
                        del array[2 if change == "shrink" else 0:]
                    b.send(b"abcd")
                    found += [outcome(end, loop, task), bytes(array)]
                    found.append(outcome(a.recv, 10))
        return found
    same(scenario)


def test_data_whose_view_is_released_while_it_is_sent(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            a, b = nonblocking_pair()
            with a, b:
                data = memoryview(bytes(range(256)) * 10_000)
                expected = bytes(data)

                async def main():
                    sending = asyncio.ensure_future(loop.sock_sendall(a, data))
                    await asyncio.sleep(0)
                    data.release()
                    got = b""
                    while len(got) < len(expected):
                        got += await loop.sock_recv(b, 1 << 20)
                    return [await sending, got == expected]
                return loop.run_until_complete(main())
    assert same(scenario) == [None, True]


def test_sockets_with_a_time_out(same):
    """Outside debug mode a socket that blocks is asked as it is, and blocks the loop; one that is made so while it is waited for, too."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            a, b = nonblocking_pair()
            with a, b:
                a.settimeout(0.02)
                found = [outcome(loop.run_until_complete, begun) for begun in (loop.sock_recv(a, 1), loop.sock_recv_into(a, bytearray(1)))]
                a.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    while True:
                        a.send(bytes(1 << 16))
                a.settimeout(0.02)
                found.append(outcome(loop.run_until_complete, loop.sock_sendall(a, b"x")))
                a.setblocking(False)
                task = begin(loop, loop.sock_recv(a, 10))
                a.settimeout(5)
                b.send(b"late")
                return [*found, end(loop, task)]
    assert same(scenario)[3] == b"late"


def test_large_and_small_receives(aio, loop, pair):
    a, b = pair
    for size in (1, 10, 1 << 18, (1 << 18) + 1, 1 << 20, 1 << 24, (1 << 24) + 1):
        receive(loop, a, b, b"0123456789"[:min(size, 10)])
        b.send(b"ab")
        assert loop.run_until_complete(loop.sock_recv(a, size)) == b"ab"[:size]
        if size == 1:
            a.recv(1)
    task = begin(loop, loop.sock_recv(a, 1 << 20))
    b.shutdown(socket.SHUT_WR)
    assert end(loop, task) == b""


# --- forks -------------------------------------------------------------------------------------------------------------

@pytest.mark.skipif(sys.platform != "linux", reason="the poller is inherited")
def test_forks_after_and_during_a_wait(aio, script):
    """Parent and child both go on with sockets that the loop has waited for, and with one that it waits for now."""
    if aio is asyncio:
        pytest.skip("the child takes the descriptors out of the poller that the parent waits with, too")
    got = script("""
import os, socket, traceback
def receive(a, b, data):
    for _ in range(3):
        task = loop.create_task(loop.sock_recv(a, 100))
        loop.run_until_complete(aio.sleep(0))
        b.send(data)
        assert loop.run_until_complete(aio.wait_for(task, 10)) == data
loop = aio.new_event_loop()
pairs = [socket.socketpair() for _ in range(4)]
for a, b in pairs:
    a.setblocking(False)
(used, u), (waits, w), (theirs, t), (ours, o) = pairs
receive(used, u, b"0")
receive(theirs, t, b"0")
receive(ours, o, b"0")
waiting = loop.create_task(loop.sock_recv(waits, 10))
loop.run_until_complete(aio.sleep(0.01))
pid = os.fork()
if pid == 0:
    status = 1
    try:
        assert not waiting.done()
        receive(theirs, t, b"child")
        receive(theirs, t, b"child again")
        w.send(b"child")
        assert loop.run_until_complete(aio.wait_for(waiting, 10)) == b"child"
        receive(waits, w, b"child")
        status = 0
    except BaseException:
        traceback.print_exc()
    os._exit(status)
assert os.waitpid(pid, 0)[1] == 0
receive(ours, o, b"parent")
receive(used, u, b"parent")
w.send(b"parent")
assert loop.run_until_complete(aio.wait_for(waiting, 10)) == b"parent"
receive(waits, w, b"parent")
loop.close()
print("done")
""")
    assert (got.returncode, got.stdout) == (0, "done\n"), got.stderr
