"""asyncio's modules events, futures, locks, queues, streams, subprocess, tasks, threads and unix_events with pyasync's names in place of
asyncio's, and the few functions of asyncio that would otherwise make asyncio's own futures, tasks, loops or streams.

Nearly all of asyncio's Python code asks the loop for futures and tasks, and needs nothing to be native on a pyasync loop.
The exceptions are eager_task_factory and the functions that make a loop when there is none, up to 3.13. These are asyncio's own
code objects, run with other globals: each Python version's behaviour comes with them. What is in C as well is in C for the usual
case, a call in a running loop, and leaves the others to them.
"""
import asyncio
import functools
import types
from asyncio import events as _events
from asyncio import futures as _futures
from asyncio import locks as _locks
from asyncio import queues as _queues
from asyncio import streams as _streams
from asyncio import subprocess as _subprocess
from asyncio import taskgroups as _taskgroups
from asyncio import tasks as _tasks
from asyncio import threads as _threads
from asyncio import timeouts as _timeouts
from asyncio import unix_events as _unix_events

from . import _core, policy, primitives, waiting
from .loop import EventLoop
from .rebound import rebound

Future, Task, Handle, TimerHandle = _core.Future, _core.Task, _core.Handle, _core.TimerHandle
# As asyncio has it from 3.13 on: the selector loop is the platform's event loop.
SelectorEventLoop = EventLoop


class Overlay(types.ModuleType):
    """A module of asyncio in which some names mean something else. All others are read from and set in the original, so that
    patching `pyasync.tasks._name` patches what asyncio's code uses. Deleting such a name takes back what was set here: to
    mock and pytest an attribute that is not in `__dict__` is one to be deleted when the patch ends."""

    def __init__(self, original, names):
        super().__init__("pyasync." + original.__name__.rpartition(".")[2], original.__doc__)
        self.__dict__.update(names, _original=original, _before={}, __all__=original.__all__, __package__="pyasync")

    def __getattr__(self, name):
        return getattr(self._original, name)

    def __setattr__(self, name, value):
        if name in self.__dict__:
            super().__setattr__(name, value)
        else:
            if hasattr(self._original, name):
                self._before.setdefault(name, getattr(self._original, name))
            setattr(self._original, name, value)

    def __delattr__(self, name):
        if name in self.__dict__:
            super().__delattr__(name)
        elif name in self._before:
            setattr(self._original, name, self._before.pop(name))
        else:
            delattr(self._original, name)

    def __dir__(self):
        return sorted({*self.__dict__, *dir(self._original)} - {"_original", "_before"})


def _rebound(names, namespace):
    """asyncio's functions of these names, seeing namespace as their globals; they find each other there as well."""
    for name in names:
        function = namespace.get(name)
        if function is None:             # _ensure_future is 3.11's only
            continue
        namespace[name] = rebound(function, namespace)


_names = {name: getattr(policy, name) for name in policy.__all__ if hasattr(_events, name)}
if hasattr(_events, "_set_event_loop_policy"):               # 3.14: the same without the warning
    _names.update(_set_event_loop_policy=policy._set_policy, _get_event_loop_policy=policy._policy)
_names.update(Handle=Handle, TimerHandle=TimerHandle)
if hasattr(_events, "_get_event_loop"):                      # 3.11
    _names["_get_event_loop"] = lambda stacklevel=3: policy.get_event_loop()
events = Overlay(_events, _names)

# What the native functions leave to asyncio's: calls without a running loop, unusual arguments.
_GatheringFuture = _core._GatheringFuture
_namespace = {**vars(_tasks), "_GatheringFuture": _GatheringFuture, "events": events}
if policy._makes_loops:
    _rebound(("ensure_future", "_ensure_future", "gather", "shield"), _namespace)
    _futures_namespace = {**vars(_futures), "events": events}
    _rebound(("wrap_future",), _futures_namespace)
    _namespace["wrap_future"] = _futures_namespace["wrap_future"]
else:
    _rebound(("gather",), _namespace)
    _namespace["wrap_future"] = _futures.wrap_future


def _untouched_code(function):
    """Its code; None if somebody has been there: tracers wrap in place, and leave an attribute or their wrapper among the constants."""
    if type(function) is not types.FunctionType or vars(function) or any(map(callable, function.__code__.co_consts)):
        return None
    return function.__code__


# as_completed() is a Python function, which tracers can wrap in place; and asyncio's is called where they wrapped that.
as_completed, _as_completed_code = _tasks.as_completed, _untouched_code(_tasks.as_completed)
if hasattr(waiting, "_AsCompletedIterator"):                 # 3.13
    if _as_completed_code is not None:
        _namespace["_AsCompletedIterator"] = waiting._AsCompletedIterator
        _rebound(("as_completed",), _namespace)
        as_completed = _namespace["as_completed"]
else:
    _rebound(("as_completed",), _namespace)
    _asyncios_as_completed, _rebound_as_completed = _tasks.as_completed, _namespace["as_completed"]

    def as_completed(fs, *, timeout=None):
        if _asyncios_as_completed.__code__ is not _as_completed_code:
            yield from _asyncios_as_completed(fs, timeout=timeout)
        elif _events._get_running_loop() is None or asyncio.isfuture(fs) or asyncio.iscoroutine(fs):
            yield from _rebound_as_completed(fs, timeout=timeout)
        else:
            for earliest in _core._AsCompletedIterator(fs, timeout):
                yield earliest
    as_completed.__doc__, as_completed.__module__ = _asyncios_as_completed.__doc__, "pyasync"
_core._use_functions(find_loop=policy.get_event_loop if policy._makes_loops else None,
                     iterator=getattr(_tasks, "_AsCompletedIterator", None))
if hasattr(asyncio, "capture_call_graph"):                   # 3.14
    from .frames import frame_of
    _core._use_functions(frame_of=frame_of)
_core._use_functions(**{name: _namespace[name] for name in ("ensure_future", "gather", "shield", "wait_for", "wrap_future")})
create_task, ensure_future, gather, shield, sleep = _core.create_task, _core.ensure_future, _core.gather, _core.shield, _core.sleep
wait, wait_for, to_thread = _core.wait, _core.wait_for, _core.to_thread
wrap_future, run_coroutine_threadsafe = _core.wrap_future, _core.run_coroutine_threadsafe
Timeout, timeout, timeout_at = waiting.Timeout, _core.timeout, _core.timeout_at
TaskGroup = waiting.TaskGroup

_core._use_originals(tuple(
    (home, name, getattr(home, name), _untouched_code(getattr(home, name)), native)
    for home, name, native in ((_tasks, "_wait", None), (_tasks, "shield", shield), (_tasks, "as_completed", as_completed),
                               (_futures, "_chain_future", None), (_futures, "wrap_future", wrap_future),
                               (asyncio.BaseEventLoop, "run_in_executor", None))))

_names = dict(Task=Task, create_task=create_task, ensure_future=ensure_future, gather=gather, shield=shield, sleep=sleep, wait=wait,
              wait_for=wait_for, as_completed=as_completed, run_coroutine_threadsafe=run_coroutine_threadsafe,
              _GatheringFuture=_GatheringFuture)
if hasattr(_tasks, "eager_task_factory"):                    # 3.12
    eager_task_factory = _names["eager_task_factory"] = _tasks.create_eager_task_factory(Task)
tasks = Overlay(_tasks, _names)

locks = Overlay(_locks, {name: getattr(primitives, name) for name in primitives.__all__ if name in _locks.__all__})
queues = Overlay(_queues, {name: getattr(primitives, name) for name in primitives.__all__ if name in _queues.__all__})

taskgroups = Overlay(_taskgroups, dict(TaskGroup=TaskGroup))

timeouts = Overlay(_timeouts, dict(Timeout=Timeout, timeout=timeout, timeout_at=timeout_at))

threads = Overlay(_threads, dict(to_thread=to_thread))

futures = Overlay(_futures, dict(Future=Future, wrap_future=wrap_future))

_names = dict(SelectorEventLoop=SelectorEventLoop)
if hasattr(_unix_events, "EventLoop"):                       # 3.13
    _names["EventLoop"] = EventLoop
if hasattr(_unix_events, "DefaultEventLoopPolicy"):          # up to 3.13
    _names["DefaultEventLoopPolicy"] = policy.EventLoopPolicy
else:
    _names["_DefaultEventLoopPolicy"] = policy.EventLoopPolicy
unix_events = Overlay(_unix_events, _names)


# Streams: asyncio's classes with their hot half in C, and the functions that make them.

@_core._own_methods
class StreamReader(_core.StreamReader, _streams.StreamReader):
    __module__ = "pyasync"
    __doc__ = _streams.StreamReader.__doc__


@_core._own_methods
class StreamWriter(_core.StreamWriter, _streams.StreamWriter):
    __module__ = "pyasync"
    __doc__ = _streams.StreamWriter.__doc__


class StreamReaderProtocol(_core.StreamReaderProtocol, _streams.StreamReaderProtocol):
    __module__ = "pyasync"
    __doc__ = _streams.StreamReaderProtocol.__doc__


_names = dict(StreamReader=StreamReader, StreamWriter=StreamWriter, StreamReaderProtocol=StreamReaderProtocol)
_namespace = {**vars(_streams), **_names, "events": events}
_namespace["connection_made"] = _streams.StreamReaderProtocol.connection_made   # makes the StreamWriter of a server's connection
_functions = ("open_connection", "start_server", "open_unix_connection", "start_unix_server")
_rebound((*_functions, "connection_made"), _namespace)
_core.StreamReaderProtocol.connection_made = _namespace["connection_made"]      # not on the class whose attributes programs patch
_names.update({name: _namespace[name] for name in _functions if name in _namespace})
open_connection, start_server = _namespace["open_connection"], _namespace["start_server"]
open_unix_connection, start_unix_server = _namespace["open_unix_connection"], _namespace["start_unix_server"]
streams = Overlay(_streams, _names)


class SubprocessStreamProtocol(_subprocess.SubprocessStreamProtocol):
    """Makes the streams of a child's pipes."""
    __module__ = "pyasync"


_namespace = {**vars(_subprocess), "SubprocessStreamProtocol": SubprocessStreamProtocol, "streams": streams,
              "connection_made": _subprocess.SubprocessStreamProtocol.connection_made}
_rebound(("create_subprocess_exec", "create_subprocess_shell", "connection_made"), _namespace)
SubprocessStreamProtocol.connection_made = _namespace["connection_made"]
create_subprocess_exec = _namespace["create_subprocess_exec"]
create_subprocess_shell = _namespace["create_subprocess_shell"]
subprocess = Overlay(_subprocess, dict(SubprocessStreamProtocol=SubprocessStreamProtocol, streams=streams,
                                       create_subprocess_exec=create_subprocess_exec, create_subprocess_shell=create_subprocess_shell))
