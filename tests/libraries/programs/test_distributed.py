"""Dask's distributed: a scheduler, a client, two workers, one of which dies."""
import pytest

import ways

pytest.importorskip("distributed", reason="distributed is not installed")


def test_cluster(run_program, way, tmp_path):
    result = run_program("distributed_cluster", str(tmp_path), timeout=110)
    for classes in result.pop("workers"):               # processes that multiprocessing has started
        ways.check_kind(way if way == "python -m pyasync" else "asyncio", classes)
    squares = sum(n * n for n in range(200))
    assert result == {
        "computation": [squares, squares + 200, 20, [20_000_000] * 4, "division by zero", True, "cancelled", sum(n * n for n in range(20))],
        "killed": [sum(range(24)), 1, 2],
    }
