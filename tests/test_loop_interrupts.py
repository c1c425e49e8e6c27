"""The loop and its process: Ctrl-C, Python's signal handlers, fork, exit."""
import os
import signal
import threading
import time

from support import callback, outcome, spin


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


def test_a_fork_beside_a_thread_that_runs_a_loop(script):
    """The child has no such thread, but may get one in the same place, which is not taken for it."""
    done = script("""
import os, sys, threading, warnings
warnings.simplefilter("ignore", DeprecationWarning)       # forking beside threads
async def wait():
    running.set()
    await aio.sleep(60)
async def origin():
    sys.set_coroutine_origin_tracking_depth(1)
    coroutine = aio.Lock().acquire()
    seen.append(len(coroutine.cr_origin or ()))
    await coroutine
running, seen = threading.Event(), []
threading.Thread(target=lambda: aio.run(wait()), daemon=True).start()
running.wait()
if (pid := os.fork()) == 0:
    taken = [b"7" * size for size in range(100, 1000) for _ in range(3)]   # the memory of what is gone
    thread = threading.Thread(target=lambda: aio.run(origin()))
    thread.start()
    thread.join()
    os._exit(0 if seen == [1] else 1)
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
os._exit(0)
""", flags=["-u"], env={**os.environ, "PYTHONMALLOC": "malloc"})
    assert done.stdout == "0\n", done.stderr


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
