"""What a benchmark case is, and how one is measured.

A case is written once, against the name `asyncio` of this module: `from harness import asyncio, case`. The worker sets that name to the
module a user of the measured loop would import (see loops.py) before it imports the file with the cases, so that the
same lines measure every loop, and each as it is really used.

A case does `n` operations, checks what came out of them, and returns how many it did; the clock around it is the
harness's. A case that has to keep its own time (a server whose client counts, a memory figure) returns a Sample.
"""
import asyncio as stdlib_asyncio
import dataclasses
import gc
import time

asyncio = stdlib_asyncio

#: Measured bodies last about this long (seconds); `--quick` takes less.
BODY_SECONDS = 0.35
QUICK_BODY_SECONDS = 0.1


@dataclasses.dataclass
class Sample:
    """One measurement: seconds (or, for memory cases, bytes) for one operation."""
    value: float
    operations: int
    seconds: float
    cpu_seconds: float | None = None
    extra: dict = dataclasses.field(default_factory=dict)

    @property
    def cpu_value(self):
        """CPU time of all threads of the measured process for one operation, or None where that is not known."""
        return self.cpu_seconds / self.operations if self.cpu_seconds is not None else None


@dataclasses.dataclass
class Case:
    name: str
    function: object
    about: str
    operation: str
    unit: str
    start: int
    times_itself: bool
    cpus: int
    floor: object
    parts: dict | None = None
    by_default: bool = True
    topic: str = ""


CASES: dict[str, Case] = {}


def case(name, *, about, operation="operation", unit="s", start=1000, times_itself=False, cpus=1, floor=None,
         parts=None, by_default=True):
    """Register an `async def body(n)` as a case.

    operation     what is counted, singular, for the reader of the table
    unit          "s" (seconds an operation) or "B" (bytes an operation)
    start         the first `n` tried, before calibration
    times_itself  the body gets the seconds to measure instead of a count and returns a Sample
    cpus          how many processors the measured process may use when pinned
    floor         a plain function (seconds) -> Sample that measures the C equivalent: the best any loop could do
    parts         {name: key of Sample.extra, in microseconds}: the report has a row for each of them, and one for CPU time
    by_default    whether compare.py takes it without being asked for it or its topic
    """
    def register(function):
        if name in CASES:
            raise ValueError(f"two cases are called {name!r}")
        CASES[name] = Case(name, function, about, operation, unit, start, times_itself, cpus, floor,
                           parts, by_default, function.__module__.removeprefix("bench_"))
        return function
    return register


async def timed(case, n):
    """Run the body once over `n` operations; a Sample."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    operations = await case.function(n)
    seconds, cpu_seconds = time.perf_counter() - wall, time.process_time() - cpu
    if operations is None or operations < 1:
        raise AssertionError(f"case {case.name} did {operations} operations")
    return Sample(seconds / operations, operations, seconds, cpu_seconds)


async def calibrate(case, body_seconds):
    """The count that keeps the body busy for about `body_seconds`; running it is the warm-up."""
    n = case.start
    while True:
        sample = await timed(case, n)
        if sample.seconds >= body_seconds * 0.7:
            return n
        n = max(n + 1, int(n * min(10, 1.1 * body_seconds / max(sample.seconds, 1e-6))))


async def measure(case, n, body_seconds):
    """One measurement in this process, after a warm-up; (n, Sample). `n` None: find it out."""
    if case.times_itself:
        return None, await case.function(body_seconds)
    if n is None:
        n = await calibrate(case, body_seconds)
    else:
        await timed(case, max(1, n // 4))
    return n, await timed(case, n)


async def count(case, n, start, stop):
    """Run the body over `n` operations between start() and stop(), twice warmed up; a Sample.

    What is older than the case is taken out of the garbage collector's sight, so that where its next collection falls, and what that
    costs, is the case's own doing.
    """
    for _ in range(2):
        await timed(case, n)
    gc.collect()
    gc.freeze()
    began = time.perf_counter()
    start()
    operations = await case.function(n)
    stop()
    return Sample((time.perf_counter() - began) / operations, operations, time.perf_counter() - began)


def floor_of(body):
    """The `floor` of a case from a plain function body(n) -> operations; calibrated and warmed up like a case."""
    def measure_floor(seconds):
        n = 10_000
        while True:
            cpu, wall = time.process_time(), time.perf_counter()
            operations = body(n)
            took, cpu_took = time.perf_counter() - wall, time.process_time() - cpu
            if took >= seconds * 0.7:
                return Sample(took / operations, operations, took, cpu_took)
            n = int(n * min(10, 1.1 * seconds / max(took, 1e-6)))
    return measure_floor
