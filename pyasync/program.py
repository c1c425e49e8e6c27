"""python -m pyasync: runs a program with pyasync installed, as `python` itself would run it.

The program gets the interpreter's own __main__ module, emptied first, so that pickling, multiprocessing and whatever asks
sys.modules["__main__"] find it there to the end, atexit callbacks and threads included. An exception that leaves the program
goes on to the interpreter, which prints it and decides about the exit status; only the frames of this file, which lead to
the program, are taken out of its traceback.
"""
import importlib.machinery
import io
import linecache
import multiprocessing.process
import os
import pkgutil
import runpy
import sys
import textwrap

USAGE = """\
usage: python -m pyasync [-c CODE | -m MODULE | SCRIPT | -] [ARGUMENT ...]

Runs a program that imports asyncio with asyncio's engine replaced by pyasync's.

  SCRIPT      a file, or a folder or zip file with a __main__.py
  -m MODULE   a module or package, as python -m runs it
  -c CODE     the code itself
  -           the program is read from standard input
  -h, --help, -V, --version

Options of python itself come before -m pyasync: python -X dev -W error -m pyasync SCRIPT
"""


class _UsageError(Exception):
    pass


def _parse(arguments):
    """What to run and sys.argv for it: (function, its argument, argv)."""
    if not arguments:
        raise _UsageError("a program to run is expected")
    first, rest = arguments[0], arguments[1:]
    if first in ("-h", "--help"):
        return print, USAGE.rstrip("\n"), arguments
    if first in ("-V", "--version"):
        from . import __version__
        return print, f"pyasync {__version__} (Python {sys.version.partition(' ')[0]})", arguments
    for option, run in (("-c", _run_code), ("-m", _run_module)):
        if first == option and not rest:
            raise _UsageError(f"Argument expected for the {option} option")
        if first == option:
            return run, rest[0], [option, *rest[1:]]
        if first.startswith(option):
            return run, first[2:], [option, *rest]
    if first == "--" and rest:
        first, rest = rest[0], rest[1:]
    elif first.startswith("-") and first != "-":
        raise _UsageError(f"unknown option {first}")
    return (_run_stdin if first == "-" else _run_script), first, [first, *rest]


def _fresh_main(file=None, loader=importlib.machinery.BuiltinImporter):
    """Empties __main__ and gives it what the interpreter gives it; returns its globals."""
    namespace = sys.modules["__main__"].__dict__
    fresh = {"__name__": "__main__", "__doc__": None, "__package__": None, "__loader__": loader, "__spec__": None,
             "__builtins__": namespace["__builtins__"]}
    if "__annotations__" in namespace:                       # up to 3.13
        fresh["__annotations__"] = {}
    if file is not None:
        fresh["__file__"] = file
        if "__cached__" in namespace:                        # up to 3.14
            fresh["__cached__"] = None
    namespace.clear()
    namespace.update(fresh)
    return namespace


def _set_first_path(path):
    """Puts path where the interpreter, started with -m, has put the working directory; with -P or -I it has put nothing."""
    if not sys.flags.safe_path:
        sys.path[0] = path


def _run_code(code):
    _set_first_path("")
    namespace = _fresh_main()
    if sys.version_info >= (3, 14):
        code = textwrap.dedent(code)
    compiled = compile(code, "<string>", "exec", dont_inherit=True)
    if hasattr(linecache, "_interactive_cache"):             # 3.13.1: tracebacks show the lines of -c
        linecache._register_code(compiled, code, "<string>")
    exec(compiled, namespace)


def _run_module(name):
    _fresh_main()
    runpy._run_module_as_main(name)


def _run_stdin(_):
    _set_first_path("")
    namespace = _fresh_main("<stdin>")
    if sys.stdin is not None and sys.stdin.isatty():
        import code
        code.interact(local=namespace, exitmsg="")
    else:
        source = sys.stdin.buffer.read() if sys.stdin is not None else b""
        exec(compile(source, "<stdin>", "exec", dont_inherit=True), namespace)


def _run_script(path):
    if not os.path.isabs(path):
        path = os.path.join(os.getcwd(), path)
    if pkgutil.get_importer(path) is not None:               # a folder or a zip file
        if sys.flags.safe_path:
            sys.path.insert(0, path)
        else:
            sys.path[0] = path
        _fresh_main()
        runpy._run_module_as_main("__main__", False)
        return
    compiled, loader = _load(path)
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    exec(compiled, _fresh_main(path, loader("__main__", path)))


def _load(path):
    """The code of the script, and its loader's class."""
    try:
        with io.open_code(path) as file:
            data = file.read()
    except OSError as error:
        print(f"{sys.orig_argv[0]}: can't open file {path!r}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
        raise SystemExit(2) from None
    if path.endswith(".pyc"):
        code = pkgutil.read_code(io.BytesIO(data))
        if code is None:
            raise RuntimeError("Bad magic number in .pyc file")
        return code, importlib.machinery.SourcelessFileLoader
    return compile(data, path, "exec", dont_inherit=True), importlib.machinery.SourceFileLoader


def _hide_launcher(error):
    """Lets the excepthook in force see the traceback of error from the program's first frame on."""
    shown = error.__traceback__
    while shown is not None and shown.tb_frame.f_code.co_filename == __file__:
        shown = shown.tb_next
    hook = sys.excepthook

    def report(kind, value, traceback):
        sys.excepthook = hook
        sys.last_traceback = shown
        hook(kind, value.with_traceback(shown), shown)
    sys.excepthook = report


class _Installer:
    """Travels to child processes in their configuration, which is pickled for those that are not forks, and installs there."""

    def __reduce__(self):
        return _install_in_child, ()


def _install_in_child():
    from .install import install
    install()
    return _Installer()


def main():
    """Runs what sys.argv says. Exit status and messages are those of `python`; 2 for a command line it does not understand."""
    try:
        run, what, argv = _parse(sys.argv[1:])
    except _UsageError as error:
        print(f"{error}\n{USAGE.partition(chr(10))[0]}\nTry `python -m pyasync -h' for more information.", file=sys.stderr)
        raise SystemExit(2) from None
    if run is print:
        print(what)
        return
    multiprocessing.process.current_process()._config["pyasync"] = _install_in_child()
    sys.argv[:] = argv
    try:
        run(what)
    except SystemExit:
        raise
    except BaseException as error:
        _hide_launcher(error)
        raise
