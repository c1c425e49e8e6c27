"""Copying and pickling of what is a Python class in asyncio: an idle lock, event or queue can be copied, also deeply and as a part of
something else. What asyncio keeps in the instance's dict is in fields in C here; the state is both together.
"""
import types
from collections import deque

from . import _core

_FIELDS = (types.GetSetDescriptorType, types.MemberDescriptorType)
_Waiters = type(_core.Event()._waiters)


def _fields(cls):
    return {name for base in cls.__mro__ if base.__module__ == _core.__name__ for name, value in vars(base).items()
            if isinstance(value, _FIELDS) and name.startswith("_") and not name.startswith("__")}


def _getstate(self):
    kept = object.__getstate__(self)
    kept, slots = kept if isinstance(kept, tuple) else (kept, None)     # those of a subclass
    state = dict(kept or {})
    for name in _fields(type(self)):
        value = getattr(self, name, _Waiters)                     # not set yet, or taken away
        if isinstance(value, _Waiters):                           # nobody waits for a new object
            value = deque(value) or _Waiters
        if value is not _Waiters:
            state[name] = value
    return (state, slots) if slots else state


def _setstate(self, state):
    state, slots = state if isinstance(state, tuple) else (state, None)
    native = next(base for base in type(self).__mro__ if base.__module__ == _core.__name__)
    for name, value in state.items():
        native.__setattr__(self, name, value)                     # past a subclass's, as for any object; ours has to see a method
    for name, value in (slots or {}).items():
        setattr(self, name, value)


def _reduce_ex(self, protocol):
    return object.__reduce_ex__(self, max(protocol, 2))           # older ones want a class without fields


METHODS = {"__getstate__": _getstate, "__setstate__": _setstate, "__reduce_ex__": _reduce_ex}
