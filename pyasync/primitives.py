"""Locks, events, barriers and queues: asyncio's classes with their methods in C.

Each class derives from the C type that does the work and then from asyncio's class, so instances are asyncio's, and whatever a
newer asyncio adds to its class is there. The C types ask for overridden methods by name, and keep the attributes that asyncio's
classes have (`_waiters`, `_value`, ...).
"""
import asyncio

from . import _core
from .copying import METHODS

__all__ = ("Barrier", "BoundedSemaphore", "Condition", "Event", "LifoQueue", "Lock", "PriorityQueue", "Queue", "Semaphore")


def _joined(name, *bases):
    original = getattr(asyncio, name)
    joined = type(name, (getattr(_core, name), *bases, original), {"__module__": "pyasync", "__doc__": original.__doc__, **METHODS})
    return _core._own_methods(joined)


Event = _joined("Event")
Lock = _joined("Lock")
Condition = _joined("Condition")
Barrier = _joined("Barrier")
Semaphore = _joined("Semaphore")
BoundedSemaphore = _joined("BoundedSemaphore", Semaphore)
Queue = _joined("Queue")
PriorityQueue = _joined("PriorityQueue", Queue)
LifoQueue = _joined("LifoQueue", Queue)

# Two behaviours changed in bug-fix releases of Python, so the classes have to be asked, not the version: a semaphore that wakes all says
# whether it found anybody.
_core._use_classes(Event, Lock, Condition, Barrier, asyncio.Semaphore(0)._wake_up_next() is False,
                   hasattr(asyncio.Condition, "_notify"))
