"""The command that runs libraries' own tests (tests/libraries), on a suite made up here."""
import importlib
import json
import pathlib
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

COMMAND = pathlib.Path(__file__).parent / "libraries"

SUITE = '''
import asyncio, os, subprocess, sys, time
import pytest

ours = "pyasync" in sys.modules

def test_loop(): asyncio.new_event_loop().close()
def test_crash(): ours and os.abort()
def test_hang(): ours and time.sleep(1000)
def test_fails(): assert not ours
def test_fails_anyway(): assert 0
def test_skipped(): pytest.skip("so")
def test_asyncios_loop(): asyncio.unix_events._UnixSelectorEventLoop().close()
def test_own_loop(): type("Own", (asyncio.unix_events._UnixSelectorEventLoop,), {})().close()
def test_flaky():
    with open("times", "a") as file: file.write("x")
    assert not ours or os.path.getsize("times") > 1

@pytest.fixture
def broken_end():
    yield
    assert not ours
def test_teardown(broken_end): pass

def test_pytest_in_a_process(tmp_path):
    path = tmp_path / "test_inner.py"
    path.write_text("import asyncio\\ndef test_inner(): asyncio.new_event_loop().close()")
    subprocess.run([sys.executable, "-m", "pytest", "-q", str(path)], check=True)

pytest_plugins = ["pytester"]
def test_pytest_in_this_process(pytester):
    pytester.makepyfile("def test_inner(): pass")
    assert pytester.runpytest_inprocess("-q").ret == 0
'''


@pytest.fixture
def command(monkeypatch):
    """The modules of the command."""
    monkeypatch.syspath_prepend(str(COMMAND))
    names = ("home", "suites", "execute", "document")
    modules = {name: importlib.import_module(name) for name in names}
    spec = importlib.util.spec_from_file_location("libraries_command", COMMAND / "__main__.py")
    modules["main"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(modules["main"])
    yield type("Command", (), modules)
    for name in names:
        del sys.modules[name]


@pytest.fixture
def run(command, tmp_path, monkeypatch):
    monkeypatch.setattr(command.home, "CACHE", tmp_path)
    suite = command.suites.Suite("made-up", (), copied=(), files={"test_it.py": SUITE}, arguments=("test_it.py",))
    return lambda way, *chosen: command.execute.run(suite, way, pathlib.Path(sys.executable), [], chosen=chosen, timeout=15)


FAILS = {"test_crash", "test_hang", "test_fails", "test_flaky", "test_teardown"}


@pytest.mark.timeout(300)
def test_verdicts(command, run):
    ways = "loop", "install"
    with ThreadPoolExecutor() as pool:              # most of the time is the wait for the test that hangs
        control, *results = pool.map(run, ["asyncio", *ways])
    assert control.loops == {"pyasync": 0, "asyncio": 3, "other": 1}
    for way, result in zip(ways, results):
        outcomes = {test.partition("::")[2]: found["outcome"] for test, found in result.tests.items()}
        assert outcomes == {
            "test_loop": "passed", "test_crash": "failed", "test_hang": "failed", "test_fails": "failed", "test_fails_anyway": "failed",
            "test_skipped": "skipped", "test_asyncios_loop": "passed", "test_own_loop": "passed", "test_flaky": "failed",
            "test_teardown": "failed", "test_pytest_in_a_process": "passed", "test_pytest_in_this_process": "passed"}, way
        assert {test.partition("::")[2] for test in command.main.compare(control, result)} == FAILS, way
        assert command.main.made_a_wrong_loop(result) == ["test_it.py::test_asyncios_loop"], way
        assert "crashed or hung" in result.tests["test_it.py::test_hang"]["text"], way
        assert "nothing happened for 15 s" in result.tests["test_it.py::test_hang"]["text"], way
        assert result.loops == {"pyasync": 2, "asyncio": 1, "other": 1} and result.children == 1, way
        assert not result.trouble, way


@pytest.mark.parametrize("way", ["loop", "install"])
def test_one_test_can_be_chosen(run, way):
    assert list(run(way, "test_it.py::test_loop").tests) == ["test_it.py::test_loop"]


def test_what_is_flaky(command):
    verdict = command.main.verdict_of
    assert verdict(3, 0) in command.main.BAD and verdict(0, 0) in command.main.BAD and verdict(1, 0) in command.main.BAD
    assert verdict(3, 2) == "flaky" and verdict(3, 3) == "passes alone"


def test_missing_tests_are_differences(command):
    control, other = command.execute.Run(), command.execute.Run()
    control.tests = {"a": {"outcome": "passed"}, "b": {"outcome": "passed"}, "c": {"outcome": "failed"}}
    other.tests = {"b": {"outcome": "skipped"}}
    assert command.main.compare(control, other) == ["a", "b"]


def test_every_entry_is_pinned_and_every_program_there(command):
    for entry in command.suites.BY_NAME.values():
        assert command.home.pinned(entry.name)
    for program in command.suites.PROGRAMS:
        assert program.file.exists()


def test_document(command, tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{command.document.BEGIN}old\n{command.document.END}after\n")
    monkeypatch.setattr(command.document, "PAGE", page)
    results = tmp_path / "results"
    results.mkdir()
    plain = {"passed": 2, "failed": 1, "failures": ["test_x.py::test_root"], "skipped": 1,
             "loops": {"pyasync": 0, "asyncio": 2, "other": 0}, "trouble": [], "findings": []}
    finding = {"test": "test_x.py::test_x", "verdict": "flaky", "asyncio": 3, "way": 1, "text": ""}
    loop = plain | {"passed": 1, "failed": 1, "findings": [finding], "loops": {"pyasync": 2, "asyncio": 0, "other": 0}}
    stamp = {"commit": "abc", "day": "2026-01-02"}
    (results / "a.json").write_text(json.dumps({"library": "aiohttp", "version": "1", "python": "3.13.0", **stamp,
                                                "ways": {"asyncio": plain, "loop": loop}}))
    (results / "b.json").write_text(json.dumps({"library": "redis", "version": "2", "python": "3.13.0", **stamp, "commit": "def",
                                                "ways": {"asyncio": {"passed": 1, "failed": 0}, "install()": {"passed": 0, "failed": 1}}}))
    command.document.write(results)
    text = page.read_text()
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert "| aiohttp 1 | 3.13.0 | loop | 1 | 1 | 1 | 1 | 1 | 2 | 0 | 0 |" in text
    assert "- aiohttp, 3.13.0, loop: flaky: alone, asyncio 3 of 3, loop 1 of 3: `test_x.py::test_x`" in text
    assert "- aiohttp, 3.13.0: `test_x.py::test_root`" in text
    assert "| redis 2 | 3.13.0 | passed | FAILED |" in text
    assert "Measured at commit abc (aiohttp, 3.13.0), 2026-01-02; at commit def (redis, 3.13.0), 2026-01-02.\n" in text
    assert "Not run there: 3.11: all; 3.12: all; 3.13: aiojobs, pytest-asyncio, httpcore, starlette, tornado, pyzmq, websockets, " in text
    assert "Nor: 3.13: aiohttp by install.\n" in text
