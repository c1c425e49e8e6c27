"""What a task shows of itself: repr, stacks, reports to the exception handler, the call graph."""
import asyncio
import contextvars
import gc
import inspect
import io
import re

import pytest

from support import forever, fresh_loop, outcome, plain, scrub, spin


# --- repr and stacks ---------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("debug", [False, True])
def test_repr_at_every_stage(same, debug):
    def scenario(aio):
        with fresh_loop(aio, debug=debug) as loop:
            found = []

            async def work(f):
                found.append(repr(aio.current_task()))
                return await f

            def callback(t):
                pass
            for end in ("result", "exception", "cancel", "must cancel"):
                f = aio.Future(loop=loop)
                t = loop.create_task(work(f), name="named")
                t.add_done_callback(callback)
                found.append(repr(t))
                if end == "must cancel":
                    t.cancel()
                    found.append(repr(t))
                spin(loop)
                found.append(repr(t))
                if end == "result":
                    f.set_result("r" * 200)
                elif end == "exception":
                    f.set_exception(ValueError("x"))
                elif end == "cancel":
                    t.cancel()
                    found.append(repr(t))
                found.append(repr(t))
                spin(loop)
                found.append(repr(t))
                outcome(t.exception)
            return plain(found)
    for line in same(scenario):
        assert line.startswith("<Task ")


def test_repr_of_a_subclass_and_recursion(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            class T(aio.Task):
                pass

            async def work():
                return t
            t = T(work(), loop=loop, name="n")
            spin(loop)
            return scrub(repr(t))
    assert "T finished name='n'" in same(scenario)


def test_get_stack(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            f = loop.create_future()

            async def inner():
                await f
                raise ValueError("x")

            async def work():
                await inner()

            def stack(limit=None):
                return [[fr.f_code.co_name, fr.f_lineno] for fr in t.get_stack(limit=limit)]
            t = loop.create_task(work())
            found = [stack()]
            spin(loop)
            found += [stack(), stack(0), stack(1), stack(5)]
            out = io.StringIO()
            found.append([outcome(t.print_stack, file=out), scrub(out.getvalue())])
            f.set_result(1)
            spin(loop)
            found += [stack(), stack(1)]
            out = io.StringIO()
            t.print_stack(file=out, limit=2)
            found.append(scrub(out.getvalue()))
            t.exception()
            t = loop.create_task(asyncio.sleep(0))
            spin(loop, 2)
            out = io.StringIO()
            t.print_stack(limit=None, file=out)
            return found + [stack(), scrub(out.getvalue()), outcome(t.get_stack, 1, text=False), outcome(t.print_stack, 1, text=False)]
    same(scenario)


def test_print_stack_without_a_file(aio, loop, capsys):
    async def work():
        pass
    t = loop.create_task(work(), name="shown")
    t.print_stack()
    spin(loop)
    assert capsys.readouterr().out.startswith("Stack for <Task pending name='shown'")


# --- reports -----------------------------------------------------------------------------------------------------------

def test_destroyed_while_pending(aio, loop, errors):
    t = loop.create_task(forever(loop), name="lost")
    spin(loop)
    del t
    gc.collect()
    context = errors.take_one()
    assert sorted(context) == ["message", "task"] and context["message"] == "Task was destroyed but it is pending!"
    assert context["task"].get_name() == "lost" and isinstance(context["task"], aio.Task)
    context.clear()
    gc.collect()


def test_destroyed_while_pending_in_debug(aio, loop, errors):
    loop.set_debug(True)
    t = loop.create_task(forever(loop))
    line = inspect.currentframe().f_lineno - 1
    spin(loop)
    del t
    gc.collect()
    context = errors.take_one()
    assert sorted(context) == ["message", "source_traceback", "task"]
    assert context["source_traceback"][-1][:2] == (__file__, line)
    context.clear()
    gc.collect()


def test_log_destroy_pending(aio, loop, errors):
    t = loop.create_task(forever(loop))
    t._log_destroy_pending = False
    spin(loop)
    del t
    gc.collect()
    assert errors.contexts == []


def test_task_exception_never_retrieved(aio, loop, errors):
    async def work():
        raise ValueError("lost")
    t = loop.create_task(work())
    spin(loop)
    del t
    gc.collect()
    context = errors.take_one()
    assert sorted(context) == ["exception", "future", "message"]
    assert context["message"] == "Task exception was never retrieved" and str(context["exception"]) == "lost"
    context.clear()


def test_reports_run_in_the_tasks_context(same):
    """From 3.12 on the exception handler runs in the context of the task it reports."""
    var = contextvars.ContextVar("var", default="outside")

    def scenario(aio):
        with fresh_loop(aio) as loop:
            seen = []
            loop.set_exception_handler(lambda loop, context: seen.append([context["message"], var.get()]))

            async def work():
                var.set("in the task")
                raise ValueError
            t = loop.create_task(work())
            spin(loop)
            del t
            gc.collect()

            async def waits():
                var.set("in the task")
                await loop.create_future()
            t = loop.create_task(waits())
            spin(loop)
            del t
            gc.collect()
            return seen
    same(scenario)


def test_never_awaited_coroutine_of_a_dropped_task(aio, errors):
    loop = aio.new_event_loop()
    loop.set_exception_handler(errors)
    t = loop.create_task(forever(loop))
    loop.close()
    with pytest.warns(RuntimeWarning, match="coroutine 'forever' was never awaited"):
        del t
        gc.collect()
        assert errors.take_one()["message"] == "Task was destroyed but it is pending!"
        gc.collect()


def test_source_traceback_starts_at_the_caller(aio, loop, run):
    loop.set_debug(True)

    async def none():
        pass

    async def main():
        made = [aio.create_task(none()), loop.create_task(none()), aio.ensure_future(none()), aio.Task(none(), loop=loop)]
        line = inspect.currentframe().f_lineno - 1
        await aio.wait(made)
        return [(t._source_traceback[-1].filename, t._source_traceback[-1].lineno) for t in made[:2] + made[3:]], line
    found, line = run(main())
    expected = (__file__, line)
    assert found[1] == expected and found[2] == expected
    assert found[0] == expected or found[0][0] == asyncio.tasks.__file__ or found[0][0].endswith("tasks.py")


# --- call graph (3.14) -------------------------------------------------------------------------------------------------

graph = pytest.mark.skipif(not hasattr(asyncio, "capture_call_graph"), reason="the call graph came with 3.14")


@graph
def test_call_graph(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            found = []

            async def inner():
                await aio.sleep(0)
                g = aio.capture_call_graph()
                while g is not None:
                    found.append([scrub(type(g.future).__name__), [e.frame.f_code.co_name for e in g.call_stack],
                                  len(g.awaited_by)])
                    g = g.awaited_by[0] if g.awaited_by else None
                text = aio.format_call_graph()
                found.append([line.strip().split(" at ")[0] for line in scrub(text).splitlines()])

            async def outer():
                await aio.create_task(inner(), name="inner")
            loop.run_until_complete(loop.create_task(outer(), name="outer"))
            return plain(found)
    same(scenario)


@graph
def test_operations_in_a_call_graph(same):
    """They are coroutines with asyncio's names there, for as long as somebody has the frame."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            found = []

            async def wait(operation):
                await operation()
            operations = [aio.Queue().get, aio.Event().wait, lambda: aio.sleep(1), lambda: aio.wait_for(loop.create_future(), 1)]
            tasks = [loop.create_task(wait(operation), name="waits") for operation in operations]
            spin(loop)
            for task in tasks:
                frames = [entry.frame for entry in aio.capture_call_graph(task).call_stack]
                gc.collect()
                found.append([[frame.f_generator.__qualname__, frame.f_generator.cr_code.co_name, frame.f_code.co_name, frame.f_back]
                              for frame in frames])
                found.append(re.findall(r"async .*", aio.format_call_graph(task)))
                task.cancel()
            spin(loop, 3)
            return [names for names in found if names]
    same(scenario)


@graph
def test_awaited_by(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            f = loop.create_future()

            async def work():
                await f
            found = [f._asyncio_awaited_by]
            a, b = loop.create_task(work(), name="a"), loop.create_task(work(), name="b")
            spin(loop)
            found.append(sorted(t.get_name() for t in f._asyncio_awaited_by))
            a.cancel()
            spin(loop, 2)
            found.append(f._asyncio_awaited_by and len(f._asyncio_awaited_by))
            spin(loop, 2)
            return found + [b.done(), f._asyncio_awaited_by and len(f._asyncio_awaited_by)]
    same(scenario)


@graph
def test_future_add_and_discard_awaited_by(aio, loop):
    f, t = loop.create_future(), loop.create_task(forever(loop))
    aio.future_add_to_awaited_by(f, t)
    assert f._asyncio_awaited_by == frozenset({t})
    aio.future_discard_from_awaited_by(f, t)
    assert not f._asyncio_awaited_by
    t.cancel()
    spin(loop, 2)
