"""What a native function says of a call that it does not take: what asyncio's function of that name says.

asyncio's is not called, but one without a body that has its parameters; so the text is the running interpreter's own. Where asyncio has
a C function that is called itself, on an object that was never initialised: it complains before it looks at that.
"""
import asyncio
import sys
import types
from asyncio import selector_events, tasks, unix_events

from . import _core

#: asyncio's functions, before install() put ours in their place.
_FUNCTIONS = {name: value for module in (tasks, asyncio) for name, value in vars(module).items() if callable(value)}
#: Whose methods ours have where asyncio's class is no base of them.
_PENDANTS = (
    (_core.EventLoop, unix_events._UnixSelectorEventLoop),
    (_core.SocketTransport, selector_events._SelectorSocketTransport),
    (_core.DatagramTransport, selector_events._SelectorDatagramTransport),
    (_core.ReadPipeTransport, unix_events._UnixReadPipeTransport),
    (_core.WritePipeTransport, unix_events._UnixWritePipeTransport),
)


def _empty(): pass


def _same_parameters(function):
    """A function that takes what this one takes, and does nothing."""
    code, flags = function.__code__, _empty.__code__.co_flags
    stars = code.co_flags & 0xC                              # *args, **kwargs
    count = code.co_argcount + code.co_kwonlyargcount + stars.bit_count()
    taking = _empty.__code__.replace(
        co_argcount=code.co_argcount, co_posonlyargcount=code.co_posonlyargcount, co_kwonlyargcount=code.co_kwonlyargcount,
        co_varnames=code.co_varnames[:count], co_nlocals=count, co_flags=flags | stars)
    empty = types.FunctionType(taking, {}, function.__name__, function.__defaults__)
    empty.__kwdefaults__, empty.__qualname__ = function.__kwdefaults__, function.__qualname__
    return empty


def _class_with(cls, name):
    """The class of asyncio's where a method of a class of ours comes from."""
    for ours, pendant in _PENDANTS:
        if issubclass(cls, ours):
            cls = pendant
    if cls.__module__ == _core.__name__:                     # a base of ours: called on the class
        cls = getattr(sys.modules["pyasync"], cls.__name__)
    for base in cls.__mro__:
        if base.__module__.partition(".")[0] in ("asyncio", "_asyncio") and name in vars(base):
            return base
    raise AttributeError(f"asyncio has no {name}() that {cls.__name__} could have")


def refuse(owner, name, args, kwargs):
    """Raise the TypeError. owner: the module, the instance, or the class if there is no instance."""
    if isinstance(owner, types.ModuleType):
        original, missing = _FUNCTIONS[name], ()
    else:
        cls = owner if isinstance(owner, type) else type(owner)
        home = _class_with(cls, name)
        original, missing = vars(home)[name], (None,) if cls is not owner or name == "__init__" else ()
    if isinstance(original, types.FunctionType):
        original = _same_parameters(original)
    elif missing:
        missing = (home.__new__(home),)
    original(*missing, *args, **kwargs)
    raise TypeError(f"{name}() has arguments that pyasync does not know")
