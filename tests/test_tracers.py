"""Tracers (ddtrace) wrap asyncio's functions in place: they give them other code. Whoever calls has to reach the wrapper, as often as on
asyncio, whichever way pyasync came in."""
import asyncio
import inspect
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from support import EAGER, callback, fresh_loop, rewritten_in_place, spin

# What ddtrace wraps, by its path within the asyncio package.
TARGETS = ["tasks.create_task", "tasks.shield", "tasks.as_completed", "tasks._wait", "tasks._GatheringFuture.__init__",
           "TaskGroup.create_task",
           "BaseEventLoop.create_task", "BaseEventLoop.call_exception_handler", "Handle._run", "BaseEventLoop.run_in_executor",
           "futures.wrap_future", "tasks.run_coroutine_threadsafe"]
# pyasync.eager_task_factory is a Python function of its own, which asyncio.eager_task_factory becomes with install().
AFTER_INSTALL = [*TARGETS, "tasks.eager_task_factory"] if EAGER else TARGETS


def find(path):
    found = asyncio
    for name in path.split("."):
        found = getattr(found, name)
    return found


async def leaf(aio, result):
    await aio.sleep(0)
    return result


async def uses_all(aio):
    got = [await aio.create_task(leaf(aio, 1)), await aio.create_task(leaf(aio, 2), name="named"), await aio.shield(leaf(aio, 3))]
    got.append(await aio.gather(leaf(aio, 4), leaf(aio, 5), return_exceptions=True))
    got += sorted([await first for first in aio.as_completed([leaf(aio, 6), leaf(aio, 7)])])
    done, pending = await aio.wait([aio.create_task(leaf(aio, 8))])
    got += [t.result() for t in done]
    async with aio.TaskGroup() as group:
        tasks = [group.create_task(leaf(aio, 9)), group.create_task(leaf(aio, 10), name="named")]
    got += [t.result() for t in tasks] + [await aio.wait_for(leaf(aio, 11), 5), await aio.ensure_future(leaf(aio, 12))]
    loop = aio.get_running_loop()
    got.append(await aio.to_thread(int, "13"))
    got.append(await aio.wrap_future(aio.run_coroutine_threadsafe(leaf(aio, 14), loop)))
    future = loop.create_future()
    future.add_done_callback(lambda f: 1 / 0)
    loop.call_later(0.001, future.set_result, 15)
    got.append(await future)
    await aio.sleep(0)
    if EAGER:
        loop.set_task_factory(aio.eager_task_factory)
        got.append(await aio.create_task(leaf(aio, 16)))
        loop.set_task_factory(None)
    return got


@pytest.mark.parametrize("path", TARGETS)
def test_a_function_rewritten_in_place_is_called(same, path):
    """The same results, and as many calls with as many arguments as on asyncio; none any more when it is put back."""
    def scenario(aio):
        calls = []
        with fresh_loop(aio) as loop:
            with rewritten_in_place(find(path), lambda *args: calls.append(len(args))):
                got = loop.run_until_complete(uses_all(aio))
            seen = len(calls)
            assert seen
            assert loop.run_until_complete(uses_all(aio)) == got and len(calls) == seen
            assert [str(c["exception"]) for c in loop.errors.take()] == ["division by zero"] * 2
            loop.run_until_complete(loop.shutdown_default_executor())
        if path == "Handle._run":               # how often a thread wakes the loop is not determined
            return got
        return got, calls
    same(scenario)


def test_every_step_runs_in_a_rewritten_handle(same):
    """ddtrace's wrapper of Handle._run looks at the handle's callback and puts its own there for the time of the call."""
    def scenario(aio):
        seen = []

        def before(handle):
            original = handle._callback

            def inside(*args):
                seen.append(len(args))
                handle._callback = original
                return original(*args)
            handle._callback = inside

        async def main():
            future = loop.create_future()
            future.add_done_callback(callback)
            loop.call_soon(future.set_result, 1)
            await future
            await aio.sleep(0)
            await aio.sleep(0.001)
            return await aio.create_task(leaf(aio, "end"))
        with fresh_loop(aio) as loop:
            with rewritten_in_place(asyncio.Handle._run, before):
                got = loop.run_until_complete(main())
            count = len(seen)
            spin(loop, 2)
            return got, seen, len(seen) - count
    same(scenario)


def test_a_handle_rewritten_while_the_loop_is_busy(same):
    """What goes from tick to tick without a wait is traced from the next tick on."""
    def scenario(aio):
        seen = []

        async def main():
            await aio.sleep(0)
            await aio.sleep(0)
            with rewritten_in_place(asyncio.Handle._run, lambda handle: seen.append(len(handle._args))):
                for _ in range(3):
                    loop.call_soon(callback, 1, 2, 3)
                    await aio.sleep(0)
            loop.call_soon(callback, 1, 2, 3)
            await aio.sleep(0)
        with fresh_loop(aio) as loop:
            loop.run_until_complete(main())
        return seen.count(3)
    same(scenario)


def test_what_a_tracer_reads(aio):
    """The code and what belongs to it are asyncio's; functions can carry attributes and be referred to weakly."""
    for name in ("create_task", "shield", "gather", "ensure_future", "wrap_future", "run_coroutine_threadsafe", "timeout", "timeout_at",
                 "as_completed"):
        function, original = getattr(aio, name), getattr(asyncio, name)
        assert function.__code__.co_name == original.__code__.co_name and function.__kwdefaults__ == original.__kwdefaults__
        assert function.__defaults__ == original.__defaults__ and function.__closure__ == original.__closure__
        assert list(inspect.signature(function).parameters) == list(inspect.signature(original).parameters)
        assert function.__name__ == name == function.__qualname__
        function.mark = 1
        assert function.mark == 1 and vars(function)["mark"] == 1
        del function.mark
        with pytest.raises((TypeError, AttributeError)):
            function.__code__ = None
        with pytest.raises((TypeError, AttributeError)):
            del function.__code__
    method = aio.TaskGroup.create_task
    assert method.__code__ is asyncio.TaskGroup.create_task.__code__ and method.__qualname__ == "TaskGroup.create_task"


def test_functions_bind_as_attributes_of_a_class(aio):
    """A function that is not wrapped in staticmethod() gets `self` as its first argument."""
    class Client:
        spawn, all_of, guard, later = aio.create_task, aio.gather, aio.shield, staticmethod(aio.shield)
    client = Client()
    assert client.spawn.__self__ is client.all_of.__self__ is client.guard.__self__ is client
    assert client.later is aio.shield and Client.spawn is aio.create_task and not hasattr(client.later, "__self__")


PROGRAM = """
import sys
sys.path[:0] = [{tests!r}]
import asyncio
{before}
import test_tracers
from support import rewritten_in_place

def run(aio):
    loop = aio.new_event_loop()
    loop.set_exception_handler(lambda loop, context: None)
    try:
        got = loop.run_until_complete(test_tracers.uses_all(aio))
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        loop.close()
    return got

{body}
"""


def program(before, body):
    here = Path(__file__).parent
    text = PROGRAM.format(tests=str(here), before=before, body=textwrap.dedent(body))
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60,
                          env={**os.environ, "PYTHONPATH": str(here.parent)})
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout


COUNTS = """
for path in test_tracers.AFTER_INSTALL:
    calls = []
    with rewritten_in_place(test_tracers.find(path), lambda *args: calls.append(len(args))):
        run(asyncio)
    print(path, calls if path != "Handle._run" else bool(calls))
"""


def test_after_install():
    """What install() put in asyncio's place can be wrapped as well: ddtrace does it when it is imported."""
    assert program("import pyasync; pyasync.install()", COUNTS) == program("", COUNTS)


FIRST = """
def wrap(function, calls):                      # the wrapper is a constant of the code, as ddtrace has it
    original = types.FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__)
    original.__kwdefaults__ = function.__kwdefaults__

    def call(*args, **kwargs):
        calls.append(len(args))
        return original(*args, **kwargs)

    def plain(*args, **kwargs):
        return "call".__call__(*args, **kwargs)

    async def coroutine(*args, **kwargs):
        return await "call".__call__(*args, **kwargs)
    code = (coroutine if inspect.iscoroutinefunction(function) else plain).__code__
    consts = tuple(call if const == "call" else const for const in code.co_consts)
    function.__code__ = code.replace(co_consts=consts, co_freevars=original.__code__.co_freevars)

import inspect, types
counts = {}
for path in %r:
    function = asyncio
    for name in path.split("."):
        function = getattr(function, name)
    wrap(function, counts.setdefault(path, []))
"""


@pytest.mark.parametrize("way", ["import", "install"])
def test_wrapped_before_pyasync_came(way):
    """`ddtrace-run python -m pyasync`: the wrappers are there first."""
    body = """
        run(aio)
        for path, calls in counts.items():
            print(path, calls if path != "Handle._run" else bool(calls))
    """
    first = FIRST % (TARGETS,)
    ours = {"import": "import pyasync as aio", "install": "import pyasync; pyasync.install(); aio = asyncio"}[way]
    assert program(first + "\n" + ours, body) == program(first + "\naio = asyncio", body)
