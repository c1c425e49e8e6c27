"""Asynchronous generators that a loop looks after: dropped ones, shutdown_asyncgens(), the hooks."""
import gc
import sys
import threading

import pytest

from support import agen, spin


def test_asyncgen_is_closed_by_the_loop(aio, loop, run):
    log = []

    async def main():
        async for _ in agen(log):
            break
        gc.collect()
        for _ in range(5):
            await aio.sleep(0)
    run(main())
    assert log == ["gen closing", "gen closed"]


def test_asyncgen_dropped_between_runs(aio, loop, run):
    log = []

    async def main():
        g = agen(log)
        await anext(g)
        return g
    g = run(main())
    assert log == []
    del g
    gc.collect()
    spin(loop, 5)
    assert log == ["gen closing", "gen closed"]


@pytest.mark.parametrize("debug", [False, True])
def test_shutdown_asyncgens(aio, loop, run, debug):
    loop.set_debug(debug)
    log, kept = [], []

    async def main():
        for i in range(3):
            kept.append(agen(log, str(i)))
            await anext(kept[-1])
    run(main())
    run(loop.shutdown_asyncgens())
    assert sorted(log) == ["0 closed", "0 closing", "1 closed", "1 closing", "2 closed", "2 closing"]

    async def late():
        g = agen(log, "late")
        with pytest.warns(ResourceWarning, match=r"^asynchronous generator <.*> was scheduled after loop\.shutdown_asyncgens\(\) call$"):
            await anext(g)
        await g.aclose()
    run(late())


def test_shutdown_asyncgens_reports_errors(aio, loop, run, errors):
    async def broken():
        try:
            yield 1
        finally:
            raise ZeroDivisionError("closing")

    async def main():
        g = broken()
        await anext(g)
        return g
    g = run(main())
    run(loop.shutdown_asyncgens())
    context = errors.take_one()
    assert sorted(context) == ["asyncgen", "exception", "message"] and context["asyncgen"] is g
    assert context["message"] == f"an error occurred during closing of asynchronous generator {g!r}"


def test_asyncgen_hooks_are_restored(aio, loop, run):
    before = sys.get_asyncgen_hooks()

    async def main():
        hooks = sys.get_asyncgen_hooks()
        assert hooks.firstiter == loop._asyncgen_firstiter_hook and hooks.finalizer == loop._asyncgen_finalizer_hook
    run(main())
    assert sys.get_asyncgen_hooks() == before
    first = lambda g: None
    sys.set_asyncgen_hooks(firstiter=first)
    try:
        run(main())
        assert sys.get_asyncgen_hooks().firstiter is first
    finally:
        sys.set_asyncgen_hooks(*before)


def test_finalised_in_debug_mode_from_another_thread(aio, loop, run):
    """uvloop #715: asynchronous generators that die in debug mode, in whatever thread."""
    loop.set_debug(True)
    log = []

    async def main():
        g = agen(log)
        await anext(g)
        box = [g]
        del g
        t = threading.Thread(target=box.clear)
        t.start()
        t.join()
        for _ in range(10):
            await aio.sleep(0.001)
    run(main())
    assert log == ["gen closing", "gen closed"]
