"""The loop: its kind and attributes, running, stopping and closing it, the order of callbacks. The rest is in test_loop_*.py."""
import asyncio
import collections
import gc
import os
import signal
import threading
import time
import weakref

import pytest

from support import NESTED_RUN_FOREVER_BREAKS, callback, fresh_loop, none, outcome, plain, spin


# --- kinds, attributes -------------------------------------------------------------------------------------------------

def test_kind(aio, loop):
    assert isinstance(loop, asyncio.AbstractEventLoop) and isinstance(loop, asyncio.BaseEventLoop)
    assert isinstance(loop, aio.AbstractEventLoop) and loop.__dict__ is loop.__dict__ and {loop: 1}[loop] == 1
    loop.attribute = 1
    assert loop.attribute == 1 and weakref.ref(loop)() is loop


def test_every_public_name_of_asyncios_loop_is_there(aio, loop):
    public = {n for n in dir(asyncio.SelectorEventLoop) if not n.startswith("_")}
    assert public <= set(dir(loop))


def test_private_attributes_that_others_read(aio, loop):
    for name in ("_closed", "_stopping", "_debug", "_thread_id", "_clock_resolution", "_current_handle", "_task_factory", "_internal_fds",
                 "_ready", "_scheduled", "_selector", "_default_executor", "_executor_shutdown_called", "_asyncgens",
                 "_asyncgens_shutdown_called", "_exception_handler", "_timer_cancelled_count", "slow_callback_duration",
                 "_coroutine_origin_tracking_enabled"):
        getattr(loop, name)
    assert loop._closed is False and loop._stopping is False and loop._thread_id is None and loop._current_handle is None
    assert loop.slow_callback_duration == 0.1 and loop._task_factory is None and loop._default_executor is None
    assert loop._clock_resolution == time.get_clock_info("monotonic").resolution

    async def main():
        return loop._thread_id
    assert loop.run_until_complete(main()) == threading.get_ident()


def test_repr(same):
    def scenario(aio):
        loop = aio.new_event_loop()
        found = [repr(loop).split(" ", 1)[1]]
        loop.set_debug(True)
        loop.call_soon(lambda: (found.append(repr(loop).split(" ", 1)[1]), loop.stop()))
        loop.run_forever()
        loop.close()
        return found + [repr(loop).split(" ", 1)[1]]
    assert same(scenario)[0] == "running=False closed=False debug=False>"


def test_time(aio, loop):
    a, m, b = loop.time(), time.monotonic(), loop.time()
    assert type(a) is float and a <= m + 1e-9 and m <= b + 1e-9


def test_get_running_loop(aio, loop, run):
    assert aio._get_running_loop() is None
    with pytest.raises(RuntimeError, match="^no running event loop$"):
        aio.get_running_loop()

    async def main():
        assert asyncio.get_running_loop() is aio.get_running_loop() is asyncio._get_running_loop() is asyncio.get_event_loop() is loop
    run(main())
    loop.call_soon(lambda: (seen.append(asyncio.get_running_loop()), loop.stop()))
    seen = []
    loop.run_forever()
    assert seen == [loop] and aio._get_running_loop() is None


# --- run_forever, run_until_complete, stop, close ----------------------------------------------------------------------

def test_run_until_complete(aio, loop):
    async def work():
        await aio.sleep(0)
        return 5
    assert loop.run_until_complete(work()) == 5
    f = loop.create_future()
    loop.call_soon(f.set_result, 6)
    assert loop.run_until_complete(f) == 6 and loop.run_until_complete(f) == 6
    assert loop.run_until_complete(loop.create_task(work())) == 5

    class A:
        def __await__(self):
            return work().__await__()
    assert loop.run_until_complete(A()) == 5


def test_run_until_complete_arguments(same):
    def scenario(aio):
        with fresh_loop(aio) as loop, fresh_loop(aio) as other:
            return [outcome(loop.run_until_complete, 5), outcome(loop.run_until_complete, None), outcome(loop.run_until_complete, text=False),
                    outcome(loop.run_until_complete, none), outcome(loop.run_until_complete, other.create_future())]
    same(scenario)


def test_run_until_complete_of_a_failing_future(aio, loop):
    for exc in (ValueError("x"), aio.CancelledError("c")):
        f = loop.create_future()
        loop.call_soon(f.set_exception, exc)
        with pytest.raises(type(exc)) as info:
            loop.run_until_complete(f)
        assert info.value is exc
    f = loop.create_future()
    loop.call_soon(f.cancel, "m")
    with pytest.raises(aio.CancelledError, match="m"):
        loop.run_until_complete(f)


def test_stopped_before_complete(aio, loop):
    loop.call_soon(loop.stop)
    f = loop.create_future()
    with pytest.raises(RuntimeError, match=r"^Event loop stopped before Future completed\.$"):
        loop.run_until_complete(f)
    assert f._callbacks is None

    async def work():
        await f
    loop.call_soon(loop.stop)
    with pytest.raises(RuntimeError, match=r"^Event loop stopped before Future completed\.$"):
        loop.run_until_complete(work())
    f.set_result(1)
    spin(loop, 2)


def test_the_main_tasks_callback_is_base_events_own(aio, loop):
    """anyio finds the root task by it."""
    async def main():
        return [c for c, _ in aio.current_task()._callbacks]
    assert loop.run_until_complete(main()) == [asyncio.base_events._run_until_complete_cb]


def test_stop_lets_the_tick_finish(aio, loop):
    seen = []
    loop.call_soon(lambda: (seen.append(1), loop.stop(), loop.call_soon(seen.append, "next tick")))
    loop.call_soon(seen.append, 2)
    loop.run_forever()
    assert seen == [1, 2]
    spin(loop)
    assert seen == [1, 2, "next tick"]


def test_stop_before_running(aio, loop):
    seen = []
    loop.stop()
    loop.stop()
    loop.call_soon(seen.append, 1)
    loop.run_forever()
    assert seen == [1] and loop._stopping is False
    loop.call_later(0.005, lambda: (seen.append(2), loop.stop()))
    loop.run_forever()
    assert seen == [1, 2]


def test_stop_before_running_still_polls(aio, loop):
    r, w = os.pipe()
    os.write(w, b"x")
    seen = []
    loop.add_reader(r, seen.append, 1)
    loop.stop()
    loop.run_forever()
    assert seen == [1]
    loop.remove_reader(r)
    os.close(r)
    os.close(w)


def test_running_and_closed_rules(same):
    def scenario(aio):
        loop, other = aio.new_event_loop(), aio.new_event_loop()
        found = []
        f = loop.create_future()

        def inside():
            found.append([loop.is_running(), loop.is_closed(), other.is_running()])
            for what in (lambda: loop.run_until_complete(f), lambda: other.run_until_complete(f), loop.close):
                found.append(outcome(what))
            if not NESTED_RUN_FOREVER_BREAKS:
                found.append(outcome(loop.run_forever))
                found.append(outcome(other.run_forever))
            loop.stop()
        loop.call_soon(inside)
        loop.run_forever()
        found.append([loop.is_running(), loop.is_closed()])
        found.append(outcome(loop.close))
        found.append(outcome(loop.close))
        found.append([loop.is_running(), loop.is_closed()])
        for what in (lambda: loop.run_until_complete(f), loop.run_forever, lambda: loop.call_soon(callback), lambda: loop.call_later(1, callback),
                     lambda: loop.call_at(1, callback), lambda: loop.call_soon_threadsafe(callback), loop.stop, loop.create_future,
                     lambda: loop.run_in_executor(None, callback), lambda: loop.add_reader(0, callback), lambda: loop.remove_reader(0),
                     lambda: loop.add_writer(0, callback), lambda: loop.remove_writer(0), loop.get_debug, loop.time,
                     lambda: loop.add_signal_handler(signal.SIGUSR1, callback), lambda: loop.remove_signal_handler(signal.SIGUSR1),
                     lambda: loop.call_exception_handler({"message": "after close"}) and None):
            result = outcome(what)
            if what == loop.time:
                result = result[0]
            found.append(plain(result))
        c = none()
        found.append(outcome(loop.create_task, c))
        c.close()
        other.close()
        return found
    same(scenario)


def test_close_twice_and_selector(aio):
    loop = aio.new_event_loop()
    loop.close()
    loop.close()
    assert loop.is_closed() and loop._selector is None and len(loop._ready) == 0 and len(loop._scheduled) == 0


def test_unclosed_loop_warns(aio):
    loop = aio.new_event_loop()
    text = repr(loop)
    with pytest.warns(ResourceWarning, match="^unclosed event loop <.* running=False closed=False debug=False>$") as caught:
        del loop
        gc.collect()
    assert str(caught[0].message) == f"unclosed event loop {text}"


def test_unclosed_loop_with_pending_work_warns_once(aio):
    loop = aio.new_event_loop()
    loop.call_later(100, loop.stop)
    loop.call_soon(callback, loop)
    loop.me = loop
    with pytest.warns(ResourceWarning, match="unclosed event loop") as caught:
        del loop
        gc.collect()
    assert len([w for w in caught if "event loop" in str(w.message)]) == 1


def test_closed_loop_does_not_warn_and_is_collected(aio):
    loop = aio.new_event_loop()
    loop.me = loop
    loop.call_soon(callback, loop)
    loop.call_later(1, callback, loop)
    loop.set_exception_handler(lambda l, c: loop)
    ref = weakref.ref(loop)
    loop.close()
    del loop
    gc.collect()
    assert ref() is None


def test_loops_can_be_made_and_closed_by_the_hundred(aio):
    for _ in range(100):
        loop = aio.new_event_loop()
        assert loop.run_until_complete(asyncio.sleep(0, 1)) == 1
        loop.close()


# --- FIFO --------------------------------------------------------------------------------------------------------------

def test_one_queue_for_everything(aio, loop):
    seen = []
    f = loop.create_future()
    f.set_result(None)

    async def task(name):
        seen.append(name)
    loop.call_soon(seen.append, 1)
    t = loop.create_task(task(2))
    f.add_done_callback(lambda f: seen.append(3))
    loop.call_soon_threadsafe(seen.append, 4)
    loop.call_soon(seen.append, 5)
    spin(loop)
    assert seen == [1, 2, 3, 4, 5] and t.done()


def test_added_during_a_tick_runs_in_the_next(aio, loop):
    seen = []

    def tick(n):
        seen.append(n)
        if n < 3:
            loop.call_soon(tick, n + 1)
            loop.call_soon_threadsafe(seen.append, f"ts{n}")
    loop.call_soon(tick, 0)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert seen == [0]
    spin(loop)
    assert seen == [0, 1, "ts0"]
    spin(loop)
    assert seen == [0, 1, "ts0", 2, "ts1"]
    spin(loop, 2)


def test_fifty_thousand_callbacks(aio, loop):
    counter = collections.Counter()
    for i in range(50_000):
        loop.call_soon(counter.update, (i % 3,))
    spin(loop)
    assert counter == {0: 16667, 1: 16667, 2: 16666}


# --- patience ----------------------------------------------------------------------------------------------------------

def test_idle_loop_uses_no_cpu(aio, loop):
    loop.call_later(0.3, loop.stop)
    start = time.thread_time()
    loop.run_forever()
    assert time.thread_time() - start < 0.1


def test_lifetime_of_callback_arguments(aio, loop):
    """The loop keeps nothing of the last callback once the tick is over."""
    class Token:
        pass
    token = Token()
    ref = weakref.ref(token)
    loop.call_soon(callback, token)
    del token
    spin(loop)
    assert ref() is None
