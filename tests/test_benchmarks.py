"""The benchmarks are programs that users run: each case works, and the judgement over targets is right.

Figures are not looked at here. Every case runs once with little to do, on asyncio and on pyasync, in a process of its
own as compare.py starts them.
"""
import json
import os
import signal
import subprocess
import sys
import threading
import time
import tomllib
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
    assert all(sample.extra[key] > 0 for key in (case.parts or {}).values()), (case.name, sample)
    return sample.operations
for case in harness.CASES.values():
    name, at, size = case.name.partition("@")
    if at and size not in ("10", "100") or case.name == "aiohttp" and hasattr(sys, "gettotalrefcount"):
        continue        # a debug CPython tracks an object of multidict's wheels that is not filled yet, on any loop: SIGSEGV
    with column.runner() as runner:
        counts[case.name] = runner.run(run(case))
print(json.dumps(counts))
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize("column", ["asyncio", "pyasync"])
def test_every_case_runs_and_counts_its_operations(column):
    run = subprocess.run([sys.executable, "-c", SMOKE, str(BENCHMARKS), column], capture_output=True, text=True, timeout=280)
    assert run.returncode == 0, run.stderr
    counts = json.loads(run.stdout)
    assert len(counts) > 60
    assert all(count >= 1 for count in counts.values())


@pytest.fixture
def harness(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import harness
    return harness


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


def test_a_target_may_bound_the_figure_or_name_its_clock(report):
    rows = [row(report, asyncio=9e-7, pyasync=3e-7)]
    assert report.shortfalls(rows, {"switch": {"most": 3e-7}}) == []
    assert report.shortfalls(rows, {"switch": {"most": 2e-7}}) == ["switch: 300 ns, wanted 200 ns at most"]
    assert report.shortfalls([], {"switch": {"most": 2e-7}}) == ["switch: not measured"]
    for result in rows[0].results["pyasync"]:
        result["cpu_value"] = 1.5e-7
    assert report.shortfalls(rows, {"switch": {"asyncio": 5, "clock": "cpu"}}) == []
    assert report.shortfalls(rows, {"switch": {"asyncio": 7, "clock": "cpu"}}) == ["switch: 6.00x asyncio, wanted 7x in CPU time"]
    assert report.shortfalls(rows, {"switch": {"asyncio": 5}}) == ["switch: 3.00x asyncio, wanted 5x"]


def test_the_best_other_loop_is_never_ours_nor_the_floor(report):
    assert row(report, asyncio=9e-7, uvloop=4e-7, floor=1e-7, pyasync=2e-7).best_other() == "uvloop"


def test_the_wrong_loop_is_refused():
    code = ("import sys; sys.path.insert(0, sys.argv[1]); import asyncio, loops; column = loops.COLUMNS['uvloop'];"
            "column.as_asyncio = 'asyncio'; asyncio.run(loops.identify(column))")
    run = subprocess.run([sys.executable, "-c", code, str(BENCHMARKS)], capture_output=True, text=True, timeout=60)
    assert "the loop is a asyncio.unix_events._UnixSelectorEventLoop, not a uvloop.Loop" in run.stderr


# ---- the load client

@pytest.fixture
def native(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import native
    return native


def test_the_client_keeps_its_rate_and_answers_for_what_was_due(native):
    with native.EchoServer() as server:
        load = native.echo_load(server.address, 7, 64, 0.2, warmup=0.1, rate=1000)
    assert load["requests"] == 200 and load["total_requests"] in (299, 300)


def test_a_stall_is_paid_for_by_all_requests_that_came_in_meanwhile(native):
    """200 ms of every 600 the server stands still: a third of the requests, not one a connection, wait."""
    with native.EchoServer() as server:
        def stall():
            time.sleep(0.2)
            os.kill(server.process.pid, signal.SIGSTOP)
            time.sleep(0.2)
            os.kill(server.process.pid, signal.SIGCONT)

        stalling = threading.Thread(target=stall)
        stalling.start()
        load = native.echo_load(server.address, 2, 64, 0.6, warmup=0, rate=1000)
        stalling.join()
    assert load["requests"] == 600
    assert load["p99_us"] > 100_000


def test_a_wrong_answer_ends_the_run(native):
    with native.EchoServer() as server:
        with pytest.raises(RuntimeError, match="wrong data"):
            native.load(server.address, 2, b"question", b"answered", 0.1)


def test_only_the_beginning_of_an_answer_may_be_looked_at(native):
    with native.EchoServer() as server:
        load = native.load(server.address, 2, b"HTTP 200 date 1", b"HTTP 200 date 2", 0.1, compare=8)
    assert load["requests"] > 0


# ---- counted instructions

@pytest.fixture
def instructions(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import instructions
    return instructions


WANTED = {"switch": {"all": 3000, "own": 1000}, "queue": {"all": 4000, "own": 1100}}


def test_an_operation_that_takes_more_is_named_with_its_figures(instructions):
    assert instructions.judge(WANTED, WANTED, True) == ([], [])
    slower = WANTED | {"switch": {"all": 3300, "own": 1010}}
    assert instructions.judge(slower, WANTED, True) == (["switch: 3,300 instructions, were 3,000 (+10.0%)"], [])
    assert instructions.judge(slower, WANTED, True, jit=True) == ([], [])
    own = WANTED | {"queue": {"all": 4060, "own": 1160}}
    assert instructions.judge(own, WANTED, True) == (["queue: 1,160 instructions in the extension, were 1,100 (+5.5%)"], [])


def test_on_another_build_only_the_extension_counts(instructions):
    assert instructions.judge(WANTED | {"switch": {"all": 9000, "own": 1150}}, WANTED, False) == ([], [])
    worse, _ = instructions.judge(WANTED | {"switch": {"all": 3000, "own": 1300}}, WANTED, False)
    assert worse == ["switch: 1,300 instructions in the extension, were 1,000 (+30.0%)"]


def test_what_got_better_is_said_and_what_was_not_counted_fails(instructions):
    worse, better = instructions.judge({"switch": {"all": 2000, "own": 1000}}, WANTED, True)
    assert worse == ["queue: was not counted"] and better == ["switch: 2,000 instructions, were 3,000 (-33.3%)"]


def test_the_file_of_counts_knows_every_guarded_operation(instructions):
    known = tomllib.loads(instructions.COUNTS.read_text())
    assert known == tomllib.loads(instructions.as_toml(known))
    for version, section in known.items():
        assert section["counts"].keys() == set(instructions.GUARDED), version


def test_costs_are_added_up_by_object_without_those_of_callees(instructions):
    lines = ["ob=(1) /x/pyasync/_core.cpython-313.so", "fl=(1) a.c", "fn=(1) f", "10 5", "+1 7", "cob=(2) /x/libpython.so", "cfn=(2) g",
             "calls=3 20", "12 900", "ob=(2)", "fn=(2)", "20 40", "totals: 52"]
    assert instructions.self_costs(lines) == {"/x/pyasync/_core.cpython-313.so": 12, "/x/libpython.so": 40}


# ---- what is written

@pytest.fixture
def scaling(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import scaling
    return scaling


def test_a_curve_that_should_be_flat_and_is_not_is_remarked_on(scaling):
    flat, steep = [(10, 1e-6), (1000, 1e-6), (10_000, 1.5e-6)], [(10, 1e-6), (1000, 1e-6), (10_000, 3e-6)]
    assert scaling.remarks({"queue": {"pyasync": flat, "asyncio": steep}}) == []
    assert scaling.remarks({"queue": {"pyasync": steep}}) == ["queue: 3.0x from 1,000 to 10,000, should be flat"]
    assert scaling.remarks({"timer_fire": {"pyasync": steep}}) == []


def test_a_case_with_parts_is_shown_as_a_row_for_each(report, harness):
    case = harness.Case("latency", None, "", "request", "s", 1, True, 1, None, {"p99": "p99_us"})
    whole = report.Row(case, {"asyncio": [{"value": 1, "cpu_value": 3e-6, "extra": {"p99_us": 250}}]})
    assert [(row.case.name, row.median("asyncio")) for row in whole.parts()] == [("latency p99", 250e-6), ("latency CPU", 3e-6)]


@pytest.mark.timeout(300)
def test_compare_writes_json_markdown_and_pictures(tmp_path):
    pytest.importorskip("matplotlib")
    subprocess.run([sys.executable, str(BENCHMARKS / "compare.py"), "switch", "latency_1k", "--quick", "--rounds", "1",
                    "--loops", "asyncio,pyasync", "--out", str(tmp_path)], check=True, capture_output=True, timeout=280)
    assert {p.name for p in tmp_path.iterdir()} == {"results.json", "results.md", "tasks.svg", "latency.svg", "all.svg"}
    names = [b["metadata"]["name"] for b in json.loads((tmp_path / "results.json").read_text())["benchmarks"]]
    assert "switch[pyasync]" in names and "latency_1k p99.9[asyncio]" in names
    assert "| latency_1k p99 |" in (tmp_path / "results.md").read_text()


def test_published_text_replaces_what_is_between_its_marks(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import publish
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- begin speed: x -->\nold\n<!-- end speed -->\nb\n")
    publish.replace(page, "speed", "new\\1")
    assert page.read_text() == "a\n<!-- begin speed: x -->\nnew\\1\n<!-- end speed -->\nb\n"
    with pytest.raises(SystemExit, match="there are 0"):
        publish.replace(page, "scaling", "")


def test_every_shown_case_exists(monkeypatch):
    pytest.importorskip("websockets")
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import compare
    import publish
    for table in publish.TABLES.values():
        names = table.cases.split()
        assert set(names) <= {case.name for case in compare.choose_cases(names, {})}
        assert set(table.in_readme.split()) <= set(names)
