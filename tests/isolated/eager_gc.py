"""A pytest plugin: every allocation of a container asks for a garbage collection, so that each is made at the worst moment."""
import gc


def pytest_runtest_setup(item):
    gc.set_threshold(1)


def pytest_runtest_teardown(item):
    assert gc.get_threshold()[0] == 1, "the test has set the threshold itself"
