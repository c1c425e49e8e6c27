"""Locks, events and queues: asyncio's classes with their methods in C.

Each class derives from the C type that does the work and then from asyncio's class, so instances are asyncio's, and whatever a
newer asyncio adds to its class is there. The C types ask for overridden methods by name, and keep the attributes that asyncio's
classes have (`_waiters`, `_value`, ...).
"""
import asyncio

from . import _core

__all__ = ("Event", "Lock")


def _joined(name):
    original = getattr(asyncio, name)
    return type(name, (getattr(_core, name), original), {"__module__": "pyasync", "__doc__": original.__doc__})


Event = _joined("Event")
Lock = _joined("Lock")
