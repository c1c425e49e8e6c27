"""The traps that the design names (its decision D6): native awaitables and waiters. Each was seen to break something, so each has a
test. asyncio itself is free of them; its half checks the tests."""
import asyncio
import collections.abc
import contextvars
import gc
import inspect
import threading
import warnings
from unittest import mock

import pytest

from support import PY, PYTASK_IS_SEEN, Errors, callback, fresh_loop, none, outcome, spin

AWAITABLES = {
    "sleep": lambda aio, loop: aio.sleep(0.001),
    "sleep0": lambda aio, loop: aio.sleep(0),
    "wait_for": lambda aio, loop: aio.wait_for(aio.sleep(0), 1),
    "queue.get": lambda aio, loop: filled_queue(aio).get(),
    "queue.put": lambda aio, loop: aio.Queue().put(1),
    "queue.join": lambda aio, loop: aio.Queue().join(),
    "lock.acquire": lambda aio, loop: aio.Lock().acquire(),
    "semaphore.acquire": lambda aio, loop: aio.Semaphore().acquire(),
    "event.wait": lambda aio, loop: set_event(aio).wait(),
    "wait": lambda aio, loop: aio.wait([done_future(loop)]),
    "to_thread": lambda aio, loop: aio.to_thread(callback),
}


def filled_queue(aio):
    q = aio.Queue()
    q.put_nowait(1)
    return q


def set_event(aio):
    e = aio.Event()
    e.set()
    return e


def done_future(loop):
    f = loop.create_future()
    f.set_result(1)
    return f


@pytest.mark.parametrize("name", AWAITABLES)
def test_d6_they_are_coroutines_for_everyone(aio, loop, run, name):
    """create_task, ensure_future, run, wait_for, gather and collections.abc accept them."""
    make = AWAITABLES[name]

    async def main():
        c = make(aio, loop)
        assert isinstance(c, collections.abc.Coroutine) and isinstance(c, collections.abc.Awaitable) and asyncio.iscoroutine(c)
        await c
        await aio.create_task(make(aio, loop))
        await loop.create_task(make(aio, loop))
        await aio.ensure_future(make(aio, loop))
        await asyncio.Task(make(aio, loop), loop=loop)
        if PYTASK_IS_SEEN or name != "wait_for":
            await asyncio.tasks._PyTask(make(aio, loop), loop=loop)
        await aio.wait_for(make(aio, loop), 5)
        await aio.gather(make(aio, loop), make(aio, loop))
        async with aio.TaskGroup() as g:
            g.create_task(make(aio, loop))
    run(main())
    run(loop.shutdown_default_executor())


@pytest.mark.parametrize("name", AWAITABLES)
def test_d6_contract_of_a_coroutine(aio, loop, run, name):
    """Awaited twice: RuntimeError. Never awaited: RuntimeWarning. Closed: no warning. The frame attributes are there."""
    make = AWAITABLES[name]

    async def main():
        c = make(aio, loop)
        assert c.cr_running is False and c.cr_await is None and hasattr(c, "cr_frame")
        if PY >= (3, 11):
            assert c.cr_suspended is False
        await c
        with pytest.raises(RuntimeError, match="^cannot reuse already awaited coroutine$"):
            await c
        c = make(aio, loop)
        c.close()
        with pytest.raises(RuntimeError, match="^cannot reuse already awaited coroutine$"):
            await c
        c = make(aio, loop)
        with pytest.raises(ZeroDivisionError):
            c.throw(ZeroDivisionError)
        with pytest.warns(RuntimeWarning, match="was never awaited"):
            c = make(aio, loop)
            del c
            gc.collect()
    with warnings.catch_warnings():
        if name == "wait_for":                 # what it was to wait for is never awaited either
            warnings.filterwarnings("ignore", "coroutine 'sleep' was never awaited", RuntimeWarning)
        run(main())
    run(loop.shutdown_default_executor())


def test_d6_the_body_starts_at_the_first_send(aio, loop, run):
    async def main():
        q = filled_queue(aio)
        c = q.get()
        assert q.qsize() == 1
        lock = aio.Lock()
        d = lock.acquire()
        assert not lock.locked()
        assert await c == 1 and await d is True and lock.locked()
        before = len(loop._scheduled)
        s = aio.sleep(5)
        assert len(loop._scheduled) == before
        s.close()
        p = q.put("x")
        assert q.empty()
        await p
        assert q.qsize() == 1
    run(main())


def test_d6_wait_for_and_its_task(aio, loop, run):
    """3.11 runs the coroutine in a new task, later versions in the same."""
    async def main():
        async def who():
            return aio.current_task()
        me = aio.current_task()
        assert (await aio.wait_for(who(), 5) is me) == (PY >= (3, 12))
    run(main())


def test_d6_mocks_of_coroutine_functions(aio):
    """mock.patch makes AsyncMocks of what is `async def` in asyncio; iscoroutinefunction agrees."""
    functions = ["sleep", "wait_for", "wait", "to_thread", "open_connection", "start_server"]
    methods = [("Queue", "get"), ("Queue", "put"), ("Queue", "join"), ("Lock", "acquire"), ("Event", "wait"), ("Semaphore", "acquire"),
               ("Condition", "wait"), ("StreamReader", "read"), ("StreamReader", "readexactly"), ("StreamWriter", "drain"), ("Barrier", "wait")]
    for target, name in [(aio, n) for n in functions] + [(getattr(aio, c), n) for c, n in methods]:
        assert inspect.iscoroutinefunction(getattr(target, name)), name
        with mock.patch.object(target, name) as m:
            assert isinstance(m, mock.AsyncMock), name
    assert isinstance(mock.create_autospec(aio.Queue, instance=True).get, (mock.AsyncMock, type(mock.create_autospec(none))))


def test_d6_order_of_callbacks_and_waiters(aio, loop):
    """(callback, task, callback) keeps asyncio's order, whoever was first; see also test_futures."""
    f, seen = loop.create_future(), []

    async def wait(name):
        await f
        seen.append(name)
    ts = []
    for i in range(4):
        f.add_done_callback(lambda f, i=i: seen.append(f"c{i}"))
        ts.append(loop.create_task(wait(f"t{i}")))
        spin(loop)
    f.set_result(None)
    spin(loop, 2)
    assert seen == ["c0", "t0", "c1", "t1", "c2", "t2", "c3", "t3"] and all(t.done() for t in ts)


def test_d6_a_waiting_task_as_only_callback(aio, loop):
    """One pointer instead of a callback: shown, removed and added to like one."""
    f = loop.create_future()

    async def wait():
        return await f
    t = loop.create_task(wait())
    spin(loop)
    first = f._callbacks
    assert first == f._callbacks and len(first) == 1 and first is not f._callbacks
    (wakeup, context), = first
    assert callable(wakeup) and isinstance(context, contextvars.Context)
    assert f.remove_done_callback(wakeup) == 1 and f._callbacks is None and f.remove_done_callback(wakeup) == 0
    f.add_done_callback(wakeup, context=context)
    assert f._callbacks == [(wakeup, context)]
    f.set_result("r")
    spin(loop, 2)
    assert t.result() == "r"


def test_d6_the_wakeup_shown_before_and_after_a_callback_joins(aio, loop):
    f = loop.create_future()

    async def wait():
        return await f
    t = loop.create_task(wait())
    spin(loop)
    (wakeup, _), = f._callbacks
    f.add_done_callback(callback)
    assert [c for c, _ in f._callbacks] == [wakeup, callback]
    assert f.remove_done_callback(callback) == 1 and [c for c, _ in f._callbacks] == [wakeup]
    f.set_result(1)
    spin(loop, 2)
    assert t.done()


def test_d6_closed_loop_and_thread_checks_on_the_fast_path(same):
    """A native task that waits for a native future: setting the result from the wrong thread in debug, and after closing."""
    def scenario(aio):
        errors, found = Errors(), []
        with fresh_loop(aio, errors, debug=True) as loop:
            f = loop.create_future()

            async def wait():
                await f
            t = loop.create_task(wait())
            spin(loop)

            def thread():
                found.append(outcome(f.set_result, 1))
                loop.call_soon_threadsafe(loop.stop)
            th = threading.Thread(target=thread)
            loop.call_soon(th.start)
            loop.run_forever()
            th.join()
            found += [f.done(), t.done()]
            t._log_destroy_pending = False
            del t, th
            gc.collect()
            g = loop.create_future()

            async def wait():
                await g
            t = loop.create_task(wait())
            spin(loop)
        # fresh_loop cancelled t; another one waits while its loop is closed
        loop = aio.new_event_loop()
        loop.set_exception_handler(errors)
        h = loop.create_future()

        async def wait():
            await h
        t = loop.create_task(wait())
        spin(loop)
        loop.close()
        found += [outcome(h.set_result, 1), h._state, t._state]
        t._log_destroy_pending = False
        errors.take()
        return found
    same(scenario)


def test_d6_fut_waiter_is_what_asyncio_shows(aio, loop):
    f = loop.create_future()

    async def wait():
        await f
        await aio.sleep(0)
        await aio.sleep(100)
    t = loop.create_task(wait())
    assert t._fut_waiter is None
    spin(loop)
    assert t._fut_waiter is f is t._fut_waiter
    f.set_result(1)
    assert t._fut_waiter is f
    spin(loop)
    assert t._fut_waiter is None
    spin(loop, 2)
    w = t._fut_waiter
    assert asyncio.isfuture(w) and w is t._fut_waiter and not w.done()
    t.cancel()
    assert w.cancelled()
    spin(loop, 2)
    assert t._fut_waiter is None and t.cancelled()


def test_semaphore_goes_on_to_wake_as_this_python_does(same):
    """Bug-fix releases changed it, so it is found out by asking asyncio's class."""
    def scenario(aio):
        async def main():
            semaphore, log = aio.Semaphore(0), []

            async def user(name, releases=0):
                for _ in range(releases):
                    semaphore.release()
                await semaphore.acquire()
                log.append((name, semaphore._value))
            users = [asyncio.ensure_future(user(*args)) for args in (("a",), ("b", 3), ("c",))]
            for _ in range(4):
                await asyncio.sleep(0)
                log.append((semaphore._value, len(semaphore._waiters)))
            await asyncio.gather(*users)
            return log
        with fresh_loop(aio) as loop:
            return loop.run_until_complete(main())
    same(scenario)
