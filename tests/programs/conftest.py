"""Real programs, each started in a process of its own on asyncio (the control) and by every way into pyasync.

A program here imports only asyncio and third-party packages; what it runs on is decided by how it is started.
"""
import pytest

import ways

PROGRAMS = ways.Programs(__file__.rpartition("/")[0])


@pytest.fixture(params=ways.WAYS)
def way(request):
    return request.param


@pytest.fixture
def check_kind():
    return ways.check_kind


@pytest.fixture
def programs():
    return PROGRAMS


@pytest.fixture
def run_program(tmp_path):
    def run(way, program, *args, timeout=100):
        return PROGRAMS.run(way, program, *args, cwd=tmp_path, timeout=timeout)
    return run
