"""Timeouts and task groups: asyncio's classes with their methods in C.

Each class derives from the C type that does the work and then from asyncio's class, so instances are asyncio's. asyncio has
changed what these classes do within a minor version, too; which way the running one goes is read off its code.
"""
import asyncio

from . import _core

__all__ = ("Timeout",)


def _joined(name):
    original = getattr(asyncio, name)
    return type(name, (getattr(_core, name), original), {"__module__": "pyasync", "__doc__": original.__doc__})


def _names(function):
    """The global names and attributes that a function's code mentions."""
    return function.__code__.co_names


Timeout = _joined("Timeout")
_core._use_classes(
    Timeout=Timeout,
    traits=[
        # a subclass of CancelledError counts as one
        ("timeout_takes_subclasses", "issubclass" in _names(asyncio.Timeout.__aexit__)),
    ])
