"""install() and uninstall(): asyncio itself makes pyasync's objects. What that means is in install()'s docstring."""
import _asyncio
import abc
import asyncio
import inspect
import threading
from asyncio import futures, locks, queues, streams, taskgroups, tasks, threads, timeouts, unix_events

from . import _core, overlays, policy, primitives
from .loop import EventLoop

__all__ = ("install", "uninstall")


class _StandIn(abc.ABCMeta):
    """The type of a stand-in. Deriving from a stand-in means deriving from its `derived` class instead, so that no class of a
    user is of this type; it is an ABCMeta only to let stand-ins and abstract classes be bases of one class.

    The special methods of each stand-in are set by _stand_in() and are C functions where that matters: no frame of this file
    is in the tracebacks that futures and tasks record in debug mode.
    """

    def __new__(mcls, name, bases, namespace, **kwargs):
        bases = tuple(vars(base)["_derived"] if isinstance(base, _StandIn) else base for base in bases)
        return type(name, bases, namespace, **kwargs)


def _stand_in(name, module, native, derived, make, check_instance, check_subclass, **special):
    """A class that has native's attributes, calls make, and answers isinstance() and issubclass() with the two checks. By its
    name in that module it is pickled, and shown in what others print."""
    metaclass = type(f"_StandInFor{name}", (_StandIn,), {
        **special,
        "__call__": staticmethod(make),
        "__instancecheck__": staticmethod(check_instance),
        "__subclasscheck__": staticmethod(check_subclass),
        "__eq__": lambda cls, other: other is cls or other is native,
        "__hash__": lambda cls: hash(native),
    })
    return abc.ABCMeta.__new__(metaclass, name, (native,), {
        "__module__": module, "__doc__": native.__doc__, "__signature__": inspect.signature(native), "__slots__": (),
        "_derived": derived})


def _python_stand_in(stdlib, native):
    """For a class that is a Python class in asyncio: patching the stand-in's attributes patches native's."""
    own = ("_abc_impl", "__abstractmethods__")               # ABCMeta's

    def set_attribute(cls, name, value):
        type.__setattr__(cls if name in own else native, name, value)

    def delete_attribute(cls, name):
        type.__delattr__(native, name)

    return _stand_in(stdlib.__name__, stdlib.__module__, native, native, native, stdlib.__instancecheck__, stdlib.__subclasscheck__,
                     __setattr__=set_attribute, __delattr__=delete_attribute)


_StdlibLoop = unix_events.SelectorEventLoop
_Future = _stand_in("Future", "_asyncio", _core.Future, _core.Future, _core.Future,
                    asyncio.Future.__instancecheck__, asyncio.Future.__subclasscheck__)
_Task = _stand_in("Task", "_asyncio", _core.Task, _core.Task, _core.Task, asyncio.Task.__instancecheck__, asyncio.Task.__subclasscheck__)
_Loop = _stand_in("SelectorEventLoop", "asyncio", EventLoop, _StdlibLoop, EventLoop,
                  lambda loop: isinstance(loop, (_StdlibLoop, EventLoop)),
                  lambda cls: issubclass(cls, (_StdlibLoop, EventLoop)))

_AsyncioGathering, _NativeGathering = tasks._GatheringFuture, overlays._GatheringFuture
_Gathering = _stand_in("_GatheringFuture", "asyncio.tasks", _NativeGathering, _AsyncioGathering, _AsyncioGathering,
                       lambda future: isinstance(future, (_AsyncioGathering, _NativeGathering)),
                       lambda cls: issubclass(cls, (_AsyncioGathering, _NativeGathering)))
type.__setattr__(_Gathering, "__init__", _AsyncioGathering.__init__)      # tracers wrap it in place

_changes = [
    (policy.StdlibPolicy, "_loop_factory", EventLoop),
    (asyncio, "Future", _Future), (futures, "Future", _Future), (_asyncio, "Future", _Future),
    (asyncio, "Task", _Task), (tasks, "Task", _Task), (_asyncio, "Task", _Task),
    (asyncio, "SelectorEventLoop", _Loop), (unix_events, "SelectorEventLoop", _Loop),
    (tasks, "_GatheringFuture", _Gathering),
]
for _module, _names in (
        (tasks, ("as_completed", "create_task", "ensure_future", "gather", "run_coroutine_threadsafe", "shield", "sleep", "wait",
                 "wait_for")),
        (futures, ("wrap_future",)), (threads, ("to_thread",)), (timeouts, ("timeout", "timeout_at"))):
    for _name in _names:
        _native = getattr(overlays, _name)
        _changes += [(asyncio, _name, _native), (_module, _name, _native)]
for _module, _home, _names in (
        (locks, primitives, ("Barrier", "BoundedSemaphore", "Condition", "Event", "Lock", "Semaphore")),
        (queues, primitives, ("LifoQueue", "PriorityQueue", "Queue")),
        (streams, overlays, ("StreamReader", "StreamReaderProtocol", "StreamWriter")),
        (taskgroups, overlays, ("TaskGroup",)), (timeouts, overlays, ("Timeout",))):
    for _name in _names:
        _class = _python_stand_in(getattr(_module, _name), getattr(_home, _name))
        _changes += [(asyncio, _name, _class), (_module, _name, _class)]
if hasattr(unix_events, "EventLoop"):                        # 3.13
    _changes += [(asyncio, "EventLoop", _Loop), (unix_events, "EventLoop", _Loop)]
if hasattr(tasks, "eager_task_factory"):                     # 3.12
    _changes += [(asyncio, "eager_task_factory", overlays.eager_task_factory),
                 (tasks, "eager_task_factory", overlays.eager_task_factory)]

_lock = threading.Lock()
_undo = None              # while installed: (owner, name, what was there, what install() put there)
_replaced_policy = None   # while installed, if install() had to set a policy: (the one before, ours)


def install():
    """Makes asyncio make pyasync's objects, for the whole process: asyncio.run(main()) runs natively, in a program that knows
    nothing of pyasync. Call it first thing; `python -m pyasync` does, for the program's child processes too.

    Installing twice is installing once; uninstall() takes it back. What asyncio has made before goes on working, and a loop
    that exists stays what it is. What is replaced, and with what:

    - The loop that asyncio's default policy makes, and with it asyncio.run(), Runner, new_event_loop(), get_event_loop(): on
      every version through the policy's class, so the loops that are set and the policy object stay as they are. A policy of
      another kind that is in force (uvloop's, say) is replaced by pyasync.EventLoopPolicy(); one that is set later wins.
    - asyncio.Future and asyncio.Task (also in asyncio.futures, asyncio.tasks and _asyncio): by stand-ins. Calling one, or deriving from
      it, gives pyasync's class. isinstance() and issubclass() mean what they always meant: they are True for every future and
      task, also those made before, by a class derived from asyncio.Future before, or by a loop that is not pyasync's. (Had
      the names become pyasync's classes, all of these would have stopped being futures for whoever asks now.) The stand-ins
      compare equal to pyasync's classes and hash like them, so `type(task) == asyncio.Task` holds; `type(task) is
      asyncio.Task` does not. A class with a metaclass of its own that is not an ABCMeta cannot derive from a stand-in.
    - asyncio.SelectorEventLoop, and asyncio.EventLoop where it exists: by a stand-in that makes a pyasync loop. isinstance()
      is True for both kinds of loop. Classes derived from it derive from asyncio's, since they are written against that
      class's internals; derive from pyasync.EventLoop for a native one.
    - asyncio.eager_task_factory, as_completed(), create_task(), ensure_future(), gather() and its future,
      run_coroutine_threadsafe(), shield(), sleep(), timeout(), timeout_at(), to_thread(), wait(), wait_for() and wrap_future():
      by pyasync's.
    - Lock, Event, Condition, Semaphore, BoundedSemaphore, Barrier; Queue, PriorityQueue, LifoQueue; StreamReader,
      StreamReaderProtocol, StreamWriter (and so open_connection(), start_server() and subprocesses use them); TaskGroup and
      Timeout, each in asyncio and in the submodule that it comes from: by stand-ins as well. What is set on such a stand-in is
      set on pyasync's class.

    asyncio.Handle and TimerHandle stay: only loops make them, a pyasync loop makes its own, and instrumentation patches them.
    Names that other modules took out of asyncio before (`from asyncio import Future`) keep meaning asyncio's; that works too.
    """
    global _undo, _replaced_policy
    with _lock:
        if _undo is not None:
            return
        undo = [(owner, name, vars(owner)[name], new) for owner, name, new in _changes]
        for owner, name, _, new in undo:
            setattr(owner, name, new)
        _undo = undo
        current = policy._get_stdlib_policy()
        if getattr(current, "_loop_factory", None) is not EventLoop:
            ours = policy.EventLoopPolicy()
            policy._set_stdlib_policy(ours)
            _replaced_policy = current, ours


def uninstall():
    """Puts asyncio back as install() found it; without an install() it does nothing.

    Objects that exist stay what they are. A name or a policy that somebody else has replaced since install() is left to them.
    """
    global _undo, _replaced_policy
    with _lock:
        if _undo is None:
            return
        for owner, name, old, new in _undo:
            if vars(owner).get(name) is new:
                setattr(owner, name, old)
        _undo = None
        if _replaced_policy is not None:
            before, ours = _replaced_policy
            if asyncio.events._event_loop_policy is ours:
                policy._set_stdlib_policy(before)
            _replaced_policy = None
