"""A pytest plugin: every allocation of a container asks for a garbage collection, so that each is made at the worst moment."""
import gc

import pytest

USUAL = gc.get_threshold()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item):
    gc.set_threshold(1)
    return (yield)


def pytest_runtest_teardown(item):
    assert gc.get_threshold()[0] == 1, "the test has set the threshold itself"


def pytest_runtest_logfinish(nodeid):
    """pytest's own work is done at the usual pace: after the last test nothing is frozen any more, and a debug build takes
    minutes for its closing lines."""
    gc.set_threshold(*USUAL)
