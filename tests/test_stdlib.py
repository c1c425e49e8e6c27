"""CPython's own asyncio tests: a quick part of them, and the command that runs them (tests/stdlib)."""
import importlib.util
import os
import pathlib
import re
import subprocess
import sys

import pytest

COMMAND = pathlib.Path(__file__).parent / "stdlib"

pytestmark = pytest.mark.skipif(importlib.util.find_spec("test.test_asyncio") is None if importlib.util.find_spec("test") else True,
                                reason="this Python comes without its own tests")


def run(*args, suite="test.test_asyncio", path=""):
    env = {**os.environ, "STDLIB_SUITE": suite, "PYTHONPATH": str(path)}
    result = subprocess.run([sys.executable, str(COMMAND), *args], env=env, capture_output=True, text=True, timeout=110)
    rows = {}
    for line in result.stdout.splitlines():
        name, *numbers = line.split()
        if len(numbers) >= 6 and numbers[0].isdigit():
            rows[name] = dict(zip(("run", "passed", "failed", "not applicable", "no loop", "skipped"), map(int, numbers)))
    return result, rows


@pytest.mark.parametrize("mode, files", [
    ("loop", "test_locks test_waitfor test_streams"),
    ("install", "test_queues test_timeouts"),
    ("import", "test_sock_lowlevel test_base_events.BaseEventLoopTests"),
    ("types", "test_futures.CFutureTests test_tasks.CTask_CFuture_Tests"),
    ("types-asyncio", "test_tasks.CTask_CFuture_SubclassTests"),
])
def test_a_quick_part_of_cpythons_suite(mode, files):
    result, rows = run("--mode", mode, *files.split())
    assert result.returncode == 0, result.stdout + result.stderr
    assert rows["all"]["passed"] > 50 and rows["all"]["failed"] == 0


SUITE = '''
import asyncio, os, sys, time, unittest

ours = "pyasync" in sys.modules              # not in the control run with asyncio alone

class Crash(unittest.TestCase):
    def test_1(self): asyncio.new_event_loop().close()
    def test_2(self): ours and os.abort()
    def test_3(self): asyncio.new_event_loop().close()
    def test_4(self): ours and time.sleep(1000)
    def test_5(self): asyncio.new_event_loop().close()

class Verdicts(unittest.TestCase):
    def test_asyncios_loop(self): asyncio.unix_events._UnixSelectorEventLoop().close()
    def test_subtests(self):
        for i in range(3):
            with self.subTest(i=i):
                self.assertFalse(ours and i != 1)
    def test_no_loop(self): pass
    def test_skipped(self): self.skipTest("so")
    def test_fails_on_asyncio_too(self): self.fail("here")

class NoSetUp(unittest.TestCase):
    @classmethod
    def setUpClass(cls): assert not ours
    def test_1(self): pass
    def test_2(self): pass

class SkippedClass(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise unittest.SkipTest("all")
    def test_1(self): pass
'''


def test_crash_hang_and_verdicts(tmp_path):
    package = tmp_path / "a_suite"
    package.mkdir()
    for name, source in {"__init__": "", "utils": "class TestLoop: pass", "test_it": SUITE, "test_broken": "import nonsense"}.items():
        (package / f"{name}.py").write_text(source)
    result, rows = run("--mode", "loop", "--timeout", "5", suite="a_suite", path=tmp_path)
    assert result.returncode == 1
    assert rows["test_broken"]["failed"] == 1
    failed = re.findall(r"^FAILED loop (\S+)", result.stderr, re.M)
    assert failed == ["test_broken", "test_it.Crash.test_2", "test_it.Crash.test_4", "test_it.Verdicts.test_asyncios_loop",
                      "test_it.Verdicts.test_subtests", "test_it.NoSetUp.test_1", "test_it.NoSetUp.test_2"], result.stderr
    assert "(i=0)" in result.stderr and "(i=2)" in result.stderr and "status -6" in result.stderr
    assert "nothing happened for 5.0 s" in result.stderr
    assert rows["test_it"] == {"run": 11, "passed": 3, "failed": 6, "not applicable": 1, "no loop": 1, "skipped": 2}


def test_list_of_exemptions_is_well_formed():
    sys.path.insert(0, str(COMMAND))
    try:
        import exempt
        reasons = exempt.Reasons(COMMAND / "not_applicable.txt")
    finally:
        sys.path.remove(str(COMMAND))
    names = [name for name, _, _ in reasons.entries]
    assert len(names) == len(set(names)) > 20
    assert all(reason.endswith(".") and len(reason) > 40 for _, reason, _ in reasons.entries)
