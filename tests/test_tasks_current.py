"""Which task is current and which exist: current_task(), all_tasks(), tasks of every kind on one loop, foreign loops."""
import asyncio
import gc
import weakref

import pytest

from support import (
    PY, PYTASK_IS_SEEN, Errors, FakeLoop, bare_yield, forever, fresh_loop, none, outcome, plain, report, scrub, spin, spin_until)


# --- current_task and all_tasks ----------------------------------------------------------------------------------------

def kinds(aio):
    """Every kind of task that can meet another on one loop."""
    return {"native": aio.Task, "c": asyncio.tasks._CTask, "py": asyncio.tasks._PyTask}


def seen(tasks):
    """Those of the tasks that all_tasks() lists."""
    return {t for t in tasks if PYTASK_IS_SEEN or not isinstance(t, asyncio.tasks._PyTask)}


def everyone_says(aio, expected, loop=None):
    if not PYTASK_IS_SEEN and isinstance(expected, asyncio.tasks._PyTask):
        expected = None
    assert aio.current_task(loop) is expected
    assert asyncio.current_task(loop) is expected
    assert asyncio.tasks.current_task(loop) is expected


@pytest.mark.parametrize("loops", ["own", "stdlib"])
def test_current_task_and_all_tasks_agree(aio, loops):
    module = aio if loops == "own" else asyncio
    with fresh_loop(module) as loop:
        order = []

        async def work(kind):
            for _ in range(4):
                me = mine[kind]
                everyone_says(aio, me)
                everyone_says(aio, me, loop)
                assert aio.all_tasks() == asyncio.all_tasks() == aio.all_tasks(loop) >= seen({me})
                order.append(kind)
                await asyncio.sleep(0)
        mine = {}
        for kind, cls in kinds(aio).items():
            mine[kind] = cls(work(kind), loop=loop)
        loop.call_soon(lambda: everyone_says(aio, None))
        assert asyncio.all_tasks(loop) == seen(mine.values()) == aio.all_tasks(loop)
        spin(loop, 2)
        loop.call_soon(lambda: everyone_says(aio, None))
        loop.call_later(0, lambda: everyone_says(aio, None))
        spin_until(loop, lambda: all(t.done() for t in mine.values()))
        for t in mine.values():
            t.result()
        assert asyncio.all_tasks(loop) == set() == aio.all_tasks(loop)
        assert order == list(mine) * 4
        with pytest.raises(RuntimeError, match="no running event loop"):
            aio.current_task()
        everyone_says(aio, None, loop)


@pytest.mark.parametrize("inner", ["native", "c", "py"])
@pytest.mark.parametrize("outer", ["native", "c", "py"])
@pytest.mark.parametrize("loops", ["own", "stdlib"])
def test_tasks_await_tasks_of_every_kind(aio, outer, inner, loops):
    with fresh_loop(aio if loops == "own" else asyncio) as loop:
        f = loop.create_future()
        classes = kinds(aio)

        async def work():
            everyone_says(aio, ti)
            return await f

        async def wait():
            everyone_says(aio, to)
            r = await ti
            everyone_says(aio, to)
            return r + 1
        ti = classes[inner](work(), loop=loop)
        to = classes[outer](wait(), loop=loop)
        spin(loop, 2)
        assert to._fut_waiter is ti and ti._fut_waiter is f
        f.set_result(1)
        spin(loop, 3)
        assert to.result() == 2
        # and cancelled through
        f = loop.create_future()
        ti = classes[inner](work(), loop=loop)
        to = classes[outer](wait(), loop=loop)
        spin(loop, 2)
        to.cancel("through")
        assert f.cancelled()
        spin(loop, 3)
        assert ti.cancelled() and to.cancelled() and outcome(to.result)[1:] == ["CancelledError", "through"]


@pytest.mark.parametrize("kind", ["native", "c", "py"])
def test_the_order_of_mixed_tasks(aio, loop, kind):
    """Tasks of all kinds and handles share one queue."""
    seen, classes = [], kinds(aio)

    async def work(name):
        seen.append(name)
        await asyncio.sleep(0)
        seen.append(name)
    ts = []
    for i in range(3):
        ts.append(classes[kind](work(f"{kind}{i}"), loop=loop))
        loop.call_soon(seen.append, f"handle{i}")
        ts.append(aio.Task(work(f"own{i}"), loop=loop))
    spin(loop, 3)
    first = [x for i in range(3) for x in (f"{kind}{i}", f"handle{i}", f"own{i}")]
    assert seen == first + [x for x in first if not x.startswith("handle")]
    assert all(t.done() for t in ts)


def test_a_failing_step_leaves_no_current_task(aio, loop):
    async def work():
        raise KeyboardInterrupt
    t = loop.create_task(work())
    with pytest.raises(KeyboardInterrupt):
        spin(loop)
    everyone_says(aio, None, loop)
    t.exception()
    ran = []
    loop.call_soon(lambda: (everyone_says(aio, None), ran.append(1)))

    async def after(i):
        everyone_says(aio, ts[i])
        ran.append(2)
    classes = (asyncio.tasks._PyTask, asyncio.tasks._CTask, aio.Task)
    ts = [cls(after(i), loop=loop) for i, cls in enumerate(classes)]
    spin(loop, 2)
    assert ran == [1, 2, 2, 2]


def test_entering_and_leaving_by_hand(aio, loop):
    """What granian and nest_asyncio do with asyncio's registry works with native tasks."""
    asyncio._set_running_loop(loop)
    try:
        enter_and_leave(aio, loop)
    finally:
        asyncio._set_running_loop(None)


def enter_and_leave(aio, loop):
    enter, leave = asyncio.tasks._enter_task, asyncio.tasks._leave_task
    t, u = aio.Task(forever(loop), loop=loop), asyncio.Task(forever(loop), loop=loop)
    refused = ("Leaving task .* does not match the current task" if PY < (3, 14)
               else "Invalid attempt to leave task .* while task .* is entered")
    enter(loop, t)
    try:                                         # a task that stays entered keeps every later one from running
        everyone_says(aio, t, loop)
        with pytest.raises(RuntimeError, match="Cannot enter into task .* while another task .* is being executed"):
            enter(loop, u)
        with pytest.raises(RuntimeError, match=refused):
            leave(loop, u)
    finally:
        leave(loop, t)
    everyone_says(aio, None, loop)
    if hasattr(asyncio.tasks, "_swap_current_task"):
        assert asyncio.tasks._swap_current_task(loop, t) is None
        assert asyncio.tasks._swap_current_task(loop, None) is t
    asyncio._set_running_loop(None)
    t.cancel()
    u.cancel()
    spin(loop, 2)
    assert t.cancelled() and u.cancelled()


def test_a_step_while_another_task_is_current(same):
    """A native task stepped inside of a task that was entered by hand: asyncio refuses."""
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            t = loop.create_task(forever(loop))
            u = loop.create_task(forever(loop))
            asyncio._set_running_loop(loop)
            asyncio.tasks._enter_task(loop, u)
            asyncio._set_running_loop(None)
            found = [outcome(spin, loop)]
            asyncio._set_running_loop(loop)
            asyncio.tasks._leave_task(loop, u)
            asyncio._set_running_loop(None)
            found += [report(c) for c in errors.take()]
            states = [t._state, u._state]
            for x in (t, u):
                x._log_destroy_pending = False
                x.get_coro().close()
            del t, u, x
            gc.collect()
            return plain(found) + states
    same(scenario)


def test_all_tasks_holds_nobody_alive(aio, loop, errors):
    t = loop.create_task(forever(loop))
    spin(loop)
    assert aio.all_tasks(loop) == {t}
    ref = weakref.ref(t)
    t._log_destroy_pending = False
    del t
    gc.collect()
    assert ref() is None and aio.all_tasks(loop) == set() == asyncio.all_tasks(loop)


def test_all_tasks_of_two_loops(aio, loop):
    with fresh_loop(aio) as other:
        t, u = loop.create_task(forever(loop)), other.create_task(forever(other))
        assert aio.all_tasks(loop) == {t} and aio.all_tasks(other) == {u}
        t.cancel()
        u.cancel()
        spin(loop, 2)
        spin(other, 2)
        assert aio.all_tasks(loop) == set() == aio.all_tasks(other)


def test_finished_tasks_are_not_listed(aio, loop, run):
    async def main():
        t = aio.create_task(asyncio.sleep(0))
        assert t in aio.all_tasks() and t in asyncio.all_tasks()
        await t
        assert t not in aio.all_tasks() and t not in asyncio.all_tasks()
        assert aio.all_tasks() == {aio.current_task()}
    run(main())


def test_many_tasks_are_all_listed(aio, loop):
    tasks = {loop.create_task(forever(loop)) for _ in range(500)}
    assert aio.all_tasks(loop) == tasks == asyncio.all_tasks(loop)
    for t in tasks:
        t.cancel()
    spin(loop, 3)
    assert asyncio.all_tasks(loop) == set()


def test_registering_by_hand(aio, loop):
    """_register_task and _unregister_task accept native tasks, more than once too."""
    t = loop.create_task(forever(loop))
    asyncio.tasks._register_task(t)
    asyncio.tasks._register_task(t)
    assert asyncio.all_tasks(loop) == {t}
    asyncio.tasks._unregister_task(t)
    t.cancel()
    spin(loop, 2)
    assert t.cancelled() and asyncio.all_tasks(loop) == set()


# --- foreign loops -----------------------------------------------------------------------------------------------------

def test_a_foreign_loop_drives_our_tasks(aio):
    """temporalio has a loop of its own, with little more than call_soon."""
    loop = FakeLoop()
    f, seen = aio.Future(loop=loop), []

    async def work():
        seen.append(asyncio.current_task(loop) is t)
        seen.append(await f)
        await bare_yield()
        seen.append(asyncio.current_task(loop) is t)
        return "end"
    t = aio.Task(work(), loop=loop)
    assert len(loop.queue) == 1 and t in asyncio.all_tasks(loop)
    loop.run_all()
    assert seen == [True] and t._fut_waiter is f and asyncio.current_task(loop) is None
    f.set_result("x")
    loop.run_all()
    assert seen == [True, "x", True] and t.result() == "end" and asyncio.current_task(loop) is None
    u = aio.Task(work(), loop=loop)
    u.cancel("m")
    loop.run_all()
    assert u.cancelled() and loop.reports == []


def test_a_foreign_loop_in_debug(aio):
    loop = FakeLoop(debug=True)

    async def work():
        return 1
    t = aio.Task(work(), loop=loop)
    assert t._source_traceback[-1].filename == __file__
    loop.run_all()
    assert t.result() == 1


def test_the_registry_of_current_tasks_may_be_changed_between_two_steps(aio, loop, run):
    """Up to 3.13 it is a dict, in whose table the place of the loop's entry moves when others come and go."""
    tasks = getattr(asyncio.tasks, "_current_tasks", None)
    if PY >= (3, 14) or tasks is None:
        pytest.skip("asyncio keeps the current task per thread from 3.14 on")
    others = [object() for _ in range(100)]

    async def work(number):
        for turn in range(12):
            me = mine[number]
            everyone_says(aio, me)
            assert tasks[loop] is me
            match turn:
                case 2 | 7:
                    tasks.update((o, o) for o in others)
                case 4 | 9:
                    for o in others[::2]:
                        tasks.pop(o, None)
                case 5 | 10:
                    for o in others:
                        tasks.pop(o, None)
                case 6:
                    copy = dict(tasks)
                    tasks.clear()
                    tasks["a name"] = None
                    tasks.update(copy)
                case 8:
                    tasks.pop("a name", None)
            everyone_says(aio, me)
            await asyncio.sleep(0)

    async def main():
        mine.extend(loop.create_task(work(i)) for i in range(3))
        await asyncio.gather(*mine)
    mine = []
    try:
        run(main())
    finally:
        tasks.clear()
    everyone_says(aio, None, loop)


def test_what_ends_after_a_step_sees_no_current_task(same):
    """A task or future that only the loop holds, and what these hold, end between two steps."""
    def scenario(aio):
        seen = []

        def look(what):
            seen.append((what, asyncio.current_task() is None))

        class Value:
            def __init__(self, what):
                self.what = what

            def __del__(self):
                look(self.what)

        async def give(value):
            await aio.sleep(0)
            return value

        async def main():
            loop = aio.get_running_loop()
            task = loop.create_task(give(Value("result of a task")))
            await task
            del task
            seen.append("went on")
            await aio.sleep(0)
            future = loop.create_future()
            loop.call_soon(future.set_result, [Value("result of a future")])
            await future
            del future
            seen.append("went on")
            await aio.sleep(0)
            watch = weakref.ref(loop.create_task(give(None)), lambda ref: look("task"))
            loop.create_task(give(Value("result of nobody's task")))
            for _ in range(4):
                await aio.sleep(0)
            return watch() is None
        return aio.run(main()), seen
    same(scenario)


def test_what_needs_a_task_asks_asyncio_where_the_list_in_c_has_none(same, monkeypatch):
    """Tasks in Python have a list of their own from 3.14 on: who runs them replaces asyncio.tasks.current_task."""
    def scenario(aio):
        out = []

        def enter(make):
            entering = make().__aenter__()
            try:
                entering.send(None)
            except StopIteration as stop:
                made = stop.value
                return "entered", getattr(made, "_parent_task", getattr(made, "_task", None)) is task
            except Exception as e:
                return type(e).__name__, scrub(str(e))

        def callback():
            for answer in (task, None, ValueError("not that one")):
                with monkeypatch.context() as patch:
                    patch.setattr(asyncio.tasks, "current_task", answering(answer))
                    out.extend(enter(make) for make in (aio.TaskGroup, lambda: aio.timeout(None)))

        def answering(answer):
            def current_task(loop=None):
                if isinstance(answer, Exception):
                    raise answer
                return answer
            return current_task
        with fresh_loop(aio) as loop:
            task = loop.create_task(none())
            loop.call_soon(callback)
            loop.run_until_complete(task)
        return out
    same(scenario)
