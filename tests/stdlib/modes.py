"""The ways in which CPython's own tests get pyasync, set up before a test module is imported.

asyncio   nothing is changed: the control, which says what fails on this machine with asyncio itself
loop      asyncio's default policy, asyncio.EventLoop, SelectorEventLoop and BaseEventLoop make pyasync loops; all else is asyncio's
install   pyasync.install(), and BaseEventLoop as above
import    the test modules and their helpers are imported with `import pyasync as asyncio` (and `from pyasync import ...`, ...)

Why BaseEventLoop: the suite tests much of the loop on `BaseEventLoop()` and on a loop with a made-up clock derived from it. A
pyasync loop has to hold there, too. MAKE_BASE_LOOPS names the files that make or derive such loops; others only ask asyncio's class.

Every loop that is made is counted by kind: that is the proof of what a test ran on.
"""
import ast
import asyncio
import importlib
import importlib.abc
import importlib.machinery
import inspect
import os
import pathlib
import re
import sys
import unittest.async_case
import warnings
from asyncio import base_events, proactor_events, selector_events, unix_events  # noqa: F401: the Windows loop stays asyncio's

sys.path.append(str(pathlib.Path(__file__).parent.parent))
import renaming  # noqa: E402: they are in the folder above
from measured import MODES  # noqa: E402, F401

PACKAGE = os.environ.get("STDLIB_SUITE", "test.test_asyncio")   # another one where the command itself is tested
MAKE_BASE_LOOPS = ("test_base_events", "test_futures", "test_pep492", "test_runners", "test_selector_events")

made = {"pyasync": 0, "asyncio": 0}               # loops so far, by kind


def set_up(mode, module):
    warnings.simplefilter("default")              # as unittest and regrtest run it
    _count_loops()
    if mode == "asyncio":
        return
    import pyasync
    if mode == "install":
        pyasync.install()
    elif mode == "import":
        unittest.async_case.asyncio = pyasync     # IsolatedAsyncioTestCase makes its loop with asyncio.Runner
        sys.meta_path.insert(0, _Importer())
    elif mode != "types-asyncio":
        _make_native_loops(pyasync)
    if mode in ("types", "types-task", "types-call-soon", "types-asyncio"):
        asyncio.tasks._CTask = pyasync.Task
    if mode in ("types", "types-future", "types-call-soon", "types-asyncio"):
        asyncio.futures._CFuture = pyasync.Future
    if mode != "types-asyncio":
        base_loops = (asyncio.BaseEventLoop, selector_events.BaseSelectorEventLoop)
        _set_base_loops(pyasync, pyasync.EventLoop, pyasync.EventLoop)
        utils = importlib.import_module(PACKAGE + ".utils")
        if module not in MAKE_BASE_LOOPS:
            _set_base_loops(pyasync, *base_loops)
        if mode == "types-call-soon":
            utils.TestLoop.call_soon = _call_soon_of_its_own


def _set_base_loops(pyasync, base, selector):
    asyncio.BaseEventLoop = pyasync.BaseEventLoop = base_events.BaseEventLoop = base
    selector_events.BaseSelectorEventLoop = selector


def _make_native_loops(pyasync):
    from pyasync import policy
    policy.StdlibPolicy._loop_factory = pyasync.EventLoop
    for module in (asyncio, unix_events):
        for name in ("SelectorEventLoop", "EventLoop"):
            if hasattr(module, name):
                setattr(module, name, pyasync.EventLoop)


def _call_soon_of_its_own(self, callback, *args, context=None):
    return super(type(self), self).call_soon(callback, *args, context=context)


def applies(mode, cls):
    """Whether the class is one to run in that mode: for types, one that names the C types."""
    if not mode.startswith("types"):
        return True
    return any(re.search(r"_CTask|_CFuture|CTask|_c_[a-z]+_task", inspect.getsource(base))
               for base in cls.__mro__ if base.__module__ == cls.__module__)


def _count_loops():
    original = asyncio.BaseEventLoop.__init__

    def __init__(self):
        core = sys.modules.get("pyasync._core")
        made["pyasync" if core is not None and isinstance(self, core.EventLoop) else "asyncio"] += 1
        original(self)
    asyncio.BaseEventLoop.__init__ = __init__


class _Loader(importlib.machinery.SourceFileLoader):

    def get_code(self, name):                     # never the cached bytecode of the original
        path = self.get_filename(name)
        tree = renaming.Renamed().visit(ast.parse(self.get_data(path), path))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


class _Importer(importlib.abc.MetaPathFinder):

    def find_spec(self, name, path, target=None):
        if not name.startswith(PACKAGE + "."):
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and isinstance(spec.loader, importlib.machinery.SourceFileLoader):
            spec.loader = _Loader(name, spec.origin)
        return spec
