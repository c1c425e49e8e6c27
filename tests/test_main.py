"""python -m pyasync: a program sees and says what it does under plain python, and runs natively."""
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import zipfile

import pytest

import pyasync
from test_package import PACKAGE, PY, python

STATE = """\
import asyncio, sys, types
print(sorted(globals()), __name__, __file__ if "__file__" in globals() else None, __package__, __doc__)
print(__spec__ and (__spec__.name, __spec__.origin, __spec__.parent), type(__loader__).__name__, __builtins__.__name__)
print(getattr(__loader__, "path", None), sys.argv, sys.path, __name__ == "__main__", sys.modules["__main__"].__dict__ is globals())
print(sys.flags, sys.orig_argv[0], globals().get("__annotations__"), globals().get("__cached__"))
"""


@pytest.fixture
def programs(tmp_path):
    """A folder of programs to run."""
    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    write("state.py", STATE)
    write("package/__init__.py", "")
    write("package/__main__.py", STATE)
    write("folder/__main__.py", STATE)
    write("folder/neighbour.py", "")
    write("empty/readme", "")
    write("raises.py", "'''doc'''\ndef f():\n    raise ValueError('x')\nf()\n")
    write("syntax.py", "x = = 1\n")
    write("nul.py", "x = 1\0\n")
    write("coding.py", "# coding: latin-1\nprint(ascii('\u00e9'))\n")
    write("exits.py", "import sys\nsys.exit(int(sys.argv[1]))\n")
    write("says.py", "raise SystemExit('bye')\n")
    write("interrupted.py", "raise KeyboardInterrupt\n")
    write("grouped.py", "raise ExceptionGroup('many', [ValueError(1), TypeError(2)])\n")
    write("caused.py", "try:\n    1/0\nexcept ZeroDivisionError as exc:\n    raise KeyError('k') from exc\n")
    write("future.py", "from __future__ import annotations\ndef f(x: undefined): pass\nprint(f.__annotations__)\n")
    write("neighbour.py", "import state2\n")
    write("warns.py", "import warnings\nwarnings.warn('old', DeprecationWarning)\nassert 1, 'x'\n")
    write("inside.py", "import asyncio\nasync def main():\n    await asyncio.sleep(0)\n    raise LookupError('deep')\nasyncio.run(main())\n")
    (tmp_path / "latin.py").write_bytes(b"print('\xe9')\n")
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", STATE)
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    (tmp_path / "linked.py").symlink_to(tmp_path / "folder" / "__main__.py")
    (tmp_path / "unreadable.py").symlink_to(tmp_path / "unreadable.py")
    return tmp_path


def normal(text):
    return re.sub(r"0x[0-9a-f]+", "0x", text)


def same(programs, *arguments, options=(), stdin="", cwd=None, **environment):
    """Runs python and python -m pyasync with these arguments; they must say the same and end the same."""
    cwd = cwd or programs
    plain = python(*options, *arguments, stdin=stdin, cwd=cwd, **environment)
    ours = python(*options, "-m", "pyasync", *arguments, stdin=stdin, cwd=cwd, **environment)
    assert normal(ours.stderr) == normal(plain.stderr)
    assert (normal(ours.stdout), ours.returncode) == (normal(plain.stdout), plain.returncode)
    return plain


@pytest.mark.parametrize("arguments", [
    ["state.py"], ["./state.py", "a", "-b", "--help", "-m"], ["package/../state.py"], ["folder/__main__.py", "x"],
    ["-m", "state", "x", "-c"], ["-mstate"], ["-m", "package", "1"], ["-m", "package.__main__"], ["folder", "x"], ["app.zip", "y"],
    ["link"], ["linked.py"], ["-c", STATE, "a", "-m"], ["-c" + STATE], ["--", "state.py", "--", "q"], ["-", "x"],
    ["coding.py"], ["future.py"], ["says.py"], ["exits.py", "0"], ["exits.py", "7"], ["exits.py", "-1"]], ids=lambda a: " ".join(a)[:24])
def test_a_program_sees_what_it_sees_under_python(programs, arguments):
    plain = same(programs, *arguments, stdin=STATE)
    assert plain.stdout or plain.stderr or arguments[0] == "exits.py"


@pytest.mark.parametrize("options", [["-O"], ["-X", "dev"], ["-W", "error"], ["-u", "-B"], ["-P"], ["-E", "-s"]], ids=" ".join)
@pytest.mark.parametrize("arguments", [["state.py"], ["-c", STATE], ["-m", "asyncio.constants"], ["folder"], ["warns.py"]],
                         ids=lambda a: a[0])
def test_options_of_python(programs, options, arguments):
    if "-E" in options:
        pytest.importorskip("pyasync._core")
        if python("-E", "-s", "-c", "import pyasync", cwd=programs).returncode:
            pytest.skip("pyasync is not installed here, only on PYTHONPATH")
    same(programs, *arguments, options=options)


@pytest.mark.parametrize("arguments", [
    ["raises.py"], ["-m", "raises"], ["-c", "def f():\n 1/0\nf()"], ["syntax.py"], ["-m", "syntax"], ["-c", "x = = 1"],
    ["interrupted.py"], ["-m", "interrupted"], ["-c", "raise KeyboardInterrupt"], ["grouped.py"],
    ["caused.py"], ["neighbour.py"], ["inside.py"], ["-", "x"], ["nosuch.py"], ["nosuch/there.py"], ["unreadable.py"], ["empty"],
    ["-m", "nosuch"], ["-m", "asyncio.nosuch"], ["-m", "nosuch.sub"], ["-m", ".relative"], ["-m", "email"], ["-m", ""]],
    ids=lambda a: " ".join(a)[:24])
def test_failures_are_told_as_python_tells_them(programs, arguments):
    if PY[:2] == (3, 13) and arguments[0] == "-c" and "=" not in arguments[1]:
        pytest.skip("3.13.0 and later 3.13s differ in whether they know the lines of -c")
    plain = same(programs, *arguments, stdin="def f():\n    {}['k']\nf()\n")
    assert plain.returncode != 0 and plain.stderr


@pytest.mark.parametrize("name", ["nul.py", "latin.py"])
def test_source_that_is_no_text_is_a_syntax_error(programs, name):
    """In words that differ a little: python reads a file line by line."""
    plain, ours = (python(*options, name, cwd=programs) for options in ((), ("-m", "pyasync")))
    assert plain.returncode == ours.returncode == 1
    for done in (plain, ours):
        assert "SyntaxError: " in done.stderr and "Traceback" not in done.stderr


def test_a_file_that_may_not_be_read(programs):
    (programs / "state.py").chmod(0)
    if os.access(programs / "state.py", os.R_OK):
        pytest.skip("root may read everything")
    assert same(programs, "state.py").returncode == 2


def test_a_compiled_script(programs):
    import py_compile
    py_compile.compile(str(programs / "state.py"), cfile=str(programs / "state.pyc"))
    same(programs, "state.pyc", "x")
    (programs / "bad.pyc").write_bytes(b"\0" * 20)
    assert "Bad magic number in .pyc file" in same(programs, "bad.pyc").stderr


@pytest.mark.skipif(PY < (3, 14), reason="-c dedents from 3.14 on")
def test_code_is_dedented(programs):
    assert same(programs, "-c", "\n    if 1:\n        print('in')\n    print('out')\n").stdout == "in\nout\n"


def test_the_program_runs_natively(programs):
    text = ("import asyncio\nasync def main():\n    print(type(asyncio.get_running_loop()).__module__, "
            "type(asyncio.current_task()).__module__)\nasyncio.run(main())\n")
    (programs / "native.py").write_text(text)
    for arguments in (["native.py"], ["-m", "native"], ["-c", text], ["-"]):
        done = python("-W", "error", "-m", "pyasync", *arguments, stdin=text, cwd=programs)
        assert (done.stdout, done.stderr, done.returncode) == ("pyasync.loop pyasync\n", "", 0)


def test_help_version_and_wrong_usage(programs):
    for option in ("-h", "--help"):
        done = python("-m", "pyasync", option)
        assert done.returncode == 0 and done.stdout.startswith("usage: python -m pyasync ") and done.stderr == ""
    for option in ("-V", "--version"):
        done = python("-m", "pyasync", option)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"pyasync {pyasync.__version__} (Python {sys.version.split()[0]})\n"
    for arguments, message in (([], "a program to run is expected"), (["-c"], "Argument expected for the -c option"),
                               (["-m"], "Argument expected for the -m option"), (["-x", "y"], "unknown option -x"),
                               (["--nosuch"], "unknown option --nosuch"), (["--"], "unknown option --")):
        done = python("-m", "pyasync", *arguments)
        assert done.returncode == 2 and done.stdout == ""
        assert done.stderr.splitlines()[0] == message and done.stderr.splitlines()[1].startswith("usage: ")


def test_the_programs_own_excepthook_sees_no_frame_of_pyasync(programs):
    (programs / "hooked.py").write_text(
        "import sys, traceback\n"
        "def hook(kind, value, tb):\n"
        "    print(kind.__name__, [f.name for f in traceback.extract_tb(tb)], tb is value.__traceback__)\n"
        "    print(tb is sys.last_traceback, sys.excepthook is hook)\n"
        "sys.excepthook = hook\n"
        "def f():\n    raise ValueError\n"
        "f()\n")
    plain = same(programs, "hooked.py")
    assert plain.stdout == "ValueError ['<module>', 'f'] True\nTrue True\n"


def test_the_excepthook_is_the_interpreters_while_the_program_runs(programs):
    assert same(programs, "-c", "import sys; print(sys.excepthook is sys.__excepthook__)").stdout == "True\n"


def test_main_stays_the_programs_to_the_end(programs):
    (programs / "late.py").write_text(
        "import atexit, pickle, sys, threading, time\n"
        "class C:\n    pass\n"
        "def late(where):\n"
        "    print(where, type(pickle.loads(pickle.dumps(C()))) is C, __name__, sys.modules['__main__'].C is C, flush=True)\n"
        "atexit.register(late, 'atexit')\n"
        "def thread():\n    time.sleep(0.1)\n    late('thread')\n"
        "threading.Thread(target=thread).start()\n"
        "1/0\n")
    plain = same(programs, "late.py")
    assert plain.stdout == "thread True __main__ True\natexit True __main__ True\n" and "ZeroDivisionError" in plain.stderr


@pytest.mark.parametrize("how", [["children.py"], ["-m", "children"]], ids=" ".join)
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_child_processes_work_and_are_native_too(programs, how, method):
    (programs / "children.py").write_text(
        "import asyncio, concurrent.futures, multiprocessing, sys\n"
        "class Argument:\n    pass\n"
        "async def main():\n    return type(asyncio.get_running_loop()).__module__\n"
        "def child(argument, deeper):\n"
        "    print(asyncio.run(main()), type(argument) is Argument, flush=True)\n"
        "    if deeper:\n"
        "        start(False)\n"
        "def start(deeper):\n"
        "    process = context.Process(target=child, args=(Argument(), deeper))\n"
        "    process.start()\n    process.join()\n    print(process.exitcode, flush=True)\n"
        "def work(x):\n    return asyncio.run(main()), x\n"
        f"context = multiprocessing.get_context({method!r})\n"
        "if __name__ == '__main__':\n"
        "    start(True)\n"
        "    with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:\n"
        "        print(pool.submit(work, 1).result(30))\n")
    done = python("-m", "pyasync", *how, cwd=programs)
    if PY < (3, 12):
        assert done.stderr == ""
    assert done.stdout.splitlines() == ["pyasync.loop True", "pyasync.loop True", "0", "0", "('pyasync.loop', 1)"]


@pytest.mark.parametrize("arguments", [["sleeps.py"], ["-m", "sleeps"]], ids=" ".join)
def test_control_c_ends_it_as_it_ends_python(programs, arguments):
    (programs / "sleeps.py").write_text(
        "import asyncio\nasync def main():\n    print('ready', flush=True)\n    await asyncio.sleep(60)\nasyncio.run(main())\n")
    process = subprocess.Popen([sys.executable, "-m", "pyasync", *arguments], cwd=programs, text=True,
                               env={**os.environ, "PYTHONPATH": PACKAGE}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGINT and err.splitlines()[-1] == "KeyboardInterrupt"
    assert "program.py" not in err and "pyasync/__main__" not in err


def test_on_a_terminal_dash_is_interactive(programs):
    child, descriptor = pty.fork()
    if child == 0:
        os.environ["PYTHONPATH"] = PACKAGE
        os.execv(sys.executable, [sys.executable, "-m", "pyasync", "-"])
    seen = b""

    def expect(pattern):
        nonlocal seen
        deadline = time.monotonic() + 30
        while pattern not in seen and time.monotonic() < deadline:
            if select.select([descriptor], [], [], 1)[0]:
                try:
                    seen += os.read(descriptor, 1000)
                except OSError:
                    break
        assert pattern in seen, seen
        seen = seen.partition(pattern)[2]
    expect(b">>> ")
    os.write(descriptor, b"import asyncio; x = asyncio.new_event_loop(); print(__name__, '<' + type(x).__module__ + '>')\n")
    expect(b"__main__ <pyasync.loop>")
    expect(b">>> ")
    os.write(descriptor, b"x.close(); raise SystemExit(5)\n")
    status = os.waitpid(child, 0)[1]
    os.close(descriptor)
    assert os.waitstatus_to_exitcode(status) == 5


