"""What growth.py repeats: the core's operations, a function each, given the module under test, `m`.

A case repeats its operation REPEAT times (or fewer, where it is slow) and leaves nothing behind. They are in
cases_types.py (futures, tasks and what awaits them), cases_loop.py (callbacks, the loop, descriptors, transports) and cases_tls.py.
"""
import asyncio

REPEAT = 40                                     # operations in a round
CASES = {}


def case(function):
    CASES[function.__name__] = function
    return function


def on_loop(function):
    """A case that is a coroutine function: run to its end on a fresh loop."""
    def run(m):
        loop = m.new_event_loop()
        try:
            loop.run_until_complete(function(m, loop))
        finally:
            loop.close()
    run.__name__ = function.__name__
    return case(run)


async def swallow(awaitable):
    try:
        return await awaitable
    except (Exception, asyncio.CancelledError):
        return None
