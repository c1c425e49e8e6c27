"""TaskGroup: one scenario on asyncio and on the module under test."""
import asyncio
import contextvars
import gc
import weakref
from unittest import mock

import pytest

from support import PY, fresh_loop, outcome, plain
from ticking import chain, fail, play, value

CANCELS = hasattr(asyncio.TaskGroup, "cancel")


def shown(group):
    return [repr(group), group._entered, group._exiting, group._aborting, group._parent_cancel_requested, len(group._tasks),
            group._errors and len(group._errors), group._parent_task is not None, group._loop is not None, plain(group._base_error),
            group._on_completed_fut]


def test_a_group_that_goes_well(same):
    async def main(aio, log):
        group = aio.TaskGroup()
        log.append(shown(group))
        async with group as got:
            tasks = [group.create_task(value(aio, i, 3 - i), name=f"name {i}") for i in range(3)]
            log.append([got is group, shown(group), [t.get_name() for t in tasks], [cb.__qualname__ for cb, _ in tasks[0]._callbacks]])
            assert isinstance(group, asyncio.TaskGroup) and all(isinstance(t, asyncio.Task) for t in tasks)
        log.append([shown(group), [t.result() for t in tasks], aio.get_running_loop().time()])
        async with aio.TaskGroup():
            pass
        async with aio.TaskGroup() as group:
            group.create_task(value(aio, 1))
            await aio.sleep(3)
            log.append(shown(group))
            group.create_task(value(aio, 2))
    same(play(main))


@pytest.mark.parametrize("body", ["waits", "returns", "fails", "cancelled", "base", "exits", "generator"])
@pytest.mark.parametrize("children", ["none", "fine", "fails", "two fail", "fails late", "cancelled", "base", "exits"])
def test_how_a_group_ends(same, body, children):
    class Base(BaseException):
        pass

    async def main(aio, log):
        makers = {"none": [], "fine": [lambda: value(aio, 1, 4, log)],
                  "fails": [lambda: fail(aio, ValueError("child"), 2), lambda: value(aio, 1, 6, log)],
                  "two fail": [lambda: fail(aio, ValueError(1), 2), lambda: fail(aio, KeyError(2), 2), lambda: value(aio, 1, 6, log)],
                  "fails late": [lambda: fails_when_cancelled(), lambda: fail(aio, ValueError("first"), 2)],
                  "cancelled": [lambda: fail(aio, aio.CancelledError("self"), 1)],
                  "base": [lambda: fail(aio, Base("child"), 2), lambda: value(aio, 1, 6, log)],
                  "exits": [lambda: exits()]}[children]

        async def exits():
            # SystemExit and KeyboardInterrupt end the loop itself when a task raises them: given to the group by hand
            try:
                await aio.sleep(9)
            finally:
                group._base_error = SystemExit("child")

        async def fails_when_cancelled():
            try:
                await aio.sleep(9)
            except aio.CancelledError:
                raise OSError("late")
        try:
            async with aio.TaskGroup() as group:
                tasks = [group.create_task(make()) for make in makers]
                if body == "waits":
                    await aio.sleep(8)
                elif body != "returns":
                    await aio.sleep(1)
                    raise {"fails": ValueError("body"), "cancelled": aio.CancelledError("body"), "base": Base("body"),
                           "exits": KeyboardInterrupt("body"), "generator": GeneratorExit("body")}[body]
        except BaseException as e:
            log.append(chain(e))
        log.append([shown(group), [repr(t) for t in tasks], aio.current_task().cancelling(), aio.get_running_loop().time()])
    same(play(main))


@pytest.mark.parametrize("times", [(1,), (3,), (1, 2), (1, 3), (3, 3), (2, 4, 5), (7,)])
@pytest.mark.parametrize("children", ["fine", "fails", "stubborn"])
def test_cancelling_the_parent(same, times, children):
    async def main(aio, log):
        async def stubborn():
            for i in range(2):
                try:
                    await aio.sleep(4)
                except aio.CancelledError as e:
                    log.append(["stubborn", i, e.args])

        async def parent():
            try:
                async with aio.TaskGroup() as group:
                    if children == "fails":
                        group.create_task(fail(aio, ValueError("v"), 3))
                    group.create_task(stubborn() if children == "stubborn" else value(aio, 1, 6, log))
                    await aio.sleep(2)
            except BaseException as e:
                log.append([chain(e), aio.current_task().cancelling()])
                raise
        task = aio.ensure_future(parent())
        for i, when in enumerate(times):
            aio.get_running_loop().call_later(when, task.cancel, f"{i}")
        try:
            await task
        except BaseException as e:
            log.append([type(e).__name__, task.cancelled(), task.cancelling()])
    same(play(main))


def test_groups_in_groups(same):
    async def main(aio, log):
        for inner_fails, outer_fails in ((2, 9), (9, 2), (2, 2), (2, 3), (3, 2)):
            try:
                async with aio.TaskGroup() as outer:
                    outer.create_task(fail(aio, ValueError("outer"), outer_fails))
                    async with aio.TaskGroup() as inner:
                        inner.create_task(fail(aio, KeyError("inner"), inner_fails))
                        inner.create_task(value(aio, "inner", 5, log))
                    log.append("not reached")
            except BaseException as e:
                log.append([chain(e), aio.current_task().cancelling()])
    same(play(main))


def test_timeouts_and_groups(same):
    async def main(aio, log):
        for limit, delay in ((1, 3), (3, 1), (2, 2), (3, 2), (2, 3)):
            for inside in (True, False):
                try:
                    if inside:
                        async with aio.TaskGroup() as group:
                            group.create_task(fail(aio, ValueError("v"), delay))
                            async with aio.timeout(limit):
                                await aio.sleep(5)
                    else:
                        async with aio.timeout(limit):
                            async with aio.TaskGroup() as group:
                                group.create_task(fail(aio, ValueError("v"), delay))
                                await aio.sleep(5)
                except BaseException as e:
                    log.append([limit, delay, inside, chain(e), aio.current_task().cancelling()])
    same(play(main))


def test_a_group_that_takes_no_tasks(same):
    async def main(aio, log):
        def attempt(group):
            coro = value(aio, 1)
            try:
                group.create_task(coro)
            except RuntimeError as e:
                log.append(plain(e))
            log.append(coro.cr_frame is None)
            coro.close()
        group = aio.TaskGroup()
        attempt(group)
        async with group:
            try:
                await group.__aenter__()
            except RuntimeError as e:
                log.append(plain(e))
        attempt(group)
        try:
            async with aio.TaskGroup() as group:
                group.create_task(fail(aio, ValueError("v")))
                try:
                    await aio.sleep(5)
                finally:
                    attempt(group)
        except BaseException as e:
            log.append(chain(e))
        for bad in (lambda: group.create_task(), lambda: group.create_task(1, 2), lambda: group.create_task(nothing=1)):
            log.append(outcome(bad, text=False))
    same(play(main))


def test_arguments_of_create_task(same):
    variable = contextvars.ContextVar("variable", default=0)

    async def main(aio, log):
        context = contextvars.copy_context()
        context.run(variable.set, 7)

        async def read():
            return variable.get()
        async with aio.TaskGroup() as group:
            tasks = [group.create_task(read()), group.create_task(read(), context=context), group.create_task(coro=read(), name="n"),
                     group.create_task(read(), name="m", context=context), group.create_task(read(), name=None, context=None)]
            names = [t.get_name() for t in tasks]
            log.append([outcome(group.create_task, 5), outcome(group.create_task, None, name="x")])
        return [t.result() for t in tasks], names[2:4]
    same(play(main))


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="eager tasks came with 3.12")
def test_eager_tasks_in_a_group(same):
    async def main(aio, log):
        loop = aio.get_running_loop()

        async def at_once(result):
            return result

        async def fails_at_once():
            raise ValueError("at once")
        loop.set_task_factory(aio.eager_task_factory)
        try:
            async with aio.TaskGroup() as group:
                task = group.create_task(at_once(1))
                log.append([task.done(), shown(group)])
                group.create_task(value(aio, 2, 2))
            try:
                async with aio.TaskGroup() as group:
                    group.create_task(value(aio, 3, 5, log))
                    group.create_task(fails_at_once())
                    log.append(shown(group))
                    await aio.sleep(1)
                    log.append("not reached")
            except BaseException as e:
                log.append([chain(e), aio.current_task().cancelling()])
        finally:
            loop.set_task_factory(None)
    same(play(main))


@pytest.mark.skipif(not CANCELS, reason="cancel() came with 3.15")
@pytest.mark.parametrize("when", ["before", "body", "child", "callback", "after", "twice", "with error"])
def test_cancel(same, when):
    async def main(aio, log):
        async def child():
            await aio.sleep(1)
            group.cancel()
            await aio.sleep(0)
            log.append("not reached")
        group = aio.TaskGroup()
        if when == "before":
            group.cancel()
            log.append(group._cancel_on_enter)
        try:
            async with group:
                group.create_task(child() if when == "child" else value(aio, 1, 4, log))
                if when == "with error":
                    group.create_task(fail(aio, ValueError("v"), 0))
                if when == "callback":
                    aio.get_running_loop().call_later(2, group.cancel)
                if when in ("body", "twice", "with error"):
                    group.cancel()
                if when == "twice":
                    group.cancel()
                await aio.sleep(3)
                log.append("body went on")
        except BaseException as e:
            log.append(chain(e))
        if when == "after":
            group.cancel()
        log.append([shown(group), aio.current_task().cancelling()])
        await aio.sleep(1)
    same(play(main))


@pytest.mark.skipif(PY < (3, 14), reason="the call graph came with 3.14")
def test_who_awaits_the_tasks_of_a_group(same):
    async def main(aio, log):
        me = aio.current_task()
        async with aio.TaskGroup() as group:
            task = group.create_task(value(aio, 1, 2))
            log.append([task._asyncio_awaited_by == {me}])
        log.append(task._asyncio_awaited_by)
        children = [aio.ensure_future(value(aio, i, i)) for i in range(3)]
        outer = aio.gather(*children)
        log.append([c._asyncio_awaited_by == {me} for c in children])
        await outer
        log.append([c._asyncio_awaited_by for c in children])
        inner = aio.ensure_future(value(aio, 1, 2))
        shielded = aio.shield(inner)
        log.append([inner._asyncio_awaited_by == {me}])
        shielded.cancel()
        await aio.sleep(1)
        log.append([inner._asyncio_awaited_by, await inner])
    same(play(main))


def test_a_subclass_of_taskgroup(aio):
    calls = []

    class Mine(aio.TaskGroup):
        def __init__(self, extra):
            super().__init__()
            self.extra = extra

        def create_task(self, coro, **kwargs):
            calls.append("create")
            return super().create_task(coro, **kwargs)

        def _on_task_done(self, task):
            calls.append("done")
            super()._on_task_done(task)

        def _abort(self):
            calls.append("abort")
            super()._abort()

    async def main():
        with pytest.raises(ExceptionGroup):
            async with Mine("x") as group:
                assert group.extra == "x" and isinstance(group, asyncio.TaskGroup)
                group.create_task(fail(aio, ValueError("v")))
                await aio.sleep(5)
        assert calls == ["create", "done", "abort"]
    with fresh_loop(aio) as loop:
        loop.run_until_complete(main())


def test_a_patched_create_task_is_called(aio):
    """ddtrace wraps it."""
    seen, original = [], aio.TaskGroup.create_task

    def create_task(self, coro, **kwargs):
        seen.append(coro.__name__)
        return original(self, coro, **kwargs)

    async def main():
        async with aio.TaskGroup() as group:
            group.create_task(value(aio, 1))
    with mock.patch.object(aio.TaskGroup, "create_task", create_task), fresh_loop(aio) as loop:
        loop.run_until_complete(main())
    assert seen == ["value"]


def test_a_group_is_freed_without_the_collector(aio):
    async def main():
        async with aio.TaskGroup() as group:
            tasks = [group.create_task(value(aio, 1)) for _ in range(2)]
        return weakref.ref(group), tasks
    with fresh_loop(aio) as loop:
        gc.disable()
        try:
            group, tasks = loop.run_until_complete(main())
            assert group() is None and len(tasks) == 2
        finally:
            gc.enable()


def test_the_exception_of_a_group_is_freed_without_the_collector(aio):
    class Marked(Exception):
        pass

    async def main():
        try:
            async with aio.TaskGroup() as group:
                group.create_task(fail(aio, Marked()))
        except ExceptionGroup as e:
            return weakref.ref(e.exceptions[0])
    with fresh_loop(aio) as loop:
        ref = loop.run_until_complete(main())
        gc.collect()
        assert ref() is None
