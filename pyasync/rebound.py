"""asyncio's functions with other globals: each Python version's own code, where a name in it has to mean something of pyasync's."""
import types


def rebound(function, namespace):
    """A copy of a function that sees namespace as its globals."""
    copy = types.FunctionType(function.__code__, namespace, function.__name__, function.__defaults__, function.__closure__)
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__doc__ = function.__doc__
    copy.__qualname__ = function.__qualname__
    copy.__module__ = "pyasync"
    return copy
