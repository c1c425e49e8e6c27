"""The command that measures all of docs/compatibility.md's tables (tests/compatibility.py): what it measures, in which order, and once."""
import json
import sys
import threading
import time

import pytest

import compatibility
import measured


class Home:
    """In place of a Python of its own: its rows are made by a script."""

    def __init__(self, results, script):
        self.results, self.script = results, script

    def run(self, *command, **options):
        return compatibility.subprocess.Popen([sys.executable, "-c", self.script, *map(str, command)], **options)


@pytest.fixture
def results(tmp_path):
    for name in ("stdlib", "libraries", "logs"):
        (tmp_path / name).mkdir()
    return tmp_path


def measuring(results, script, **rows):
    found = compatibility.Measuring({"3.13": Home(results, script)}, results)
    for kind, names in rows.items():
        for name in names:
            found.queues[kind].put(("3.13", name))
    return found


def test_the_rows_are_all_modes_and_all_libraries_on_all_versions():
    stdlib, libraries = compatibility.rows(measured.VERSIONS, ["stdlib", "libraries"])
    assert len(set(stdlib)) == len(stdlib) == 5 * len(measured.MODES)
    assert len(set(libraries)) == len(libraries) == 5 * len(compatibility.suites.BY_NAME)
    assert [name for _, name in libraries[-25:]] == [name for name in compatibility.SLOW for _ in range(5)]
    assert compatibility.rows(["3.12"], ["stdlib"]) == ([("3.12", mode) for mode in measured.MODES], [])


def test_a_row_of_this_commit_is_not_measured_again_and_one_of_another_goes(results):
    path = compatibility.path_of(results, "libraries", "3.13", "redis")
    assert path.name == "redis-3.13.json" and not compatibility.is_measured(path, "abc")
    path.write_text(json.dumps({"commit": "abc"}))
    assert compatibility.is_measured(path, "abc") and path.exists()
    assert not compatibility.is_measured(path, "def") and not path.exists()


def test_the_statuses_of_the_rows_are_the_commands(results, capsys):
    script = "import sys; print(*sys.argv[1:]); sys.exit({'types': 1, 'redis': 77}.get(sys.argv[-1], 0))"
    found = measuring(results, script, stdlib=["loop", "types"], libraries=["redis"])
    found.lane(("libraries", "stdlib"))
    assert found.statuses == [77, 0, 1] and compatibility.worst(found.statuses) == 1
    assert compatibility.worst([0, 77, 0]) == 77
    assert compatibility.worst([]) == compatibility.worst([0]) == 0 and compatibility.worst([-9]) == 1
    said = capsys.readouterr().out
    assert "3.13 libraries redis: NOT RUN" in said and "3.13 stdlib loop: ok" in said
    assert "3.13 stdlib types: FAILED, see logs/stdlib-3.13-types.*" in said
    assert (results / "logs/stdlib-3.13-loop.out").read_text().endswith("--mode loop\n")


def test_stopping_ends_what_runs_and_starts_nothing_more(results):
    found = measuring(results, "import time; time.sleep(1000)", stdlib=["loop", "types"])
    lane = threading.Thread(target=found.lane, args=(("stdlib",),))
    lane.start()
    while not found.running:
        time.sleep(0.01)
    found.stop()
    lane.join()
    assert found.statuses == [-15] and found.queues["stdlib"].qsize() == 1


def test_a_python_that_is_not_there_is_said(results, monkeypatch):
    monkeypatch.setenv("PYENV_ROOT", str(results))
    monkeypatch.setenv("PYASYNC_UNSTABLE", str(results))
    with pytest.raises(compatibility.Missing, match="no CPython 3.99"):
        compatibility.find("3.99", results)
