"""sock_*() in a loop that is too busy to sleep: from one wait to the next its poller is told nothing, so whatever happens to the descriptor in
between, by whomever, has to be noticed all the same. See also the parameter `busy` in test_sockets_waiting.py."""
import asyncio
import contextlib
import os
import socket
import sys
import threading

import pytest

from support import fresh_loop, nonblocking_pair, outcome, spin, spin_until
from test_sockets_waiting import begin, end, moved, receive

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="descriptors")


@pytest.fixture(autouse=True, params=["best", "poll"])
def poller(request, monkeypatch):
    if request.param == "poll":
        monkeypatch.setenv("PYASYNC_POLLER", "poll")


@contextlib.contextmanager
def busy(loop):
    """Keeps the loop from sleeping."""
    going = True

    def again():
        if going:
            loop.call_soon(again)
    again()
    yield
    going = False


def warm(loop, *pairs):
    """Waits again and again, so that the loop expects more."""
    for a, b in pairs:
        receive(loop, a, b, rounds=3)


@pytest.fixture(params=[False, True], ids=["sleeping", "busy"])
def whole(request, loop):
    """A loop that sleeps between what happens, or never."""
    with busy(loop) if request.param else contextlib.nullcontext():
        yield loop


def test_waits_on_end(aio, whole, pair):
    a, b = pair
    warm(whole, (a, b))

    async def serve():
        while data := await whole.sock_recv(a, 1000):
            await whole.sock_sendall(a, data)

    async def client():
        for i in range(1, 200):
            await whole.sock_sendall(b, b"%d" % i * i)
            got = b""
            while len(got) < len(b"%d" % i * i):
                got += await whole.sock_recv(b, 1000)
            assert got == b"%d" % i * i
        b.shutdown(socket.SHUT_WR)

    async def main():
        await asyncio.wait_for(asyncio.gather(serve(), client()), 30)
    whole.run_until_complete(main())


def test_a_part_is_read_and_the_rest_later(aio, whole, pair):
    a, b = pair
    warm(whole, (a, b))
    for _ in range(3):
        task = begin(whole, whole.sock_recv(a, 2))
        b.send(b"abcde")
        assert end(whole, task) == b"ab"
        assert whole.run_until_complete(whole.sock_recv(a, 2)) == b"cd"
        spin(whole, 10)
        assert whole.run_until_complete(whole.sock_recv(a, 2)) == b"e"
        receive(whole, a, b)


def test_somebody_else_reads_first(aio, whole, pair):
    """The report comes, and finds nothing; the next one is not missed."""
    a, b = pair
    warm(whole, (a, b))
    for _ in range(3):
        task = begin(whole, whole.sock_recv(a, 10))
        b.send(b"taken")
        assert a.recv(10) == b"taken"
        spin(whole, 10)
        assert not task.done()
        b.send(b"left")
        assert end(whole, task) == b"left"


def test_data_comes_between_the_waits(aio, whole, pair):
    a, b = pair
    warm(whole, (a, b))
    for n in range(8):
        b.send(b"early")
        spin(whole, n)
        assert whole.run_until_complete(whole.sock_recv(a, 10)) == b"early"
        receive(whole, a, b)


def test_receiving_and_sending_at_once(aio, whole, pair):
    a, b = pair
    warm(whole, (a, b))
    big = bytes(3_000_000)

    async def main():
        for order in (0, 1, 0):
            receiving = asyncio.ensure_future(whole.sock_recv(a, 10)) if order == 0 else None
            sending = asyncio.ensure_future(whole.sock_sendall(a, big))
            await asyncio.sleep(0)
            receiving = receiving or asyncio.ensure_future(whole.sock_recv(a, 10))
            await asyncio.sleep(0)
            await whole.sock_sendall(b, b"x")
            assert await receiving == b"x"
            got = 0
            while got < len(big):
                got += len(await whole.sock_recv(b, 1 << 20))
            await sending
            again = asyncio.ensure_future(whole.sock_recv(a, 10))
            await asyncio.sleep(0)
            await whole.sock_sendall(b, b"y")
            assert await again == b"y"
    whole.run_until_complete(asyncio.wait_for(main(), 30))


@pytest.mark.parametrize("early", [False, True])
def test_cancelled_and_waited_for_anew(aio, whole, pair, early):
    a, b = pair
    warm(whole, (a, b))
    for ticks in range(8):
        task = begin(whole, whole.sock_recv(a, 10))
        task.cancel()
        if early:
            b.send(b"x")
        spin(whole, ticks)
        if early:
            assert whole.run_until_complete(whole.sock_recv(a, 10)) == b"x"
        else:
            task = begin(whole, whole.sock_recv(a, 10))
            b.send(b"x")
            assert end(whole, task) == b"x"


@pytest.mark.parametrize("kept", [False, True], ids=["closed", "duplicated"])
@pytest.mark.parametrize("how", ["closed", "replaced"])
def test_the_number_becomes_another_sockets(aio, whole, pair, how, kept):
    a, b = nonblocking_pair()
    c, d = pair
    warm(whole, (a, b))
    number, still = a.fileno(), a.dup() if kept else None
    with b, still or contextlib.nullcontext():
        if how == "closed":
            spare = c.dup()
            a.close()
            new = moved(spare, number)
        else:
            os.dup2(c.fileno(), number, inheritable=False)
            new = a
        with new:
            task = begin(whole, whole.sock_recv(new, 10))
            b.send(b"for the old one") if kept else None
            spin(whole, 10)
            assert not task.done()
            d.send(b"new")
            assert end(whole, task) == b"new"
            receive(whole, new, d)
            if kept:
                assert still.recv(100) == b"for the old one"


def test_closed_while_waiting_then_another_with_the_number(aio, loop):
    a, b = nonblocking_pair()
    c, d = nonblocking_pair()
    with b, d, c:
        warm(loop, (a, b))
        task, number, spare = begin(loop, loop.sock_recv(a, 10)), a.fileno(), c.dup()
        a.close()
        task.cancel()
        spin(loop, 2)
        with moved(spare, number) as new:
            receive(loop, new, d)
            receive(loop, new, d)


def test_a_reader_is_called_as_long_as_there_is_something(aio, whole, pair):
    """The promise of add_reader(), wherever the waits have left the descriptor: idle, waited for, or just reported."""
    a, b = pair
    for state in ("idle", "waiting", "reported"):
        warm(whole, (a, b))
        seen, task = [], None
        if state != "idle":
            task = begin(whole, whole.sock_recv(a, 1))
        b.send(b"abc")
        if state == "reported":
            whole.call_soon(whole.add_reader, a, seen.append, 1)
            spin(whole, 1)
        else:
            whole.add_reader(a, seen.append, 1)
        spin_until(whole, lambda: len(seen) > 3)
        assert whole.remove_reader(a) is True and whole.remove_reader(a) is False
        if task is not None:
            task.cancel()
            spin(whole, 2)
        left = a.recv(10)
        assert left == b"abc" or state == "reported" and left == b"bc"
        count = len(seen)
        b.send(b"for nobody")
        spin(whole, 3)
        assert len(seen) == count and a.recv(10) == b"for nobody"


def test_what_is_left_of_a_file_does_not_call_the_readers_of_its_number(same):
    """The old socket lives on in a duplicate, as in a worker process; a number is its owner's alone."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            (a, b), (c, d) = nonblocking_pair(), nonblocking_pair()
            with b, d, c:
                warm(loop, (a, b))
                number, spare = a.fileno(), c.dup()
                with a.dup() as still:
                    a.close()
                    with moved(spare, number) as new:
                        seen = []
                        loop.add_reader(new, lambda: seen.append(outcome(new.recv, 10)))
                        for _ in range(3):
                            b.send(b"old")
                            loop.run_until_complete(asyncio.sleep(0.001))
                        found = list(seen)
                        d.send(b"new")
                        spin_until(loop, lambda: len(seen) > len(found))
                        return found, seen, still.recv(100), loop.remove_reader(new)
    assert same(scenario)[0] == []


def test_a_transport_over_a_waited_for_socket(aio, whole):
    a, b = nonblocking_pair()
    with b:
        warm(whole, (a, b))

        async def main():
            reader, writer = await asyncio.open_connection(sock=a)
            await whole.sock_sendall(b, b"one\n")
            assert await reader.readline() == b"one\n"
            with pytest.raises(RuntimeError, match="is used by transport"):
                await asyncio.wait_for(whole.sock_recv(a, 10), 1)
            writer.write(b"two")
            await writer.drain()
            assert await whole.sock_recv(b, 10) == b"two"
            writer.close()
            await writer.wait_closed()
        whole.run_until_complete(asyncio.wait_for(main(), 30))


def test_a_second_loop_in_another_thread_on_a_duplicate(aio, pair):
    """Each gets some of the data, and what one of them takes is no end of the other."""
    a, b = pair
    total, got = 300, [0, 0]

    def run(i, sock):
        async def main():
            loop = asyncio.get_running_loop()
            while data := await loop.sock_recv(sock, 1):
                got[i] += len(data)
        with contextlib.closing(aio.new_event_loop()) as loop:
            loop.run_until_complete(main())
    with a.dup() as other:
        threads = [threading.Thread(target=run, args=pair) for pair in enumerate((a, other))]
        for thread in threads:
            thread.start()
        b.setblocking(True)
        for _ in range(total):
            b.send(b"x")
        b.shutdown(socket.SHUT_WR)
        for thread in threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in threads) and sum(got) == total


def test_one_socket_in_two_loops(aio, pair):
    a, b = pair
    with fresh_loop(aio) as one, fresh_loop(aio) as other:
        for loop in (one, other, one, other, other, one):
            warm(loop, (a, b))
        waiting, too = begin(one, one.sock_recv(a, 10)), begin(other, other.sock_recv(a, 10))
        b.send(b"first")
        assert end(other, too) == b"first"
        spin(one, 3)
        assert not waiting.done()
        b.send(b"last")
        assert end(one, waiting) == b"last"


def test_many_descriptors_one_of_them_ready(aio, whole):
    pairs = [nonblocking_pair() for _ in range(40)]
    warm(whole, *pairs)
    tasks = [begin(whole, whole.sock_recv(a, 10)) for a, _ in pairs]
    for i in (7, 39, 0):
        pairs[i][1].send(b"%d" % i)
        assert end(whole, tasks[i]) == b"%d" % i
        tasks[i] = begin(whole, whole.sock_recv(pairs[i][0], 10))
    for (a, b), task in zip(pairs, tasks, strict=True):
        b.close()
        assert end(whole, task) == b""
        a.close()


def test_hang_ups(aio, whole):
    for how in ("shutdown", "close"):
        a, b = nonblocking_pair()
        with a, b:
            warm(whole, (a, b))
            task = begin(whole, whole.sock_recv(a, 10))
            spin(whole, 10)
            b.shutdown(socket.SHUT_WR) if how == "shutdown" else b.close()
            assert end(whole, task) == b""
            assert whole.run_until_complete(whole.sock_recv(a, 10)) == b""
