"""asyncio with its engine in C.

Three ways in:

    import pyasync as asyncio                           every name and submodule of the running Python's asyncio
    asyncio.Runner(loop_factory=pyasync.new_event_loop) a pyasync loop for a program that imports asyncio
    pyasync.install()  or  python -m pyasync SCRIPT     asyncio itself makes pyasync's objects

pyasync's classes are subclasses of asyncio's, and objects of both mix freely.

Names that differ from asyncio's: Future, Task, Handle and TimerHandle are C types; EventLoop (on every version) is the
native loop, and SelectorEventLoop, which is asyncio's name for the Unix loop, is the same class; new_event_loop,
get_event_loop, run, Runner and DefaultEventLoopPolicy give that loop where asyncio gives its own; gather,
eager_task_factory and what may make a loop give native objects. New names: install, uninstall, EventLoopPolicy.
"""
import sys

from asyncio import (
    ALL_COMPLETED, AbstractEventLoop, AbstractServer, BaseEventLoop, BaseProtocol, BaseTransport, BrokenBarrierError,
    BufferedProtocol, CancelledError, DatagramProtocol, DatagramTransport, FIRST_COMPLETED, FIRST_EXCEPTION,
    IncompleteReadError, InvalidStateError, LimitOverrunError, Protocol, QueueEmpty, QueueFull, ReadTransport,
    SendfileNotAvailableError, Server, SubprocessProtocol, SubprocessTransport, TimeoutError, Transport, WriteTransport,
    _enter_task, _get_running_loop, _leave_task, _register_task, _set_running_loop, _unregister_task, all_tasks,
    current_task, get_running_loop, iscoroutine, iscoroutinefunction, isfuture, set_event_loop)
from asyncio import (
    base_events, base_futures, base_subprocess, base_tasks, constants, coroutines, exceptions, format_helpers, log, mixins,
    protocols, selector_events, sslproto, staggered, transports, trsock)

from . import _registry, runners
from .install import install, uninstall
from .loop import EventLoop
from .overlays import (
    Future, Handle, SelectorEventLoop, StreamReader, StreamReaderProtocol, StreamWriter, Task, TaskGroup, Timeout,
    TimerHandle, as_completed, create_subprocess_exec, create_subprocess_shell, create_task, ensure_future, events, futures, gather,
    locks, open_connection, open_unix_connection, queues, run_coroutine_threadsafe, shield, sleep, start_server,
    start_unix_server, streams, subprocess, taskgroups, tasks, threads, timeout, timeout_at, timeouts, to_thread, unix_events,
    wait, wait_for, wrap_future)
from .primitives import (
    Barrier, BoundedSemaphore, Condition, Event, LifoQueue, Lock, PriorityQueue, Queue, Semaphore)
from .policy import EventLoopPolicy, get_event_loop, get_event_loop_policy, new_event_loop, set_event_loop_policy
from .runners import Runner, run

__version__ = "0.1.0"

__all__ = [
    "ALL_COMPLETED", "AbstractEventLoop", "AbstractServer", "Barrier", "BaseEventLoop", "BaseProtocol", "BaseTransport",
    "BoundedSemaphore", "BrokenBarrierError", "BufferedProtocol", "CancelledError", "Condition", "DatagramProtocol",
    "DatagramTransport", "Event", "EventLoop", "EventLoopPolicy", "FIRST_COMPLETED", "FIRST_EXCEPTION", "Future", "Handle",
    "IncompleteReadError", "InvalidStateError", "LifoQueue", "LimitOverrunError", "Lock", "PriorityQueue", "Protocol",
    "Queue", "QueueEmpty", "QueueFull", "ReadTransport", "Runner", "SelectorEventLoop", "Semaphore",
    "SendfileNotAvailableError", "Server", "StreamReader", "StreamReaderProtocol", "StreamWriter", "SubprocessProtocol",
    "SubprocessTransport", "Task", "TaskGroup", "Timeout", "TimeoutError", "TimerHandle", "Transport", "WriteTransport",
    "_enter_task", "_get_running_loop", "_leave_task", "_register_task", "_set_running_loop", "_unregister_task",
    "all_tasks", "as_completed", "create_subprocess_exec", "create_subprocess_shell", "create_task", "current_task",
    "ensure_future", "gather", "get_event_loop", "get_event_loop_policy", "get_running_loop", "install", "iscoroutine",
    "iscoroutinefunction", "isfuture", "new_event_loop", "open_connection", "open_unix_connection", "run",
    "run_coroutine_threadsafe", "set_event_loop", "set_event_loop_policy", "shield", "sleep", "start_server",
    "start_unix_server", "timeout", "timeout_at", "to_thread", "uninstall", "wait", "wait_for", "wrap_future"]

if sys.version_info >= (3, 12):
    from asyncio import create_eager_task_factory
    from .overlays import eager_task_factory
    __all__ += ["create_eager_task_factory", "eager_task_factory"]

if sys.version_info >= (3, 13):
    from asyncio import QueueShutDown
    __all__ += ["QueueShutDown"]

if sys.version_info >= (3, 14):
    from asyncio import (
        FrameCallGraphEntry, FutureCallGraph, capture_call_graph, format_call_graph, future_add_to_awaited_by,
        future_discard_from_awaited_by, graph, print_call_graph)
    __all__ += ["FrameCallGraphEntry", "FutureCallGraph", "capture_call_graph", "format_call_graph",
                "future_add_to_awaited_by", "future_discard_from_awaited_by", "print_call_graph"]
else:
    from asyncio import (
        AbstractChildWatcher, AbstractEventLoopPolicy, FastChildWatcher, MultiLoopChildWatcher, PidfdChildWatcher,
        SafeChildWatcher, ThreadedChildWatcher, get_child_watcher, set_child_watcher)
    DefaultEventLoopPolicy = EventLoopPolicy
    __all__ += ["AbstractChildWatcher", "AbstractEventLoopPolicy", "DefaultEventLoopPolicy", "FastChildWatcher",
                "MultiLoopChildWatcher", "PidfdChildWatcher", "SafeChildWatcher", "ThreadedChildWatcher",
                "get_child_watcher", "set_child_watcher"]

# `from pyasync.subprocess import PIPE` works as `from asyncio.subprocess import PIPE` does.
for _name in ("base_events", "base_futures", "base_subprocess", "base_tasks", "constants", "coroutines", "events",
              "exceptions", "format_helpers", "futures", "graph", "locks", "log", "mixins", "protocols", "queues",
              "selector_events", "sslproto", "staggered", "streams", "subprocess", "taskgroups", "tasks", "threads",
              "timeouts", "transports", "trsock", "unix_events"):
    if _name in globals():
        sys.modules[f"{__name__}.{_name}"] = globals()[_name]
del _name


if sys.version_info >= (3, 14):
    # Older ones do without: the interpreter does not specialise `asyncio.sleep` for a module that has a __getattr__.
    def __getattr__(name):
        # asyncio answers for these with a warning, at the line that asked.
        if name in ("AbstractEventLoopPolicy", "DefaultEventLoopPolicy"):
            import warnings
            warnings._deprecated(f"asyncio.{name}", remove=(3, 16))
            return EventLoopPolicy if name == "DefaultEventLoopPolicy" else events._AbstractEventLoopPolicy
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
