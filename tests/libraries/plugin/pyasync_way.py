"""A pytest plugin that puts a suite on asyncio or on pyasync and writes down what came of each test.

It is loaded by name in a process that knows nothing of this checkout, so it needs only pytest. Environment:
  PYASYNC_WAY     asyncio, loop, install or import (see set_up() below)
  PYASYNC_RECORD  the file that gets one JSON object a line
  PYASYNC_DONE    a file with the tests that are not to be run, one a line
  PYASYNC_ONLY    a file with those that are; empty or none: all
  PYASYNC_OWNER   set here: the process whose tests are recorded. Pytests that a test starts, in this process or another, are put on
                  the same loops, and only the loops that they make are recorded.
"""
import asyncio
import atexit
import json
import os
import sys

import pytest

RECORD = os.environ["PYASYNC_RECORD"]
WAY = os.environ["PYASYNC_WAY"]

made = {"pyasync": 0, "asyncio": 0, "other": 0}       # loops that this process has made, by kind


def write(**record):
    with open(RECORD, "a") as file:                   # appended in one piece: other processes write there, too
        file.write(json.dumps(record) + "\n")


def count_loops():
    original = asyncio.BaseEventLoop.__init__

    def __init__(self):
        core = sys.modules.get("pyasync._core")
        if core is not None and isinstance(self, core.EventLoop):
            kind = "pyasync"
        else:                                         # a suite's own class, derived from one of asyncio's, is neither
            kind = "asyncio" if type(self).__module__.partition(".")[0] == "asyncio" else "other"
        made[kind] += 1
        original(self)
    asyncio.BaseEventLoop.__init__ = __init__


def set_up():
    """asyncio: nothing. loop: asyncio with pyasync's loops, and everything else its own. install: pyasync.install(). import: what is
    run has been edited already."""
    count_loops()
    if WAY in ("asyncio", "import"):
        return
    import pyasync
    if WAY == "install":
        pyasync.install()
        return
    assert WAY == "loop", WAY
    from pyasync import policy
    policy.StdlibPolicy._loop_factory = pyasync.EventLoop
    for module in (asyncio, asyncio.unix_events):
        for name in ("SelectorEventLoop", "EventLoop"):
            if hasattr(module, name):
                setattr(module, name, pyasync.EventLoop)


set_up()
is_owner = os.environ.setdefault("PYASYNC_OWNER", str(os.getpid())) == str(os.getpid())
if not is_owner:
    atexit.register(lambda: write(event="child", loops=made))


class Recorder:
    """One for each process that is asked to run tests; pytests inside that process have none."""

    def __init__(self):
        self.before = dict(made)
        self.reports = []
        self.done, self.only = listed("PYASYNC_DONE"), listed("PYASYNC_ONLY")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, config, items):
        kept = [item for item in items if item.nodeid not in self.done and (not self.only or item.nodeid in self.only)]
        if len(kept) < len(items):
            config.hook.pytest_deselected(items=list(set(items).difference(kept)))
            items[:] = kept

    def pytest_collectreport(self, report):
        if report.failed:
            write(event="end", test=f"{report.nodeid} (its import)", outcome="failed", text=report.longreprtext, loops=None, total=None)

    def pytest_runtest_logstart(self, nodeid):
        self.before, self.reports = dict(made), []
        write(event="start", test=nodeid)

    def pytest_runtest_logreport(self, report):
        self.reports.append(report)

    def pytest_runtest_logfinish(self, nodeid):
        outcomes = {report.outcome for report in self.reports}
        outcome = next((o for o in ("failed", "skipped") if o in outcomes), "passed")
        text = "\n".join(str(report.longrepr) for report in self.reports if report.outcome == outcome != "passed")
        write(event="end", test=nodeid, outcome=outcome, text=text,
              loops={kind: made[kind] - self.before[kind] for kind in made}, total=made)

    def pytest_sessionfinish(self, exitstatus):
        write(event="finished", status=int(exitstatus), loops=made)


def listed(variable):
    with open(os.environ.get(variable, os.devnull)) as file:
        return set(map(json.loads, file))


recorder = Recorder() if is_owner else None


def pytest_configure(config):
    global recorder
    if recorder is not None:
        config.pluginmanager.register(recorder, "pyasync_recorder")
        recorder = None
