"""The loop's debug mode: slow callbacks, checks of threads and arguments, switching it on and off."""
import asyncio
import gc
import os
import sys
import threading
import time
from unittest import mock

from support import Errors, callback, fresh_loop, none, outcome, plain, report, spin, spin_until


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
