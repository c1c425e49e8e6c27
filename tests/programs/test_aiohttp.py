"""An aiohttp server with an aiohttp client: JSON, 50 MB up and down, WebSocket, keep-alive, cancellation, TLS."""
import hashlib
import json

import pytest

pytest.importorskip("aiohttp", reason="aiohttp is not installed")

SIZE = 50 * 1024 * 1024


@pytest.fixture(scope="module")
def big():
    digest = hashlib.sha256()
    for start in range(0, SIZE, 256 * 1024):
        digest.update(start.to_bytes(8, "big") * (32 * 1024))
    return {"size": SIZE, "digest": digest.hexdigest()}


def test_exchange(way, check_kind, run_program, issued, big):
    result = json.loads(run_program(way, "aiohttp_exchange", *issued))
    assert sorted(result) == ["tcp", "tls"]
    for part in result.values():
        server = part.pop("server")
        check_kind(way, server["loop"])
        check_kind(way, part.pop("main task"))
        if way in ("asyncio", "install()", "python -m pyasync"):
            check_kind(way, server["task"])         # by the other ways aiohttp makes its eager tasks with asyncio.Task itself
        assert part == {
            "json": 200 * 199, "json again": 200 * 199,
            "connections for 20 requests": 1,
            "upload": big, "download": big,
            "socket": ["HELLO", True, True, "CLOSE", 4001],
            "cancelled": ["cancelled", True],
        }
