"""Measure what README.md and docs/performance.md show, and write it there: tables, plots, memory, how costs grow.

    python benchmarks/publish.py                         on a machine with nothing else to do; says first how long it takes
    python benchmarks/publish.py --only zuvloop          the table of the newest Python, from an environment of that Python
    python benchmarks/publish.py --quick --only io       a first impression, marked as such

The text between `<!-- begin NAME` and `<!-- end NAME -->` is replaced, and the pictures in docs/images/. Rows that pyasync loses stand
with the others: the lists of cases below are all that is chosen.
"""
import argparse
import dataclasses
import functools
import re
import sys
import time

import compare
import harness
import loops
import machine
import native
import plots
import report
import scaling

ROOT = compare.HERE.parent
PAGE = ROOT / "docs" / "performance.md"
IMAGES = ROOT / "docs" / "images"


@dataclasses.dataclass
class Table:
    rounds: int
    cases: str
    in_readme: str = ""             #: which of the rows README shows, too
    without: tuple = ()             #: columns left out where --loops does not ask for them


TABLES = {
    "speed": Table(5, """
        switch create_await future_pingpong call_soon_chain timer_cancel timer_fire threadsafe_chain threadsafe_thread gather_1000 wait_for
        timeout task_group_100 lock_contended event_pingpong queue readline to_thread tree_none tree_io""", in_readme="""
        switch create_await future_pingpong call_soon_chain timer_cancel threadsafe_thread gather_1000 timeout lock_contended queue readline
        to_thread tree_io"""),
    "io": Table(3, """
        echo_1k echo_10k echo_100k echo_unix_1k stream_echo_1k sock_1k pingpong_sock_1k udp_1k tls_echo_1k tls_echo_100k accept sendfile_100k
        processes process_communicate process_pipe latency_1k aiohttp uvicorn websockets""", in_readme="""
        echo_1k echo_100k stream_echo_1k pingpong_sock_1k udp_1k tls_echo_1k accept processes latency_1k aiohttp uvicorn websockets"""),
    "memory": Table(1, "memory_future memory_task_future memory_task memory_sleep memory_timer idle_tcp idle_tls"),
    "zuvloop": Table(3, """
        switch create_await future_pingpong call_soon_chain timer_cancel threadsafe_thread gather_1000 queue tree_none echo_1k stream_echo_1k
        pingpong_sock_1k tls_echo_1k""", without=("aiofastnet-uvloop",)),
}
#: Growing costs: of the loop everybody knows and of ours; above 10,000 a case takes seconds and its figure is steady.
SCALING_LOOPS, SCALING_ROUNDS, LARGEST = "asyncio,pyasync", 1, 1_000_000
#: What is measured when nothing is chosen: zuvloop's table wants a Python of its own.
DEFAULT = ["speed", "io", "memory", "scaling"]
#: For the forecast: seconds that a process takes with its start, warm-up and calibration; of growing costs, on the average of all sizes.
PROCESS_SECONDS, SCALING_SECONDS = {False: 1.1, True: 0.6}, {False: 3.5, True: 0.8}


def replace(path, name, text):
    content = path.read_text()
    pattern = re.compile(rf"(<!-- begin {name}\b[^\n]*-->\n).*?(<!-- end {name} -->)", re.DOTALL)
    content, found = pattern.subn(lambda match: f"{match[1]}{text.strip()}\n{match[2]}", content)
    if found != 1:
        raise SystemExit(f"{path.name}: there should be one place for {name}, there are {found}")
    path.write_text(content)


def short_table(rows, clock):
    """For README: what a reader who chooses between loops wants to see."""
    lines = [["", "asyncio", "best other loop", "pyasync", "times asyncio", "times the best other"]]
    for row in rows:
        best = row.best_other(clock)
        lines.append([f"{row.case.name}", report.quantity(row.median("asyncio", clock), row.case.unit),
                      f"{report.quantity(row.median(best, clock), row.case.unit)} ({best})" if best else "–",
                      report.quantity(row.median("pyasync", clock), row.case.unit),
                      report.times(row.ratio("pyasync", "asyncio", clock)),
                      report.times(row.ratio("pyasync", best, clock)) if best else "–"])
    return report.as_markdown(lines)


def long_table(rows, columns, clock):
    columns = [c for c in columns if any(c in row.results for row in rows)]
    header, lines = report.table(rows, columns, clock)
    about = {row.case.name.removesuffix(" CPU"): row.case for row in rows}
    return report.as_markdown([header, *lines]) + "\n\n" + "\n".join(
        f"- `{name}`: {case.about} (per {case.operation})" for name, case in about.items())


def growth_table(curves):
    sizes = sorted({size for curve in curves.values() for size, _ in curve.get("pyasync", [])})
    lines = [["", "should be", *(f"{size:,}" for size in sizes)]]
    for name, curve in curves.items():
        costs = dict(curve.get("pyasync", []))
        lines.append([name, scaling.bench_scaling.CURVES[name][2], *(report.quantity(costs.get(size), "s") for size in sizes)])
    return report.as_markdown(lines)


def said(args, facts):
    return ("**A quick run, to be replaced.** " if args.quick else "") + report.provenance(facts, args.clock)


columns_that_work = functools.cache(compare.choose_columns)     # each is tried in a process


class Publication:
    """One set of figures: what is to be measured, then what came out."""

    def __init__(self, name, args):
        self.name, self.failures = name, {}
        self.args = argparse.Namespace(**vars(args))
        if name == "scaling":
            largest = args.largest or (10_000 if args.quick else LARGEST)
            self.cases = [case for case in compare.choose_cases(["scaling"], {}) if int(case.name.partition("@")[2]) <= largest]
            self.columns = columns_that_work(args.loops or SCALING_LOOPS)
            self.args.rounds = args.rounds or SCALING_ROUNDS
        else:
            table = TABLES[name]
            by_name = {case.name: case for case in compare.choose_cases(table.cases.split(), {})}
            self.cases = [by_name[case] for case in table.cases.split()]
            left_out = () if args.loops else table.without
            self.columns = {name: version for name, version in columns_that_work(args.loops).items() if name not in left_out}
            self.args.rounds = args.rounds or (1 if args.quick else table.rounds)

    def forecast(self):
        """(what will be measured, how many seconds that may take)"""
        processes = self.args.rounds * sum(len(compare.columns_for(case, self.columns)) for case in self.cases)
        seconds = processes * (SCALING_SECONDS if self.name == "scaling" else PROCESS_SECONDS)[self.args.quick]
        return f"{self.name}: {len(self.cases)} cases, {self.args.rounds} rounds, {processes} processes, {seconds / 60:.0f} min", seconds

    def measure(self, load_before):
        """load_before: the machine's load before the first of the figures; afterwards it is our own."""
        self.facts = compare.introduce(self.args, self.columns) | {"load_avg_1min": load_before}
        began = time.monotonic()
        self.rows, self.failures = compare.measure_all(self.cases, self.columns, self.args, timeout=900 if self.name == "scaling" else 120)
        compare.conclude(self.facts)
        print(f"{self.name} took {time.monotonic() - began:.0f} s", flush=True)
        if self.args.out:
            compare.write(self.args.out / self.name, self.rows, self.columns, self.args.clock, self.facts)

    def failed(self):
        return [f"- `{name}` on {column} failed: {error}" for (name, column), error in self.failures.items()]

    def write(self):
        if self.name == "scaling":
            curves = scaling.by_curve(self.rows, self.args.clock)
            plots.scaling(curves, scaling.bench_scaling.CURVES, IMAGES / "scaling.svg")
            noticed = [f"- {line}" for line in scaling.remarks(curves)] or ["No curve grows faster than it should."]
            text = [f"![cost of an operation as what there is grows](images/scaling.svg)\n\npyasync:\n\n{growth_table(curves)}\n",
                    *noticed, *self.failed(), "", said(self.args, self.facts)]
        else:
            text = [said(self.args, self.facts), "", long_table(self.rows, self.columns, self.args.clock), *self.failed()]
        replace(PAGE, self.name, "\n".join(text))


def write_readme(publications, args):
    """Some rows of each table, and their picture."""
    rows = [row for p in publications for row in p.rows if row.case.name.partition(" ")[0] in TABLES[p.name].in_readme.split()]
    columns = {column: version for p in publications for column, version in p.columns.items()}
    facts = publications[0].facts | {"versions": columns, "load_avg_1min_after": publications[-1].facts["load_avg_1min_after"]}
    timed = [row for row in rows if row.case.unit == "s"]
    plots.bars(timed, columns, IMAGES / "speed.svg", args.clock, f"pyasync and others, Python {facts['python_version']}")
    replace(ROOT / "README.md", "speed",
            f"![speed of pyasync and others](docs/images/speed.svg)\n\n{short_table(rows, args.clock)}\n\n{said(args, facts)}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    compare.add_measuring_arguments(parser)
    parser.add_argument("--only", nargs="+", choices=[*TABLES, "scaling"], default=DEFAULT, metavar="FIGURES",
                        help=f"measure and write only these, of {', '.join([*TABLES, 'scaling'])}; README needs speed and io")
    parser.add_argument("--largest", type=int, help=f"largest size of the growing costs (default {LARGEST:,}; with --quick 10,000)")
    args = compare.complete(parser.parse_args())
    plots.pyplot()
    native.prepare()
    publications = [Publication(name, args) for name in args.only]
    forecasts = [publication.forecast() for publication in publications]
    print(*(words for words, _ in forecasts), f"in all about {sum(seconds for _, seconds in forecasts) / 60:.0f} minutes", sep="\n", flush=True)
    began, load_before = time.monotonic(), machine.load()
    IMAGES.mkdir(parents=True, exist_ok=True)
    for publication in publications:
        publication.measure(load_before)
        publication.write()
    shown = [p for p in publications if p.name in TABLES and TABLES[p.name].in_readme]
    if len(shown) == sum(bool(table.in_readme) for table in TABLES.values()):
        write_readme(shown, args)
    else:
        print("README.md is as it was: its figures are of the tables speed and io")
    print(f"took {(time.monotonic() - began) / 60:.1f} minutes")
    failures = {key: error for publication in publications for key, error in publication.failures.items()}
    for (name, column), error in failures.items():
        print(f"FAILED {name} on {column}: {error}", file=sys.stderr)
    return 1 if any(column in loops.OURS for _, column in failures) else 0


if __name__ == "__main__":
    sys.exit(main())
