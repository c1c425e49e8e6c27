"""run() and Runner: asyncio's, on a pyasync loop. Other names of asyncio.runners are found here too."""
import sys
from asyncio import events
from asyncio import runners as _asyncio_runners

from .policy import new_event_loop

__all__ = ("Runner", "run")


class Runner(_asyncio_runners.Runner):
    """asyncio.Runner whose loops are pyasync's unless a loop_factory is given.

    Runner(*, debug=None, loop_factory=None): debug is the loop's debug mode, None leaves it as it is; loop_factory is called
    without arguments and returns the loop. Everything else is asyncio.Runner: a context manager with run(coro, *,
    context=None), get_loop() and close(); without a factory the loop is also set as the current one until close().
    """

    def __init__(self, *, debug=None, loop_factory=None):
        super().__init__(debug=debug, loop_factory=loop_factory)
        if loop_factory is None:
            self._loop_factory = self._default_loop

    def _default_loop(self):
        loop = new_event_loop()
        events.set_event_loop(loop)
        self._set_event_loop = True            # close() then unsets it
        self._loop_factory = None              # used once; kept, it would tie the runner to itself
        return loop


def _run(main, debug, loop_factory):
    if events._get_running_loop() is not None:
        raise RuntimeError("asyncio.run() cannot be called from a running event loop")
    with Runner(debug=debug, loop_factory=loop_factory) as runner:
        return runner.run(main)


_RUN_DOC = """Runs the coroutine main on a new pyasync loop, closes the loop and returns the result.

    As asyncio.run() of this Python version does: debug is the loop's debug mode (None: as it is),{factory}
    Ctrl-C cancels the main task and raises KeyboardInterrupt, the tasks that are left are cancelled, asynchronous generators
    and the default executor are shut down. RuntimeError if a loop is running in this thread.
    """

if sys.version_info >= (3, 12):
    def run(main, *, debug=None, loop_factory=None):
        return _run(main, debug, loop_factory)
    run.__doc__ = _RUN_DOC.format(factory=" loop_factory makes another loop;")
else:
    def run(main, *, debug=None):
        return _run(main, debug, None)
    run.__doc__ = _RUN_DOC.format(factory="")


def __getattr__(name):
    return getattr(_asyncio_runners, name)
