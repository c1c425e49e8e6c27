"""The programs in examples/ print the same on asyncio and under `python -m pyasync`, but for the loop they name."""
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LOOP = re.compile(r"\[loop: ([\w.]+)\]")
SLOW = re.compile(r"^Executing <.*> took \d+\.\d+ seconds\n", re.M)      # debug mode says so of any callback on a busy machine


def run(*command):
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-W", "default", *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=60)
    assert (done.returncode, SLOW.sub("", done.stderr)) == (0, "")
    return done.stdout


def check_tour(output, module):
    loops = LOOP.findall(output)
    assert len(loops) == 11 and all(name.startswith(module + ".") for name in loops), loops
    assert output.endswith("That was all of it.\n")


def test_tour_imports_only_asyncio():
    source = (ROOT / "examples" / "tour.py").read_text()
    assert re.findall(r"^import (.*)$", source, re.M) == ["asyncio", "collections.abc", "os", "signal", "threading", "time", "warnings"]
    assert not re.findall(r"^\s*(from .* import|import pyasync)", source, re.M)


@pytest.mark.parametrize("flags", [[], ["-X", "dev"]], ids=["plain", "dev"])
def test_tour_is_the_same_on_both(flags):
    on_asyncio = run(*flags, "examples/tour.py")
    check_tour(on_asyncio, "asyncio")
    on_pyasync = run(*flags, "-m", "pyasync", "examples/tour.py")
    check_tour(on_pyasync, "pyasync")
    assert LOOP.sub("[loop]", on_pyasync) == LOOP.sub("[loop]", on_asyncio)
