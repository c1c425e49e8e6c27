"""python tests/libraries: other projects' own tests, and programs of theirs, on asyncio and on pyasync. See README.md beside this file."""
import argparse
import json
import pathlib
import re
import signal
import sys
import time

import execute
import home
from suites import BY_NAME, Program

sys.path.append(str(home.HERE.parent))
import measured  # noqa: E402: it is in the folder above

REPEATS = 3
AT_MOST = 25                # tests are repeated; the others count as failures
BAD = ("fails", "fails, and alone on asyncio, too", "made a loop of asyncio's")


def compare(asyncio, other):
    """The tests that pass on asyncio and do not on the other."""
    found = []
    for test, result in asyncio.tests.items():
        there = other.tests.get(test)
        if result["outcome"] == "passed" and (there is None or there["outcome"] != "passed"):
            found.append(test)
    return found


def have_another_go(suite, control, failures, python, prefix, options):
    """What fails on asyncio by chance only counts as what passes there."""
    if failures:
        nodes = [control.tests[test]["node"] for test in failures]
        again = execute.run(suite, "asyncio", python, prefix, chosen=nodes, timeout=options.timeout)
        for test in failures:
            if again.tests.get(test, {}).get("outcome") == "passed":
                control.tests[test]["outcome"] = "passed"


def made_a_wrong_loop(run):
    return [test for test, result in run.tests.items()
            if result["outcome"] == "passed" and result["loops"] and result["loops"]["asyncio"]]


def repeat(suite, way, node, python, prefix, timeout):
    """How often it passes of REPEATS times, alone; and what the last failure said."""
    passed, text = 0, ""
    for _ in range(REPEATS):
        tests = execute.run(suite, way, python, prefix, chosen=[node], timeout=timeout).tests
        result = tests.get(execute.identity(node), {"outcome": "missing", "text": "it was not found"})
        if result["outcome"] == "passed":
            passed += 1
        else:
            text = result["text"]
    return passed, text


def verdict_of(on_asyncio, on_way):
    if on_way == 0:
        return "fails" if on_asyncio else "fails, and alone on asyncio, too"
    return "passes alone" if on_way == REPEATS else "flaky"


def judge(suite, way, asyncio, run, python, prefix, options):
    """[{test, verdict, asyncio, way, text}] of the tests that pass on asyncio and not here."""
    findings = []
    for i, test in enumerate(compare(asyncio, run)):
        first = run.tests.get(test)
        node = asyncio.tests[test]["node"]
        if i >= AT_MOST:
            findings.append({"test": test, "verdict": "fails", "asyncio": None, "way": None, "text": first["text"] if first else ""})
            continue
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
    times = ""
    if finding["way"] is not None:
        times = f" (alone: asyncio {finding['asyncio']} of {REPEATS}, {way} {finding['way']} of {REPEATS})"
    print(f"    {finding['verdict'].upper()} {finding['test']}{times}", flush=True)
    print(f"{way}: {finding['verdict']}: {finding['test']}{times}\n{finding['text']}\n", file=log, flush=True)


def run_entry(entry, options, prefix):
    """Runs a suite or a program and prints what is found. Returns what is kept of it."""
    kept = {"library": entry.name, "version": home.pinned(entry.name), "python": sys.version.split()[0], **measured.stamp(), "ways": {}}
    if isinstance(entry, Program):
        run_program(entry, options, kept)
    else:
        run_suite(entry, options, prefix, kept)
    return kept


def run_program(program, options, kept):
    python = home.virtual_environment(program.name, ("pytest-timeout", "trustme", *program.install))
    run = execute.run(program, "asyncio", python, [], chosen=options.test, timeout=options.timeout)
    for test, result in run.tests.items():
        named = re.fullmatch(r".*?\[(.*)\]", test)
        if named is None:                        # no test of ours: the file cannot be imported
            raise home.Missing(f"its tests cannot be imported: {result['text'][-500:]}")
        way = named[1]
        here = kept["ways"].setdefault(way, {"passed": 0, "failed": 0, "skipped": 0, "trouble": run.trouble, "findings": []})
        here[result["outcome"]] += 1
        if result["outcome"] == "failed":
            here["findings"].append({"test": test, "verdict": "fails", "asyncio": None, "way": None, "text": result["text"]})
            describe(here["findings"][-1], way, options.log)
        elif result["outcome"] == "skipped":
            raise home.Missing(f"its tests are skipped: {result['text']}")
    if not run.tests:
        raise home.Missing(f"its tests did not run: {run.trouble}")
    print(f"{program.name} {kept['version']} program  " + ", ".join(
        f"{way}: {'passed' if here['passed'] and not here['failed'] else 'FAILED'}" for way, here in kept["ways"].items())
        + f"  {run.seconds:.0f} s", flush=True)


def run_suite(suite, options, prefix, kept):
    python = home.virtual_environment(suite.name, suite.install)
    control = None
    for way in ("asyncio", *(way for way in options.way if way in suite.ways)):
        run = execute.run(suite, way, python, prefix, chosen=options.test, timeout=options.timeout)
        passed, failed, skipped = (count(run, outcome) for outcome in ("passed", "failed", "skipped"))
        print(f"{suite.name} {kept['version']} {way:8} {passed:6} passed {failed:5} failed {skipped:5} skipped  loops: "
              f"{run.loops['pyasync']} pyasync, {run.loops['asyncio']} asyncio, {run.loops['other']} other  {run.seconds:.0f} s",
              flush=True)
        for trouble in run.trouble:
            print(f"    {trouble}", flush=True)
        here = kept["ways"][way] = {"passed": passed, "failed": failed, "skipped": skipped, "loops": run.loops, "trouble": run.trouble,
                                    "findings": []}
        if way == "asyncio":
            control = run
            here["failures"] = [test for test, result in run.tests.items() if result["outcome"] == "failed"]
            for test in here["failures"]:
                print(f"asyncio itself fails: {test}\n{run.tests[test]['text']}\n", file=options.log, flush=True)
            have_another_go(suite, run, here["failures"], python, prefix, options)
            continue
        here["findings"] = judge(suite, way, control, run, python, prefix, options)
        here["ran"] = len(run.tests)
        for finding in here["findings"]:
            describe(finding, way, options.log)


def bad(kept):
    """Whether something in it is to be mended."""
    return any(way["trouble"] or any(f["verdict"] in BAD for f in way["findings"]) for way in kept["ways"].values())


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
    signal.signal(signal.SIGINT, signal.default_int_handler)     # not ignored, as in a shell's background job: tests send it
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
    failed, missing, passed, begin = [], [], 0, time.monotonic()
    for name in options.names or BY_NAME:
        try:
            kept = run_entry(BY_NAME[name], options, prefix)
        except home.Missing as error:
            print(f"!!!! {name} was NOT RUN: {error}", flush=True)
            missing.append(name)
            continue
        passed += sum(here["passed"] for way, here in kept["ways"].items() if way != "asyncio")
        failed += [name] * bad(kept)
        if options.save:
            options.save.mkdir(exist_ok=True)
            (options.save / f"{name}-{sys.version_info[0]}.{sys.version_info[1]}.json").write_text(json.dumps(kept, indent=1))
    if failed:
        print("FAILED:", *failed)
    print(f"{passed} passed on pyasync in {time.monotonic() - begin:.1f}s")
    if missing:
        print("!!!! NOT RUN:", *missing)
    return 1 if failed else 77 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
