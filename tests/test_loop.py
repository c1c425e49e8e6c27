"""The loop: scheduling across threads, running and stopping, errors, debug mode, generators, executor, overrides, Ctrl-C."""
import asyncio
import collections
import concurrent.futures
import contextvars
import gc
import inspect
import logging
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from unittest import mock

import pytest

from support import (NESTED_RUN_FOREVER_BREAKS, PY, PYTASK_IS_SEEN, Errors, fresh_loop, outcome, plain, report, scrub, spin, spin_until)


def callback(*args):
    pass


async def none():
    pass


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


# --- call_soon_threadsafe ----------------------------------------------------------------------------------------------

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


# --- exception handler -------------------------------------------------------------------------------------------------

def test_exception_handler_rules(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            own = loop.get_exception_handler()
            found = [outcome(loop.set_exception_handler, 5), outcome(loop.set_exception_handler, "x"),
                     loop.get_exception_handler() is own, outcome(loop.set_exception_handler, None), loop.get_exception_handler()]
            return found
    same(scenario)


def records(caplog):
    return [[r.name, r.levelname, scrub(r.getMessage()), plain(r.exc_info[1]) if r.exc_info else None] for r in caplog.records]


def test_default_exception_handler_logs(aio, loop, caplog):
    loop.set_exception_handler(None)
    loop.call_soon(lambda: 1 / 0)
    spin(loop)
    (name, level, text, exc), = records(caplog)
    assert (name, level, exc[0]) == ("asyncio", "ERROR", "ZeroDivisionError")
    lines = text.splitlines()
    assert lines[0].startswith("Exception in callback test_default_exception_handler_logs.<locals>.<lambda>() at ")
    assert lines[1].startswith("handle: <Handle test_default_exception_handler_logs.<locals>.<lambda>() at ")


@pytest.mark.parametrize("context", [{"message": "m"}, {}, {"exception": ValueError("x")}, {"message": "m", "exception": None},
                                     {"message": "m", "future": "f", "task": "t", "b": 1, "a": [2]}])
def test_default_handler_texts(same, caplog, context):
    def scenario(aio):
        caplog.clear()
        with fresh_loop(aio) as loop:
            loop.set_exception_handler(None)
            loop.call_exception_handler(dict(context))
            loop.default_exception_handler(dict(context))
        return records(caplog)
    same(scenario)


def test_debug_reports_where_it_was_created(same, caplog):
    def scenario(aio):
        caplog.clear()
        with fresh_loop(aio, debug=True) as loop:
            loop.set_exception_handler(None)

            def broken():
                raise ValueError("x")

            def reports():
                loop.call_exception_handler({"message": "by hand"})
            loop.call_soon(broken)
            loop.call_soon(reports)
            spin(loop)
        return [[line for line in r[2].splitlines() if not line.startswith(" ")] for r in records(caplog)]
    same(scenario)


def test_handler_that_raises(same, caplog):
    def scenario(aio):
        found = []
        for exc in (ValueError("in handler"), asyncio.CancelledError("in handler"), KeyboardInterrupt("in handler"), SystemExit(3)):
            caplog.clear()
            with fresh_loop(aio) as loop:
                def handler(loop, context):
                    raise exc
                loop.set_exception_handler(handler)
                loop.call_soon(lambda: 1 / 0)
                found.append(outcome(spin, loop))
                loop.set_exception_handler(None)
            found.append([[line.split(" at 0x")[0] for line in r[2].splitlines()][0] for r in records(caplog)])
            caplog.clear()
        return found
    same(scenario)


def test_default_exception_handler_overridden_in_a_subclass(same, caplog):
    def scenario(aio):
        caplog.clear()
        seen = []

        class Loop(loop_class(aio)):
            def default_exception_handler(self, context):
                seen.append(plain(context["exception"]))
                if len(seen) > 1:
                    raise OSError("default handler")
        loop = Loop()
        loop.call_soon(lambda: 1 / 0)
        spin(loop)
        loop.call_soon(lambda: [][0])
        spin(loop)
        loop.close()
        return [seen, [[r[2].splitlines()[0], r[3]] for r in records(caplog)]]
    same(scenario)


def loop_class(aio):
    loop = aio.new_event_loop()
    loop.close()
    return type(loop)


# --- debug mode --------------------------------------------------------------------------------------------------------

def test_slow_callback_is_logged(aio, loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01

    async def slow_task():
        time.sleep(0.02)
    loop.call_soon(time.sleep, 0.02)
    t = loop.create_task(slow_task(), name="slow")
    loop.call_soon(callback)
    spin(loop)
    assert t.done()
    first, second = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert first.startswith("Executing <Handle sleep(0.02)") and " created at " in first and first.endswith(" seconds")
    assert second.startswith("Executing <Task finished name='slow' coro=<test_slow_callback_is_logged.<locals>.slow_task() done")
    assert 0.02 <= float(second.split()[-2]) < 1


def test_slow_callback_goes_to_the_logger_that_is_there_now(aio, loop):
    loop.set_debug(True)
    loop.slow_callback_duration = 0
    with mock.patch("asyncio.base_events.logger") as logger:
        loop.call_soon(callback)
        spin(loop)
    text, *args = logger.warning.call_args_list[0].args
    assert (text % tuple(args)).startswith("Executing <Handle callback()") and len(logger.warning.call_args_list) == 2


def test_slow_callback_not_logged_when_quick_or_not_debugging(aio, loop, caplog):
    loop.slow_callback_duration = 0.001
    loop.call_soon(time.sleep, 0.01)
    spin(loop)
    loop.set_debug(True)
    loop.slow_callback_duration = 10
    loop.call_soon(time.sleep, 0.01)
    spin(loop)
    assert [r for r in caplog.records if r.levelname == "WARNING"] == []


def test_slow_wakeup_is_logged_as_the_task(aio, loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    f = loop.create_future()

    async def work():
        await f
        time.sleep(0.02)
    t = loop.create_task(work(), name="woken")
    spin(loop)
    f.set_result(1)
    spin(loop)
    text, = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
    assert t.done() and text.startswith("Executing <Task finished name='woken'")


def test_slow_timer_and_future_callback_are_logged(aio, loop, caplog):
    loop.set_debug(True)
    loop.slow_callback_duration = 0.01
    f = loop.create_future()
    f.add_done_callback(lambda f: time.sleep(0.02))
    f.set_result(1)
    loop.call_later(0, time.sleep, 0.02)
    spin_until(loop, lambda: len([r for r in caplog.records if r.levelname == "WARNING"]) == 2)
    texts = sorted(r.getMessage() for r in caplog.records if r.levelname == "WARNING")
    assert texts[0].startswith("Executing <Handle ") and texts[1].startswith("Executing <TimerHandle ")


def test_thread_check(same):
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors, debug=True) as loop:
            found = []
            f = loop.create_future()
            f.add_done_callback(callback)
            g = loop.create_future()

            async def waits():
                await g
            t = loop.create_task(waits())

            def thread():
                c = none()
                for what in (lambda: loop.call_soon(callback), lambda: loop.call_later(1, callback), lambda: loop.call_at(1, callback),
                             lambda: loop.create_task(c), lambda: f.set_result(1), lambda: g.set_result(1),
                             lambda: loop.call_soon_threadsafe(callback).cancelled(), lambda: loop.run_in_executor(None, callback) and None,
                             lambda: loop.create_future() and None):
                    found.append(outcome(what))
                c.close()
                loop.call_soon_threadsafe(loop.stop)
            spin(loop)
            th = threading.Thread(target=thread)
            loop.call_soon(th.start)
            loop.run_forever()
            th.join()
            found += [t.done(), f.done(), g.done(), f._callbacks]
            t._log_destroy_pending = False          # its wakeup was refused: never to be stepped again
            del t, th, thread
            gc.collect()
            return found + [[sorted(c), c["message"]] for c in errors.take()]
    errors = same(scenario)
    assert errors[0] == ["raised", "RuntimeError", "Non-thread-safe operation invoked on an event loop other than the current one"]


def test_no_thread_check_when_not_debugging_or_not_running(aio, loop):
    def thread():
        loop.call_soon(seen.append, 1)
        loop.call_later(0, seen.append, 2)
    seen = []
    for debug in (True, False):
        loop.set_debug(debug)
        t = threading.Thread(target=thread)
        t.start()
        t.join()
    spin_until(loop, lambda: len(seen) == 4)


def test_callback_checks(same):
    def scenario(aio):
        found = []
        for debug in (True, False):
            with fresh_loop(aio, errors := Errors(), debug=debug) as loop:
                c = none()
                for what in (lambda cb: loop.call_soon(cb), lambda cb: loop.call_later(0, cb), lambda cb: loop.call_at(0, cb),
                             lambda cb: loop.call_soon_threadsafe(cb), lambda cb: loop.run_in_executor(None, cb)):
                    for cb in (c, none, 5, None, "x", lambda: None):
                        if not debug and cb is none:
                            continue
                        result = outcome(what, cb)
                        found.append(result[:1] if result[0] == "returned" else result)
                c.close()
                loop.run_until_complete(asyncio.sleep(0.02))
                spin(loop, 2)
                gc.collect()
                found.append(sorted(str(report(x)) for x in errors.take()))
        return plain(found)
    same(scenario)


def test_debug_can_be_switched(aio, loop):
    assert loop.get_debug() is False
    loop.set_debug(True)
    assert loop.get_debug() is True and loop._debug is True
    depths = []

    async def main():
        depths.append(sys.get_coroutine_origin_tracking_depth())
        loop.set_debug(False)
        await aio.sleep(0)
        await aio.sleep(0)
        depths.append(sys.get_coroutine_origin_tracking_depth())
        loop.set_debug(True)
        await aio.sleep(0)
        await aio.sleep(0)
        depths.append(sys.get_coroutine_origin_tracking_depth())
    loop.run_until_complete(main())
    assert depths[0] > 0 and depths[1] == 0 and depths[2] > 0 and sys.get_coroutine_origin_tracking_depth() == 0


def test_debug_from_the_environment(script):
    done = script("loop = aio.new_event_loop()\nprint(loop.get_debug())\nloop.close()\n", env={**os.environ, "PYTHONASYNCIODEBUG": "1"})
    assert done.stdout == "True\n", done.stderr
    done = script("loop = aio.new_event_loop()\nprint(loop.get_debug())\nloop.close()\n", flags=["-X", "dev"])
    assert done.stdout == "True\n", done.stderr


def test_current_handle_in_debug(aio, loop):
    loop.set_debug(True)
    seen = []
    h = loop.call_soon(lambda: seen.append(loop._current_handle))
    spin(loop)
    assert seen == [h] and loop._current_handle is None


# --- async generators, executor ----------------------------------------------------------------------------------------

async def agen(log, name="gen"):
    try:
        yield 1
        yield 2
    finally:
        log.append(f"{name} closing")
        await asyncio.sleep(0)
        log.append(f"{name} closed")


def test_asyncgen_is_closed_by_the_loop(aio, loop, run):
    log = []

    async def main():
        async for _ in agen(log):
            break
        gc.collect()
        for _ in range(5):
            await aio.sleep(0)
    run(main())
    assert log == ["gen closing", "gen closed"]


def test_asyncgen_dropped_between_runs(aio, loop, run):
    log = []

    async def main():
        g = agen(log)
        await anext(g)
        return g
    g = run(main())
    assert log == []
    del g
    gc.collect()
    spin(loop, 5)
    assert log == ["gen closing", "gen closed"]


@pytest.mark.parametrize("debug", [False, True])
def test_shutdown_asyncgens(aio, loop, run, debug):
    loop.set_debug(debug)
    log, kept = [], []

    async def main():
        for i in range(3):
            kept.append(agen(log, str(i)))
            await anext(kept[-1])
    run(main())
    run(loop.shutdown_asyncgens())
    assert sorted(log) == ["0 closed", "0 closing", "1 closed", "1 closing", "2 closed", "2 closing"]

    async def late():
        g = agen(log, "late")
        with pytest.warns(ResourceWarning, match=r"^asynchronous generator <.*> was scheduled after loop\.shutdown_asyncgens\(\) call$"):
            await anext(g)
        await g.aclose()
    run(late())


def test_shutdown_asyncgens_reports_errors(aio, loop, run, errors):
    async def broken():
        try:
            yield 1
        finally:
            raise ZeroDivisionError("closing")

    async def main():
        g = broken()
        await anext(g)
        return g
    g = run(main())
    run(loop.shutdown_asyncgens())
    context = errors.take_one()
    assert sorted(context) == ["asyncgen", "exception", "message"] and context["asyncgen"] is g
    assert context["message"] == f"an error occurred during closing of asynchronous generator {g!r}"


def test_asyncgen_hooks_are_restored(aio, loop, run):
    before = sys.get_asyncgen_hooks()

    async def main():
        hooks = sys.get_asyncgen_hooks()
        assert hooks.firstiter == loop._asyncgen_firstiter_hook and hooks.finalizer == loop._asyncgen_finalizer_hook
    run(main())
    assert sys.get_asyncgen_hooks() == before
    first = lambda g: None
    sys.set_asyncgen_hooks(firstiter=first)
    try:
        run(main())
        assert sys.get_asyncgen_hooks().firstiter is first
    finally:
        sys.set_asyncgen_hooks(*before)


def test_finalised_in_debug_mode_from_another_thread(aio, loop, run):
    """uvloop #715: asynchronous generators that die in debug mode, in whatever thread."""
    loop.set_debug(True)
    log = []

    async def main():
        g = agen(log)
        await anext(g)
        box = [g]
        del g
        t = threading.Thread(target=box.clear)
        t.start()
        t.join()
        for _ in range(10):
            await aio.sleep(0.001)
    run(main())
    assert log == ["gen closing", "gen closed"]


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


# --- task factory ------------------------------------------------------------------------------------------------------

def test_task_factory_rules(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            found = [outcome(loop.set_task_factory, 5), loop.get_task_factory(), loop._task_factory]

            def factory(loop, coro, **kwargs):
                return aio.Task(coro, loop=loop, **kwargs)
            loop.set_task_factory(factory)
            found += [loop.get_task_factory() is factory, loop._task_factory is factory]
            loop.set_task_factory(None)
            return found + [loop.get_task_factory()]
    assert same(scenario)[0] == ["raised", "TypeError", "task factory must be a callable or None"]


def test_task_factory_is_used_by_everything(aio, loop, run):
    made = []

    def factory(loop, coro, **kwargs):
        t = asyncio.tasks._PyTask(coro, loop=loop, **kwargs)
        made.append(t)
        return t
    loop.set_task_factory(factory)

    async def main():
        assert aio.current_task() is (made[0] if PYTASK_IS_SEEN else None)
        t = aio.create_task(none())
        assert t is made[1]
        await t
        await aio.gather(none(), none())
        if PYTASK_IS_SEEN:
            async with aio.TaskGroup() as g:
                g.create_task(none())
        if PYTASK_IS_SEEN:
            await aio.wait_for(none(), 1)
    run(main())
    assert len(made) >= (5 if PYTASK_IS_SEEN else 4)


def test_task_factory_that_fails(aio, loop):
    def factory(loop, coro, **kwargs):
        raise ZeroDivisionError("factory")
    loop.set_task_factory(factory)
    c = none()
    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(c)
    c.close()
    loop.set_task_factory(None)
    assert not loop.is_running()


# --- overrides (D2) ----------------------------------------------------------------------------------------------------

def overrides(aio, method, on):
    """A loop with one method overridden, in a subclass or on the instance, that notes its calls and goes on."""
    calls = []
    base = loop_class(aio)
    original = getattr(base, method)
    if on == "subclass":
        def override(self, *args, **kwargs):
            calls.append(args)
            return original(self, *args, **kwargs)
        return type("Loop", (base,), {method: override})(), calls
    loop = aio.new_event_loop()
    bound = getattr(loop, method)

    def override(*args, **kwargs):
        calls.append(args)
        return bound(*args, **kwargs)
    setattr(loop, method, override)
    return loop, calls


@pytest.mark.parametrize("on", ["subclass", "instance"])
def test_overridden_call_soon(same, on):
    """Everything that asyncio puts in its queue through call_soon still goes through it."""
    def scenario(aio):
        loop, calls = overrides(aio, "call_soon", on)
        try:
            f, seen = loop.create_future(), []
            g = loop.create_future()

            async def work():
                seen.append(await f)
                await aio.sleep(0)
            t = loop.create_task(work(), name="t")
            found = [len(calls)]
            f.add_done_callback(seen.append)
            spin(loop)
            found.append(len(calls))
            f.set_result(1)
            found.append(len(calls))
            spin(loop, 4)
            found.append(len(calls))
            g.set_result(1)
            g.add_done_callback(callback)
            found += [len(calls), t.done(), plain(seen)]
            loop.call_soon_threadsafe(callback)
            loop.call_later(0, callback)
            found.append(len(calls))
            spin(loop)
            return found
        finally:
            loop.close()
    same(scenario)


@pytest.mark.parametrize("on", ["subclass", "instance"])
def test_overridden_call_soon_threadsafe(same, on):
    def scenario(aio):
        loop, calls = overrides(aio, "call_soon_threadsafe", on)
        try:
            found = [loop.run_until_complete(loop.run_in_executor(None, pow, 2, 3)), len(calls)]
            aio.run_coroutine_threadsafe(none(), loop)
            found.append(len(calls))
            spin(loop, 3)
            loop.run_until_complete(loop.shutdown_default_executor())
            return found + [len(calls)]
        finally:
            loop.close()
    same(scenario)


@pytest.mark.parametrize("on", ["subclass", "instance"])
def test_overridden_call_exception_handler(same, on):
    def scenario(aio):
        loop, calls = overrides(aio, "call_exception_handler", on)
        loop.set_exception_handler(callback)
        try:
            loop.call_soon(lambda: 1 / 0)
            f = loop.create_future()
            f.set_exception(ValueError("x"))
            del f

            async def fails():
                raise KeyError("k")
            t = loop.create_task(fails())
            spin(loop, 2)
            del t
            gc.collect()
            return [sorted(c["message"].split(" at ")[0] for c, in calls)]
        finally:
            loop.close()
    same(scenario)


@pytest.mark.parametrize("name", ["call_later", "call_at", "create_task", "create_future", "time", "get_debug", "is_running", "stop",
                                  "run_forever", "is_closed", "_check_closed", "_run_once", "default_exception_handler",
                                  "shutdown_asyncgens", "get_task_factory", "_timer_handle_cancelled", "_add_callback",
                                  "_write_to_self", "_process_events", "_call_soon"])
@pytest.mark.parametrize("on", ["subclass", "instance"])
def test_other_overrides_are_reached_by_the_usual_callers(aio, name, on):
    """Not every internal call of asyncio's is promised; those that users can observe by design are checked, and that
    a loop with the override works."""
    if aio is asyncio and not hasattr(loop_class(aio), name):
        pytest.skip("not in this version")
    loop, calls = overrides(aio, name, on)
    try:
        async def main():
            await aio.sleep(0.001)
            t = aio.create_task(none())
            await t
            f = loop.create_future()
            loop.call_later(0.001, f.set_result, 1)
            loop.call_later(10, f.set_result, 1).cancel()
            await f
            loop.call_soon_threadsafe(callback)
            await aio.sleep(0)
            return "done"
        assert loop.run_until_complete(main()) == "done"
        loop.call_soon(loop.stop)
        loop.run_forever()
        if name in ("call_later", "create_task", "time", "run_forever", "stop", "_run_once"):
            assert calls
    finally:
        loop.close()


def test_mocks_on_the_instance(aio, loop):
    """anyio's and aiohttp's tests do this."""
    loop.call_soon_threadsafe = mock.Mock()
    loop.call_soon_threadsafe(1)
    loop.call_soon_threadsafe.assert_called_once_with(1)
    del loop.call_soon_threadsafe
    spin(loop)
    with mock.patch.object(loop, "call_later", return_value="patched") as m:
        assert loop.call_later(1, callback) == "patched"
    assert m.call_count == 1
    assert loop.call_later(100, callback).cancel() is None
    with mock.patch.object(type(loop), "time", lambda self: 5.0) if aio is not asyncio else mock.patch.object(loop, "time", lambda: 5.0):
        assert loop.time() == 5.0
    assert loop.time() != 5.0


def test_override_set_while_running(aio, loop, run):
    calls = []

    async def main():
        original = loop.call_soon

        def noted(cb, *args, context=None):
            calls.append(cb)
            return original(cb, *args, context=context)
        f = loop.create_future()
        loop.call_soon = noted
        f.add_done_callback(callback)
        f.set_result(1)
        assert callback in calls
        n = len(calls)
        await aio.sleep(0)
        assert len(calls) == n + 1
        del loop.call_soon
        n = len(calls)
        await aio.sleep(0)
        await aio.sleep(0)
        assert len(calls) <= n + 1
    run(main())


def test_close_overridden_on_the_instance(aio):
    """sentry wraps loop.close."""
    loop = aio.new_event_loop()
    calls, close = [], loop.close
    loop.close = lambda: (calls.append(1), close())
    loop.close()
    assert calls == [1] and loop.is_closed()


def test_subclass_with_its_own_run_once(aio):
    """nest_asyncio drives _run_once itself."""
    class Loop(loop_class(aio)):
        ticks = 0

        def _run_once(self):
            type(self).ticks += 1
            super()._run_once()
    loop = Loop()
    try:
        assert loop.run_until_complete(aio.sleep(0, "r")) == "r" and Loop.ticks >= 2
    finally:
        loop.close()


def test_run_once_by_hand(aio, loop):
    seen = []
    loop.call_soon(seen.append, 1)
    loop.call_soon(loop.call_soon, seen.append, 2)
    loop._run_once()
    assert seen == [1]
    loop._run_once()
    assert seen == [1, 2]


def test_subclass_with_init_arguments_and_slots(aio):
    class Loop(loop_class(aio)):
        def __init__(self, tag):
            super().__init__()
            self.tag = tag
    loop = Loop("t")
    try:
        assert loop.tag == "t" and loop.run_until_complete(aio.sleep(0, 5)) == 5
    finally:
        loop.close()


# --- interrupts --------------------------------------------------------------------------------------------------------

def test_sigint_while_blocked_in_poll(script):
    """Ctrl-C wakes a loop that sleeps for long (uvloop #295)."""
    done = script("""
import os, signal, threading, time
loop = aio.new_event_loop()
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
start = time.monotonic()
loop.call_later(60, loop.stop)
try:
    loop.run_forever()
except KeyboardInterrupt:
    print("interrupted", time.monotonic() - start < 10, loop.is_running())
loop.call_soon(loop.stop)
loop.run_forever()
print("goes on")
loop.close()
""")
    assert done.stdout == "interrupted True False\ngoes on\n", done.stderr


def test_sigint_while_busy(script):
    done = script("""
import os, signal, threading, time
loop = aio.new_event_loop()
async def spin():
    while True:
        await aio.sleep(0)
t = loop.create_task(spin())
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    loop.run_forever()
except KeyboardInterrupt:
    print("interrupted")
if t.done():                # the interrupt hit the task
    print(repr(t.exception()))
else:                       # or the loop
    t.cancel()
    loop.run_until_complete(aio.wait([t], timeout=5))
    # asyncio loses a callback that was taken off its queue when the interrupt came, and with it the task
    print("KeyboardInterrupt()" if t.cancelled() or aio.__name__ == "asyncio" else t)
loop.close()
""")
    assert done.stdout == "interrupted\nKeyboardInterrupt()\n", done.stderr


def test_sigint_under_run(script):
    """asyncio.run turns Ctrl-C into the cancellation of the main task and then KeyboardInterrupt."""
    done = script("""
import os, signal, threading
async def main():
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        await aio.sleep(60)
    except aio.CancelledError:
        print("cancelled")
        raise
try:
    aio.run(main())
except KeyboardInterrupt:
    print("interrupted")
""")
    assert done.stdout == "cancelled\ninterrupted\n", done.stderr


def test_sigint_without_a_handler_ends_the_process(script):
    done = script("""
import os, signal, threading
threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
async def main():
    await aio.sleep(60)
aio.run(main())
""")
    assert done.returncode == -signal.SIGINT and done.stderr.rstrip().endswith("KeyboardInterrupt")


def test_python_signal_handlers_run_while_the_loop_sleeps(aio, loop):
    seen = []
    old = signal.signal(signal.SIGUSR1, lambda *a: (seen.append("signal"), loop.stop()))
    try:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        start = time.monotonic()
        timer = loop.call_later(20, loop.stop)
        # stop() alone does not wake a sleeping asyncio loop: something must
        loop.call_later(0.3, callback)
        loop.run_forever()
        timer.cancel()
        assert seen == ["signal"] and time.monotonic() - start < 10
    finally:
        signal.signal(signal.SIGUSR1, old)


def test_exception_raised_by_a_signal_handler(aio, loop):
    def handler(*args):
        raise LookupError("from the handler")
    old = signal.signal(signal.SIGUSR1, handler)
    try:
        threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1)).start()
        timer = loop.call_later(20, loop.stop)
        loop.call_later(0.1, callback)
        start = time.monotonic()
        got = outcome(loop.run_forever)
        timer.cancel()
        assert time.monotonic() - start < 10
        assert got == ["raised", "LookupError", "from the handler"]
    finally:
        signal.signal(signal.SIGUSR1, old)
    spin(loop)


# --- run and Runner ----------------------------------------------------------------------------------------------------

def test_run(aio):
    async def main():
        assert type(asyncio.get_running_loop()) is (aio.EventLoop if aio is not asyncio else loop_class(aio))
        await aio.sleep(0)
        return 5
    assert aio.run(main()) == 5
    with pytest.raises(ValueError):
        aio.run(fails())


async def fails():
    raise ValueError


def test_run_rules(same):
    def scenario(aio):
        async def nested():
            c = none()
            try:
                return outcome(aio.run, c)
            finally:
                c.close()
        return [outcome(aio.run, 5), outcome(aio.run, none), aio.run(nested())]
    same(scenario)


def test_runner(aio):
    var = contextvars.ContextVar("var", default=0)

    async def step():
        var.set(var.get() + 1)
        return var.get(), asyncio.get_running_loop()
    with aio.Runner() as runner:
        (a, l1), (b, l2) = runner.run(step()), runner.run(step())
        assert (a, b) == (1, 2) and l1 is l2 is runner.get_loop()
    assert l1.is_closed() and var.get() == 0


def test_run_cleans_up(aio):
    log = []

    async def lingering():
        try:
            await aio.sleep(100)
        except aio.CancelledError:
            log.append("cancelled")
            raise

    async def main():
        t = aio.create_task(lingering())
        g = agen(log)
        await anext(g)
        await aio.sleep(0)
        kept.extend([t, g])
        await aio.to_thread(callback)
    kept = []
    aio.run(main())
    assert log == ["cancelled", "gen closing", "gen closed"] and kept[0].cancelled()


def test_loop_factory(aio):
    async def main():
        return asyncio.get_running_loop()
    with asyncio.Runner(loop_factory=aio.new_event_loop) as runner:
        loop = runner.run(main())
        assert type(loop) is loop_class(aio)
    if PY >= (3, 12):
        assert type(asyncio.run(main(), loop_factory=aio.new_event_loop)) is loop_class(aio)


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


def test_fork_safety(script):
    """A child process that inherits a loop can close it and use one of its own."""
    done = script("""
import os, sys
loop = aio.new_event_loop()
loop.call_soon(loop.stop)
loop.run_forever()
pid = os.fork()
if pid == 0:
    own = aio.new_event_loop()
    ok = own.run_until_complete(aio.sleep(0.001, 7)) == 7
    own.close()
    os._exit(0 if ok else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(loop.run_until_complete(aio.sleep(0.001, 8)))
loop.close()
""")
    assert done.stdout == "0\n8\n", done.stderr


def test_exit_with_a_running_loops_leftovers(script):
    """The interpreter ends cleanly with pending tasks, timers and futures about."""
    done = script("""
loop = aio.new_event_loop()
async def forever():
    await loop.create_future()
tasks = [loop.create_task(forever()) for _ in range(10)]
for t in tasks:
    t._log_destroy_pending = False
loop.call_later(100, print)
loop.call_soon(loop.stop)
loop.run_forever()
f = loop.create_future()
f.loop = loop
f.f = f
print("end")
loop.close()
""")
    assert done.stdout == "end\n" and done.returncode == 0, done.stderr
    assert "Fatal" not in done.stderr
