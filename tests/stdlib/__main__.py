"""python tests/stdlib: CPython's own asyncio tests, run against pyasync. See README.md beside this file."""
import argparse
import importlib.util
import json
import os
import pathlib
import selectors
import signal
import subprocess
import sys
import tempfile
import time

import exempt
import modes

sys.path.append(str(pathlib.Path(__file__).parent.parent))
import measured  # noqa: E402: it is in the folder above

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
COLUMNS = ("run", "passed", "failed", "not applicable", "no loop", "skipped")


FAILS_ANYHOW = "fails on this machine with asyncio itself, too"


class Lost(Exception):
    """The process ended or hung before its tests had ended."""


def worker(mode, module, what, tests=(), *, timeout):
    """Runs a worker; yields its reports. Lost, with what it wrote to stderr, if it did not come to its end."""
    reader, writer = os.pipe()
    env = {**os.environ, "REPORT_FD": str(writer), "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    with tempfile.TemporaryFile() as output, tempfile.TemporaryDirectory() as folder:
        process = subprocess.Popen([sys.executable, str(HERE / "worker.py"), mode, module, what, *tests], env=env, cwd=folder,
                                   stdin=subprocess.DEVNULL, stdout=output, stderr=output, pass_fds=[writer],
                                   start_new_session=True)
        os.close(writer)
        reason = None
        try:
            try:
                yield from _reports(reader, timeout)
            except TimeoutError:
                reason = f"nothing happened for {timeout} s"
                process.send_signal(signal.SIGABRT)              # faulthandler says where it hangs
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                reason = reason or "the process did not end after its tests"
                process.send_signal(signal.SIGABRT)
        finally:
            os.close(reader)
            try:
                os.killpg(process.pid, signal.SIGKILL)           # what the tests started and left
            except ProcessLookupError:
                pass
            status = process.wait()
        if reason or status:
            output.seek(0)
            raise Lost(f"{reason or f'the process ended with status {status}'}\n{output.read().decode(errors='replace')[-6000:]}")


def _reports(reader, timeout):
    buffer = b""
    with selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        while True:
            if not selector.select(timeout):
                raise TimeoutError
            data = os.read(reader, 65536)
            if not data:
                return
            *lines, buffer = (buffer + data).split(b"\n")
            yield from map(json.loads, lines)
            if lines and json.loads(lines[-1])["event"] == "finished":
                return


def run_class(mode, module, cls, tests, timeout):
    """{test: {outcome, text, loops}} of a class, with as many processes as it takes to get through all tests."""
    results, left, fixtures = {}, list(tests), []
    while left:
        current, before = None, len(results)
        try:
            for report in worker(mode, module, cls, left, timeout=timeout):
                if report["event"] == "start":
                    current = report["test"]
                elif report["event"] == "end":
                    results[report["test"]] = report
                    current = None
                elif report["event"] == "fixture":
                    fixtures.append(report)
        except Lost as lost:
            if current is None and len(results) == before:
                current = left[0]
            if current is not None:
                results[current] = {"outcome": "failed", "text": f"crash or hang: {lost}"}
            else:
                fixtures.append({"test": "the process", "text": str(lost)})
        left = [test for test in left if test not in results]
        if left and len(results) == before:                      # setUpClass skipped or failed
            text = "\n".join(f["text"] for f in fixtures)
            skipped = bool(fixtures) and all(f.get("skipped") for f in fixtures)
            results.update({test: {"outcome": "skipped" if skipped else "failed", "text": text} for test in left})
            return results
    for fixture in fixtures:
        if not fixture.get("skipped"):
            results[f"<{fixture['test']}>"] = {"outcome": "failed", "text": fixture["text"]}
    return results


def judge(mode, module, cls, test, result, reasons, timeout):
    """What the result counts as, and why: one of COLUMNS[1:]."""
    if result["outcome"] == "skipped":
        return "skipped", result["text"]
    if result["outcome"] == "passed":
        if result["loops"]["asyncio"] and mode != "types-asyncio":
            verdict, text = "failed", "it made a loop of asyncio's"
        elif result["loops"]["pyasync"] or mode.startswith("types"):
            return "passed", ""
        else:
            return "no loop", ""
    else:
        verdict, text = "failed", result["text"]
    reason = reasons.find(mode, module, cls, test)
    if reason is not None:
        reasons.used.add(reason)
        return "not applicable", reason
    if result["outcome"] == "failed" and not test.startswith("<"):
        control = run_class("asyncio", module, cls, [test], timeout)[test]
        if control["outcome"] == "failed":
            return "not applicable", FAILS_ANYHOW
    return verdict, text


def run_module(mode, module, only, options, reasons, log):
    try:
        listing = list(worker(mode, module, "list", timeout=options.timeout))[-1]
    except Lost as lost:
        print(f"FAILED {mode} {module}\nit cannot be imported: {lost}\n", file=log, flush=True)
        return {module: {"verdict": "failed", "text": f"it cannot be imported: {lost}"}}
    if "skipped" in listing:
        return {}
    judged = {}
    for cls, tests in listing["classes"].items():
        tests = [t for t in tests if not only or any(f"{cls}.{t}".startswith(prefix) for prefix in only)]
        if not tests:
            continue
        listed = [t for t in tests if reasons.find(mode, module, cls, t)]      # some of them hang: they get less time
        results = run_class(mode, module, cls, [t for t in tests if t not in listed], options.timeout)
        results.update(run_class(mode, module, cls, listed, min(options.timeout, 10)))
        for test, result in results.items():
            verdict, text = judge(mode, module, cls, test, result, reasons, options.timeout)
            name = f"{module}.{cls}.{test}"
            judged[name] = {"verdict": verdict, "text": text}
            if verdict == "failed":
                print(f"FAILED {mode} {name}\n{text.rstrip()}\n", file=log, flush=True)
    return judged


def counts(judged):
    found = dict.fromkeys(COLUMNS, 0)
    for result in judged.values():
        found[result["verdict"]] += 1
    found["run"] = found["passed"] + found["failed"] + found["not applicable"] + found["no loop"]
    return found


def keep(path, mode, judged, stamp):
    """Writes the results; what is kept there of tests that were not run stays, if it is of the same pyasync."""
    path.parent.mkdir(exist_ok=True)
    classes = {name.rpartition(".")[0] for name in judged}
    before = json.loads(path.read_text()) if path.exists() else {}
    before = before["tests"] if before.get("commit") == stamp["commit"] else {}
    before = {name: result for name, result in before.items() if "<" not in name or name.rpartition(".")[0] not in classes}
    path.write_text(json.dumps({"python": sys.version.split()[0], "mode": mode, **stamp, "tests": before | judged}, indent=0))


def row(name, numbers):
    return f"{name:28}" + "".join(f"{n:16}" for n in numbers.values())


def main():
    parser = argparse.ArgumentParser(prog="python tests/stdlib", description="Runs CPython's own asyncio tests against pyasync.")
    parser.add_argument("what", nargs="*", metavar="FILE[.CLASS[.TEST]]", help="default: all of test.test_asyncio")
    parser.add_argument("--mode", choices=(*modes.MODES, "asyncio"), action="append", help="default: all but asyncio")
    parser.add_argument("--timeout", type=float, default=120, help="seconds a test may take (%(default)s)")
    parser.add_argument("--log", type=argparse.FileType("w"), default=sys.stderr, help="where failures are described")
    parser.add_argument("--save", type=pathlib.Path, metavar="FOLDER", help="keep the results there, for --document")
    parser.add_argument("--document", type=pathlib.Path, metavar="FOLDER",
                        help="run nothing: write the results kept in FOLDER into docs/compatibility.md")
    options = parser.parse_args()
    signal.signal(signal.SIGINT, signal.default_int_handler)     # not ignored, as in a shell's background job: tests send it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))      # takes the worker along
    if options.document:
        import document
        return document.write(options.document)

    try:
        folder = pathlib.Path(importlib.util.find_spec(modes.PACKAGE).origin).parent
    except (ImportError, AttributeError):
        parser.error(f"this Python has no {modes.PACKAGE}: some systems package it apart, Debian as libpython3.x-testsuite")
    chosen = {}
    for name in options.what or sorted(p.stem for p in folder.glob("test_*.py")):
        module, _, rest = name.partition(".")
        if not (folder / f"{module}.py").exists():
            parser.error(f"this Python's test.test_asyncio has no {module}")
        chosen.setdefault(module, [])
        if rest:
            chosen[module].append(rest)
    reasons, stamp = exempt.Reasons(HERE / "not_applicable.txt"), measured.stamp()
    failed = False
    for mode in options.mode or modes.MODES:
        version = "%d.%d" % sys.version_info[:2]
        everything = {}
        print(f"CPython {sys.version.split()[0]}, mode {mode}\n{'':28}" + "".join(f"{c:>16}" for c in COLUMNS))
        for module, only in chosen.items():
            begin = time.monotonic()
            judged = run_module(mode, module, only, options, reasons, options.log)
            everything.update(judged)
            if judged:
                print(row(module, counts(judged)) + f"{time.monotonic() - begin:8.1f} s", flush=True)
        total = counts(everything)
        print(row("all", total), flush=True)
        failed |= total["failed"] > 0
        anyhow = [name for name, result in everything.items() if result["text"] == FAILS_ANYHOW]
        if anyhow:
            print(f"{FAILS_ANYHOW}:", *anyhow, sep="\n    ")
        if options.save:
            keep(options.save / f"{version}-{mode}.json", mode, everything, stamp)
    if not options.what and set(options.mode or modes.MODES) == set(modes.MODES) and reasons.unused():
        print("not needed on this version, in not_applicable.txt:", *reasons.unused(), sep="\n    ")
    return failed


if __name__ == "__main__":
    sys.exit(main())
