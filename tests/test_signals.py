"""add_signal_handler and what becomes of signals."""
import asyncio
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from support import Errors, callback, fresh_loop, outcome, report, spin, spin_until


@pytest.fixture(autouse=True)
def dispositions():
    """Every signal handler as it was, and no wakeup descriptor left."""
    watched = (signal.SIGUSR1, signal.SIGUSR2, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD)
    before = [signal.getsignal(s) for s in watched]
    yield
    after = [signal.getsignal(s) for s in watched]
    for s, h in zip(watched, before):
        signal.signal(s, h)
    fd = signal.set_wakeup_fd(-1)
    assert after == before and fd == -1


def kill(sig=signal.SIGUSR1):
    os.kill(os.getpid(), sig)


def test_handler_runs_in_the_loop(aio, loop):
    seen = []

    def handler(*args):
        seen.append((args, asyncio.get_running_loop() is loop, threading.current_thread() is threading.main_thread()))
    assert loop.add_signal_handler(signal.SIGUSR1, handler, 1, 2) is None
    kill()
    spin_until(loop, lambda: seen)
    assert seen == [((1, 2), True, True)]
    kill()
    spin_until(loop, lambda: len(seen) == 2)
    assert loop.remove_signal_handler(signal.SIGUSR1) is True
    assert loop.remove_signal_handler(signal.SIGUSR1) is False
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_wakes_a_sleeping_loop(aio, loop):
    loop.add_signal_handler(signal.SIGUSR1, loop.stop)
    threading.Timer(0.05, kill).start()
    guard = loop.call_later(20, callback)
    start = time.monotonic()
    loop.run_forever()
    assert time.monotonic() - start < 5
    guard.cancel()
    loop.remove_signal_handler(signal.SIGUSR1)


def test_a_busy_loop_gets_it_too(aio, loop):
    seen = []

    def busy():
        if not seen:
            loop.call_soon(busy)
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    busy()
    threading.Timer(0.02, kill).start()
    guard = loop.call_later(10, seen.append, "too late")
    spin_until(loop, lambda: seen)
    guard.cancel()
    assert seen == [1]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_several_signals_in_order(aio, loop):
    seen = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "usr1")
    loop.add_signal_handler(signal.SIGUSR2, seen.append, "usr2")
    for s in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGUSR1, signal.SIGUSR2):
        kill(s)
    spin_until(loop, lambda: len(seen) == 4)
    assert seen == ["usr1", "usr2"] * 2
    assert loop.remove_signal_handler(signal.SIGUSR1)
    kill(signal.SIGUSR2)
    spin_until(loop, lambda: len(seen) == 5)
    assert loop.remove_signal_handler(signal.SIGUSR2)


def test_replacing(aio, loop):
    seen = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "old")
    loop.add_signal_handler(signal.SIGUSR1, seen.append, "new")
    kill()
    spin_until(loop, lambda: seen)
    assert seen == ["new"]
    loop.remove_signal_handler(signal.SIGUSR1)


def test_delivered_between_runs(aio, loop):
    seen = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    spin(loop)
    kill()
    time.sleep(0.01)
    assert seen == []
    spin_until(loop, lambda: seen)
    loop.remove_signal_handler(signal.SIGUSR1)


def test_close_restores(aio):
    loop = aio.new_event_loop()
    loop.add_signal_handler(signal.SIGUSR1, callback)
    loop.add_signal_handler(signal.SIGINT, callback)
    loop.add_signal_handler(signal.SIGTERM, callback)
    loop.close()
    assert signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_sigint_is_ours_while_handled(aio, loop):
    seen = []
    loop.add_signal_handler(signal.SIGINT, seen.append, "int")
    kill(signal.SIGINT)
    spin_until(loop, lambda: seen)
    assert loop.remove_signal_handler(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(KeyboardInterrupt):
        kill(signal.SIGINT)
        time.sleep(1)


def test_handler_that_raises(same):
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            loop.add_signal_handler(signal.SIGUSR1, lambda: 1 / 0)
            kill()
            spin_until(loop, lambda: errors.contexts)
            context = errors.take_one()

            def interrupt():
                raise KeyboardInterrupt("handler")
            loop.add_signal_handler(signal.SIGUSR1, interrupt)
            kill()
            loop.call_later(5, loop.stop)
            found = [report(context), outcome(loop.run_forever)]
            loop.remove_signal_handler(signal.SIGUSR1)
            return found
    same(scenario)


def test_errors(same):
    async def coro():
        pass

    def scenario(aio):
        with fresh_loop(aio) as loop:
            c = coro()
            found = []
            for m, args in ((loop.add_signal_handler, (callback,)), (loop.remove_signal_handler, ())):
                for sig in (0, -1, 1000, "SIGUSR1", None, 1.5, signal.SIGKILL, signal.SIGSTOP, 10**30):
                    found.append(outcome(m, sig, *args))
            found += [outcome(loop.add_signal_handler, signal.SIGUSR1, c), outcome(loop.add_signal_handler, signal.SIGUSR1, coro),
                      outcome(loop.add_signal_handler, text=False), outcome(loop.add_signal_handler, signal.SIGUSR1, text=False),
                      outcome(loop.remove_signal_handler, text=False), outcome(loop.remove_signal_handler, signal.SIGUSR1)]
            c.close()
        found.append(outcome(loop.add_signal_handler, signal.SIGUSR1, callback))
        found.append(outcome(loop.remove_signal_handler, signal.SIGUSR1))
        return found
    same(scenario)


def test_in_another_thread(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            found = []
            t = threading.Thread(target=lambda: found.append(outcome(loop.add_signal_handler, signal.SIGUSR1, callback)))
            t.start()
            t.join()
            return found
    same(scenario)


def test_handler_cancelled_by_its_own_removal(aio, loop):
    seen = []

    def handler():
        seen.append(1)
        loop.remove_signal_handler(signal.SIGUSR1)
    loop.add_signal_handler(signal.SIGUSR1, handler)
    kill()
    spin_until(loop, lambda: seen)
    spin(loop, 2)
    assert seen == [1] and signal.getsignal(signal.SIGUSR1) == signal.SIG_DFL


def test_restarts_system_calls(aio, loop):
    """A blocking read elsewhere is not interrupted (SA_RESTART)."""
    loop.add_signal_handler(signal.SIGUSR1, callback)
    r, w = os.pipe()
    threading.Timer(0.02, kill).start()
    threading.Timer(0.05, os.write, (w, b"x")).start()
    assert os.read(r, 1) == b"x"
    os.close(r)
    os.close(w)
    spin(loop, 2)
    loop.remove_signal_handler(signal.SIGUSR1)


def test_users_own_sigchld_handler(aio, loop):
    """tornado's tests install one; it runs, and the loop stays quiet."""
    seen = []
    old = signal.signal(signal.SIGCHLD, lambda *a: seen.append(1))
    try:
        p = subprocess.Popen([sys.executable, "-c", "pass"])

        async def wait():
            while not seen:
                await aio.sleep(0.01)
        loop.run_until_complete(aio.wait_for(wait(), 20))
        p.wait()
    finally:
        signal.signal(signal.SIGCHLD, old)


def test_many_signals_do_not_block(aio, loop):
    seen = []
    loop.add_signal_handler(signal.SIGUSR1, seen.append, 1)
    for _ in range(100):
        kill()
    spin_until(loop, lambda: seen)
    assert 1 <= len(seen) <= 100
    for _ in range(3):
        spin(loop)
    loop.remove_signal_handler(signal.SIGUSR1)
