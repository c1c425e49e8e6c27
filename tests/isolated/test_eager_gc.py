"""The core's tests once more, with a garbage collection at nearly every allocation: nothing half-made may be seen by one."""
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.mark.timeout(300)                        # more than the process is given
@pytest.mark.parametrize("names", ["test_futures*.py", "test_tasks*.py", "test_handles.py", "test_order.py", "test_hostile.py",
                                   "test_streams*.py"])
def test_with_a_collection_at_every_allocation(names):
    files = sorted(path.name for path in HERE.parent.glob(names) if "random" not in path.name)    # those take minutes
    assert files
    command = [sys.executable, "-X", "faulthandler", "-m", "pytest", "-q", "-x", "--only=pyasync", "-p", "eager_gc", *files]
    done = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, timeout=280,
                          env=os.environ | {"PYTHONPATH": f"{HERE}:{HERE.parent.parent}"})
    assert done.returncode == 0, f"exit {done.returncode}\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
    assert " passed" in done.stdout
