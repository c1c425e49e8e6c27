"""What the public names look like from outside: names, members, signatures, help(), generic aliases, weak references, pickling, copying and
repr(), compared with asyncio's."""
import asyncio
import copy
import functools
import importlib
import inspect
import pickle
import pydoc
import re
import socket
import types
import typing
import warnings
import weakref

import pytest

import pyasync
from support import PY, callback, fresh_loop, loop_class, none, outcome, plain, scrub, spin

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    REPLACED = [name for name in sorted(asyncio.__all__) if getattr(pyasync, name) is not getattr(asyncio, name)]
    REPLACED = [name for name in REPLACED if "Policy" not in name and "policy" not in name]     # their classes are private to each platform
CLASSES = [name for name in REPLACED if isinstance(getattr(asyncio, name), type)]
FUNCTIONS = [name for name in REPLACED if name not in CLASSES]
GENERIC = ["Future", "Task", "Queue", "PriorityQueue", "LifoQueue"]


def signature(function):
    """Names, kinds and defaults. C methods take `self` by position only; whose code a default lives in does not matter."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:
        return "none"
    return [(p.name, p.kind.name if p.name != "self" else None, p.default) for p in parameters]


def public(cls):
    special = ("__await__", "__iter__", "__aenter__", "__aexit__", "__aiter__", "__class_getitem__", "__enter__", "__exit__", "__lt__",
               "__hash__")
    return [name for name in dir(cls) if not name.startswith("_") or name in special]


@pytest.mark.parametrize("name", REPLACED)
def test_names(name):
    """Whatever asks a class or function for its name gets asyncio's; its module can be imported and has it."""
    ours, original = getattr(pyasync, name), getattr(asyncio, name)
    if name in ("SelectorEventLoop", "EventLoop"):
        assert ours.__name__ == ours.__qualname__ == "EventLoop"
    elif name == "eager_task_factory":                       # made by create_eager_task_factory() on both
        assert ours.__qualname__ == original.__qualname__
        return
    else:
        assert ours.__name__ == original.__name__ and ours.__qualname__ == original.__qualname__
    assert getattr(importlib.import_module(ours.__module__), ours.__name__) is ours


@pytest.mark.parametrize("name", CLASSES)
def test_members(name):
    """Every member of asyncio's class is there, of the same kind, and no other public ones are."""
    ours, original = getattr(pyasync, name), getattr(asyncio, name)
    missing = set(dir(original)) - set(dir(ours))
    assert not missing or "EventLoop" in name and all(member.startswith(("_sock", "_make_self", "_close_self", "_read_from",
                                                                         "_process_self",
                                                                         "_add", "_remove", "_signal", "_sendfile", "_child"))
                                                      for member in missing)
    # asyncio has these as attributes of its instances
    assert set(public(ours)) - set(public(original)) <= {"acquire", "release", "locked", "slow_callback_duration"}
    for member in public(original):
        a, b = getattr(original, member), getattr(ours, member)
        assert callable(a) == callable(b), member
        if callable(a) and member not in ("__hash__", "__lt__"):
            assert signature(a) == signature(b) and a.__name__ == b.__name__, member
            assert inspect.iscoroutinefunction(a) == inspect.iscoroutinefunction(b) and inspect.isroutine(b), member
            assert a.__qualname__ == b.__qualname__ or not inspect.iscoroutinefunction(a), member    # it is in warnings and reprs
            assert bool(b.__doc__) or not a.__doc__, member
    assert bool(ours.__doc__) or not original.__doc__
    assert signature(ours) == signature(original)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions(name):
    ours, original = getattr(pyasync, name), getattr(asyncio, name)
    assert signature(ours) == signature(original) and inspect.isroutine(ours) and bool(ours.__doc__) >= bool(original.__doc__)
    assert inspect.iscoroutinefunction(ours) == inspect.iscoroutinefunction(original)
    for tool in (copy.copy, copy.deepcopy, lambda f: pickle.loads(pickle.dumps(f)), inspect.unwrap):
        if name != "eager_task_factory":                     # a closure on both
            assert tool(ours) is ours
    wrapped = functools.wraps(ours)(lambda *args: None)
    assert wrapped.__name__ == original.__name__ and wrapped.__wrapped__ is ours and signature(wrapped) == signature(original)
    assert weakref.ref(ours)() is ours and hash(ours) == hash(ours) and ours == ours


@pytest.mark.parametrize("name", REPLACED)
def test_help(name):
    """help() renders, and tells of the same members."""
    ours, original = getattr(pyasync, name), getattr(asyncio, name)
    text = pydoc.plain(pydoc.render_doc(ours))
    assert text.startswith("Python Library Documentation: ") and ours.__name__ in text
    if name in CLASSES:
        for member in public(original):
            if not member.startswith("__"):
                assert re.search(rf"\b{member}\b", text), member
    assert pydoc.HTMLDoc().document(ours, name)


def test_the_package_itself():
    for module in (pyasync, pyasync.tasks, pyasync.locks, pyasync.streams, pyasync.events):
        assert pydoc.plain(pydoc.render_doc(module))
    namespace = {}
    exec("from pyasync import *", namespace)
    assert set(asyncio.__all__) - {n for n in asyncio.__all__ if "Policy" in n} <= set(namespace)
    assert set(pyasync.__all__) <= set(dir(pyasync))
    for name in ("tasks", "futures", "events", "locks", "queues", "streams", "taskgroups", "timeouts", "threads", "subprocess", "runners",
                 "unix_events"):
        assert getattr(pyasync, name).__all__ == getattr(asyncio, name).__all__, name


@pytest.mark.parametrize("name", GENERIC)
def test_generic_aliases(aio, name):
    """Future[int] and its kin are for annotations, and make what the class makes."""
    cls = getattr(aio, name)
    alias = cls[int]
    assert type(alias) is types.GenericAlias and alias.__origin__ is cls and alias.__args__ == (int,)
    assert typing.get_origin(alias) is cls and alias == cls[int] and hash(alias) == hash(cls[int]) and alias != cls[str]
    assert str(alias) == f"{cls.__module__}.{name}[int]"
    T = typing.TypeVar("T")
    assert cls[T][str] == cls[str] and typing.get_type_hints(type("H", (), {"__annotations__": {"x": cls[T]}}))["x"] == cls[T]

    class Sub(cls):
        pass
    assert Sub[int].__origin__ is Sub and isinstance(Sub[int], types.GenericAlias)

    class Derived(cls[int]):
        pass
    assert issubclass(Derived, cls) and Derived.__orig_bases__ == (alias,)
    assert pickle.loads(pickle.dumps(alias)) == alias and copy.deepcopy(alias) == alias
    with pytest.raises(TypeError):
        isinstance(1, alias)


@pytest.mark.parametrize("name", ["Lock", "Event", "Condition", "Semaphore", "TaskGroup", "Timeout", "StreamReader", "Handle", "Barrier"])
def test_what_is_no_generic_stays_none(same, name):
    same(lambda aio: outcome(lambda: getattr(aio, name)[int] and "an alias", text=False))


# ---- objects ----

def instances(aio, loop):
    """An object of each public kind, and of what they are made of."""
    async def main():
        queue, lock = aio.Queue(), aio.Lock()
        a, b = socket.socketpair()
        reader, writer = await aio.open_unix_connection(sock=a)
        server = await aio.start_server(lambda r, w: None, "127.0.0.1", 0)
        made = {
            "Future": loop.create_future(), "Task": aio.create_task(none()), "gather": aio.gather(loop.create_future()),
            "Handle": loop.call_soon(callback), "TimerHandle": loop.call_later(100, callback),
            "Lock": lock, "Event": aio.Event(), "Condition": aio.Condition(), "Semaphore": aio.Semaphore(3),
            "BoundedSemaphore": aio.BoundedSemaphore(2), "Barrier": aio.Barrier(2),
            "Queue": queue, "PriorityQueue": aio.PriorityQueue(2), "LifoQueue": aio.LifoQueue(),
            "TaskGroup": aio.TaskGroup(), "Timeout": aio.timeout(5), "Runner": aio.Runner(), "StreamReader": reader, "StreamWriter": writer,
            "protocol": writer.transport.get_protocol(), "transport": writer.transport, "socket": writer.get_extra_info("socket"),
            "Server": server, "loop": loop,
        }
        made["TimerHandle"].cancel()
        await aio.sleep(0)
        return made, b
    made, peer = loop.run_until_complete(main())
    try:
        yield from made.items()
    finally:
        made["Server"].close()
        made["StreamWriter"].close()
        made["Runner"].close()
        peer.close()
        spin(loop, 4)


def same_for_all(same, look):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            return [[name, look(aio, obj)] for name, obj in instances(aio, loop)]
    return same(scenario)


def test_pickling_objects(same):
    """None of them can be pickled, but for what asyncio's Python classes let through."""
    def look(aio, obj):
        return [outcome(lambda: pickle.dumps(obj, protocol) and "pickled", text=False)[0] for protocol in (2, 3, 4, 5)]
    same_for_all(same, look)


# A shallow copy of these would share what only one can own; asyncio lets it happen.
NOT_COPIED = ("TimerHandle", "Handle", "StreamReader", "StreamWriter", "protocol", "transport", "Server", "loop", "Runner", "socket")


def test_copying_objects(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            return [[name, *(outcome(lambda: tool(obj) and 1, text=False)[0] for tool in (copy.copy, copy.deepcopy))]
                    for name, obj in instances(aio, loop) if name not in NOT_COPIED]
    same(scenario)


def pickled(obj):
    return pickle.loads(pickle.dumps(obj))


@pytest.mark.parametrize("tool", [copy.copy, copy.deepcopy, pickled, lambda obj: copy.deepcopy([obj])[0]],
                         ids=["copy", "deepcopy", "pickle", "within"])
def test_what_is_copied_works(same, tool):
    """Configurations and models that hold an idle lock or queue are copied with it."""
    def scenario(aio):
        out = []

        async def main():
            lock = aio.Lock()
            await lock.acquire()
            other = tool(lock)
            out.append(other.locked())
            other.release()
            await other.acquire()
            out.extend([lock.locked(), scrub(repr(other))])
            event = aio.Event()
            event.set()
            other = tool(event)
            await other.wait()
            other.clear()
            task = aio.ensure_future(other.wait())
            await aio.sleep(0)
            other.set()
            out.extend([await task, event.is_set()])
            semaphore = aio.BoundedSemaphore(3)
            await semaphore.acquire()
            other = tool(semaphore)
            await other.acquire()
            other.release()
            other.release()
            out.append([outcome(other.release), semaphore._value, other._value])
            queue = aio.PriorityQueue(3)
            queue.put_nowait(3)
            queue.put_nowait(1)
            other = tool(queue)
            other.put_nowait(2)
            out.append([other.get_nowait(), other.get_nowait(), other.qsize(), queue.qsize(), other.maxsize, other._unfinished_tasks])
            task = aio.ensure_future(other.get())
            await aio.sleep(0)
            out.append([outcome(other.put_nowait, 9), await task])
            condition = aio.Condition()
            other = tool(condition)
            async with other:
                other.notify_all()
            out.append([other._lock is condition._lock, other.locked()])
            other = tool(aio.Barrier(2))
            out.append([sorted(await aio.gather(other.wait(), other.wait())), other.parties])
            group = tool(aio.TaskGroup())
            async with group:
                task = group.create_task(aio.sleep(0, 5))
            out.append(task.result())
            timeout = tool(aio.timeout(None))
            async with timeout:
                out.append(timeout.when())
        aio.run(main())
        return out
    same(scenario)


def test_what_somebody_waits_for_is_not_copied(same):
    def scenario(aio):
        async def main():
            queue = aio.Queue()
            task = aio.ensure_future(queue.get())
            await aio.sleep(0)
            out = [outcome(tool, queue, text=False) for tool in (copy.deepcopy, pickled)]
            queue.put_nowait(1)
            return out, await task
        return aio.run(main())
    same(scenario)


def test_a_subclass_is_copied_with_its_attributes(same):
    def scenario(aio):
        class Mine(aio.Queue):
            def _init(self, maxsize):
                super()._init(maxsize)
                self.extra = [maxsize]

        class Counting(aio.Lock):
            __slots__ = ("count",)

            def __getstate__(self):
                return "my own state"

            def __setstate__(self, state):
                self.count = state
        queue = Mine(2)
        other, deep = copy.copy(queue), copy.deepcopy(queue)
        return [other.extra is queue.extra, deep.extra is queue.extra, deep.extra, deep.maxsize, copy.copy(Counting()).count]
    same(scenario)


@pytest.mark.parametrize("name", ["Lock", "Queue", "Event", "Semaphore", "TaskGroup"])
def test_a_subclass_is_copied_with_its_slots(same, name):
    def scenario(aio):
        class Slotted(getattr(aio, name)):
            __slots__ = ("extra", "__hidden", "empty")

            def __init__(self):
                super().__init__()
                self.extra, self.__hidden, self.noted = [1], 2, 3

            def hidden(self):
                return self.__hidden

        class Guarded(Slotted):
            def __setattr__(self, name, value):
                if name == "noted" and not hasattr(self, "extra"):
                    raise AttributeError("too early")
                super().__setattr__(name, value)
        out = []
        for obj in (Slotted(), Guarded()):
            for other in (copy.copy(obj), copy.deepcopy(obj)):
                out.append([other.extra, other.extra is obj.extra, other.hidden(), other.noted, hasattr(other, "empty")])
        return out
    same(scenario)


def test_a_method_of_an_instances_own_is_copied(same):
    def scenario(aio):
        lock, queue, seen = aio.Lock(), aio.Queue(), []
        lock.release = Remembering(seen, "release")
        queue._put = Remembering(seen, "put")

        async def main():
            for tool in (copy.copy, copy.deepcopy):
                other, line = tool(lock), tool(queue)
                async with other:
                    pass
                line.put_nowait(1)
                seen.append([other.locked(), other.release.seen is seen, line.qsize(), line._put.seen is seen])
        aio.run(main())
        return seen
    same(scenario)


class Remembering:
    def __init__(self, seen, name):
        self.seen, self.name = seen, name

    def __call__(self, *args):
        self.seen.append((self.name, len(args)))


def test_weak_references(same):
    def look(aio, obj):
        return outcome(lambda: weakref.ref(obj)() is obj, text=False)
    same_for_all(same, look)


def attribute_added(obj):
    """What comes of giving it an attribute of the program's own, which is taken away again."""
    def add():
        obj.added_by_a_test = 1
        value = obj.added_by_a_test, "added_by_a_test" in obj.__dict__
        del obj.added_by_a_test
        return value
    return outcome(add, text=False)


def test_attributes_can_be_added(same):
    same_for_all(same, lambda aio, obj: attribute_added(obj))


def test_hashes_and_equality(same):
    def look(aio, obj):
        return [obj == obj, obj != obj, obj == 1, outcome(hash, obj, text=False)[0], bool(obj)]
    same_for_all(same, look)


def test_str_and_repr(same):
    def look(aio, obj):
        text = scrub(repr(obj))
        text = re.sub(r"^<_?(UnixSelector)?EventLoop", "<EventLoop", re.sub(r"\('127.0.0.1', \d+\)", "ADDRESS", text))
        return text, str(obj) == repr(obj) or scrub(str(obj)), f"{obj}" == str(obj)
    same_for_all(same, look)


def test_repr_in_every_state(same):
    """Locks and queues are shown with what they hold and who waits, futures and tasks with how they ended and who is called."""
    def scenario(aio):
        with fresh_loop(aio) as loop:
            seen = []

            def note(*objects):
                seen.extend(scrub(repr(o)) for o in objects)

            async def main():
                lock, event, condition = aio.Lock(), aio.Event(), aio.Condition()
                semaphore, bounded = aio.Semaphore(1), aio.BoundedSemaphore(1)
                queue, priority, barrier = aio.Queue(1), aio.PriorityQueue(), aio.Barrier(2)
                objects = [lock, event, condition, semaphore, bounded, queue, priority, barrier]
                note(*objects)
                await lock.acquire()
                await condition.acquire()
                await semaphore.acquire()
                await bounded.acquire()
                await queue.put("item")
                priority.put_nowait((1, "x"))
                note(*objects)
                waiting = [aio.create_task(w, name=f"w{i}") for i, w in enumerate(
                    [lock.acquire(), event.wait(), condition.acquire(), semaphore.acquire(), bounded.acquire(), queue.put(2), queue.join(),
                     barrier.wait()])]
                await aio.sleep(0)
                note(*objects)
                for task in waiting[2:]:
                    task.cancel()
                lock.release()
                event.set()
                await aio.sleep(0)
                await aio.wait(waiting)
                note(*objects)
                await barrier.abort()
                note(barrier)
                timeout = aio.timeout(100)
                note(timeout)
                async with timeout:
                    note(timeout)
                note(timeout)
                expired = aio.timeout(0)
                try:
                    async with expired:
                        await aio.sleep(0)
                        await aio.sleep(10)
                except TimeoutError:
                    note(expired)
                group = aio.TaskGroup()
                note(group)
                async with group:
                    note(group)
                    group.create_task(aio.sleep(0), name="in the group")
                    note(group)
                note(group)
                try:
                    async with aio.TaskGroup() as group:
                        group.create_task(fails(group), name="fails")
                        group.create_task(aio.sleep(10), name="is cancelled")
                except* ZeroDivisionError:
                    note(group)
                if hasattr(queue, "shutdown"):
                    queue.shutdown()
                    note(queue)

            async def fails(group):
                try:
                    1 / 0
                finally:
                    aio.get_running_loop().call_soon(note, group)
            loop.run_until_complete(main())
            return seen
    same(scenario)


def test_repr_of_futures_tasks_and_handles(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            seen = []

            def note(*objects):
                seen.extend(re.sub(r"\bat \S+/(\w+\.py)", r"at \1", scrub(repr(o))) for o in objects)

            class Named:
                def __call__(self, *args):
                    pass

                def method(self, *args):
                    pass

                def __repr__(self):
                    return "<Named>"
            named = Named()
            callbacks = [callback, print, named, named.method, functools.partial(callback, 1, x=2), functools.partial(named),
                         lambda *a: None, Named,
                         functools.partial(functools.partial(callback, "x" * 300), [1] * 100), [].append, str.upper]
            for function in callbacks:
                future = loop.create_future()
                future.add_done_callback(function)
                note(future)
                future.remove_done_callback(function)
                handle = loop.call_soon(function, "argument", 3)
                timer = loop.call_at(100, function, *range(4))
                note(handle, timer)
                handle.cancel(), timer.cancel()
                note(handle, timer)
            future = loop.create_future()
            for i in range(4):
                future.add_done_callback(named)
                note(future)
            future.set_result("r" * 200)
            note(future)
            for ending in (lambda f: f.cancel("why"), lambda f: f.set_exception(ValueError("v" * 100)), lambda f: f.set_result(f)):
                future = loop.create_future()
                ending(future)
                note(future)
                if not future.cancelled():
                    future.exception()

            async def wait(what):
                return await what
            pending = loop.create_future()
            tasks = [loop.create_task(wait(pending), name="one"), loop.create_task(none(), name=(1, 2)),
                     loop.create_task(wait(aio.sleep(50)), name="")]
            note(*tasks)
            spin(loop)
            note(*tasks, pending)
            tasks[0].cancel("first")
            note(tasks[0])
            spin(loop, 2)
            tasks.append(loop.create_task(wait(tasks[2])))
            spin(loop)
            note(*tasks)
            tasks[2].cancel()
            spin(loop, 3)
            note(*tasks)
            return seen
    same(scenario)


def test_repr_of_a_loop_in_every_state(same):
    def scenario(aio):
        loop, seen = aio.new_event_loop(), []

        def note():
            seen.append(re.sub(r"^<\w+", "<Loop", repr(loop)))
        note()
        loop.call_soon(note)
        loop.set_debug(True)
        spin(loop)
        note()
        loop.close()
        note()
        return seen
    same(scenario)


# ---- subclasses ----

def test_init_subclass_and_set_name(same):
    """Deriving calls the hooks that Python has for it, with their keywords."""
    def scenario(aio):
        seen = []

        class Hook:
            def __init_subclass__(cls, /, tag=None, **kwargs):
                seen.append((cls.__name__, tag, sorted(kwargs)))
                super().__init_subclass__(**kwargs)

        class Named:
            def __set_name__(self, owner, name):
                seen.append((owner.__name__, name))
        for name in ("Future", "Task", "Queue", "Lock", "Event", "Condition", "Semaphore", "StreamReader", "StreamWriter",
                     "StreamReaderProtocol", "TaskGroup", "Handle", "TimerHandle", "Runner", "Barrier"):
            cls = types.new_class(f"My{name}", (Hook, getattr(aio, name)), {"tag": name}, lambda ns: ns.update(attribute=Named()))
            types.new_class(f"My{name}2", (cls,), {"tag": 2})
            seen.append(outcome(types.new_class, "X", (getattr(aio, name),), {"unknown": 1}, text=False))
        types.new_class("MyLoop", (Hook, loop_class(aio)), {"tag": "loop"})
        return seen
    same(scenario)
