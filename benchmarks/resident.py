"""Resident memory of this process."""
import gc
import os
import time

from harness import Sample

PAGE = os.sysconf("SC_PAGE_SIZE")


def resident():
    gc.collect()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * PAGE


class Growth:
    """How much more the process holds, counted from now."""

    def __init__(self):
        self.began, self.before = time.perf_counter(), resident()

    def sample(self, count):
        return Sample((resident() - self.before) / count, count, time.perf_counter() - self.began)
