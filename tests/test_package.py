"""The package: asyncio's names, native objects behind them, and asyncio's rules about which loop is current."""
import ast
import asyncio
import importlib
import inspect
import os
import pathlib
import subprocess
import sys
import textwrap
import types
from unittest import mock

import pytest

import pyasync

PY = sys.version_info
PACKAGE = str(pathlib.Path(pyasync.__file__).parents[1])


def python(*arguments, stdin="", cwd=None, **environment):
    """Runs this Python where pyasync can be imported: a CompletedProcess, its output as text."""
    env = {**os.environ, "PYTHONPATH": PACKAGE, "PYTHONDONTWRITEBYTECODE": "1", **environment}
    return subprocess.run([sys.executable, *arguments], input=stdin, cwd=cwd, env=env, text=True, timeout=60,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def script(text, *flags):
    """Standard output of a program that must end well and write nothing to standard error."""
    done = python("-W", "error", *flags, "-c", textwrap.dedent(text))
    assert done.stderr == ""
    assert done.returncode == 0
    return done.stdout


def on_both(text, *flags):
    """What a program that says `aio` prints, exits with and complains of: the same with asyncio and with pyasync.

    Loops are printed by kind(loop): "default" is asyncio's own for the one, pyasync's for the other.
    """
    results = []
    for module in ("asyncio", "pyasync"):
        kinds = "asyncio.unix_events" if module == "asyncio" else "pyasync.loop"
        prelude = (f"import {module} as aio, sys, threading, warnings\n"
                   f"def kind(loop): return 'default' if type(loop).__module__ == {kinds!r} else type(loop).__module__\n")
        done = python(*flags, "-c", prelude + textwrap.dedent(text))
        results.append((done.returncode, done.stdout, done.stderr))
    assert results[0] == results[1]
    return results[0]


# ---- names

def test_every_name_of_asyncio_is_there():
    assert set(asyncio.__all__) <= set(pyasync.__all__)
    assert sorted(set(pyasync.__all__) - set(asyncio.__all__) - {"TaskGroup", "EventLoop"}) == [
        "EventLoopPolicy", "install", "uninstall"]
    assert len(pyasync.__all__) == len(set(pyasync.__all__))
    for name in pyasync.__all__:
        assert hasattr(pyasync, name)
    assert pyasync.__version__.count(".") == 2


def test_names_that_are_not_replaced_are_asyncios():
    replaced = {name for name in asyncio.__all__ if getattr(asyncio, name) is not getattr(pyasync, name)}
    always = {"Future", "Task", "Handle", "TimerHandle", "SelectorEventLoop", "Runner", "run", "new_event_loop",
              "get_event_loop_policy", "set_event_loop_policy", "gather", "Barrier", "BoundedSemaphore",
              "Condition", "Event", "LifoQueue", "Lock", "PriorityQueue", "Queue", "Semaphore"}
    always |= {"create_task", "ensure_future", "shield", "sleep", "wait", "wait_for", "as_completed", "to_thread", "wrap_future",
               "run_coroutine_threadsafe", "Timeout", "timeout", "timeout_at"}
    always |= {"TaskGroup"} & set(asyncio.__all__)           # 3.11 left it out
    always |= {"StreamReader", "StreamReaderProtocol", "StreamWriter", "open_connection", "open_unix_connection", "start_server",
               "start_unix_server", "create_subprocess_exec", "create_subprocess_shell"}
    eager = {"eager_task_factory"} if PY >= (3, 12) else set()
    alias = {"EventLoop"} if PY >= (3, 13) else set()
    making = {"DefaultEventLoopPolicy", "get_event_loop"}
    assert replaced == always | eager | alias | (making if PY < (3, 14) else set())


def test_replaced_names_keep_their_signature_and_say_what_they_do():
    for name in ("run", "Runner", "new_event_loop", "get_event_loop", "gather", "ensure_future", "shield", "wrap_future",
                 "as_completed", "get_event_loop_policy", "set_event_loop_policy"):
        theirs, ours = getattr(asyncio, name), getattr(pyasync, name)
        assert inspect.signature(ours) == inspect.signature(theirs), name
        assert ours.__doc__ and ours.__name__ == theirs.__name__
        assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(theirs)


def test_every_submodule_is_reachable_as_attribute_and_by_import():
    for name, module in vars(asyncio).items():
        if inspect.ismodule(module) and module.__name__.startswith("asyncio."):
            ours = getattr(pyasync, name)
            assert importlib.import_module("pyasync." + name) is ours
            for public in getattr(module, "__all__", ()):
                if hasattr(pyasync, public) and public in asyncio.__all__:
                    assert getattr(ours, public) is getattr(pyasync, public)
    from pyasync.subprocess import PIPE
    from pyasync.tasks import Task, _enter_task
    assert PIPE == subprocess.PIPE and Task is pyasync.Task and _enter_task is asyncio.tasks._enter_task
    assert pyasync.exceptions is asyncio.exceptions and pyasync.runners.Runner is pyasync.Runner
    assert pyasync.runners._cancel_all_tasks is asyncio.runners._cancel_all_tasks


def test_submodules_that_asyncio_imports_only_when_asked():
    names = {p.stem for p in pathlib.Path(asyncio.__file__).parent.glob("*.py")} - {"__init__", "__main__"}
    script = """
        import importlib, sys
        def imported(package, name):
            try:
                return importlib.import_module(f"{package}.{name}")
            except ImportError as e:                         # windows_events, elsewhere
                return f"{type(e).__name__}: {e}"
        import pyasync
        for name in sys.argv[1:]:
            ours, theirs = imported("pyasync", name), imported("asyncio", name)
            assert getattr(pyasync, name, ours) is ours and isinstance(ours, str) is isinstance(theirs, str), name
            if name in ("proactor_events", "windows_events", "windows_utils", "tools"):
                assert ours == theirs, (ours, theirs)
        print("done")
        """
    result = python("-c", textwrap.dedent(script), *sorted(names))
    assert result.stdout == "done\n" and result.stderr == ""


@pytest.mark.skipif(PY < (3, 14), reason="it has that name from 3.14 on")
def test_a_policy_that_is_set_by_its_private_name():
    class Policy(pyasync.events._AbstractEventLoopPolicy):
        made = 0

        def new_event_loop(self):
            Policy.made += 1
            return pyasync.EventLoop()

        def set_event_loop(self, loop):
            pass

    async def main():
        return Policy.made
    policy = Policy()
    pyasync.events._set_event_loop_policy(policy)
    try:
        assert pyasync.events._get_event_loop_policy() is policy is asyncio.events._get_event_loop_policy()
        assert pyasync.run(main()) == 1
    finally:
        pyasync.events._set_event_loop_policy(None)
    assert pyasync.run(main()) == 1


def test_an_overlaid_module_reads_and_patches_the_original(monkeypatch):
    assert isinstance(pyasync.tasks, types.ModuleType) and "sleep" in dir(pyasync.tasks) and "Task" in dir(pyasync.tasks)
    monkeypatch.setattr(pyasync.tasks, "_wait", "patched")
    assert asyncio.tasks._wait == "patched"
    monkeypatch.undo()
    assert inspect.iscoroutinefunction(asyncio.tasks._wait)
    with mock.patch.object(pyasync.tasks, "_wait"), mock.patch("pyasync.tasks.Task"):
        assert isinstance(asyncio.tasks._wait, mock.Mock) and isinstance(pyasync.tasks.Task, mock.Mock)
    assert inspect.iscoroutinefunction(asyncio.tasks._wait) and pyasync.tasks.Task is pyasync.Task
    monkeypatch.setattr(pyasync.tasks, "Task", int)
    assert asyncio.tasks.Task is not int
    monkeypatch.undo()
    assert pyasync.tasks.Task is pyasync.Task
    pyasync.events.brand_new = 1
    assert asyncio.events.brand_new == 1
    del pyasync.events.brand_new
    assert not hasattr(asyncio.events, "brand_new")
    with pytest.raises(AttributeError, match="no_such_name"):
        pyasync.tasks.no_such_name


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'pyasync' has no attribute 'no_such_name'"):
        pyasync.no_such_name


def test_importing_warns_of_nothing_and_changes_nothing_in_asyncio():
    assert script("""
        import asyncio, asyncio.unix_events, sys
        modules = {name: module for name, module in sys.modules.items() if name.partition('.')[0] == 'asyncio'}
        before = {(name, key): id(value) for name, module in modules.items() for key, value in vars(module).items()}
        factory = asyncio.unix_events._UnixDefaultEventLoopPolicy._loop_factory
        import pyasync
        after = {(name, key): id(value) for name, module in modules.items() for key, value in vars(module).items()}
        # the registry of tasks may get a class that adds the native ones, but stays the object it is
        assert before == after
        assert asyncio.unix_events._UnixDefaultEventLoopPolicy._loop_factory is factory
        assert asyncio.events._event_loop_policy is None
        async def main():
            return asyncio.get_running_loop(), asyncio.current_task()
        loop, task = asyncio.run(main())
        print(type(loop).__module__, type(task).__module__)
    """) == "asyncio.unix_events _asyncio\n"


@pytest.mark.skipif(PY < (3, 14), reason="policies are deprecated from 3.14 on")
def test_the_deprecated_policy_names_warn_as_asyncios_do():
    status, out, err = on_both("""
        warnings.simplefilter("always")
        aio.AbstractEventLoopPolicy
        aio.DefaultEventLoopPolicy
        from asyncio import AbstractEventLoopPolicy
        aio.set_event_loop_policy(aio.get_event_loop_policy())
        print(issubclass(aio.DefaultEventLoopPolicy, aio.AbstractEventLoopPolicy))
    """)
    assert (status, out) == (0, "True\n") and err.count("slated for removal in Python 3.16") >= 6
    assert pyasync.EventLoopPolicy()         # ours itself does not warn


# ---- native objects

def test_classes_are_subclasses_of_asyncios():
    for name in ("Future", "Task", "Handle", "TimerHandle"):
        assert getattr(pyasync, name) is not getattr(asyncio, name)
        assert issubclass(getattr(pyasync, name), getattr(asyncio, name))
    assert issubclass(pyasync.Task, pyasync.Future)
    assert issubclass(pyasync.EventLoop, asyncio.BaseEventLoop) and pyasync.SelectorEventLoop is pyasync.EventLoop


def test_everything_that_makes_a_task_or_future_makes_a_native_one():
    async def nothing():
        return 1

    class Awaitable:
        def __await__(self):
            yield from asyncio.sleep(0).__await__()

    async def main():
        loop = pyasync.get_running_loop()
        assert type(loop) is pyasync.EventLoop
        assert type(pyasync.current_task()) is pyasync.Task
        made = [pyasync.create_task(nothing()), pyasync.ensure_future(nothing()), pyasync.ensure_future(Awaitable()),
                loop.create_task(nothing())]
        async with pyasync.TaskGroup() as group:
            made.append(group.create_task(nothing()))
        assert {type(task) for task in made} == {pyasync.Task}
        await pyasync.wait(made)
        assert await pyasync.wait_for(nothing(), 5) == 1
        futures = [loop.create_future(), pyasync.Future(), pyasync.Future(loop=loop), pyasync.shield(loop.create_future()),
                   loop.run_in_executor(None, int), pyasync.wrap_future(asyncio.run_coroutine_threadsafe(nothing(), loop)),
                   pyasync.gather()]
        assert {type(future) for future in futures} == {pyasync.Future}
        await futures[4]
        gathering = pyasync.gather(nothing(), nothing())
        assert isinstance(gathering, pyasync.Future) and type(gathering).__name__ == "_GatheringFuture"
        assert await gathering == [1, 1]
        assert type(loop.call_soon(int)) is pyasync.Handle and type(loop.call_later(1, int)) is pyasync.TimerHandle
        assert await pyasync.to_thread(int) == 0
        # asyncio's own functions on our loop, as a library that imports asyncio calls them
        assert type(asyncio.create_task(nothing())) is pyasync.Task and type(asyncio.ensure_future(nothing())) is pyasync.Task
        assert await asyncio.gather(nothing(), nothing()) == [1, 1]
    pyasync.run(main())


def scenario_gather(aio):
    """Results, errors, cancellation, the order of things: everything gather() promises."""
    seen = []

    async def step(name, delay=0, error=None):
        try:
            for _ in range(delay):
                await aio.sleep(0)
            if error is not None:
                raise error
            return name
        except aio.CancelledError as exc:
            seen.append((name, exc.args))
            raise

    async def main():
        seen.append(await aio.gather(step("a", 2), step("b"), step("c", 1)))
        seen.append(repr(await aio.gather(step("a", 2), step("b", 1, ValueError("no")), return_exceptions=True)))
        try:
            await aio.gather(step("slow", 9), step("bad", 1, KeyError("k")))
        except KeyError as exc:
            seen.append(repr(exc))
        outer = aio.gather(step("x", 9), step("y", 9))
        await aio.sleep(0)
        seen.append((outer.cancel("why"), outer.done(), outer.cancelled()))
        try:
            await outer
        except aio.CancelledError as exc:
            seen.append(("outer", exc.args, outer.cancelled(), outer.cancel()))
        outer = aio.gather(step("x", 9), return_exceptions=True)
        await aio.sleep(0)
        outer.cancel()
        try:
            seen.append(await outer)
        except aio.CancelledError:
            seen.append("cancelled")
        same = aio.ensure_future(step("same"))
        seen.append(await aio.gather(same, same))
        seen.append(await aio.gather())
        try:
            aio.gather(1)
        except TypeError as exc:
            seen.append(str(exc))
        waiting = aio.ensure_future(aio.gather(step("in a task", 9)))
        await aio.sleep(0)
        waiting.cancel("task")
        seen.append([repr(r) for r in await aio.gather(waiting, return_exceptions=True)])
    aio.run(main())
    return seen


def test_gather_is_asyncios_gather():
    expected = scenario_gather(asyncio)
    assert len(expected) > 10 and scenario_gather(pyasync) == expected


def test_pyasync_functions_work_on_a_loop_of_asyncios():
    async def main():
        assert type(pyasync.get_running_loop()).__module__ == "asyncio.unix_events"
        assert await pyasync.gather(pyasync.sleep(0, 1), pyasync.shield(pyasync.sleep(0, 2))) == [1, 2]
        assert await pyasync.wait_for(pyasync.Task(pyasync.sleep(0, 3)), 5) == 3
    asyncio.run(main())


@pytest.mark.skipif(PY < (3, 12), reason="eager tasks came with 3.12")
def test_eager_task_factory_makes_native_tasks_and_stays_a_python_function():
    assert pyasync.eager_task_factory.__code__ is asyncio.eager_task_factory.__code__
    made = []

    async def child():
        made.append(asyncio.current_task())

    async def main():
        pyasync.get_running_loop().set_task_factory(pyasync.eager_task_factory)
        task = pyasync.create_task(child(), name="eager")
        assert task.done() and made == [task] and type(task) is pyasync.Task and task.get_name() == "eager"
        pyasync.get_running_loop().set_task_factory(pyasync.create_eager_task_factory(asyncio.Task))
        task = pyasync.create_task(child())
        assert task.done() and type(task) is asyncio.Task
    pyasync.run(main())


# ---- run and Runner

def test_run_on_each_way_in():
    async def main():
        return type(asyncio.get_running_loop()), type(asyncio.current_task())
    native = pyasync.EventLoop, pyasync.Task
    assert pyasync.run(main()) == native
    with pyasync.Runner() as runner:
        assert runner.run(main()) == native and isinstance(runner, asyncio.Runner)
    with asyncio.Runner(loop_factory=pyasync.new_event_loop) as runner:
        assert runner.run(main()) == native
    with pyasync.Runner(loop_factory=asyncio.new_event_loop) as runner:
        assert runner.run(main())[0].__module__ == "asyncio.unix_events"
    if PY >= (3, 12):
        assert asyncio.run(main(), loop_factory=pyasync.new_event_loop) == native
        assert pyasync.run(main(), loop_factory=asyncio.new_event_loop)[0].__module__ == "asyncio.unix_events"
    assert asyncio.run(main())[0].__module__ == "asyncio.unix_events"


def test_run_and_runner_behave_as_asyncios():
    status, out, err = on_both("""
        import contextvars
        var = contextvars.ContextVar("var", default=0)
        log = []
        async def main():
            var.set(var.get() + 1)
            log.append((kind(aio.get_running_loop()), aio.get_running_loop().get_debug(), var.get()))
            async def left_over():
                try:
                    await aio.sleep(100)
                finally:
                    log.append("left over cancelled")
            log.append(aio.create_task(left_over()).get_name() != "")
            await aio.sleep(0)
            async def agen():
                try:
                    yield 1
                finally:
                    log.append("agen closed")
            global kept
            kept = agen()
            await kept.__anext__()
            return "result"
        def attempt(function, *args, **kwargs):
            try:
                log.append(function(*args, **kwargs))
            except BaseException as exc:
                log.append((type(exc).__name__, str(exc)))
        attempt(aio.run, main())
        attempt(aio.run, main(), debug=True)
        attempt(aio.run, 1)
        attempt(aio.run, None, no_such=1)
        async def nested():
            coro = main()
            attempt(aio.run, coro)
            attempt(runner.run, coro)
            coro.close()
        with aio.Runner(debug=False) as runner:
            attempt(runner.run, main())
            attempt(runner.run, main())
            attempt(runner.run, main(), context=contextvars.Context())
            attempt(runner.run, nested())
            attempt(lambda: kind(runner.get_loop()))
            attempt(lambda: aio.get_event_loop() is runner.get_loop())
            loop = runner.get_loop()
        attempt(loop.is_closed)
        attempt(runner.get_loop)
        attempt(runner.__enter__)
        attempt(runner.close)
        warnings.simplefilter("ignore")
        attempt(aio.get_event_loop)                 # what the runner leaves behind
        async def fails():
            raise LookupError("out")
        attempt(aio.run, fails())
        for entry in log:
            print(entry)
    """)
    assert status == 0 and out.count("default") == 6 and "cannot be called from a running event loop" in out
    assert err == ""


def test_a_runner_frees_itself():
    assert script("""
        import gc, pyasync, weakref
        gc.disable()
        with pyasync.Runner() as runner:
            runner.run(pyasync.sleep(0))
        ref = weakref.ref(runner)
        del runner
        print(ref())
    """) == "None\n"


@pytest.mark.parametrize("handled", [False, True])
def test_control_c_cancels_the_main_task(handled):
    status, out, err = on_both(f"""
        import os, signal
        async def main():
            aio.get_running_loop().call_later(0.05, os.kill, os.getpid(), signal.SIGINT)
            try:
                await aio.sleep(30)
            except aio.CancelledError:
                print("cancelled", signal.getsignal(signal.SIGINT) is signal.default_int_handler)
                if not {handled}:
                    raise
            return "handled"
        try:
            print(aio.run(main()))
        except KeyboardInterrupt:
            print("KeyboardInterrupt")
        print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    """)
    assert (status, err) == (0, "")
    assert out.splitlines() == ["cancelled False", "handled" if handled else "KeyboardInterrupt", "True"]


def test_control_c_breaks_a_busy_main_task_the_second_time():
    status, out, err = on_both("""
        import os, signal
        async def main():
            try:
                os.kill(os.getpid(), signal.SIGINT)
                os.kill(os.getpid(), signal.SIGINT)
                while True: pass
            except KeyboardInterrupt:
                print("broken")
                raise
        try:
            aio.run(main())
        except KeyboardInterrupt:
            print("KeyboardInterrupt")
    """)
    assert (status, out, err) == (0, "broken\nKeyboardInterrupt\n", "")


# ---- which loop is current

LOOP_RULES = {
    "get_event_loop in the main thread": """
        loop = aio.get_event_loop()
        print(kind(loop), loop is aio.get_event_loop())
        loop.close()
        """,
    "get_event_loop in another thread": """
        def target():
            try:
                aio.get_event_loop()
            except RuntimeError as exc:
                print(exc)
        thread = threading.Thread(target=target, name="other"); thread.start(); thread.join()
        """,
    "get_event_loop after set_event_loop": """
        loop = aio.new_event_loop()
        print(kind(loop))
        aio.set_event_loop(loop)
        print(aio.get_event_loop() is loop)
        aio.set_event_loop(None)
        try:
            aio.get_event_loop()
        except RuntimeError as exc:
            print(exc)
        try:
            aio.set_event_loop(1)
        except TypeError as exc:
            print(exc)
        loop.close()
        """,
    "get_event_loop in a coroutine": """
        async def main():
            print(kind(aio.get_event_loop()), aio.get_event_loop() is aio.get_running_loop())
        aio.run(main())
        """,
    "ensure_future": """
        async def main(): return kind(aio.get_running_loop())
        task = aio.ensure_future(main())
        loop = aio.get_event_loop()
        print(loop.run_until_complete(task), kind(loop))
        try:
            aio.ensure_future(1)
        except TypeError as exc:
            print(exc)
        loop.close()
        """,
    "gather": """
        async def main(): return kind(aio.get_running_loop())
        both = aio.gather(main(), main())
        loop = aio.get_event_loop()
        print(loop.run_until_complete(both), kind(loop))
        loop.close()
        """,
    "gather of nothing": """
        future = aio.gather()
        print(kind(future.get_loop()), future.result())
        future.get_loop().close()
        """,
    "gather of futures with a loop": """
        loop = aio.new_event_loop()
        both = aio.gather(loop.create_future(), loop.create_future())
        print(both.get_loop() is loop)
        loop.close()
        """,
    "shield": """
        async def main(): return kind(aio.get_running_loop())
        future = aio.shield(main())
        loop = future.get_loop()
        print(loop.run_until_complete(future))
        loop.close()
        """,
    "Future": """
        future = aio.Future()
        print(kind(future.get_loop()), future.get_loop() is aio.get_event_loop())
        future.get_loop().close()
        """,
    "wrap_future": """
        import concurrent.futures
        future = aio.wrap_future(concurrent.futures.Future())
        print(kind(future.get_loop()))
        future.get_loop().close()
        """,
    "as_completed": """
        async def main(): return kind(aio.get_running_loop())
        async def first(it):
            for future in it:
                return await future
        it = iter(aio.as_completed([main()]))
        future = next(it)
        loop = aio.get_event_loop()
        print(loop.run_until_complete(future), kind(loop))
        loop.close()
        """,
    "the policy": """
        policy = aio.get_event_loop_policy()
        print(policy is aio.get_event_loop_policy())
        loop = policy.new_event_loop()
        print(kind(loop))
        policy.set_event_loop(loop)
        print(aio.get_event_loop() is loop, policy.get_event_loop() is loop)
        aio.set_event_loop_policy(policy)
        print(aio.get_event_loop() is loop, aio.get_event_loop_policy() is policy)
        loop.close()
        """,
    "a policy of the program's": """
        class Policy(aio.DefaultEventLoopPolicy):
            def new_event_loop(self):
                print("asked")
                return super().new_event_loop()
        policy = Policy()
        aio.set_event_loop_policy(policy)
        print(aio.get_event_loop_policy() is policy)
        async def main(): return kind(aio.get_running_loop())
        print(aio.run(main()))
        loop = aio.new_event_loop()
        print(kind(loop))
        loop.close()
        aio.set_event_loop_policy(None)
        print(aio.run(main()))
        try:
            aio.set_event_loop_policy(1)
        except TypeError as exc:
            print(exc)
        """,
    "a policy with a get_event_loop of its own": """
        class Policy(aio.DefaultEventLoopPolicy):
            def get_event_loop(self):
                return "mine"
        aio.set_event_loop_policy(Policy())
        print(aio.get_event_loop())
        """,
    "an abstract policy": """
        class Policy(aio.AbstractEventLoopPolicy):
            loop = None
            def new_event_loop(self):
                import asyncio
                return asyncio.unix_events._UnixSelectorEventLoop() if aio is asyncio else aio.EventLoop()
            def set_event_loop(self, loop): self.loop = loop
            def get_event_loop(self): return self.loop
        aio.set_event_loop_policy(Policy())
        async def main(): return kind(aio.get_running_loop())
        print(aio.run(main()), aio.get_event_loop())
        """,
}


@pytest.mark.parametrize("rule", LOOP_RULES)
def test_the_current_loop_follows_asyncios_rules(rule):
    """Same loops, same errors, same warnings at the same lines; where asyncio makes a loop, pyasync makes its own."""
    text = "warnings.simplefilter('always')\n" + textwrap.dedent(LOOP_RULES[rule])
    status, out, err = on_both(text)
    if PY < (3, 14):
        assert status == 0, err
        assert out
    assert "asyncio.unix_events" not in out


def test_policies_set_through_asyncio_do_not_change_what_new_event_loop_makes():
    assert script("""
        import asyncio, pyasync, warnings
        warnings.simplefilter("ignore")
        class Policy(asyncio.DefaultEventLoopPolicy):
            def new_event_loop(self):
                self.loop = pyasync.new_event_loop()         # must not come back here
                return self.loop
        policy = Policy()
        asyncio.set_event_loop_policy(policy)
        loop = asyncio.new_event_loop()
        print(loop is policy.loop, type(loop) is pyasync.EventLoop)
        loop.close()
    """) == "True True\n"


def test_event_loop_policy_in_asyncio():
    assert script("""
        import asyncio, pyasync, warnings
        policy = pyasync.EventLoopPolicy()
        warnings.simplefilter("ignore")
        asyncio.set_event_loop_policy(policy)
        async def main(): return type(asyncio.get_running_loop()) is pyasync.EventLoop
        print(asyncio.run(main()))
        loop = asyncio.new_event_loop()
        print(type(loop) is pyasync.EventLoop, asyncio.get_event_loop_policy() is policy is pyasync.get_event_loop_policy())
        loop.close()
    """) == "True\nTrue True\n"


def test_both_modules_see_the_same_current_loop():
    assert script("""
        import asyncio, pyasync
        mine = pyasync.new_event_loop()
        pyasync.set_event_loop(mine)
        print(asyncio.get_event_loop() is mine)
        theirs = asyncio.new_event_loop()
        asyncio.set_event_loop(theirs)
        print(pyasync.get_event_loop() is theirs, type(theirs) is pyasync.EventLoop)
        mine.close(); theirs.close()
    """) == "True\nTrue False\n"


def test_the_default_policy_can_be_saved_and_restored():
    assert script("""
        import asyncio, pyasync, warnings
        warnings.simplefilter("ignore")
        theirs = asyncio.get_event_loop_policy()
        ours = pyasync.get_event_loop_policy()
        print(type(theirs) is type(ours), isinstance(ours, pyasync.EventLoopPolicy), isinstance(ours, type(theirs)))
        pyasync.set_event_loop_policy(None)
        pyasync.get_event_loop_policy()
        pyasync.set_event_loop_policy(ours)
        print(asyncio.get_event_loop_policy() is theirs)
    """) == "False True True\nTrue\n"


def test_a_forked_child_sees_what_it_sees_with_asyncio():
    status, out, err = on_both("""
        import os
        loop = aio.new_event_loop()
        aio.set_event_loop(loop)
        warnings.simplefilter("ignore")
        pid = os.fork()
        if pid == 0:
            try:
                print(aio.get_event_loop() is loop, flush=True)
            except RuntimeError as exc:
                print(exc, flush=True)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        loop.close()
    """)
    assert (status, err) == (0, "") and out.endswith("0\n")


def test_the_stubs_know_every_name():
    folder = pathlib.Path(pyasync.__file__).parent
    assert (folder / "py.typed").exists()
    tree = ast.parse((folder / "__init__.pyi").read_text())
    known = {"__version__", "SelectorEventLoop", "DefaultEventLoopPolicy"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert all(alias.name == alias.asname for alias in node.names)      # re-exported, for a type checker
            known.update(alias.name for alias in node.names)
    assert set(pyasync.__all__) <= known
    modules = {name for name, value in vars(asyncio).items() if inspect.ismodule(value) and value.__name__.startswith("asyncio.")}
    on_demand = {"__main__", "proactor_events", "windows_events", "windows_utils", "tools"}    # asyncio does not import these itself
    assert modules - on_demand <= known
    for module in ("install", "loop", "policy", "runners"):
        stub = ast.parse((folder / f"{module}.pyi").read_text())
        defined = {node.name for node in ast.walk(stub) if isinstance(node, (ast.ClassDef, ast.FunctionDef))}
        defined |= {alias.asname for node in ast.walk(stub) if isinstance(node, ast.ImportFrom) for alias in node.names}
        assert set(sys.modules[f"pyasync.{module}"].__all__) <= defined
