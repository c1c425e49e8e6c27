"""websockets' server and client, over TCP and over TLS."""
import pytest

pytest.importorskip("websockets", reason="websockets is not installed")
TALK = ["olleh", True, 170, ["part 0 ", "part 1 "], True, [4001, "as you wish"]]


def test_exchange(run_program, issued):
    result = run_program("websockets_exchange", *issued)
    assert sorted(result) == ["tcp", "tls"]
    for part in result.values():
        assert part == {
            "deflate": [TALK, ["PerMessageDeflate"], "second"],
            "plain": [TALK, [], "second"],
            "slow": [20_000_000, 1000],
            "crowd": [["to all"], 30, True],
            "abrupt": ["now", "no close frame received or sent", "no close frame received or sent", "ConnectionClosedError",
                       [403, "not here\n"], "cba"],
            "end": "received 1001 (going away); then sent 1001 (going away)",
            "ends": {"/ 1000": 31, "/ 1001": 1, "/ 1006": 1, "/ 4001": 2, "/die 1006": 1, "/flood 1000": 1},
        }
