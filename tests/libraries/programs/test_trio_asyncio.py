"""anyio and trio-asyncio in one program."""
import pytest

for package in ("anyio", "trio", "trio_asyncio"):
    pytest.importorskip(package, reason=f"{package} is not installed")


def test_exchange(run_program, tmp_path):
    assert run_program("anyio_exchange", str(tmp_path)) == {
        "streams": [21, 20],
        "scopes": ["a", "b", True, "c", 1, "late", 3, 1],
        "threads": [sum(range(20)) + 40, ["portal", None]],
        "processes": ["cba", 0, 3],
        "files": "some text",
        "trio": [[51, [1, 2], "LINE\n"], "from asyncio", True],
    }
