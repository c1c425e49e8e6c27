"""The C extension. Its types are asyncio's with another engine, so their methods' types are inherited from asyncio's."""
import asyncio
import sys
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)

class Future(asyncio.Future[_T]): ...

class Task(Future[_T_co], asyncio.Task[_T_co]):  # type: ignore[type-var]
    if sys.version_info >= (3, 12):
        def __init__(
            self,
            coro: Coroutine[Any, Any, _T_co],
            *,
            loop: asyncio.AbstractEventLoop | None = None,
            name: str | None = None,
            context: Context | None = None,
            eager_start: bool = False,
        ) -> None: ...
    else:
        def __init__(
            self,
            coro: Generator[Any, None, _T_co] | Coroutine[Any, Any, _T_co],
            *,
            loop: asyncio.AbstractEventLoop | None = None,
            name: str | None = None,
            context: Context | None = None,
        ) -> None: ...

class Handle(asyncio.Handle): ...
class TimerHandle(Handle, asyncio.TimerHandle): ...

class EventLoop(asyncio.BaseEventLoop):
    """The native half; at run time it has no base but object, and pyasync.EventLoop adds asyncio.BaseEventLoop."""

def _use_get_event_loop(function: Callable[[], asyncio.AbstractEventLoop], /) -> None: ...
