"""nomem.py's cases, each in an interpreter of its own: no want of memory may crash it or take the loop out of service."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("_testcapi", reason="this CPython cannot be made to run out of memory")

HERE = Path(__file__).parent
COMMAND = [sys.executable, "-X", "faulthandler", str(HERE / "nomem.py")]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(HERE.parent.parent), "PYTHONMALLOC": "debug"}


def nomem(*args):
    return subprocess.run([*COMMAND, *args], env=ENVIRONMENT, capture_output=True, text=True, timeout=100)


def cases():
    listed = nomem("--list")
    assert listed.returncode == 0, listed.stderr
    return listed.stdout.split()


@pytest.mark.parametrize("case", cases())
def test_want_of_memory(case):
    done = nomem(case)
    assert done.returncode == 0, f"{done.stdout}{done.stderr[-3000:]}"
    assert done.stdout == f"{case}: swept\n"
    assert done.stderr == ""
