import asyncio
import selectors

from . import _core

class EventLoop(_core.EventLoop, asyncio.BaseEventLoop):
    def __init__(self, selector: selectors.BaseSelector | None = None) -> None: ...

def new_event_loop() -> EventLoop: ...
