"""Timeouts and task groups: asyncio's classes with their methods in C.

Each class derives from the C type that does the work and then from asyncio's class, so instances are asyncio's. asyncio has
changed what these classes do within a minor version, too; which way the running one goes is read off its code.
"""
import asyncio

from . import _core

__all__ = ("TaskGroup", "Timeout")


def _joined(name):
    original = getattr(asyncio, name)
    return type(name, (getattr(_core, name), original), {"__module__": "pyasync", "__doc__": original.__doc__})


def _names(function):
    """The global names and attributes that a function's code mentions."""
    return function.__code__.co_names


Timeout, TaskGroup = _joined("Timeout"), _joined("TaskGroup")

_leaving = getattr(asyncio.TaskGroup, "_aexit", asyncio.TaskGroup.__aexit__)
_creating = asyncio.TaskGroup.create_task
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
])
