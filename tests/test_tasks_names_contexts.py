"""Task: its name, and the context that its steps and callbacks run in."""
import asyncio
import contextvars
import gc

import pytest

from support import PY, Errors, fresh_loop, outcome, report, spin


# --- names -------------------------------------------------------------------------------------------------------------

def test_default_names_count(aio, loop, run):
    async def none():
        pass
    tasks = [loop.create_task(none()) for _ in range(3)]
    numbers = [int(t.get_name().removeprefix("Task-")) for t in tasks]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    run(aio.wait(tasks))


@pytest.mark.skipif(PY < (3, 12), reason="3.11 numbers a task at once")
def test_default_names_are_given_when_asked_for(same):
    """The number is drawn at creation or at the first question, as the running asyncio does."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            a, b = loop.create_task(bare()), loop.create_task(bare())
            nb, na = b.get_name(), a.get_name()
            spin(loop, 2)
            return int(na[5:]) - int(nb[5:])
    async def bare():
        pass
    same(scenario)


def test_both_modules_count_together(aio, loop, run):
    """Two tasks never have the same default name, whichever module made them."""
    async def none():
        pass
    tasks = [cls(none(), loop=loop) for cls in (aio.Task, asyncio.Task, asyncio.tasks._PyTask, aio.Task, asyncio.Task)]
    names = [t.get_name() for t in tasks]
    run(aio.wait(tasks))
    assert len(set(names)) == len(names)


def test_set_name(aio, loop, run):
    async def main():
        t = aio.current_task()
        t.set_name("renamed")
        assert t.get_name() == "renamed" and "name='renamed'" in repr(t)
        t.set_name(5)
        assert t.get_name() == "5"
        with pytest.raises(ZeroDivisionError):
            t.set_name(type("N", (), {"__str__": lambda s: 1 / 0})())
        assert t.get_name() == "5"
        child = aio.create_task(asyncio.sleep(0), name="child")
        assert child.get_name() == "child"
        await child
    run(main())


# --- contexts ----------------------------------------------------------------------------------------------------------

def test_context_is_copied_at_creation(aio, loop, run):
    var = contextvars.ContextVar("var", default=0)
    seen = []

    async def work():
        seen.append(var.get())
        var.set(var.get() + 10)
        await aio.sleep(0)
        seen.append(var.get())
    var.set(1)
    t = loop.create_task(work())
    var.set(2)
    run(t)
    assert seen == [1, 11] and var.get() == 2


def test_given_context(aio, loop, run):
    var = contextvars.ContextVar("var", default=0)
    context = contextvars.Context()

    async def work():
        var.set(var.get() + 1)
        await aio.sleep(0)
        return var.get()
    t = loop.create_task(work(), context=context)
    if hasattr(t, "get_context"):
        assert t.get_context() is context
    assert run(t) == 1 and run(aio.Task(work(), loop=loop, context=context)) == 2
    assert context[var] == 2 and var.get() == 0


def test_context_per_step(aio, loop, run):
    var = contextvars.ContextVar("var")

    async def work(n):
        var.set(n)
        for _ in range(5):
            await aio.sleep(0)
            assert var.get() == n

    async def main():
        await aio.gather(*(work(n) for n in range(10)))
    run(main())


def test_callbacks_get_the_context_of_their_adder(aio, loop, run):
    var = contextvars.ContextVar("var", default="none")
    seen = []

    async def work():
        var.set("task")
        t = aio.current_task()
        t.add_done_callback(lambda t: seen.append(var.get()))

    async def main():
        var.set("main")
        t = aio.create_task(work())
        t.add_done_callback(lambda t: seen.append(var.get()))
        await t
        await aio.sleep(0)
    run(main())
    assert seen == ["main", "task"]


def test_a_context_that_is_none(same):
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            c = asyncio.sleep(0)
            found = [outcome(aio.Task, c, loop=loop, context=5, text=False)[0]]
            c.close()
            found.append(outcome(spin, loop, text=False))
            errors.take()
            gc.collect()
            errors.take()
            return found
    same(scenario)


def test_context_entered_twice(same):
    """A task whose context is being entered already: asyncio's error, the loop goes on."""
    def scenario(aio):
        errors = Errors()
        with fresh_loop(aio, errors) as loop:
            context = contextvars.copy_context()
            t = loop.create_task(asyncio.sleep(0), context=context)
            found = [outcome(context.run, spin, loop)]
            found += [report(c) for c in errors.take()]
            found.append(t._state)
            t._log_destroy_pending = False
            t.get_coro().close()
            del t
            gc.collect()
            return found
    same(scenario)
