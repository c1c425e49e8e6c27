"""One process, one loop, one case: measures and prints a line of JSON. Started by compare.py, usable by hand:

    python benchmarks/worker.py pyasync switch            # one measurement
    perf record -g python benchmarks/worker.py pyasync switch --seconds 5
"""
import argparse
import dataclasses
import importlib
import json
import os
import resource

import harness
import loops
import machine
import native


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("column", choices=[*loops.COLUMNS, loops.FLOOR])
    parser.add_argument("case", nargs="?")
    parser.add_argument("--probe", action="store_true", help="only say which classes and version the column has")
    parser.add_argument("--topic", help="file the case is in (bench_TOPIC.py); searched for when not given")
    parser.add_argument("-n", type=int, help="operations; without it, found out")
    parser.add_argument("--seconds", type=float, default=harness.BODY_SECONDS, help="length of the measured body")
    parser.add_argument("--count", action="store_true", help="for instructions.py: run the body under callgrind's counting; needs -n")
    parser.add_argument("--cpu", type=int, default=-1, help="processor of this process (default: any)")
    parser.add_argument("--client-cpu", type=int, default=-1, help="processor of the load client (default: any)")
    return parser.parse_args()


def load_case(name, topic):
    for topic in [topic] if topic else harness_topics():
        importlib.import_module(f"bench_{topic}")
        if name in harness.CASES:
            return harness.CASES[name]
    raise SystemExit(f"there is no case {name!r}")


def harness_topics():
    here = os.path.dirname(os.path.abspath(__file__))
    return sorted(f[len("bench_"):-len(".py")] for f in os.listdir(here) if f.startswith("bench_") and f.endswith(".py"))


async def session(column, case, args):
    found = await loops.identify(column)
    if args.count:
        switch = native.counted()
        return found, (args.n, await harness.count(case, args.n, switch.start, switch.stop))
    return found, await harness.measure(case, args.n, args.seconds)


def probe(column):
    with column.runner() as runner:
        classes = runner.run(loops.identify(column))
    print(json.dumps({"column": column.name, "version": column.version(), "classes": classes,
                      "asserts": column.name in loops.OURS and machine.extension_asserts()}))


def main():
    args = parse()
    if args.probe:
        return probe(loops.COLUMNS[args.column])
    os.environ["BENCH_CLIENT_CPU"], os.environ["BENCH_SERVER_CPU"] = str(args.client_cpu), str(args.cpu)
    if args.column == loops.FLOOR:
        case = load_case(args.case, args.topic)
        if args.cpu >= 0 and case.cpus == 1 and not case.times_itself:
            os.sched_setaffinity(0, {args.cpu})
        classes, n, sample = {}, None, case.floor(args.seconds)
    else:
        column = loops.COLUMNS[args.column]
        harness.asyncio = column.module()
        case = load_case(args.case, args.topic)
        if args.cpu >= 0 and case.cpus == 1:
            os.sched_setaffinity(0, {args.cpu})
        with column.runner() as runner:
            classes, (n, sample) = runner.run(session(column, case, args))
    print(json.dumps({"column": args.column, "case": case.name, "n": n, "classes": classes, "cpu_value": sample.cpu_value,
                      "peak_rss_kb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, **dataclasses.asdict(sample)}))


if __name__ == "__main__":
    main()
