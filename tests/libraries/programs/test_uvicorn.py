"""FastAPI under uvicorn with several workers: all of them answer, one that is killed is replaced, and all of them end."""
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

import ways

for package in ("fastapi", "uvicorn"):
    pytest.importorskip(package, reason=f"{package} is not installed")

UVICORN = ["uvicorn", "uvicorn_app:app", "--workers", "3", "--log-level", "warning"]
WAYS = {
    "asyncio": [sys.executable, "-m", *UVICORN, "--loop", "asyncio"],
    "--loop pyasync:new_event_loop": [sys.executable, "-m", *UVICORN, "--loop", "pyasync:new_event_loop"],
    "python -m pyasync": [sys.executable, "-m", "pyasync", "-m", *UVICORN, "--loop", "asyncio"],
}


def ask(port, method, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path)
        response = connection.getresponse()
        assert response.status == 200
        return json.loads(response.read())
    finally:
        connection.close()


def workers(port, wanted, *, without=()):
    """{pid: the answer of that worker}, once so many of them have answered."""
    found, deadline = {}, time.monotonic() + 60
    while len(found) < wanted:
        assert time.monotonic() < deadline, f"only {len(found)} of {wanted} workers answered"
        try:
            with ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(lambda _: ask(port, "GET", "/who"), range(16)))
        except (OSError, http.client.HTTPException):         # none is up yet, or it was on one that is being killed
            time.sleep(0.1)
            continue
        found |= {answer["pid"]: answer for answer in answers if answer["pid"] not in without}
    return found


@pytest.mark.parametrize("way", WAYS)
def test_workers(way, programs, free_port):
    process = subprocess.Popen([*WAYS[way], "--port", str(free_port)], cwd=programs.HERE, env=programs.environment(), text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    output = []
    reader = threading.Thread(target=lambda: output.append(process.stdout.read()))
    reader.start()
    try:
        first = workers(free_port, 3)
        for answer in first.values():
            ways.check_kind(way, answer["loop"])
            ways.check_kind(way, answer["task"])
        with ThreadPoolExecutor(16) as pool:
            assert sum(pool.map(lambda n: ask(free_port, "POST", f"/double/{n}")["number"], range(300))) == 299 * 300
            assert sum(pool.map(lambda n: ask(free_port, "GET", f"/blocking/{n}")["number"], range(300))) == 299 * 150
        victim = min(first)
        os.kill(victim, signal.SIGKILL)
        second = workers(free_port, 3, without=(victim,))    # the one that takes its place is on the same loop
        assert len(second.keys() - first.keys()) == 1
        for answer in second.values():
            ways.check_kind(way, answer["loop"])
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
        reader.join(20)
        process.stdout.close()
    assert process.returncode == 0, output
    assert "Traceback" not in output[0] and "never" not in output[0], output[0]
    for pid in second:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
