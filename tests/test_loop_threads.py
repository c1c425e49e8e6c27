"""The loop and threads: call_soon_threadsafe(), loops in several threads, executors."""
import asyncio
import concurrent.futures
import contextvars
import threading
import time

import pytest

from support import callback, fresh_loop, outcome, spin


def test_threadsafe_wakes_a_sleeping_loop(aio, loop):
    delays = []

    def thread():
        for _ in range(10):
            time.sleep(0.005)
            loop.call_soon_threadsafe(lambda t=time.monotonic(): delays.append(time.monotonic() - t))
        loop.call_soon_threadsafe(loop.stop)
    t = threading.Thread(target=thread)
    t.start()
    loop.run_forever()
    t.join()
    assert len(delays) == 10 and max(delays) < 1


def test_threadsafe_thousands_from_many_threads(aio, loop):
    n, each = 8, 1500
    seen = []

    def thread(k):
        for i in range(each):
            loop.call_soon_threadsafe(seen.append, (k, i))
        loop.call_soon_threadsafe(done)

    def done():
        nonlocal left
        left -= 1
        if not left:
            loop.stop()
    left = n
    threads = [threading.Thread(target=thread, args=(k,)) for k in range(n)]
    for t in threads:
        t.start()
    loop.run_forever()
    for t in threads:
        t.join()
    assert len(seen) == n * each
    for k in range(n):
        assert [i for j, i in seen if j == k] == list(range(each))


def test_threadsafe_ping_pong_loses_no_wakeup(aio, loop):
    """Each call is made while the loop is about to sleep: one lost wakeup hangs the test."""
    with fresh_loop(aio) as other:
        rounds = 1500

        def ping(n):
            if n == 0:
                other.call_soon_threadsafe(other.stop)
                loop.stop()
            else:
                other.call_soon_threadsafe(pong, n - 1)

        def pong(n):
            loop.call_soon_threadsafe(ping, n)
        t = threading.Thread(target=other.run_forever)
        t.start()
        loop.call_soon(ping, rounds)
        guard = threading.Timer(30, lambda: loop.call_soon_threadsafe(loop.stop))
        guard.start()
        start = time.monotonic()
        loop.run_forever()
        guard.cancel()
        other.call_soon_threadsafe(other.stop)
        t.join()
        assert time.monotonic() - start < 25


def test_threadsafe_before_running_and_cancelled_from_elsewhere(aio, loop):
    seen = []
    handles = []

    def thread():
        handles.append(loop.call_soon_threadsafe(seen.append, 1))
        handles.append(loop.call_soon_threadsafe(seen.append, 2))
        handles[1].cancel()
    t = threading.Thread(target=thread)
    t.start()
    t.join()
    spin(loop)
    assert seen == [1]


def test_threadsafe_while_closing(same):
    """Many threads call while the loop is closed: each call works or says that it is closed."""
    def scenario(aio):
        loop = aio.new_event_loop()
        answers, go = set(), threading.Event()

        def thread():
            go.set()
            for _ in range(300):
                try:
                    loop.call_soon_threadsafe(callback)
                except RuntimeError as e:
                    answers.add(str(e))
                    return
                time.sleep(0)
        threads = [threading.Thread(target=thread) for _ in range(4)]
        for t in threads:
            t.start()
        go.wait()
        spin(loop, 3)
        loop.close()
        for t in threads:
            t.join()
        return [answers <= {"Event loop is closed"}]
    same(scenario)


def test_threadsafe_keeps_its_context(aio, loop):
    var = contextvars.ContextVar("var", default="main")
    seen = []

    def thread():
        var.set("thread")
        loop.call_soon_threadsafe(lambda: seen.append(var.get()))
    t = threading.Thread(target=thread)
    t.start()
    t.join()
    spin(loop)
    assert seen == ["thread"]


def test_run_coroutine_threadsafe(aio, loop):
    async def work(x):
        await aio.sleep(0)
        if x < 0:
            raise ValueError("negative")
        return x * 2

    def thread():
        try:
            results.append(aio.run_coroutine_threadsafe(work(4), loop).result(10))
            with pytest.raises(ValueError, match="negative"):
                aio.run_coroutine_threadsafe(work(-1), loop).result(10)
            f = aio.run_coroutine_threadsafe(aio.sleep(100), loop)
            f.cancel()
            with pytest.raises(concurrent.futures.CancelledError):
                f.result(10)
            results.append("ok")
        finally:
            loop.call_soon_threadsafe(loop.stop)
    results = []
    t = threading.Thread(target=thread)
    t.start()
    loop.run_forever()
    t.join()
    assert results == [8, "ok"]
    spin(loop, 2)


def test_the_wakeup_is_cheap_on_descriptors(aio, loop):
    """Ten thousand calls with nobody reading must not block on a full pipe."""
    for _ in range(10_000):
        loop.call_soon_threadsafe(callback)
    start = time.monotonic()
    spin(loop, 3)
    assert time.monotonic() - start < 5


def test_run_in_several_threads(aio):
    """A loop per thread, all at once."""
    results, n = [], 4

    def thread(i):
        loop = aio.new_event_loop()

        async def work():
            total = 0
            for k in range(200):
                total += await asyncio.sleep(0, k)
            return total
        try:
            results.append(loop.run_until_complete(work()))
        finally:
            loop.close()
    threads = [threading.Thread(target=thread, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [19900] * n


def test_a_loop_run_by_one_thread_after_another(aio, loop):
    idents = []

    def thread():
        loop.call_soon(lambda: (idents.append((loop._thread_id, threading.get_ident())), loop.stop()))
        loop.run_forever()
    for _ in range(3):
        t = threading.Thread(target=thread)
        t.start()
        t.join()
    thread()
    assert len(idents) == 4 and all(a == b for a, b in idents)


def test_run_in_executor(aio, loop, run):
    assert run(loop.run_in_executor(None, lambda a, b: (a + b, threading.get_ident() != threading.main_thread().ident), 1, 2)) == (3, True)
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine") as pool:
        assert run(loop.run_in_executor(pool, lambda: threading.current_thread().name)).startswith("mine")
    with pytest.raises(ZeroDivisionError):
        run(loop.run_in_executor(None, lambda: 1 / 0))

    async def many():
        return await aio.gather(*(loop.run_in_executor(None, pow, i, 2) for i in range(50)))
    assert run(many()) == [i * i for i in range(50)]
    assert isinstance(loop.run_in_executor(None, callback), aio.Future)
    run(loop.shutdown_default_executor())


def test_cancelling_what_runs_in_an_executor(aio, loop, run):
    async def main():
        f = loop.run_in_executor(None, time.sleep, 0.02)
        await aio.sleep(0)
        f.cancel()
        with pytest.raises(aio.CancelledError):
            await f
    run(main())
    run(loop.shutdown_default_executor())


def test_executor_rules(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            found = [outcome(loop.set_default_executor, 5)]
            pool = concurrent.futures.ThreadPoolExecutor(1)
            found.append(outcome(loop.set_default_executor, pool))
            found.append(loop._default_executor is pool)
            loop.run_until_complete(loop.run_in_executor(None, callback))
            found.append(outcome(loop.run_until_complete, loop.shutdown_default_executor()))
            found.append(outcome(loop.run_in_executor, None, callback))
            found.append(outcome(pool.submit, callback))
            found.append(outcome(loop.run_until_complete, loop.shutdown_default_executor()))
            return found
    same(scenario)


def test_to_thread(aio, loop, run):
    var = contextvars.ContextVar("var")

    async def main():
        var.set("seen")
        return await aio.to_thread(lambda x, y: (var.get(), x, y), 1, y=2)
    assert run(main()) == ("seen", 1, 2)
    run(loop.shutdown_default_executor())
