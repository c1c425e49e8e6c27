"""redis-py against a real server, over TCP and a Unix socket."""
import pytest

pytest.importorskip("redis", reason="redis is not installed")


def test_exchange(run_program, redis_server):
    result = run_program("redis_exchange", *map(str, redis_server))
    assert sorted(result) == ["tcp", "unix"]
    for part in result.values():
        assert part == {
            "values": [True, 499 * 250, 1000, 500],
            "news": [5, True],
            "queues": [True, None, "CancelledError", True, True],
            "lock": 1,
            "killed": ["ConnectionError", True, True],
        }
