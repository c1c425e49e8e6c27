"""What inspect says of the public methods: the same signatures as asyncio's."""
import asyncio
import inspect

import pytest

from support import loop_class


def classes(aio):
    return {"Future": aio.Future, "Task": aio.Task, "Handle": aio.Handle, "TimerHandle": aio.TimerHandle, "EventLoop": loop_class(aio)}


def public(cls):
    return sorted(n for n in dir(cls) if not n.startswith("_") or n in ("__await__", "_run", "_make_cancelled_error"))


CASES = [(kind, name) for kind, cls in classes(asyncio).items() for name in public(cls) if callable(getattr(cls, name, None))]


def signature(obj):
    try:
        sig = inspect.signature(obj)
    except ValueError as e:
        return ["no signature"]
    # annotations and the names of defaults are not part of how it is called
    # self cannot be given by name to a method in C, and nobody does
    return [(p.name, p.kind.name if p.name != "self" else None, p.default if p.default is not p.empty else "required")
            for p in sig.parameters.values()]


@pytest.mark.parametrize("kind,name", CASES)
def test_method(aio, kind, name):
    expected, got = classes(asyncio)[kind], classes(aio)[kind]
    assert signature(getattr(got, name)) == signature(getattr(expected, name))


@pytest.mark.parametrize("kind", ["Future", "Task", "Handle", "TimerHandle", "EventLoop"])
def test_class(aio, kind):
    assert signature(classes(aio)[kind]) == signature(classes(asyncio)[kind])


@pytest.mark.parametrize("kind,name", CASES)
def test_bound(aio, kind, name):
    """Of an instance's methods, which is where tools ask."""
    def instance(aio):
        loop = aio.new_event_loop()
        try:
            if kind == "EventLoop":
                return loop
            if kind == "Future":
                return loop.create_future()
            if kind == "Task":
                async def none():
                    pass
                t = loop.create_task(none())
                loop.run_until_complete(t)
                return t
            return loop.call_soon(print) if kind == "Handle" else loop.call_later(1, print)
        finally:
            loop.close()
    assert signature(getattr(instance(aio), name)) == signature(getattr(instance(asyncio), name))


@pytest.mark.parametrize("kind,name", CASES)
def test_coroutine_functions(aio, kind, name):
    """Where asyncio has a coroutine function, mock.patch must see one."""
    expected, got = getattr(classes(asyncio)[kind], name), getattr(classes(aio)[kind], name)
    assert inspect.iscoroutinefunction(got) == inspect.iscoroutinefunction(expected)


@pytest.mark.parametrize("kind,name", CASES)
def test_docstrings(aio, kind, name):
    got = getattr(classes(aio)[kind], name)
    if getattr(classes(asyncio)[kind], name).__doc__:
        assert got.__doc__ and got.__doc__.strip()
    assert got.__name__ == name
