"""asyncpg against a real PostgreSQL, over TCP, a Unix socket and TLS."""
import pytest

pytest.importorskip("asyncpg", reason="asyncpg is not installed")


def test_exchange(run_program, postgres_server, issued):
    port, folder = postgres_server
    result = run_program("asyncpg_exchange", str(port), folder, issued[2])
    assert sorted(result) == ["tcp", "tls", "unix"]
    for part in result.values():
        assert part == {
            "rows": [True, True, True],
            "concurrent": sum(n * (n + 1) // 2 for n in range(200)),
            "rolled back": ["division by zero", 5000],
            "cancelled": ["CancelledError", 40, "timed out", 41, "timed out", 42],
            "notified": True,
            "terminated": ["ConnectionDoesNotExistError", True, True],
        }
