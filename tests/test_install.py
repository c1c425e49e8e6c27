"""install() and uninstall(): programs that import asyncio, objects made before and after, libraries that subclass."""
import _asyncio
import asyncio
import functools
import inspect
import pickle
import selectors

import pytest

import pyasync
from test_package import PY, on_both, python, script

PRIMITIVES = ("Barrier", "BoundedSemaphore", "Condition", "Event", "LifoQueue", "Lock", "PriorityQueue", "Queue", "Semaphore")
SNAPSHOT = """
    import asyncio, sys
    def snapshot():
        owners = [(name, module) for name, module in sys.modules.items() if name.partition(".")[0] == "asyncio"]
        owners.append(("policy", asyncio.unix_events._UnixDefaultEventLoopPolicy))
        return {(name, key): id(value) for name, owner in owners for key, value in vars(owner).items()
                if key not in ("__builtins__", "__abstractmethods__", "_abc_impl")}
"""


@pytest.fixture
def installed():
    pyasync.install()
    yield
    pyasync.uninstall()


def test_an_unmodified_program_runs_natively():
    assert script("""
        import pyasync
        pyasync.install()
        import asyncio
        async def nothing():
            return 1
        def names(*objects):
            return sorted({type(o).__module__ + "." + type(o).__name__ for o in objects})
        async def main():
            loop = asyncio.get_running_loop()
            print(names(loop), names(asyncio.current_task()))
            print(names(asyncio.Future(), loop.create_future(), asyncio.futures.Future(loop=loop), asyncio.Future(loop=loop),
                        asyncio.shield(loop.create_future())))
            tasks = [asyncio.Task(nothing()), asyncio.create_task(nothing()), asyncio.ensure_future(nothing()),
                     asyncio.tasks.Task(nothing(), name="x"), asyncio.Task(nothing(), loop=loop)]
            print(names(*tasks), await asyncio.gather(*tasks))
            print(names(asyncio.gather()), isinstance(asyncio.gather(*tasks), pyasync.Future))
        asyncio.run(main())
        with asyncio.Runner() as runner:
            print(names(runner.get_loop()))
        made = [asyncio.new_event_loop(), asyncio.SelectorEventLoop(), asyncio.unix_events.SelectorEventLoop()]
        if hasattr(asyncio, "EventLoop"):
            made += [asyncio.EventLoop(), asyncio.unix_events.EventLoop()]
        print(names(*made))
        print(all(isinstance(loop, (asyncio.SelectorEventLoop, int)) for loop in made))
        for loop in made:
            loop.close()
    """).splitlines() == [
        "['pyasync.loop.EventLoop'] ['pyasync.Task']", "['pyasync.Future']",
        "['pyasync.Task'] [1, 1, 1, 1, 1]", "['pyasync.Future'] True", "['pyasync.loop.EventLoop']",
        "['pyasync.loop.EventLoop']", "True"]


def test_uninstall_restores_asyncio_exactly_and_both_are_idempotent():
    assert script(SNAPSHOT + """
    import pyasync
    asyncio.get_running_loop                       # nothing more is imported from here on
    before = snapshot()
    pyasync.uninstall()
    assert snapshot() == before
    for _ in range(2):
        pyasync.install()
        once = snapshot()
        changed = sorted(f"{owner}.{key}" for owner, key in before if once[owner, key] != before[owner, key])
        pyasync.install()
        assert snapshot() == once
        pyasync.uninstall()
        after = {key: value for key, value in snapshot().items() if key != ("asyncio.events", "_event_loop_policy")}
        assert after == {key: value for key, value in before.items() if key in after}
        pyasync.uninstall()
        print(*changed, sep="\\n")
    """).split() == 2 * sorted(
        ["asyncio.Future", "asyncio.SelectorEventLoop", "asyncio.Task", "asyncio.events._event_loop_policy",
         "asyncio.futures.Future", "asyncio.tasks.Task", "asyncio.tasks._GatheringFuture",
         "asyncio.unix_events.SelectorEventLoop", "policy._loop_factory"]
        + [f"asyncio.{where}{name}" for module, names in {
            "tasks.": ("as_completed", "create_task", "ensure_future", "gather", "run_coroutine_threadsafe", "shield", "sleep", "wait",
                       "wait_for"),
            "futures.": ("wrap_future",), "threads.": ("to_thread",),
            "timeouts.": ("Timeout", "timeout", "timeout_at"), "taskgroups.": ("TaskGroup",),
            "streams.": ("StreamReader", "StreamReaderProtocol", "StreamWriter"),
            "locks.": [name for name in PRIMITIVES if "Queue" not in name],
            "queues.": [name for name in PRIMITIVES if "Queue" in name],
        }.items() for name in names for where in ("", module)]
        + (["asyncio.eager_task_factory", "asyncio.tasks.eager_task_factory"] if PY >= (3, 12) else [])
        + (["asyncio.EventLoop", "asyncio.unix_events.EventLoop"] if PY >= (3, 13) else []))


def test_objects_made_before_install_are_still_recognised():
    assert script("""
        import asyncio
        from asyncio import Future as EarlyFuture, Task as EarlyTask
        class EarlySubclass(asyncio.Future):
            pass
        class EarlyTaskSubclass(asyncio.Task):
            pass
        async def nothing():
            return 1
        loop = asyncio.new_event_loop()
        old = [EarlyFuture(loop=loop), loop.create_future(), EarlySubclass(loop=loop), loop.create_task(nothing()),
               EarlyTaskSubclass(nothing(), loop=loop), asyncio.gather(loop.create_future())]
        import pyasync
        pyasync.install()
        new = [asyncio.Future(loop=loop), asyncio.Task(nothing(), loop=loop)]
        late = EarlySubclass(loop=loop)
        for future in old + new + [late]:
            assert isinstance(future, asyncio.Future) and isinstance(future, EarlyFuture) and asyncio.isfuture(future)
            assert isinstance(future, (asyncio.Future, int)) and isinstance(future, asyncio.Future | int)
            assert issubclass(type(future), asyncio.Future) and issubclass(type(future), asyncio.futures.Future)
        for index, future in enumerate(old + new):
            assert isinstance(future, asyncio.Task) == isinstance(future, EarlyTask) == (index in (3, 4, 7))
        assert not isinstance(1, asyncio.Future) and not issubclass(int, asyncio.Task)
        assert not isinstance(new[0], asyncio.Task) and issubclass(asyncio.Task, asyncio.Future)
        assert isinstance(loop, asyncio.SelectorEventLoop) and isinstance(loop, asyncio.BaseEventLoop)
        match new[0]:
            case asyncio.Task(): raise AssertionError
            case asyncio.Future(): pass
        assert [type(o) for o in new] == [pyasync.Future, pyasync.Task]
        async def main():
            assert await old[3] == await new[1] == await old[4] == 1
            for future in (old[0], new[0], late):
                asyncio.get_running_loop().call_soon(future.set_result, 7)
                assert await asyncio.wait_for(future, 5) == 7
        loop.run_until_complete(main())
        loop.close()
        pyasync.uninstall()
        assert all(isinstance(future, asyncio.Future) for future in old + new + [late])
        print("ok")
    """) == "ok\n"


def test_old_and_new_objects_mix_on_a_native_loop():
    assert script("""
        import asyncio
        from asyncio import Future as EarlyFuture, Task as EarlyTask
        class EarlySubclass(asyncio.Future):
            pass
        import pyasync
        pyasync.install()
        async def waits(future):
            return await future
        async def main():
            loop = asyncio.get_running_loop()
            assert type(loop) is pyasync.EventLoop
            for make_future in (EarlyFuture, EarlySubclass, asyncio.Future):
                for make_task in (EarlyTask, asyncio.Task):
                    future = make_future()
                    task = make_task(waits(future), loop=loop)
                    await asyncio.sleep(0)
                    assert task in asyncio.all_tasks()
                    future.set_result(3)
                    assert await asyncio.gather(task, task) == [3, 3]
                    future = make_future()
                    task = make_task(waits(future), loop=loop)
                    await asyncio.sleep(0)
                    task.cancel("msg")
                    try:
                        await task
                    except asyncio.CancelledError as exc:
                        assert exc.args in (("msg",), ()), exc.args
                    assert future.cancelled()
        asyncio.run(main())
        print("ok")
    """) == "ok\n"


def test_classes_derived_after_install_are_native_classes():
    assert script("""
        import abc, collections.abc, typing
        import asyncio, pyasync
        pyasync.install()
        T = typing.TypeVar("T")
        seen = []
        class Future(asyncio.Future):
            def __init__(self, extra, *, loop=None):
                super().__init__(loop=loop)
                self.extra = extra
            def set_result(self, result):
                seen.append(__class__.__name__)
                super().set_result(result)
        class Generic(asyncio.Future[T], typing.Generic[T]):
            pass
        class Other(typing.Generic[T], asyncio.Future):
            pass
        class Abstract(asyncio.Future, collections.abc.Hashable):
            @abc.abstractmethod
            def method(self): pass
        class Task(asyncio.Task):
            def __init_subclass__(cls, **kwargs):
                seen.append(kwargs)
        class Deeper(Task, key=1):
            pass
        class Meta(type):
            pass
        for cls in (Future, Generic, Other):
            assert type(cls) is type and cls.__mro__.count(pyasync.Future) == 1, cls
            assert not any(base is asyncio.Future for base in cls.__mro__)
        assert type(Abstract) is abc.ABCMeta and Task.__bases__ == (pyasync.Task,) and seen == [{"key": 1}]
        assert issubclass(Future, asyncio.Future) and issubclass(Deeper, asyncio.Task) and not issubclass(Future, asyncio.Task)
        assert "method" in Abstract.__abstractmethods__
        async def main():
            future = Future(1)
            assert future.extra == 1 and isinstance(future, asyncio.Future) and isinstance(future, pyasync.Future)
            future.set_result(2)
            assert await future == 2 and seen[1:] == ["Future"]
            generic = Generic[int]()
            generic.set_result(3)
            assert await generic == 3
            task = Deeper(asyncio.sleep(0, 4))
            assert isinstance(task, pyasync.Task) and await task == 4
        asyncio.run(main())
        pyasync.uninstall()
        assert issubclass(Future, asyncio.Future)
        print("ok")
    """) == "ok\n"


def test_the_stand_ins_pass_for_classes(installed):
    for name in ("Future", "Task"):
        stand_in, native = getattr(asyncio, name), getattr(pyasync, name)
        assert isinstance(stand_in, type) and stand_in.__name__ == name
        assert stand_in == native and native == stand_in and hash(stand_in) == hash(native) and stand_in != int
        assert native in (int, stand_in) and {stand_in: 1}[native] == 1
        assert stand_in.__doc__ == native.__doc__ and stand_in.cancel is native.cancel
        assert pickle.loads(pickle.dumps(stand_in)) is stand_in
        assert repr(stand_in) == f"<class '_asyncio.{name}'>"
        assert str(stand_in[int]) == f"_asyncio.{name}[int]"
        assert inspect.signature(stand_in) == inspect.signature(native)
    assert asyncio.Future is asyncio.futures.Future is _asyncio.Future and asyncio.Task is asyncio.tasks.Task is _asyncio.Task

    @functools.singledispatch
    def kind(value):
        return "other"

    @kind.register(asyncio.Future)
    def _(value):
        return "future"

    loop = asyncio.new_event_loop()
    assert kind(asyncio.Future(loop=loop)) == kind(loop.create_future()) == "future" and kind(1) == "other"
    with pytest.raises(TypeError):
        asyncio.Future(1)
    with pytest.raises(TypeError, match="coroutine was expected, got 1"):
        asyncio.Task(1, loop=loop)
    loop.close()


def test_the_stand_ins_have_the_names_of_what_they_replace():
    """tornado's tests list the names, modules included, that its API consists of."""
    before = {name: getattr(asyncio, name) for name in ("Future", "Task", "StreamReader", "TaskGroup", "Timeout", *PRIMITIVES)}
    pyasync.install()
    try:
        for name, original in before.items():
            stand_in = getattr(asyncio, name)
            assert stand_in is not original and repr(stand_in) == repr(original)
            data = pickle.dumps(stand_in)
            assert pickle.loads(data) is stand_in
            pyasync.uninstall()
            assert pickle.loads(data) is original and pickle.dumps(original) == data
            pyasync.install()
    finally:
        pyasync.uninstall()


def test_locks_and_queues_become_native_and_what_exists_stays():
    before = {name: getattr(asyncio, name) for name in PRIMITIVES}
    old = {name: before[name](*[2] * (name == "Barrier")) for name in PRIMITIVES}

    class Derived(asyncio.Queue):
        pass
    pyasync.install()
    try:
        for name in PRIMITIVES:
            stand_in, native = getattr(asyncio, name), getattr(pyasync, name)
            home = asyncio.queues if "Queue" in name else asyncio.locks
            assert getattr(home, name) is stand_in and stand_in == native
            new = stand_in(*[2] * (name == "Barrier"))
            assert type(new) is native and isinstance(new, stand_in) and isinstance(old[name], stand_in)
            assert issubclass(native, stand_in) and issubclass(before[name], stand_in)
            assert isinstance(new, before[name]) and not isinstance(3, stand_in)

            class Sub(stand_in):
                pass
            assert Sub.__mro__[1] is native and type(Sub) is type
        assert isinstance(Derived(), asyncio.Queue) and type(Derived()._finished) is pyasync.Event

        class Typed(asyncio.Queue[int]):
            pass
        assert issubclass(Typed, pyasync.Queue) and type(asyncio.Queue[int]()) is pyasync.Queue

        async def main():
            queue, derived = asyncio.Queue(1), Derived(1)
            for each in (queue, derived, old["Queue"]):
                getter = asyncio.ensure_future(each.get())
                await asyncio.sleep(0)
                await each.put(1)
                assert await getter == 1
            async with asyncio.Condition() as nothing, old["Lock"], asyncio.Semaphore(2):
                assert nothing is None
            assert type(asyncio.Condition()._lock) is pyasync.Lock
        asyncio.run(main())
    finally:
        pyasync.uninstall()
    assert {name: getattr(asyncio, name) for name in PRIMITIVES} == before


def test_tracebacks_recorded_in_debug_mode_end_where_the_program_is(installed):
    async def main():
        future = asyncio.Future()
        task = asyncio.Task(asyncio.sleep(0))
        assert future._source_traceback[-1].filename == task._source_traceback[-1].filename == __file__
        assert f"created at {__file__}" in repr(future)
        await task
    asyncio.run(main(), debug=True)


def test_a_selector_given_to_the_loop_is_used(installed):
    class Selector(selectors.SelectSelector):
        calls = 0

        def select(self, timeout=None):
            self.calls += 1
            return super().select(timeout)
    selector = Selector()
    loop = asyncio.SelectorEventLoop(selector)
    assert type(loop) is pyasync.EventLoop and loop._selector is selector and isinstance(loop, asyncio.SelectorEventLoop)
    assert loop.run_until_complete(asyncio.sleep(0.01, 1)) == 1
    assert selector.calls > 0
    loop.close()


def test_a_class_derived_from_the_selector_loop_is_asyncios(installed):
    theirs = asyncio.unix_events._UnixSelectorEventLoop

    class Loop(asyncio.SelectorEventLoop):
        def time(self):
            return super().time() + 1000
    assert Loop.__bases__ == (theirs,) and type(Loop) is type(theirs)
    loop = Loop()
    assert isinstance(loop, asyncio.SelectorEventLoop) and issubclass(Loop, asyncio.SelectorEventLoop)
    # the tasks and futures on it are pyasync's all the same
    assert type(loop.create_future()) is pyasync.Future
    assert loop.run_until_complete(asyncio.wait_for(asyncio.sleep(0, 5), 10)) == 5
    loop.close()


def test_loops_set_before_install_stay_set():
    assert script("""
        import asyncio, warnings
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        warnings.simplefilter("ignore")
        policy = asyncio.get_event_loop_policy()
        import pyasync
        pyasync.install()
        assert asyncio.get_event_loop() is loop and asyncio.get_event_loop_policy() is policy
        made = asyncio.new_event_loop()
        assert type(made) is pyasync.EventLoop
        asyncio.set_event_loop(made)
        pyasync.uninstall()
        assert asyncio.get_event_loop() is made
        other = asyncio.new_event_loop()
        print(type(other).__module__)
        for each in (loop, made, other):
            each.close()
    """) == "asyncio.unix_events\n"


def test_policies_and_install():
    assert script("""
        import asyncio, pyasync, warnings
        warnings.simplefilter("ignore")
        async def main():
            return type(asyncio.get_running_loop()).__module__
        class Foreign(asyncio.AbstractEventLoopPolicy):
            def new_event_loop(self):
                return SelectorEventLoop()
            def set_event_loop(self, loop):
                pass
        SelectorEventLoop = asyncio.SelectorEventLoop
        class Derived(asyncio.DefaultEventLoopPolicy):
            pass
        def installed():
            pyasync.install()
            try:
                return asyncio.run(main()), asyncio.get_event_loop_policy()
            finally:
                pyasync.uninstall()
        # one of another kind is replaced, and put back
        foreign = Foreign()
        asyncio.set_event_loop_policy(foreign)
        print(asyncio.run(main()), installed()[0], asyncio.get_event_loop_policy() is foreign)
        # one that derives from asyncio's default stays
        derived = Derived()
        asyncio.set_event_loop_policy(derived)
        kind, policy = installed()
        print(kind, policy is derived, asyncio.run(main()))
        # one set later wins, and stays after uninstall()
        asyncio.set_event_loop_policy(None)
        pyasync.install()
        asyncio.set_event_loop_policy(foreign)
        print(asyncio.run(main()))
        pyasync.uninstall()
        print(asyncio.get_event_loop_policy() is foreign)
        # the default asked for after install() is native
        pyasync.install()
        asyncio.set_event_loop_policy(None)
        print(asyncio.run(main()))
        asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
        print(asyncio.run(main()))
    """).splitlines() == ["asyncio.unix_events pyasync.loop True", "pyasync.loop True asyncio.unix_events",
                          "asyncio.unix_events", "True", "pyasync.loop", "pyasync.loop"]


def test_uninstall_leaves_what_others_have_replaced_meanwhile():
    assert script("""
        import asyncio, pyasync
        theirs = asyncio.Task
        pyasync.install()
        class Patched(asyncio.Future):
            pass
        asyncio.Future = Patched
        pyasync.uninstall()
        print(asyncio.Future is Patched, asyncio.Task is theirs)
    """) == "True True\n"


def test_get_event_loop_after_install():
    status, out, err = on_both("""
        import pyasync
        if aio is pyasync:
            pyasync.install()
        import asyncio
        warnings.simplefilter("always")
        try:
            loop = asyncio.get_event_loop()
        except RuntimeError as exc:
            print(exc)
        else:
            print(kind(loop), loop is asyncio.get_event_loop())
            loop.close()
        asyncio.set_event_loop(None)
        try:
            asyncio.get_event_loop()
        except RuntimeError as exc:
            print(exc)
    """)
    assert status == 0 and len(out.splitlines()) == 2


@pytest.mark.skipif(PY < (3, 12), reason="eager tasks came with 3.12")
def test_eager_factory_after_install(installed):
    code = pyasync.eager_task_factory.__code__
    assert asyncio.eager_task_factory.__code__ is asyncio.tasks.eager_task_factory.__code__ is code

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        task = asyncio.create_task(asyncio.sleep(0, 1))
        assert type(task) is pyasync.Task and await task == 1
        asyncio.get_running_loop().set_task_factory(asyncio.create_eager_task_factory(asyncio.Task))
        done = asyncio.create_task(asyncio.sleep(-1, 2))
        assert type(done) is pyasync.Task and await done == 2
        started = asyncio.Task(asyncio.sleep(0, 3), loop=asyncio.get_running_loop(), eager_start=True)
        assert type(started) is pyasync.Task and await started == 3
    asyncio.run(main())


def test_unittest_and_the_repl_run_natively(tmp_path):
    (tmp_path / "case.py").write_text(
        "import asyncio, unittest\n"
        "class Case(unittest.IsolatedAsyncioTestCase):\n"
        "    async def test(self):\n"
        "        self.assertEqual(type(asyncio.get_running_loop()).__module__, 'pyasync.loop')\n")
    done = python("-W", "error", "-m", "pyasync", "-m", "unittest", "case", cwd=tmp_path)
    assert done.returncode == 0 and done.stderr.splitlines()[-1] == "OK"
    done = python("-m", "pyasync", "-m", "asyncio", stdin="await asyncio.sleep(0)\nprint(type(asyncio.get_running_loop()))\n")
    assert "<class 'pyasync.loop.EventLoop'>" in done.stdout


def test_installing_from_many_threads_installs_once():
    assert script(SNAPSHOT + """
    import pyasync, threading
    before = snapshot()
    for _ in range(20):
        for function in (pyasync.install, pyasync.uninstall):
            threads = [threading.Thread(target=function) for _ in range(4)]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
    after = snapshot()
    print([key for key in before if before[key] != after[key] and key[1] != "_event_loop_policy"])
    """) == "[]\n"
