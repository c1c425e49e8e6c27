"""The event loop: the native half from _core, and asyncio's own code for what is cold.

`EventLoop` derives from `_core.EventLoop` (scheduling, timers, polling, descriptors, signals' wakeup) and from
`asyncio.BaseEventLoop`. What asyncio keeps in its Unix loop classes and not in BaseEventLoop is borrowed from there, function by
function, so that each Python version's arguments, checks and texts apply.
"""
import asyncio
import os
import selectors
import signal
import sys
import threading
import types
import warnings
import weakref
from asyncio import base_events, events, selector_events, unix_events
from asyncio.log import logger

from . import _core
from .processes import ProcessMethods
from .sockets import SocketMethods
from .tls import TLSMethods

__all__ = ("EventLoop", "new_event_loop")

_SelectorLoop = selector_events.BaseSelectorEventLoop
_UnixLoop = unix_events._UnixSelectorEventLoop


class _SignalEnd:
    """What add_signal_handler takes for the loop's end of its socketpair."""

    def __init__(self, loop):
        self._loop = loop

    def fileno(self):
        return self._loop._signal_fileno()


class _Selector(selectors.BaseSelector):
    """The loop's poller seen as the selector that asyncio's loop has: keys with data (reader, writer)."""

    def __init__(self, loop):
        self._loop = loop

    def register(self, fileobj, events, data=None):
        return self._set(fileobj, events, data)

    def modify(self, fileobj, events, data=None):
        return self._set(fileobj, events, data)

    def unregister(self, fileobj):
        key = self.get_key(fileobj)
        self._loop._watch_fd(key.fd, 0, None, None)
        return key

    def _set(self, fileobj, events, data):
        if not events or events & ~(selectors.EVENT_READ | selectors.EVENT_WRITE):
            raise ValueError(f"Invalid events: {events!r}")
        fd = selectors._fileobj_to_fd(fileobj)
        reader, writer = data
        self._loop._watch_fd(fd, events, reader, writer)
        return selectors.SelectorKey(fileobj, fd, events, data)

    def select(self, timeout=None):
        ready = self._loop._poll_events(timeout)
        keys = self.get_map()
        return [(keys[fd], mask) for fd, mask in ready if fd in keys]

    def get_map(self):
        return {fd: selectors.SelectorKey(fd, fd, mask, (reader, writer))
                for fd, mask, reader, writer in self._loop._watched_fds()}

    def get_key(self, fileobj):
        try:
            return self.get_map()[selectors._fileobj_to_fd(fileobj)]
        except KeyError:
            raise KeyError(f"{fileobj!r} is not registered") from None

    def close(self):
        self._loop = None


def _borrow(namespace, *sources):
    """Adds asyncio's functions of those names to a class body; one that this Python's asyncio does not have is left out."""
    for source, names in sources:
        for name in names.split():
            if name in vars(source):
                namespace.setdefault(name, vars(source)[name])


@_core._own_methods
class EventLoop(_core.EventLoop, SocketMethods, TLSMethods, ProcessMethods, asyncio.BaseEventLoop):
    """asyncio's event loop with its engine in C."""

    def __init__(self, selector=None):
        self._check_not_open()  # or what BaseEventLoop assigns would take a running loop apart
        super().__init__()
        self._transports = weakref.WeakValueDictionary()
        self._signal_handlers = {}
        self._unix_server_sockets = {}
        if selector is not None:
            self._foreign_selector = selector
        poller = self._open(os.environ.get("PYASYNC_POLLER") or None)
        logger.debug("Using selector: %s", poller if selector is None else selector.__class__.__name__)

    # Running

    if not hasattr(asyncio.BaseEventLoop, "_run_forever_setup"):  # until 3.12 these steps are inside run_forever
        def _run_forever_setup(self):
            self._check_closed()
            self._check_running()
            self._set_coroutine_origin_tracking(self._debug)
            self._old_agen_hooks = sys.get_asyncgen_hooks()
            self._thread_id = threading.get_ident()
            sys.set_asyncgen_hooks(firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook)
            events._set_running_loop(self)

        def _run_forever_cleanup(self):
            self._stopping = False
            self._thread_id = None
            events._set_running_loop(None)
            self._set_coroutine_origin_tracking(False)
            sys.set_asyncgen_hooks(*self._old_agen_hooks)

    def run_forever(self):
        """Run until stop() is called."""
        self._run_forever_setup()
        try:
            self._run_ticks()
        finally:
            self._run_forever_cleanup()

    def close(self):
        """Close the event loop: forget what is scheduled, shut the executor down without waiting, close all descriptors.

        RuntimeError while the loop is running; closing twice does no harm.
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        try:
            super().close()
            if not sys.is_finalizing():
                for sig in list(self._signal_handlers):
                    self.remove_signal_handler(sig)
            elif self._signal_handlers:
                warnings.warn(f"Closing the loop {self!r} on interpreter shutdown stage, skipping signal handlers removal",
                              ResourceWarning, source=self)
                self._signal_handlers.clear()
        finally:
            selector = self._foreign_selector
            self._release()
            if selector is not None:
                selector.close()

    # Signals: asyncio's bookkeeping, our wakeup descriptor

    @property
    def _csock(self):
        return _SignalEnd(self)

    def remove_signal_handler(self, sig):
        """Remove a handler for a signal. Return True if a signal handler was removed, False if not."""
        removed = _UnixLoop.remove_signal_handler(self, sig)
        self._reclaim_wakeup_fd()
        return removed

    # The selector

    @property
    def _selector(self):
        if self._foreign_selector is not None:
            return self._foreign_selector
        return None if self.is_closed() else _Selector(self)

    @_selector.setter
    def _selector(self, selector):
        self._foreign_selector = None if isinstance(selector, _Selector) else selector

    _borrow(
        locals(),
        (_UnixLoop, "add_signal_handler _handle_signal _check_signal _process_self_data"
                    " create_unix_connection create_unix_server"
                    " _sock_sendfile_native _sock_sendfile_native_impl"
                    " _sock_sendfile_update_filepos _sock_add_cancellation_callback"),
    )


def _borrow_with_super(name):
    """Gives EventLoop asyncio's method of that name, if this Python has it, its super() being EventLoop's. It is asyncio's code to
    whoever looks at frames: blockbuster knows where asyncio may call os.stat()."""
    function = vars(_UnixLoop).get(name)
    if function is not None:
        assert function.__code__.co_freevars == ("__class__",)
        setattr(EventLoop, name, types.FunctionType(function.__code__, function.__globals__, name, function.__defaults__,
                                                    (types.CellType(EventLoop),)))


_borrow_with_super("_stop_serving")                          # 3.13: it removes a Unix socket's file
_core._sendfile_originals(EventLoop)


# The qualified name is in what is said of arguments and of coroutines.
for _class in EventLoop.__mro__[:EventLoop.__mro__.index(asyncio.BaseEventLoop)]:
    for _name, _method in vars(_class).items():
        if isinstance(_method, types.FunctionType) and not _name.startswith("__") and hasattr(_UnixLoop, _name):
            _method.__qualname__ = getattr(_UnixLoop, _name).__qualname__


def new_event_loop():
    """A new EventLoop. PYASYNC_POLLER in the environment chooses its poller by name."""
    return EventLoop()
