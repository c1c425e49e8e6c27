"""The loop's exception handler: the default one, those that are set, those that fail."""
import asyncio

import pytest

from support import fresh_loop, loop_class, outcome, plain, scrub, spin


def test_exception_handler_rules(same):
    def scenario(aio):
        with fresh_loop(aio) as loop:
            own = loop.get_exception_handler()
            found = [outcome(loop.set_exception_handler, 5), outcome(loop.set_exception_handler, "x"),
                     loop.get_exception_handler() is own, outcome(loop.set_exception_handler, None), loop.get_exception_handler()]
            return found
    same(scenario)


def records(caplog):
    return [[r.name, r.levelname, scrub(r.getMessage()), plain(r.exc_info[1]) if r.exc_info else None] for r in caplog.records]


def test_default_exception_handler_logs(aio, loop, caplog):
    loop.set_exception_handler(None)
    loop.call_soon(lambda: 1 / 0)
    spin(loop)
    (name, level, text, exc), = records(caplog)
    assert (name, level, exc[0]) == ("asyncio", "ERROR", "ZeroDivisionError")
    lines = text.splitlines()
    assert lines[0].startswith("Exception in callback test_default_exception_handler_logs.<locals>.<lambda>() at ")
    assert lines[1].startswith("handle: <Handle test_default_exception_handler_logs.<locals>.<lambda>() at ")


@pytest.mark.parametrize("context", [{"message": "m"}, {}, {"exception": ValueError("x")}, {"message": "m", "exception": None},
                                     {"message": "m", "future": "f", "task": "t", "b": 1, "a": [2]}])
def test_default_handler_texts(same, caplog, context):
    def scenario(aio):
        caplog.clear()
        with fresh_loop(aio) as loop:
            loop.set_exception_handler(None)
            loop.call_exception_handler(dict(context))
            loop.default_exception_handler(dict(context))
        return records(caplog)
    same(scenario)


def test_debug_reports_where_it_was_created(same, caplog):
    def scenario(aio):
        caplog.clear()
        with fresh_loop(aio, debug=True) as loop:
            loop.set_exception_handler(None)

            def broken():
                raise ValueError("x")

            def reports():
                loop.call_exception_handler({"message": "by hand"})
            loop.call_soon(broken)
            loop.call_soon(reports)
            spin(loop)
        return [[line for line in r[2].splitlines() if not line.startswith(" ")] for r in records(caplog)]
    same(scenario)


def test_handler_that_raises(same, caplog):
    def scenario(aio):
        found = []
        for exc in (ValueError("in handler"), asyncio.CancelledError("in handler"), KeyboardInterrupt("in handler"), SystemExit(3)):
            caplog.clear()
            with fresh_loop(aio) as loop:
                def handler(loop, context):
                    raise exc
                loop.set_exception_handler(handler)
                loop.call_soon(lambda: 1 / 0)
                found.append(outcome(spin, loop))
                loop.set_exception_handler(None)
            found.append([[line.split(" at 0x")[0] for line in r[2].splitlines()][0] for r in records(caplog)])
            caplog.clear()
        return found
    same(scenario)


def test_default_exception_handler_overridden_in_a_subclass(same, caplog):
    def scenario(aio):
        caplog.clear()
        seen = []

        class Loop(loop_class(aio)):
            def default_exception_handler(self, context):
                seen.append(plain(context["exception"]))
                if len(seen) > 1:
                    raise OSError("default handler")
        loop = Loop()
        loop.call_soon(lambda: 1 / 0)
        spin(loop)
        loop.call_soon(lambda: [][0])
        spin(loop)
        loop.close()
        return [seen, [[r[2].splitlines()[0], r[3]] for r in records(caplog)]]
    same(scenario)
