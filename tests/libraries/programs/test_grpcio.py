"""grpc.aio's server and client, plain and over TLS."""
import pytest

pytest.importorskip("grpc", reason="grpcio is not installed")


def test_exchange(run_program, issued):
    result = run_program("grpc_exchange", *issued)
    assert sorted(result) == ["plain", "tls"]
    for part in result.values():
        assert part == {
            "calls": [True, True, 499 * 250, True, True, "OK"],
            "troubles": [[True, "CANCELLED"], "TimeoutError", "DEADLINE_EXCEEDED", ["FAILED_PRECONDITION", "not today", "rain"],
                         ["UNIMPLEMENTED", "Method not found!", None], True],
            "terminated": False,                       # not by the time limit
        }
