"""Child processes: asyncio's own transport around subprocess.Popen, over native pipes, and how the loop learns of a child's end.

A child is waited for by its pidfd, in the loop's own poller: no signal, no thread, and nobody else's children are touched. Where there
is no pidfd (another system, an old kernel, no descriptor left) a thread waits. Whoever reaps does it under the lock of the Popen object
and writes the exit code there at once, so that a poll() or wait() of the user's on that object neither takes the code away from us
nor makes up one of its own.
"""
import asyncio
import os
import sys
import threading
import warnings
from asyncio import events, unix_events
from asyncio.log import logger

__all__ = ("ProcessMethods",)


def _reap(process, pid):
    """The exit code of a child that has ended, or will; it is no zombie afterwards."""
    with process._waitpid_lock:
        if process.returncode is None:
            try:
                _, status = os.waitpid(pid, 0)
            except ChildProcessError:
                logger.warning("child process pid %d exit status already read:  will report returncode 255", pid)
                process.returncode = 255
            else:
                process.returncode = os.waitstatus_to_exitcode(status)
        return process.returncode


class _Exit:
    """What the loop calls when a pidfd says that its process has ended. It owns the descriptor, and closes it with the loop at last."""

    def __init__(self, loop, pid, pidfd, callback, transport):
        self._loop, self._pid, self._pidfd, self._callback, self._transport = loop, pid, pidfd, callback, transport

    def __call__(self):
        self._loop._remove_reader(self._pidfd)
        self._close()
        self._callback(self._pid, _reap(self._transport._proc, self._pid), self._transport)

    def __repr__(self):
        return f"<the end of process {self._pid}>"

    def __del__(self):
        self._close()

    def _close(self):
        pidfd, self._pidfd = self._pidfd, None
        if pidfd is not None:
            os.close(pidfd)


class _ChildWatcher:
    """asyncio's child watcher of a loop, where nobody has set another. add_child_handler() is all that a loop asks of one."""

    def __init__(self, loop):
        self._loop = loop

    def add_child_handler(self, pid, callback, transport):
        """Have callback(pid, exit code, transport) called, in any thread, when the process has ended."""
        try:
            pidfd = os.pidfd_open(pid)
        except (AttributeError, OSError):
            return self._wait_in_thread(pid, callback, transport)
        told = _Exit(self._loop, pid, pidfd, callback, transport)
        try:
            self._loop._add_reader(pidfd, told)
        except (OSError, MemoryError):   # the poller has no room for it
            told._close()
            self._wait_in_thread(pid, callback, transport)

    def _wait_in_thread(self, pid, callback, transport):
        def wait():
            code = _reap(process, pid)
            try:
                self._loop.call_soon_threadsafe(callback, pid, code, transport)
            except RuntimeError:
                logger.warning("Loop %r that handles pid %r is closed", self._loop, pid)

        process = transport._proc
        threading.Thread(target=wait, name=f"pyasync-waitpid-{pid}", daemon=True).start()


class ProcessMethods:
    """A base of EventLoop: what asyncio's Unix loops have for subprocess_exec() and subprocess_shell()."""

    @property
    def _watcher(self):
        """The watcher of this loop's children; asyncio has this attribute from 3.14 on."""
        watcher = getattr(self, "_own_watcher", self)    # without an AttributeError made for each child
        return _ChildWatcher(self) if watcher is self else watcher

    @_watcher.setter
    def _watcher(self, watcher):
        self._own_watcher = watcher

    async def _make_subprocess_transport(self, protocol, args, shell, stdin, stdout, stderr, bufsize, extra=None, **kwargs):
        users = _users_watcher()
        if users is None:
            return await self._spawn(self._watcher, protocol, args, shell, stdin, stdout, stderr, bufsize, extra, kwargs)
        with users as entered:
            watcher = entered if sys.version_info < (3, 12) else users
            if not watcher.is_active():
                raise RuntimeError("asyncio.get_child_watcher() is not activated, subprocess support is not installed.")
            return await self._spawn(watcher, protocol, args, shell, stdin, stdout, stderr, bufsize, extra, kwargs)

    async def _spawn(self, watcher, protocol, args, shell, stdin, stdout, stderr, bufsize, extra, kwargs):
        connected = self.create_future()
        transport = unix_events._UnixSubprocessTransport(self, protocol, args, shell, stdin, stdout, stderr, bufsize,
                                                         waiter=connected, extra=extra, **kwargs)
        watcher.add_child_handler(transport.get_pid(), self._child_watcher_callback, transport)
        try:
            await connected
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            transport.close()
            await asyncio.shield(transport._wait())
            raise
        return transport

    _child_watcher_callback = unix_events._UnixSelectorEventLoop._child_watcher_callback


if hasattr(events, "get_child_watcher"):         # until 3.13
    _DefaultPolicy = unix_events._UnixDefaultEventLoopPolicy
    _ORDINARY = (unix_events.ThreadedChildWatcher, unix_events.PidfdChildWatcher)

    def _users_watcher():
        """The child watcher that the program has set, or None: those that asyncio makes by itself need not be asked."""
        policy = events.get_event_loop_policy()
        if type(policy).get_child_watcher is _DefaultPolicy.get_child_watcher:
            watcher = policy._watcher
        else:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                watcher = policy.get_child_watcher()
        return None if watcher is None or type(watcher) in _ORDINARY else watcher
else:
    def _users_watcher():
        return None
