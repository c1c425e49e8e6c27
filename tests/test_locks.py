"""Lock, Event, Condition, Semaphore, BoundedSemaphore, Barrier: asyncio's and pyasync's do the same."""
import asyncio
import gc
import math
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs_of_tasks import ignore_register_random, limited, numbers, programs, quick, trace_of
from support import PY, fresh_loop, outcome, plain, scrub

pytestmark = ignore_register_random
CLASSES = ("Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore", "Barrier")


def make(aio, name):
    return getattr(aio, name)(*([2] if name == "Barrier" else []))


def scenario(main):
    def run(aio, *args):
        with fresh_loop(aio) as loop:
            return plain(loop.run_until_complete(main(aio, *args)))
    return run


# ---- random programs ----

async def use_lock(lock, name, *args):
    if name == "acquire":
        return await lock.acquire()
    if name == "with":
        async with lock:
            await asyncio.sleep(1)
        return "out"
    return getattr(lock, name)(*args)


@quick
@given(program=programs(limited("acquire"), limited("with"), st.tuples(st.sampled_from(["release", "locked", "release"]))))
def test_lock_programs(same, program):
    same(trace_of, lambda aio: aio.Lock(), use_lock, program)


@quick
@given(program=programs(limited("acquire"), limited("with"), st.tuples(st.sampled_from(["release", "locked", "release"]))),
       value=numbers, bounded=st.booleans())
def test_semaphore_programs(same, program, value, bounded):
    same(trace_of, lambda aio: (aio.BoundedSemaphore if bounded else aio.Semaphore)(value), use_lock, program)


async def use_event(event, name):
    return await event.wait() if name == "wait" else getattr(event, name)()


@quick
@given(program=programs(limited("wait"), st.tuples(st.sampled_from(["set", "clear", "is_set"]))))
def test_event_programs(same, program):
    same(trace_of, lambda aio: aio.Event(), use_event, program)


async def use_condition(condition, name, *args):
    if name in ("acquire", "with"):
        return await use_lock(condition, name)
    if name == "wait":
        return await condition.wait()
    if name == "with wait":
        async with condition:
            return await condition.wait()
    if name == "wait_for":
        count = []

        def predicate():
            count.append(None)
            return len(count) > 2 and len(count)
        async with condition:
            return await condition.wait_for(predicate)
    if name == "with notify":
        async with condition:
            return condition.notify(*args)
    if name == "with notify_all":
        async with condition:
            return condition.notify_all()
    return getattr(condition, name)(*args)


@quick
@given(program=programs(limited("acquire"), limited("wait"), limited("with"), st.tuples(st.sampled_from(["with wait", "with notify_all"])),
                        limited("wait_for"), st.tuples(st.just("with notify"), numbers), st.tuples(st.just("notify"), numbers),
                        st.tuples(st.sampled_from(["release", "locked", "notify_all", "release"]))))
def test_condition_programs(same, program):
    same(trace_of, lambda aio: aio.Condition(), use_condition, program)


async def use_barrier(barrier, name):
    if name == "with":
        async with barrier as index:
            return index
    if name in ("wait", "reset", "abort"):
        return await getattr(barrier, name)()
    return [barrier.parties, barrier.n_waiting, barrier.broken]


@quick
@given(program=programs(limited("wait"), limited("wait"), limited("with"), st.tuples(st.sampled_from(["reset", "abort", "look"]))))
def test_barrier_programs(same, program):
    same(trace_of, lambda aio: aio.Barrier(2), use_barrier, program)


# ---- what they are ----

@pytest.mark.parametrize("name", CLASSES)
def test_they_are_asyncios(aio, name):
    obj = make(aio, name)
    assert isinstance(obj, getattr(asyncio, name)) and issubclass(getattr(aio, name), getattr(asyncio, name))
    assert getattr(aio, name).__doc__ == getattr(asyncio, name).__doc__
    assert getattr(aio.locks, name) is getattr(aio, name)
    obj.attribute = 1
    assert obj.attribute == 1 and weakref.ref(obj)() is obj and hash(obj) == hash(obj)
    getattr(aio, name).patched = 2
    assert obj.patched == 2
    del getattr(aio, name).patched


@pytest.mark.parametrize("name", CLASSES)
def test_repr_and_arguments(same, name):
    def main(aio):
        cls = getattr(aio, name)
        return [scrub(repr(make(aio, name))), outcome(cls, 1, 2, text=False), outcome(cls, nope=1, text=False),
                outcome(getattr(make(aio, name), "__init__"), 1, 2, 3, text=False)]
    same(main)


@pytest.mark.parametrize("name", CLASSES)
def test_they_can_be_collected(aio, name):
    class Derived(getattr(aio, name)):
        pass
    obj = Derived(2) if name == "Barrier" else Derived()
    obj.itself = obj
    gone = weakref.ref(obj)
    del obj
    gc.collect()
    assert gone() is None


@pytest.mark.parametrize("name", ["Lock", "Event", "Condition", "Semaphore"])
def test_bound_to_the_loop_that_waits(aio, name):
    """Not before somebody has to wait; then for ever."""
    obj = getattr(aio, name)(*([0] if name == "Semaphore" else []))
    assert obj._loop is None

    async def wait():
        if name == "Lock":
            await obj.acquire()
        if name == "Condition":
            await obj.acquire()
        waits = obj.acquire() if name in ("Lock", "Semaphore") else obj.wait()
        try:
            await asyncio.wait_for(waits, 0.001)
        except TimeoutError:
            pass
        finally:
            if name in ("Lock", "Condition"):
                obj.release()
    with fresh_loop(aio) as loop:
        loop.run_until_complete(wait())
        assert obj._loop is loop
    with fresh_loop(aio) as loop:
        with pytest.raises(RuntimeError, match="is bound to a different event loop"):
            loop.run_until_complete(wait())
        assert not obj._waiters
    obj._loop = None


def test_without_a_running_loop(same):
    def main(aio):
        op = aio.Event().wait()
        return outcome(op.send, None)
    same(main)


# ---- overriding ----

def test_a_lock_with_its_own_acquire_and_release(same):
    async def main(aio):
        log = []

        class Lock(aio.Lock):
            async def acquire(self):
                log.append("acquire")
                return await super().acquire()

            def release(self):
                log.append("release")
                super().release()

        class Condition(aio.Condition):
            async def wait(self):
                log.append("wait")
                return True

            def notify(self, n=1):
                log.append(("notify", n))
        lock = Lock()
        async with lock:
            log.append(lock.locked())
        condition = Condition(lock)
        async with condition:
            log.append(condition.locked())
            answers = iter([0, 0, "yes"])
            log.append(await condition.wait_for(lambda: next(answers)))
            condition.notify_all()
        return log
    same(scenario(main))


def test_methods_assigned_to_an_instance(same):
    async def main(aio):
        log = []
        lock = aio.Lock()
        release = lock.release
        lock.release = lambda: log.append("mine") or release()
        async with lock:
            pass
        log.append(lock.locked())
        del lock.release
        async with lock:
            pass
        condition = aio.Condition()
        locked = condition.locked
        condition.locked = lambda: log.append("asked") or locked()
        async with condition:
            condition.notify()
        log.append(scrub(repr(condition)))
        return log
    same(scenario(main))


def test_methods_patched_in_the_class(aio, run, monkeypatch):
    log = []
    lock = aio.Lock()

    async def use():
        async with lock:
            pass
    run(use())
    original = aio.Lock.release
    monkeypatch.setattr(aio.Lock, "release", lambda self: log.append("patched") or original(self))
    run(use())
    monkeypatch.undo()
    run(use())
    assert log == ["patched"] and not lock.locked()


def test_a_semaphore_with_its_own_locked(same):
    async def main(aio):
        class Semaphore(aio.Semaphore):
            asked = 0

            def locked(self):
                self.asked += 1
                return super().locked()
        semaphore = Semaphore()
        async with semaphore:
            pass
        await semaphore.acquire()
        return [semaphore.asked, semaphore._value, scrub(repr(semaphore)), semaphore.asked]
    same(scenario(main))


class StrangeLock:
    """What Condition takes for a lock."""

    def __init__(self):
        self.held, self.log = False, []

    def locked(self):
        return self.held

    async def acquire(self):
        self.log.append("acquire")
        self.held = True
        return True

    def release(self):
        self.log.append("release")
        self.held = False


def test_a_condition_with_any_lock(same):
    async def main(aio):
        lock = StrangeLock()
        condition = aio.Condition(lock)

        async def waits():
            async with condition:
                return await condition.wait()
        task = asyncio.ensure_future(waits())
        await asyncio.sleep(0)
        async with condition:
            condition.notify()
        return [await task, lock.log, condition._lock is lock, outcome(aio.Condition, 5)]
    same(scenario(main))


def test_a_shared_lock(same):
    async def main(aio):
        lock = aio.Lock()
        first, second = aio.Condition(lock), aio.Condition(lock)
        async with first:
            log = [second.locked(), lock.locked(), outcome(second.notify)]
            second.release()
            log += [first.locked(), outcome(first.notify), outcome(first.release), await second.acquire(), lock.locked()]
        return log + [lock.locked()]
    same(scenario(main))


# ---- single cases ----

@pytest.mark.parametrize("value", [math.inf, 1.5, True, 2 ** 80, -1, -0.5, "1", None])
def test_semaphores_count_with_anything(same, value):
    async def main(aio):
        log = []
        for cls in (aio.Semaphore, aio.BoundedSemaphore):
            got = outcome(cls, value)
            log.append([part if part != "returned" else None for part in got[:1]] + got[1:])
            if got[0] == "returned":
                semaphore = cls(value)
                log += [await asyncio.wait_for(semaphore.acquire(), 1), semaphore._value, outcome(semaphore.release),
                        outcome(semaphore.release), semaphore._value]
        return log
    same(scenario(main))


def test_notify_takes_any_number(same):
    async def main(aio):
        condition = aio.Condition()
        woken = []

        async def waits(i):
            async with condition:
                await condition.wait()
                woken.append(i)
        tasks = [asyncio.ensure_future(waits(i)) for i in range(8)]
        await asyncio.sleep(0.001)
        log = []
        for n in (0, -1, 1, True, 1.5, 2 ** 80, "2"):
            async with condition:
                log.append(outcome(condition.notify, n, text=False))
            await asyncio.sleep(0.001)
            log.append(sorted(woken))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return log
    same(scenario(main))


def test_the_waiters_are_a_queue_of_futures(same):
    async def main(aio):
        lock, event = aio.Lock(), aio.Event()
        log = [lock._waiters, len(event._waiters), bool(event._waiters)]
        await lock.acquire()
        tasks = [asyncio.ensure_future(lock.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        waiters = lock._waiters
        log += [len(waiters), [asyncio.isfuture(f) and f.done() for f in waiters], waiters[0] in waiters, 5 in waiters,
                scrub(repr(waiters)).count("Future pending"), outcome(waiters.remove, 5, text=False)]
        lock.release()
        log += [[f.done() for f in waiters]]
        await asyncio.sleep(0)
        log += [len(waiters)]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        log += [len(waiters), outcome(waiters.popleft)]
        return log
    same(scenario(main))


def test_attributes_can_be_assigned(same):
    async def main(aio):
        lock, event, semaphore = aio.Lock(), aio.Event(), aio.Semaphore(3)
        lock._locked = True
        event._value = True
        semaphore._value = 0
        future = asyncio.get_running_loop().create_future()
        event._waiters.append(future)
        event._value = False
        event.set()
        return [lock.locked(), await event.wait(), semaphore.locked(), future.done(), scrub(repr(event))]
    same(scenario(main))


def test_set_in_a_callback_of_set(same):
    """A loop in debug mode, or a call_soon of the program's own, runs user code while set() walks along the queue."""
    async def main(aio):
        event = aio.Event()
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(event.wait()) for _ in range(3)]
        await asyncio.sleep(0)
        call_soon = type(loop).call_soon

        def meddle(*args, **kwargs):
            event.clear()
            return call_soon(loop, *args, **kwargs)
        loop.call_soon = meddle
        event.set()
        del loop.call_soon
        log = [event.is_set(), await asyncio.gather(*tasks)]
        return log
    same(scenario(main))


def test_many_waiters_are_cancelled(same):
    async def main(aio):
        lock = aio.Lock()
        await lock.acquire()
        tasks = [asyncio.ensure_future(lock.acquire()) for _ in range(300)]
        await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        await asyncio.sleep(0)
        count = len(lock._waiters)
        order = []
        for i, task in enumerate(tasks):
            task.add_done_callback(lambda t, i=i: order.append(i) if t.cancelled() else (order.append(i), lock.release()))
        lock.release()
        await asyncio.wait(tasks)
        await asyncio.sleep(0)
        return [count, order, lock.locked(), len(lock._waiters)]
    same(scenario(main))


@pytest.mark.parametrize("name", ["Lock", "Semaphore", "Event", "Condition"])
def test_in_debug_mode(same, name):
    def main(aio):
        with fresh_loop(aio, debug=True) as loop:
            async def run():
                obj = getattr(aio, name)()
                if name == "Event":
                    task = asyncio.ensure_future(obj.wait())
                    await asyncio.sleep(0)
                    obj.set()
                    return await task
                async with obj:
                    task = asyncio.ensure_future(obj.acquire())
                    await asyncio.sleep(0)
                return [await task, scrub(repr(obj))]
            return plain(loop.run_until_complete(run()))
    same(main)


@pytest.mark.skipif(PY < (3, 12), reason="eager tasks are new in 3.12")
def test_in_eager_tasks(same):
    async def main(aio):
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        lock, log = aio.Lock(), []

        async def holds(i):
            async with lock:
                log.append(i)
                await asyncio.sleep(0)
        tasks = [asyncio.create_task(holds(i)) for i in range(4)]
        log.append(scrub(repr(lock)))
        await asyncio.gather(*tasks)
        return log
    same(scenario(main))


def test_a_semaphore_released_several_times_before_the_first_runs(same):
    async def main(aio):
        semaphore, log = aio.Semaphore(0), []

        async def takes(name):
            await semaphore.acquire()
            log.append([name, semaphore._value, len(semaphore._waiters)])
        tasks = [asyncio.ensure_future(takes(i)) for i in range(2)]
        await asyncio.sleep(0)
        for _ in range(3):
            semaphore.release()
        tasks.append(asyncio.ensure_future(takes("late")))
        for _ in range(4):
            await asyncio.sleep(0)
            log.append(semaphore._value)
        semaphore.release()
        await asyncio.gather(*tasks)
        return log + [outcome(semaphore._wake_up_next)]
    same(scenario(main))


def test_a_newcomer_waits_behind_those_woken(same):
    async def main(aio):
        semaphore, log = aio.Semaphore(0), []

        async def first():
            await semaphore.acquire()
            log.append(["first", semaphore._value])

        async def second():
            for _ in range(3):
                semaphore.release()
            log.append([semaphore._value, semaphore.locked()])
            await semaphore.acquire()
            log.append(["second", semaphore._value])

        async def third():
            await semaphore.acquire()
            log.append(["third", semaphore._value])
        tasks = [asyncio.ensure_future(f()) for f in (first, second, third)]
        for _ in range(5):
            await asyncio.sleep(0)
            log.append([semaphore._value, len(semaphore._waiters or ())])
        semaphore.release()
        await asyncio.gather(*tasks)
        return log
    same(scenario(main))
