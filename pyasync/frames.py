"""The frame that an operation in C shows where a call graph is made (3.14 on). Call graphs tell by `frame.f_generator` what is a coroutine,
so it is that of a coroutine with the operation's name, stopped where it awaits. It is made when somebody looks.
"""
import functools
import types

__all__ = ("frame_of",)


@types.coroutine
def _stop():
    yield


async def _template(): await _stop()  # noqa: E704: its first line is the one where it waits


def _hold(coroutine, *event):
    """A trace function that traces nothing."""


def frame_of(name, qualname):
    code = _template.__code__.replace(co_name=name, co_qualname=qualname, co_filename="<pyasync>", co_firstlineno=1)
    coroutine = types.FunctionType(code, globals())()
    coroutine.send(None)
    frame = coroutine.cr_frame
    frame.f_trace = functools.partial(_hold, coroutine)      # a frame does not own its coroutine, but it does own this
    return frame
