"""The traps that the design names (its decision D5): asyncio's registries of tasks. Each was seen to break something, so each has a
test. asyncio itself is free of them; its half checks the tests."""
import asyncio
import gc
import threading
import time
import weakref

import pytest

from support import EAGER, PY, PYTASK_IS_SEEN, FakeLoop, forever, fresh_loop, spin


def test_d5_no_current_task_in_callbacks_between_native_steps(aio, loop):
    """The entry is only overwritten between native steps; anything else finds none, and not a None left behind."""
    seen = []

    def look():
        seen.append(asyncio.current_task())
        if hasattr(asyncio.tasks, "_current_tasks") and PY < (3, 14):
            seen.append(loop in asyncio.tasks._current_tasks)

    async def work():
        for _ in range(3):
            assert asyncio.current_task() is not None
            loop.call_soon(look)
            await aio.sleep(0)
    ts = [loop.create_task(work()) for _ in range(3)]
    f = loop.create_future()
    f.add_done_callback(lambda f: look())
    loop.call_soon(f.set_result, 1)
    loop.call_later(0, look)
    loop.call_soon_threadsafe(look)
    spin(loop, 6)
    assert all(t.done() for t in ts) and not any(seen)
    for t in ts:
        t.result()


def test_d5_stdlib_tasks_between_native_ones(aio, loop):
    """A None left in the registry makes every stdlib task fail in _enter_task."""
    order = []

    async def work(name):
        for _ in range(3):
            current = asyncio.current_task()
            assert current.get_name() == name if PYTASK_IS_SEEN or not name.startswith("py") else current is None
            order.append(name)
            await asyncio.sleep(0)
    ts = []
    for i in range(3):
        ts.append(aio.Task(work(f"own{i}"), loop=loop, name=f"own{i}"))
        ts.append(asyncio.Task(work(f"c{i}"), loop=loop, name=f"c{i}"))
        ts.append(asyncio.tasks._PyTask(work(f"py{i}"), loop=loop, name=f"py{i}"))
    spin(loop, 4)
    for t in ts:
        t.result()
    assert order == [f"{k}{i}" for i in range(3) for k in ("own", "c", "py")] * 3


def test_d5_native_steps_on_a_foreign_loop(aio):
    """After each step there the entry is gone."""
    loop = FakeLoop()
    seen = []

    async def work():
        for _ in range(2):
            current = asyncio.current_task(loop)
            seen.append(current and current.get_name())
            await asyncio.sleep(0)
    t = aio.Task(work(), loop=loop, name="own")
    u = asyncio.tasks._PyTask(work(), loop=loop, name="py")
    while loop.queue:
        loop.run_one()
        assert asyncio.current_task(loop) is None
    t.result(), u.result()
    assert seen == ["own", "py" if PYTASK_IS_SEEN else None] * 2


@pytest.mark.skipif(PY >= (3, 14), reason="from 3.14 on a thread has one current task")
def test_d5_a_task_that_runs_another_loop(aio, loop):
    """A native step that drives a second loop by hand: both current tasks hold."""
    with fresh_loop(aio) as other:
        async def inner():
            assert asyncio.current_task() is not None and asyncio.current_task(loop) is outer_task
            await aio.sleep(0)
            return asyncio.current_task().get_name()

        async def outer():
            t = aio.Task(inner(), loop=other, name="inner")
            asyncio._set_running_loop(None)
            try:
                assert other.run_until_complete(t) == "inner"
            finally:
                asyncio._set_running_loop(loop)
            assert asyncio.current_task() is outer_task and asyncio.current_task(other) is None
            await aio.sleep(0)
            assert asyncio.current_task() is outer_task
        outer_task = loop.create_task(outer())
        loop.run_until_complete(outer_task)


def test_d5_current_task_in_exception_handlers_and_finalizers(aio, loop):
    seen = []

    class D:
        def __del__(self):
            seen.append(asyncio.current_task(loop))
    loop.set_exception_handler(lambda l, c: seen.append(asyncio.current_task(loop)))

    async def fails():
        raise ValueError

    async def drops():
        d = D()
        del d
    t = loop.create_task(drops())
    spin(loop)
    assert seen == [t]
    seen.clear()
    u = loop.create_task(fails())
    spin(loop)
    del u
    loop.call_soon(lambda d: None, D())
    spin(loop)
    gc.collect()
    assert seen == [None, None]


def test_d5_all_tasks_sees_new_and_eager_tasks(aio, loop, run):
    async def main():
        me = aio.current_task()
        t = aio.create_task(aio.sleep(0))
        expected = {me, t}
        if EAGER:
            seen = []

            async def eager():
                seen.append(asyncio.all_tasks() - expected)
                await aio.sleep(0)
            e = aio.Task(eager(), loop=loop, eager_start=True)
            assert seen == [{e}]
            expected.add(e)
        assert asyncio.all_tasks() == aio.all_tasks() == expected
        await aio.sleep(0)
        await aio.sleep(0)
        await aio.sleep(0)
        assert asyncio.all_tasks() == {me}
    run(main())


def test_d5_the_registry_can_be_iterated_while_tasks_come_and_go(aio, loop, run):
    """Other threads ask for all tasks (aiomonitor, ddtrace, signal handlers)."""
    stop, failures = threading.Event(), []

    def ask():
        while not stop.is_set():
            try:
                for t in asyncio.all_tasks(loop):
                    t.get_name()
            except BaseException as e:
                failures.append(e)
                return
            time.sleep(0)

    async def main():
        for _ in range(60):
            await aio.gather(*(aio.sleep(0) for _ in range(20)))
    thread = threading.Thread(target=ask)
    thread.start()
    try:
        run(main())
    finally:
        stop.set()
        thread.join()
    assert not failures


@pytest.mark.skipif(PY >= (3, 14), reason="3.14 keeps the tasks in C")
def test_d5_the_weak_sets_face(aio, loop):
    """asyncio.tasks._scheduled_tasks shows native tasks in everything that a WeakSet can be asked."""
    registry = getattr(asyncio.tasks, "_scheduled_tasks", None)
    registry = asyncio.tasks._all_tasks if registry is None else registry
    t, u = aio.Task(forever(loop), loop=loop), asyncio.Task(forever(loop), loop=loop)
    assert isinstance(registry, weakref.WeakSet)
    assert {t, u} <= set(registry) and t in registry and u in registry and len(registry) >= 2 and bool(registry)
    assert {r() for r in registry.data} >= {t, u}
    assert {t, u} <= set(registry.copy()) and {t, u} <= registry | set() and not registry.isdisjoint({t})
    assert {t, u} & set(list(registry)) == {t, u}
    registry.discard(t)
    assert u in registry
    registry.add(t)
    assert t in registry
    for x in (t, u):
        x.cancel()
    spin(loop, 3)
    assert t not in asyncio.all_tasks(loop)
