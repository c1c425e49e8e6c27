"""Which loop is current, who makes new ones, and asyncio's policies where Python still has them.

The rule of this module: where asyncio would make a loop on its own, through its default policy, a user of pyasync gets a
pyasync loop, and everything else (the loop that is set, warnings, errors, a policy the program chose) stays asyncio's.
asyncio's default policy object itself is not touched: it is seen through a twin that shares its state, so a program can use
pyasync's functions next to code that goes on using asyncio's.
"""
import asyncio
import sys
import threading
import warnings
from asyncio import events, unix_events

from . import _core
from .loop import EventLoop

__all__ = ("EventLoopPolicy", "get_event_loop", "get_event_loop_policy", "new_event_loop", "set_event_loop_policy")

# 3.14 made the policy classes private and deprecated the functions.
_deprecated = hasattr(events, "_get_event_loop_policy")
StdlibPolicy = unix_events._DefaultEventLoopPolicy if _deprecated else unix_events.DefaultEventLoopPolicy
_get_stdlib_policy = events._get_event_loop_policy if _deprecated else events.get_event_loop_policy
_set_stdlib_policy = events._set_event_loop_policy if _deprecated else events.set_event_loop_policy
# Up to 3.13 the default policy makes the main thread's first loop when it is asked for it, from 3.12 on with a warning.
_makes_loops = hasattr(StdlibPolicy._Local, "_set_called")
_warns = sys.version_info >= (3, 12)


class EventLoopPolicy(StdlibPolicy):
    """asyncio's default policy, making pyasync.EventLoop loops: asyncio.set_event_loop_policy(pyasync.EventLoopPolicy()).

    asyncio deprecates policies in 3.14 and removes them in 3.16; a loop factory or pyasync.install() needs none.
    """
    _loop_factory = EventLoop


class _Twin(EventLoopPolicy):
    """asyncio's default policy object seen by a pyasync user: its state, our loops."""
    __slots__ = ("original",)

    def __init__(self, original):
        self.original = original
        self.__dict__ = original.__dict__


_twin = None              # of the default policy that was asked for last
_chosen = None            # what set_event_loop_policy() below was last given
_lock = threading.Lock()


def _policy():
    """The policy in force as a pyasync user sees it: asyncio's default one by its twin, any other one as it is."""
    global _twin
    policy = _get_stdlib_policy()
    if type(policy) is not StdlibPolicy:
        return policy
    with _lock:
        if _twin is None or _twin.original is not policy:
            _twin = _Twin(policy)
        return _twin


def get_event_loop_policy():
    """Returns the event loop policy in force, as asyncio.get_event_loop_policy() does.

    Where that is asyncio's default policy, the result is an EventLoopPolicy that shares its state (the loops set with
    set_event_loop(), the child watcher) and makes pyasync loops. From 3.14 on it warns as asyncio's does.
    """
    if _deprecated:
        warnings._deprecated("asyncio.get_event_loop_policy", remove=(3, 16))
    return _policy()


def set_event_loop_policy(policy):
    """Sets the event loop policy of the process, as asyncio.set_event_loop_policy(policy) does; None brings the default back.

    A policy set here also makes the loops of pyasync.new_event_loop(), run() and Runner. TypeError if it is not an
    asyncio.AbstractEventLoopPolicy. From 3.14 on it warns as asyncio's does.
    """
    if _deprecated:
        warnings._deprecated("asyncio.set_event_loop_policy", remove=(3, 16))
    _set_policy(policy)


def _set_policy(policy):
    global _chosen
    if isinstance(policy, _Twin):
        policy = policy.original
    _set_stdlib_policy(policy)
    _chosen = policy


def new_event_loop():
    """Makes a pyasync.EventLoop; it does not become the current one.

    asyncio asks its policy for new loops. So does this function if the program set one with
    pyasync.set_event_loop_policy(); policies set through asyncio do not change what it makes. OSError if the system gives
    no descriptors for the loop.
    """
    chosen = _chosen
    if chosen is not None and type(chosen) is not StdlibPolicy and events._event_loop_policy is chosen:
        return chosen.new_event_loop()
    return EventLoop()


def _warn_of_no_loop():
    """The warning asyncio gives when it makes a loop, at the first line outside asyncio and pyasync."""
    stacklevel = 2
    frame = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in ("asyncio", "pyasync"):
        frame = frame.f_back
        stacklevel += 1
    warnings.warn("There is no current event loop", DeprecationWarning, stacklevel=stacklevel)


if _makes_loops:
    def get_event_loop():
        """Returns the running event loop, else the one that is set for this thread, as asyncio.get_event_loop() does.

        Where asyncio makes one (in the main thread, if set_event_loop() was never called; 3.12 and 3.13 warn of it) this
        makes a pyasync loop. RuntimeError if there is none to return.
        """
        loop = events._get_running_loop()
        if loop is not None:
            return loop
        policy = _policy()
        # A policy with a get_event_loop of its own decides for itself; the default one's is taken apart here only so that
        # the warning is not attributed to pyasync.
        if type(policy).get_event_loop is StdlibPolicy.get_event_loop:
            local = policy._local
            if local._loop is None and not local._set_called and threading.current_thread() is threading.main_thread():
                if _warns:
                    _warn_of_no_loop()
                policy.set_event_loop(policy.new_event_loop())
        return policy.get_event_loop()

    _core._use_get_event_loop(get_event_loop)                # what Future() without a loop asks
else:
    get_event_loop = asyncio.get_event_loop
