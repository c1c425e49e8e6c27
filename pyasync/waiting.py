"""Timeouts, task groups and as_completed()'s iterator: asyncio's classes with their methods in C.

Each class derives from the C type that does the work and then from asyncio's class, so instances are asyncio's. asyncio has
changed what these classes do within a minor version, too; which way the running one goes is read off its code.
"""
import asyncio
import types

from . import _core
from .copying import METHODS

__all__ = ("TaskGroup", "Timeout")


def _joined(name):
    original = getattr(asyncio, name)
    joined = type(name, (getattr(_core, name), original), {"__module__": "pyasync", "__doc__": original.__doc__, **METHODS})
    return _core._own_methods(joined)


def _names(function):
    """The global names and attributes that a function's code mentions."""
    return function.__code__.co_names


def _names_inside(function):
    """The same of the functions that it makes."""
    return {name for inner in function.__code__.co_consts if isinstance(inner, types.CodeType) for name in inner.co_names}


Timeout, TaskGroup = _joined("Timeout"), _joined("TaskGroup")

if hasattr(asyncio.tasks, "_AsCompletedIterator"):           # 3.13
    class _AsCompletedIterator(_core._AsCompletedIterator, asyncio.tasks._AsCompletedIterator):
        __module__ = "pyasync"
        __doc__ = asyncio.tasks._AsCompletedIterator.__doc__

_leaving = getattr(asyncio.TaskGroup, "_aexit", asyncio.TaskGroup.__aexit__)
_creating = asyncio.TaskGroup.create_task
_taking = getattr(asyncio.tasks, "_AsCompletedIterator", None)
_core._use_waiting(Timeout=Timeout, TaskGroup=TaskGroup, traits=[
    ("timeout_takes_subclasses", "issubclass" in _names(asyncio.Timeout.__aexit__)),
    ("group_takes_subclasses", "issubclass" in _names(_leaving)),
    ("group_leaves_late", "cancelling" in _names(_leaving)),
    ("group_forgets", hasattr(asyncio.TaskGroup, "_aexit")),
    ("group_keeps_pending", "pending_cancellation_error" in _leaving.__code__.co_varnames),
    ("group_lets_generators_exit", "GeneratorExit" in _names(_leaving)),
    ("group_suppresses", hasattr(asyncio.TaskGroup, "cancel")),
    ("group_closes_refused", "close" in _names(_creating)),
    ("group_passes_name", "_set_task_name" not in _names(_creating)),
    ("group_takes_done_at_once", "_on_task_done" in _names(_creating) and "done" in _names(_creating)
     and "cancel" not in _names(_creating)),
    ("group_cancels_late", "cancel" in _names(_creating)),
    ("as_completed_counts_back", _taking is not None and "_todo_left" in _names(_taking._wait_for_one)),
    ("chain_asks_running", "_get_running_loop" in _names_inside(asyncio.futures._chain_future)),
])
