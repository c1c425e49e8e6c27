"""python tests/libraries: other projects' own tests, and programs of theirs, on asyncio and on pyasync. See README.md beside this file."""
import argparse
import json
import pathlib
import signal
import sys

import execute
import home
from suites import BY_NAME, PROGRAMS, SUITES

REPEATS = 3


def compare(asyncio, other):
    """The tests that pass on asyncio and do not on the other."""
    found = []
    for test, result in asyncio.tests.items():
        there = other.tests.get(test)
        if result["outcome"] == "passed" and (there is None or there["outcome"] != "passed"):
            found.append(test)
    return found


def made_a_wrong_loop(run):
    return [test for test, result in run.tests.items() if result["loops"] and result["loops"]["asyncio"] and result["outcome"] == "passed"]


def repeat(suite, way, node, python, prefix, timeout):
    """How often it passes of REPEATS times, alone; and what the last failure said."""
    passed, text = 0, ""
    for _ in range(REPEATS):
        outcome = list(execute.run(suite, way, python, prefix, chosen=[node], timeout=timeout).tests.values())
        if len(outcome) == 1 and outcome[0]["outcome"] == "passed":
            passed += 1
        else:
            text = outcome[0]["text"] if outcome else "it was not found"
    return passed, text


def verdict_of(on_asyncio, on_way):
    if on_asyncio == REPEATS and on_way == 0:
        return "fails"
    if on_way == REPEATS:
        return "flaky or dependent on other tests"
    return "flaky"


def judge(suite, way, asyncio, run, python, prefix, options):
    """[{test, verdict, asyncio, way, text}] of the tests that pass on asyncio and not here."""
    findings = []
    for test in compare(asyncio, run):
        first = run.tests.get(test)
        node = asyncio.tests[test]["node"]
        on_asyncio, _ = repeat(suite, "asyncio", node, python, prefix, options.timeout)
        on_way, text = repeat(suite, way, node, python, prefix, options.timeout)
        findings.append({"test": test, "verdict": verdict_of(on_asyncio, on_way), "asyncio": on_asyncio, "way": on_way,
                         "text": text or (first["text"] if first else "it was not run")})
    for test in made_a_wrong_loop(run):
        findings.append({"test": test, "verdict": "made a loop of asyncio's", "asyncio": None, "way": None, "text": ""})
    return findings


def count(run, outcome):
    return sum(test["outcome"] == outcome for test in run.tests.values())


def describe(finding, way, log):
    times = f" (alone: asyncio {finding['asyncio']} of {REPEATS}, {way} {finding['way']} of {REPEATS})" if finding["way"] is not None else ""
    print(f"    {finding['verdict'].upper()} {finding['test']}{times}", flush=True)
    print(f"{way}: {finding['verdict']}: {finding['test']}{times}\n{finding['text']}\n", file=log, flush=True)


def run_suite(suite, options, prefix):
    """Runs it by each way and prints what is found. Returns what is kept of it."""
    python = home.virtual_environment(suite.name, (f"{suite.install[0]}=={home.pinned(suite.name)}", *suite.install[1:]))
    kept = {"library": suite.name, "version": home.pinned(suite.name), "python": sys.version.split()[0], "ways": {}}
    control = None
    for way in ("asyncio", *options.way):
        run = execute.run(suite, way, python, prefix, chosen=options.test, timeout=options.timeout)
        passed, failed, skipped = (count(run, outcome) for outcome in ("passed", "failed", "skipped"))
        print(f"{suite.name} {kept['version']} {way:8} {passed:6} passed {failed:5} failed {skipped:5} skipped  loops: "
              f"{run.loops['pyasync']} pyasync, {run.loops['asyncio']} asyncio, {run.loops['other']} other  {run.seconds:.0f} s", flush=True)
        for trouble in run.trouble:
            print(f"    {trouble}", flush=True)
        here = kept["ways"][way] = {"passed": passed, "failed": failed, "skipped": skipped, "loops": run.loops, "trouble": run.trouble,
                                    "findings": []}
        if way == "asyncio":
            control = run
            here["failures"] = [test for test, result in run.tests.items() if result["outcome"] == "failed"]
            for test, result in run.tests.items():
                if result["outcome"] == "failed":
                    print(f"asyncio itself fails: {test}\n{result['text']}\n", file=options.log, flush=True)
            continue
        here["findings"] = judge(suite, way, control, run, python, prefix, options)
        here["ran"] = len(run.tests)
        for finding in here["findings"]:
            describe(finding, way, options.log)
    return kept


def bad(kept):
    """Whether something in it is to be mended."""
    return any(way["trouble"] or any(f["verdict"] == "fails" for f in way["findings"]) for way in kept["ways"].values())


def main():
    parser = argparse.ArgumentParser(prog="python tests/libraries", description="Runs libraries' own tests on asyncio and on pyasync.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BY_NAME)}; default: all")
    parser.add_argument("--way", choices=execute.WAYS[1:], action="append", help="default: each")
    parser.add_argument("--test", action="append", default=[], metavar="NODE", help="only that test of the one suite named")
    parser.add_argument("--timeout", type=float, default=300, help="seconds a test may take (%(default)s)")
    parser.add_argument("--log", type=argparse.FileType("w"), default=sys.stderr, help="where failures are described")
    parser.add_argument("--save", type=pathlib.Path, metavar="FOLDER", help="keep the results there, for --document")
    parser.add_argument("--document", type=pathlib.Path, metavar="FOLDER",
                        help="run nothing: write the results kept in FOLDER into docs/compatibility.md")
    options = parser.parse_args()
    options.way = options.way or list(execute.WAYS[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))      # takes the suite along
    if options.document:
        import document
        return document.write(options.document)
    unknown = [name for name in options.names if name not in BY_NAME]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    prefix, reason = home.namespace()
    if reason:
        print(f"!!!! No network namespace: {reason}. Tests that need ::1 or another address are run on this host as it is.")
    failed, missing = [], []
    for name in options.names or BY_NAME:
        try:
            kept = run_suite(BY_NAME[name], options, prefix)
        except home.Missing as error:
            print(f"!!!! {name} was NOT RUN: {error}", flush=True)
            missing.append(name)
            continue
        if bad(kept):
            failed.append(name)
        if options.save:
            options.save.mkdir(exist_ok=True)
            (options.save / f"{name}-{sys.version_info[0]}.{sys.version_info[1]}.json").write_text(json.dumps(kept, indent=1))
    if missing:
        print("!!!! NOT RUN:", *missing)
    if failed:
        print("FAILED:", *failed)
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
