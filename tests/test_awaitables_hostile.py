"""What a program may do to locks, time-outs, groups and coroutines of the module while they are at work."""
import asyncio
import gc
import os
import subprocess
import sys

import pytest

from support import fresh_loop, outcome, plain


def scenario(main):
    def run(aio, *args):
        with fresh_loop(aio) as loop:
            loop.set_exception_handler(lambda loop, context: None)      # tasks are lost here, and children fail unseen
            return plain(loop.run_until_complete(main(aio, *args)))
    return run


# --- private attributes assigned ---------------------------------------------------------------------------------------

class Odd:
    """Takes any method call, and is true."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *args, **kwargs: 0

    def __iter__(self):
        return iter(())


VALUES = {"none": lambda: None, "number": lambda: 5, "odd": Odd, "list": list}
GROUP_FIELDS = ("_loop", "_parent_task", "_tasks", "_errors", "_base_error", "_on_completed_fut")
GROUP_FLAGS = ("_entered", "_exiting", "_aborting", "_parent_cancel_requested")


async def ends(delay, error=None):
    for _ in range(delay):
        await asyncio.sleep(0)
    if error is not None:
        raise error


async def use_group(aio, field, value, when, error):
    """What comes of a group whose attribute is assigned: in its body, by a child, or while it is left. A waiter that is lost leaves the
    parent waiting for ever, so somebody cancels it in the end."""
    log = []

    async def assign(group):
        if when == "child":
            await asyncio.sleep(0)
        setattr(group, field, VALUES[value]())

    async def body():
        async with aio.TaskGroup() as group:
            if when == "early":
                await assign(group)
            group.create_task(ends(2, error))
            group.create_task(ends(3))
            if when == "child":
                asyncio.get_running_loop().create_task(assign(group))
            elif when == "late":
                await assign(group)
        log.append("left")
    task = asyncio.ensure_future(body())
    await ends(20)
    for _ in range(3):
        task.cancel()
        await ends(5)
    log.append(task.done())
    for other in [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]:
        other.cancel()
    await ends(5)
    if task.done() and not task.cancelled():
        log.append(type(task.exception()).__name__)
    return log


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")
@pytest.mark.parametrize("error", [None, ValueError("child")], ids=["well", "error"])
@pytest.mark.parametrize("when", ["early", "child", "late"])
@pytest.mark.parametrize("field", GROUP_FIELDS + GROUP_FLAGS)
def test_a_group_whose_attributes_are_assigned(same, field, when, error):
    for value in VALUES:
        if field != "_tasks" or not VALUES[value]():             # else __aexit__ would wait for ever, whoever cancels it
            same(scenario(use_group), field, value, when, error)


async def use_timeout(aio, field, value, expires):
    log = []

    async def body():
        async with aio.timeout(0.001 if expires else 60) as timeout:
            log.append(timeout.__dict__ == {} or True)
            setattr(timeout, field, value(aio, timeout))
            await asyncio.sleep(0.005)
        return timeout.expired()
    task = asyncio.ensure_future(body())
    await asyncio.wait([task], timeout=1)
    log.append(plain(task.exception()) if not task.cancelled() and task.exception() else task.cancelled() or task.result())
    return log


@pytest.mark.parametrize("expires", [False, True])
@pytest.mark.parametrize("field, value", [
    ("_task", lambda aio, timeout: None), ("_timeout_handler", lambda aio, timeout: None), ("_when", lambda aio, timeout: None),
    ("_timeout_handler", lambda aio, timeout: timeout._timeout_handler), ("_cancelling", lambda aio, timeout: 7),
    ("_state", lambda aio, timeout: aio.timeouts._State.EXITED), ("_state", lambda aio, timeout: aio.timeouts._State.EXPIRING),
    ("_on_timeout", lambda aio, timeout: None),
], ids=["task", "handler", "when", "same handler", "cancelling", "exited", "expiring", "callback"])
def test_a_timeout_whose_attributes_are_assigned(same, field, value, expires):
    same(scenario(use_timeout), field, value, expires)


def test_the_handle_of_a_timeout(same):
    """It is there when somebody looks, in the loop's list too, at its time and as often as one looks."""
    async def main(aio):
        loop = asyncio.get_running_loop()
        log = []
        async with aio.timeout(60) as timeout:
            scheduled = [handle for handle in loop._scheduled if not handle.cancelled()]
            handle = timeout._timeout_handler
            log += [len(scheduled), scheduled[0] is handle, handle is timeout._timeout_handler, handle.when() == timeout.when()]
            log += [handle.cancelled(), isinstance(handle, asyncio.TimerHandle), handle._args, handle._callback.__name__]
            timeout.reschedule(loop.time() + 30)
            log += [handle.cancelled(), timeout._timeout_handler is handle, timeout._timeout_handler.when() == timeout.when()]
            last = timeout._timeout_handler
        return log + [last.cancelled(), timeout._timeout_handler, [h for h in loop._scheduled if not h.cancelled()]]
    same(scenario(main))


@pytest.mark.parametrize("look", [False, True])
def test_timeouts_and_other_timers_fire_in_their_order(same, look):
    async def main(aio):
        loop, log, timers = asyncio.get_running_loop(), [], []

        async def limited(name, when):
            try:
                async with aio.timeout_at(when):
                    await asyncio.sleep(10)
            except TimeoutError:
                log.append(name)
        start = loop.time() + 0.1
        tasks = []
        for i in range(6):
            tasks.append(asyncio.ensure_future(limited(f"timeout {i}", start + (i * 5 % 6) / 1000)))
            loop.call_at(start + (i * 7 % 6 + 0.5) / 1000, timers.append, f"timer {i}")
            await asyncio.sleep(0)
        if look:
            log.append(len(loop._scheduled) > 0)
        await asyncio.wait(tasks)
        while len(timers) < 6:
            await asyncio.sleep(0.001)
        return log, timers
    same(scenario(main))


def test_a_loop_that_is_closed_with_timeouts_in_it(aio):
    async def main():
        async with aio.timeout(60):
            await asyncio.get_running_loop().create_future()
    loop = aio.new_event_loop()
    task = loop.create_task(main())
    loop.call_soon(loop.stop)
    loop.run_forever()
    loop.close()
    task._log_destroy_pending = False
    with pytest.raises(RuntimeError):                            # cancelling asks a loop that is closed
        task.cancel()
    del task
    gc.collect()


def test_the_children_of_gather_are_taken_away(same):
    async def main(aio):
        log = []
        for cancel in (False, True):
            children = [asyncio.ensure_future(ends(2)) for _ in range(3)]
            outer = aio.gather(*children)
            await asyncio.sleep(0)
            if cancel:
                outer.cancel()
            outer._children.clear()
            log.append(plain((await asyncio.wait([outer], timeout=0.05))[0] and (outer.cancelled() or outer.exception() or outer.result())))
            outer = aio.gather(ends(1))
            outer._children = None
            log.append(outcome(outer.cancel))
            await asyncio.sleep(0.005)
        return log
    same(scenario(main))


# --- depth -------------------------------------------------------------------------------------------------------------

DEPTH = 200_000
DEEP = {
    "wait_for": "c = aio.wait_for(c, 60)",
    "wait_for none": "c = aio.wait_for(c, None)",
    "shield": "c = aio.shield(c)",
    "gather": "c = aio.gather(c)",
}


@pytest.mark.parametrize("kind", DEEP)
@pytest.mark.parametrize("end", ["await", "drop", "cancel"])
def test_very_deep_nesting(script, aio, kind, end):
    """It may be refused with a RecursionError, as asyncio does, but has to come to an end."""
    if aio is asyncio:
        pytest.skip("asyncio's own futures cannot all be freed at such a depth")
    if kind.startswith("wait_for") and aio.wait_for is asyncio.wait_for:
        pytest.skip("3.11: nor can its coroutines")
    finish = {"await": "await c", "drop": "del c", "cancel": "t = aio.ensure_future(c); await aio.sleep(0); t.cancel(); await t"}[end]
    run = script(f"""
import sys, warnings
warnings.simplefilter("ignore")
async def innermost():
    await aio.sleep(0)
async def main():
    c = innermost()
    for _ in range({DEPTH // (1 if kind.startswith("wait") else 10)}):
        {DEEP[kind]}
    try:
        {finish}
    except (RecursionError, aio.CancelledError) as e:
        print(type(e).__name__)
loop = aio.new_event_loop()
loop.set_exception_handler(lambda loop, context: None)
loop.run_until_complete(main())
print("end")
import os
sys.stdout.flush()
os._exit(0)
""", timeout=100)
    assert run.stdout.endswith("end\n"), run.stderr[-2000:]


# --- futures that cannot be awaited ------------------------------------------------------------------------------------

@pytest.mark.parametrize("error", [ZeroDivisionError, asyncio.CancelledError])
@pytest.mark.parametrize("name", ["Lock", "Semaphore", "Event", "Condition", "Queue", "TaskGroup", "sleep"])
def test_a_waiter_that_cannot_be_awaited_leaves_the_queue(same, name, error):
    if (name, error) == ("TaskGroup", asyncio.CancelledError):
        pytest.skip("a group tries again, for ever")

    class Waiter(asyncio.Future):
        def __await__(self):
            raise error("cannot be awaited")

    async def main(aio):
        loop = asyncio.get_running_loop()
        made = []
        log = []

        def create_future():
            made.append(Waiter(loop=loop))
            return made[-1]

        async def use():
            if name == "Lock":
                lock = aio.Lock()
                await lock.acquire()
                return lock, lock.acquire()
            if name == "Semaphore":
                semaphore = aio.Semaphore(0)
                return semaphore, semaphore.acquire()
            if name == "Event":
                event = aio.Event()
                return event, event.wait()
            if name == "Condition":
                condition = aio.Condition(StrangeLock())
                await condition.acquire()
                return condition, condition.wait()
            if name == "Queue":
                queue = aio.Queue(1)
                return queue, queue.get()
            if name == "sleep":
                return None, aio.sleep(60)
            group = aio.TaskGroup()
            await group.__aenter__()
            group.create_task(ends(1))
            return group, group.__aexit__(None, None, None)
        thing, waiting = await use()
        before = len([h for h in loop._scheduled if not h.cancelled()])
        loop.create_future = create_future
        try:
            log.append(plain(await waiting))
        except BaseException as e:
            log.append(plain(e))
        finally:
            del loop.create_future
        log += [len(made), len([h for h in loop._scheduled if not h.cancelled()]) - before]
        for queue in ("_waiters", "_getters"):
            log.append(len(getattr(thing, queue, None) or ()))
        await asyncio.sleep(0.002)
        return log
    same(scenario(main))


class StrangeLock:
    held = False

    def locked(self):
        return self.held

    async def acquire(self):
        self.held = True
        return True

    def release(self):
        self.held = False


# --- a condition's class ------------------------------------------------------------------------------------------------

def test_a_condition_whose_class_has_the_locks_methods(same):
    """asyncio assigns the lock's to the instance: those of a class are never called."""
    async def main(aio):
        log = []

        class Condition(aio.Condition):
            async def acquire(self):
                log.append("acquire")

            def release(self):
                log.append("release")

            def locked(self):
                log.append("locked")
                return True
        condition = Condition()
        async with condition:
            log.append(condition.locked())
            condition.notify()
        log += [condition.locked(), repr(condition)[-12:], await condition.acquire(), condition.release()]

        class Refusing(aio.Condition):
            @property
            def release(self):
                return None
        return log + [outcome(Refusing)[0] if isinstance(outcome(Refusing), list) else str(type(outcome(Refusing)))]
    same(scenario(main))


# --- assert statements --------------------------------------------------------------------------------------------------

ASSERTS = """
import asyncio, os
async def main():
    results = []
    def note(f, *args):
        try:
            results.append(repr(f(*args)))
        except BaseException as e:
            results.append(f"{type(e).__name__}: {e}")
    async def anote(c):
        try:
            results.append(repr(await c))
        except BaseException as e:
            results.append(f"{type(e).__name__}: {e}")
    loop = asyncio.get_running_loop()
    await anote(aio.timeout(1).__aexit__(None, None, None))
    note(aio.Timeout(None)._on_timeout)
    reader = aio.StreamReader(loop=loop)
    reader.feed_eof()
    note(reader.feed_data, b"abc")
    note(lambda: type(aio.StreamWriter(None, None, object(), loop)).__name__)
    note(lambda: aio.tasks._GatheringFuture([], loop=None).done())
    note(aio.TaskGroup()._is_base_error, 5)
    r, w = os.pipe()
    transport, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(w, "wb"))
    loop.set_exception_handler(lambda loop, context: None)
    note(transport.write, "text")
    transport.close()
    await asyncio.sleep(0.01)
    os.close(r)
    return results
print("\\n".join(aio.new_event_loop().run_until_complete(main())))
"""


@pytest.mark.parametrize("flags", [(), ("-O",)], ids=["asserts", "optimized"])
def test_asserts_are_followed_where_python_runs_them(script, aio, flags, tmp_path):
    expected = tmp_path / "expected.py"
    expected.write_text("import asyncio as aio\n" + ASSERTS)
    oracle = subprocess.run([sys.executable, "-W", "ignore", *flags, str(expected)], capture_output=True, text=True, timeout=30)
    run = script(ASSERTS, flags=("-W", "ignore", *flags))
    assert oracle.stdout and run.stdout == oracle.stdout, run.stderr + oracle.stderr


# --- pipes ---------------------------------------------------------------------------------------------------------------

def test_lost_writes_of_a_closed_pipe_are_counted_as_in_asyncio(same, caplog):
    async def main(aio):
        loop, log = asyncio.get_running_loop(), []
        r, w = os.pipe()
        transport, _ = await loop.connect_write_pipe(asyncio.Protocol, os.fdopen(w, "wb"))
        transport.close()
        await asyncio.sleep(0.002)                               # connection_lost() was called
        for _ in range(8):
            caplog.clear()
            transport.write(b"in vain")
            log.append([record.getMessage() for record in caplog.records])
        os.close(r)
        return log
    same(scenario(main))


# --- finalizers while a time-out's handle is made ------------------------------------------------------------------------

def look(timeout):
    assert timeout._timeout_handler is timeout._timeout_handler


LATE_ACTS = {"looks": look, "drops": lambda timeout: timeout.reschedule(None), "sets anew": lambda timeout: timeout.reschedule(1e9)}


@scenario
async def look_with_finalizer(aio, act):
    class Last:
        def __del__(self):
            LATE_ACTS[act](self.timeout)

    loop, before = aio.get_running_loop(), gc.get_threshold()
    for nth in range(1, 12):
        async with aio.timeout(1000) as timeout:
            last = Last()
            last.itself, last.timeout = last, timeout
            gc.collect()
            gc.set_threshold(nth)
            try:
                del last
                handle = timeout._timeout_handler
            finally:
                gc.set_threshold(*before)
            gc.collect()
            handle = timeout._timeout_handler
            assert (handle is None) == (timeout.when() is None) and handle is timeout._timeout_handler
            assert [h for h in loop._scheduled if not h.cancelled()] == ([] if handle is None else [handle])
            assert handle is None or handle.when() == timeout.when()


@pytest.mark.parametrize("act", LATE_ACTS)
def test_a_finalizer_while_the_handle_is_made(aio, act):
    """The collector comes at the nth allocation, wherever that is (until 3.11; later on only between two instructions)."""
    look_with_finalizer(aio, act)
