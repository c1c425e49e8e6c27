"""The benchmarks are programs that users run: each case works, and the judgement over targets is right.

Figures are not looked at here. Every case runs once with little to do, on asyncio and on pyasync, in a process of its
own as compare.py starts them.
"""
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"

SMOKE = """
import asyncio as stdlib, json, os, sys
sys.path.insert(0, sys.argv[1])
import harness, loops, worker
column = loops.COLUMNS[sys.argv[2]]
harness.asyncio = column.module()
for topic in worker.harness_topics():
    if topic not in ("trees", "memory"):
        __import__(f"bench_{topic}")
counts = {}
async def run(case):
    await loops.identify(column)
    _, sample = await harness.measure(case, None if case.times_itself else 20, 0.05)
    return sample.operations
for case in harness.CASES.values():
    with column.runner() as runner:
        counts[case.name] = runner.run(run(case))
print(json.dumps(counts))
"""


@pytest.mark.parametrize("column", ["asyncio", "pyasync"])
def test_every_case_runs_and_counts_its_operations(column):
    run = subprocess.run([sys.executable, "-c", SMOKE, str(BENCHMARKS), column], capture_output=True, text=True, timeout=100)
    assert run.returncode == 0, run.stderr
    counts = json.loads(run.stdout)
    assert len(counts) > 30
    assert all(count >= 1 for count in counts.values())


@pytest.fixture
def report(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import report
    return report


def row(report, **medians):
    case = SimpleNamespace(name="switch", topic="tasks", unit="s", operation="switch", about="")
    results = {column: [{"value": value, "cpu_value": value, "classes": {}, "extra": {}, "operations": 1, "peak_rss_kb": 1}] * 3
               for column, value in medians.items()}
    return report.Row(case, results)


def test_a_row_below_its_target_is_named_with_its_figures(report):
    rows = [row(report, asyncio=9e-7, uvloop=4e-7, pyasync=3e-7)]
    assert report.shortfalls(rows, {"switch": {"asyncio": 3.0}}) == []
    assert report.shortfalls(rows, {"switch": {"asyncio": 3.5}}) == ["switch: 3.00x asyncio, wanted 3.5x"]


def test_a_target_that_was_not_measured_is_a_shortfall(report):
    rows = [row(report, asyncio=9e-7, pyasync=3e-7)]
    assert report.shortfalls(rows, {"switch": {"floor": 0.8}}) == ["switch: not measured against floor"]
    assert report.shortfalls([], {"switch": {"asyncio": 3}}) == ["switch: not measured against asyncio"]


def test_the_best_other_loop_is_never_ours_nor_the_floor(report):
    assert row(report, asyncio=9e-7, uvloop=4e-7, floor=1e-7, pyasync=2e-7).best_other() == "uvloop"


def test_the_wrong_loop_is_refused():
    code = ("import sys; sys.path.insert(0, sys.argv[1]); import asyncio, loops; column = loops.COLUMNS['uvloop'];"
            "column.as_asyncio = 'asyncio'; asyncio.run(loops.identify(column))")
    run = subprocess.run([sys.executable, "-c", code, str(BENCHMARKS)], capture_output=True, text=True, timeout=60)
    assert "the loop is a asyncio.unix_events._UnixSelectorEventLoop, not a uvloop.Loop" in run.stderr
