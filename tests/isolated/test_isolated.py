"""growth.py's cases, each in an interpreter of its own: nothing may grow. References count too under a debug build."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ENVIRONMENT = os.environ | {"PYTHONPATH": str(HERE.parent.parent)}
COMMAND = [sys.executable, str(HERE / "growth.py")]


def growth(*args):
    return subprocess.run([*COMMAND, *args], env=ENVIRONMENT, capture_output=True, text=True, timeout=100)


def cases():
    listed = growth("--list")
    assert listed.returncode == 0, listed.stderr
    return listed.stdout.split()


@pytest.mark.parametrize("case", cases())
def test_nothing_grows(case):
    done = growth(case)
    assert done.returncode == 0, f"{done.stdout}{done.stderr[-3000:]}"
    assert done.stdout.splitlines()[-1] == f"{case}: clean"
    assert done.stderr == ""


def test_a_leak_is_seen():
    done = growth("--self-test")
    assert done.returncode == 1 and "self_test: GROWS" in done.stdout and "blocks" in done.stdout
    assert ("references" in done.stdout) == hasattr(sys, "gettotalrefcount")
