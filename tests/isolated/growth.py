"""Repeats the core's operations and says what grows.

    python tests/isolated/growth.py [--on asyncio|pyasync] [--list] [CASE...]

Counted after each round of a case, following a full collection: references (`sys.gettotalrefcount`, debug builds of
CPython only), memory blocks (`sys.getallocatedblocks`), bytes in use in C's heap, open descriptors and threads. A case is
clean when three rounds running leave every count where it was; one that never comes to rest leaks. Warm free lists,
caches and growing tables come to rest, a leak cannot: it grows with every round. Where threads or the kernel make counts
go up and down, their low-water mark decides: it must not keep climbing by as much as one (of heap bytes, 16) a round.
"""
import argparse
import array
import collections
import ctypes
import gc
import importlib
import os
import sys
import threading

import cases_loop  # noqa: F401
import cases_tls  # noqa: F401
import cases_types  # noqa: F401
import cases_waiting  # noqa: F401
from cases import CASES, REPEAT

STRETCH, STRETCHES = 16, 10                     # a case gets this many times as many rounds to come to rest
REST = 3                                        # rounds without a change that end a case
SMALLEST = {"heap bytes": 16}                   # what the smallest leak adds to a counter in a round, if it is not 1


def without_chunk_cache():
    """Starts anew with glibc's cache of freed chunks off: it counts them as in use, up to seven of each size, and where sizes depend on
    the moment (what a socket took at once) it fills for longer than we look."""
    tunables, setting = os.environ.get("GLIBC_TUNABLES", ""), "glibc.malloc.tcache_count=0"
    if setting not in tunables:
        environment = os.environ | {"GLIBC_TUNABLES": f"{tunables}:{setting}".strip(":")}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


class Mallinfo2(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in
                "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()]


def heap_counter():
    """Bytes in use in C's heap, or None: glibc only, and a sanitizer's allocator does not know."""
    try:
        function = ctypes.CDLL(None).mallinfo2
    except AttributeError:
        return None
    function.restype = Mallinfo2

    def count():
        info = function()
        return info.uordblks + info.hblkhd
    return count if count() else None


def counters():
    found = {"blocks": sys.getallocatedblocks, "descriptors": lambda: len(os.listdir("/proc/self/fd")),
             "threads": threading.active_count}
    if hasattr(sys, "gettotalrefcount"):
        found["references"] = sys.gettotalrefcount
    if (heap := heap_counter()) is not None:
        found["heap bytes"] = heap
    return found


def take(counts, values):
    """Counts into the array given, so that counting keeps nothing new."""
    gc.collect()
    for i, count in enumerate(counts):
        values[i] = count()


def kinds():
    gc.collect()
    found = collections.Counter()
    for x in gc.get_objects():
        found[f"{type(x).__module__}.{type(x).__qualname__}"] += 1
    return found


def climbs(series):
    """How a counter's low-water mark rises in each round: the least from one stretch to the next, and on average."""
    marks = [min(series[start:start + STRETCH]) for start in range(STRETCH, len(series), STRETCH)]
    return min(b - a for a, b in zip(marks, marks[1:])) / STRETCH, (marks[-1] - marks[0]) / STRETCH / (len(marks) - 1)


def measure(m, function):
    """Runs the case until it rests. Returns None, or what it leaks."""
    names, counts = zip(*counters().items())
    history = [array.array("q", [0] * len(counts)) for _ in range(STRETCH * STRETCHES)]     # ints in a list would be blocks
    function(m)
    resting = 0
    for n, row in enumerate(history):
        function(m)
        take(counts, row)
        resting = resting + 1 if n and row == history[n - 1] else 0
        if resting == REST:
            return None
        if n and n % STRETCH == 0 and n // STRETCH >= 3 and not rising(names, history[:n]):
            return None
    leaks = rising(names, history, average_at_least=0.97)
    if not leaks:
        return None
    before = kinds()
    for _ in range(5):
        function(m)
    last = {name: [b[k] - a[k] for a, b in zip(history[-7:], history[-6:])] for k, name in enumerate(names)}
    return {"leaks": leaks, "last": last, "objects": [(kind, n) for kind, n in (kinds() - before).most_common(6) if n >= 5]}


def rising(names, history, average_at_least=0):
    """The counters that never stopped rising. A leak is steady: each round adds the same, and at least one."""
    rates = {}
    for k, name in enumerate(names):
        least, average = climbs([row[k] for row in history])
        smallest = SMALLEST.get(name, 1)
        if least >= max(0.5 * smallest, 0.6 * average) and average >= average_at_least * smallest:
            rates[name] = average
    return rates


def describe(name, leak):
    lines = [f"{name}: GROWS, in each round of {REPEAT} operations or less"]
    for counter, rate in leak["leaks"].items():
        lines.append(f"    {counter:<12} {rate:+.1f} a round; the last rounds: {' '.join(f'{g:+d}' for g in leak['last'][counter])}")
    for kind, n in leak["objects"]:
        lines.append(f"    objects      {kind}: +{n} in 5 rounds")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--on", default="pyasync", choices=["pyasync", "asyncio"], help="the module under test")
    parser.add_argument("--list", action="store_true", help="list the cases")
    parser.add_argument("--self-test", action="store_true", help="leak on purpose, one reference a round: must be reported")
    parser.add_argument("cases", nargs="*", metavar="CASE")
    args = parser.parse_args()
    if args.list:
        print(*CASES, sep="\n")
        return 0
    without_chunk_cache()
    m = importlib.import_module(args.on)
    if args.self_test:
        kept = []
        CASES["self_test"] = lambda m: kept.append(object())
        args.cases = ["self_test"]
    print("counting", ", ".join(counters()), "on", args.on, flush=True)
    leaking = 0
    for name in args.cases or CASES:
        leak = measure(m, CASES[name])
        print(f"{name}: clean" if leak is None else describe(name, leak), flush=True)
        leaking += leak is not None
    return 1 if leaking else 0


if __name__ == "__main__":
    sys.exit(main())
