"""hypercorn, visited by httpx."""
import pytest

for package in ("hypercorn", "httpx", "h2"):
    pytest.importorskip(package, reason=f"{package} is not installed")


def test_exchange(run_program, issued):
    events = ["left", "shutdown", "startup"]
    assert run_program("hypercorn_exchange", *issued) == {"http/1.1": [10, ["1.1"], 100, 500, events], "http/2": [10, ["2"], 100, 500, events]}
