"""Child processes: their pipes, exit codes and ends, whoever else has children or handles SIGCHLD."""
import asyncio
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import warnings

import pytest

from lab import Lab, clean, scenario
from support import PY, open_fds

PIPE, DEVNULL, STDOUT = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL, asyncio.subprocess.STDOUT
PYTHON = (sys.executable, "-S", "-E", "-c")


def is_gone(pid):
    """No process and no zombie of that number."""
    return not os.path.exists(f"/proc/{pid}")


def children():
    """What waits to be reaped or runs, of this process."""
    found = []
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                with open(f"/proc/{pid}/stat") as f:
                    if f.read().rpartition(")")[2].split()[1] == str(os.getpid()):
                        found.append(int(pid))
            except (FileNotFoundError, ProcessLookupError):
                pass
    return found


# ---- pipes ----

def test_communicate(same):
    async def main(lab):
        got = []
        for data in (b"", b"short", b"long" * 200_000):
            p = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, stderr=PIPE)
            out, err = await p.communicate(data)
            got += [out == data, err, p.returncode, is_gone(p.pid)]
        return got
    assert same(scenario(main))["result"] == [True, b"", 0, True] * 3


def test_the_child_opens_its_pipes_by_name(same):
    """Sockets could not be opened as /dev/stdin."""
    async def main(lab):
        p = await asyncio.create_subprocess_shell("cat /dev/stdin; cat < /dev/stdin > /dev/stdout; echo error > /dev/stderr",
                                                  stdin=PIPE, stdout=PIPE, stderr=PIPE)
        return [*await p.communicate(b"data"), p.returncode]
    assert same(scenario(main))["result"] == [b"data", b"error\n", 0]


def test_pipes_are_pipes(same):
    async def main(lab):
        p = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE, stderr=PIPE)
        kinds = []
        for n in range(3):
            t = p._transport.get_pipe_transport(n)
            kinds.append([stat.S_ISFIFO(os.fstat(t.get_extra_info("pipe").fileno()).st_mode), type(t.get_extra_info("pipe")).__name__])
        kinds.append(p._transport.get_pipe_transport(3))
        p.stdin.close()
        await p.wait()
        return kinds
    same(scenario(main))


def test_line_by_line(same):
    async def main(lab):
        p = await asyncio.create_subprocess_exec(*PYTHON, "for line in iter(input, 'end'): print(line.upper(), flush=True)",
                                                 stdin=PIPE, stdout=PIPE)
        got = []
        for line in (b"one\n", b"two\n"):
            p.stdin.write(line)
            await p.stdin.drain()
            got.append(await p.stdout.readline())
        p.stdin.write(b"end\n")
        got += [await p.stdout.read(), await p.wait()]
        return got
    assert same(scenario(main))["result"] == [b"ONE\n", b"TWO\n", b"", 0]


def test_a_child_that_does_not_read(same):
    """communicate() ignores that its data found no reader."""
    async def main(lab):
        p = await asyncio.create_subprocess_exec("true", stdin=PIPE, stdout=PIPE)
        out = await p.communicate(b"x" * 1_000_000)
        return [*out, p.returncode]
    assert same(scenario(main))["result"] == [b"", None, 0]


@pytest.mark.parametrize("options", [{"stdout": PIPE, "stderr": STDOUT}, {"stdin": DEVNULL, "stdout": DEVNULL, "stderr": PIPE},
                                     {"stdout": PIPE, "env": {"WORD": "given"}}, {"stdout": PIPE, "cwd": "/"}], ids=repr)
def test_options(same, options):
    async def main(lab):
        p = await asyncio.create_subprocess_shell('echo "$WORD"; pwd; echo error >&2', **{"env": {"PATH": os.defpath}, **options})
        return [*await p.communicate(), p.returncode]
    same(scenario(main))


def test_what_a_child_inherits(same):
    async def main(lab):
        r, w = os.pipe()
        hidden = os.dup(w)
        code = f"""import os
os.write({w}, b"inherited")
try: os.write({hidden}, b"hidden")
except OSError: pass
print(os.getpgid(0) == os.getpid(), os.getsid(0) == os.getpid(), os.environ.get("NICE"))"""
        p = await asyncio.create_subprocess_exec(*PYTHON, code, stdout=PIPE, pass_fds=(w,), start_new_session=True,
                                                 preexec_fn=lambda: os.environ.__setitem__("NICE", "seen") or os.putenv("NICE", "seen"))
        out, _ = await p.communicate()
        os.close(w)
        os.close(hidden)
        got = os.read(r, 100)
        os.close(r)
        return [got, out]
    got = same(scenario(main))
    assert got["result"][0] == b"inherited" and got["result"][1].startswith(b"True True")


def test_process_group(same):
    async def main(lab):
        p = await asyncio.create_subprocess_exec(*PYTHON, "import os; print(os.getpgid(0) == os.getpid())", stdout=PIPE, process_group=0)
        return list(await p.communicate())
    assert same(scenario(main))["result"][0] == b"True\n"


def test_failing_preexec_fn(same):
    async def main(lab):
        try:
            await asyncio.create_subprocess_exec("true", preexec_fn=lambda: 1 / 0)
        except subprocess.SubprocessError as e:
            return clean(e)
    same(scenario(main))


# ---- ends ----

@pytest.mark.parametrize("command,code", [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", -9), ("kill -15 $$", -15)])
def test_exit_codes(same, command, code):
    async def main(lab):
        p = await asyncio.create_subprocess_shell(command)
        got = [await p.wait(), await p.wait(), p.returncode, p._transport.get_returncode(), p._transport.get_extra_info("subprocess").returncode]
        return got + [is_gone(p.pid)]
    assert same(scenario(main))["result"] == [code] * 5 + [True]


def test_signals(same):
    async def main(lab):
        got = []
        for send in (lambda p: p.terminate(), lambda p: p.kill(), lambda p: p.send_signal(signal.SIGUSR1)):
            p = await asyncio.create_subprocess_exec("sleep", "100")
            send(p)
            got.append(await p.wait())
            try:
                p.terminate()
                got.append(None)
            except ProcessLookupError:
                got.append("gone")
        return got
    same(scenario(main))


def test_no_such_program(same):
    async def main(lab):
        got = []
        for program in ("/no/such/program", "/etc/passwd", "/"):
            try:
                await asyncio.create_subprocess_exec(program, stdin=PIPE, stdout=PIPE)
            except OSError as e:
                got.append(clean(e))
        return got
    assert len(same(scenario(main))["result"]) == 3


def test_the_order_of_the_callbacks(same):
    class Protocol(asyncio.SubprocessProtocol):
        def __init__(self, log, done):
            self.log, self.done = log, done

        def connection_made(self, transport):
            self.log.append("made")

        def pipe_data_received(self, fd, data):
            self.log.append([fd, data])

        def pipe_connection_lost(self, fd, exc):
            self.log.append([fd, clean(exc)])

        def process_exited(self):
            self.log.append("exited")

        def connection_lost(self, exc):
            self.log.append(["lost", clean(exc)])
            self.done.set_result(None)

    async def main(lab):
        done = lab.loop.create_future()
        t, p = await lab.loop.subprocess_exec(lambda: Protocol(lab.log, done), "sh", "-c", "cat; sleep 0.05; exit 3")
        text = str(t).split()[0]
        t.get_pipe_transport(0).write(b"through")
        await lab.until(lambda: [1, b"through"] in lab.log)
        t.get_pipe_transport(0).close()
        await done
        lab.log.append(t.get_returncode())
        t.close()
        # stdout, stderr and the exit come by three descriptors: their order is the poller's
        return [text, sorted(map(repr, lab.log[2:-2])) and None, lab.log.pop(), lab.log[-1], lab.log.clear()]
    same(scenario(main))


def test_closing_kills(same):
    async def main(lab):
        class Protocol(asyncio.SubprocessProtocol):
            def process_exited(self):
                lab.log.append("exited")

            def connection_lost(self, exc):
                lab.log.append("lost")
        t, _ = await lab.loop.subprocess_exec(Protocol, "sleep", "100")
        pid = t.get_pid()
        t.close()
        t.close()
        await lab.until(lambda: "lost" in lab.log)
        return [t.get_returncode(), is_gone(pid), t.is_closing()]
    assert same(scenario(main))["result"] == [-9, True, True]


def test_cancelled_while_it_starts(same):
    async def main(lab):
        before = set(children())
        task = lab.loop.create_task(asyncio.create_subprocess_exec("sleep", "100", stdin=PIPE, stdout=PIPE))
        await asyncio.sleep(0)
        task.cancel()
        try:
            await asyncio.wait_for(task, 10)
        except asyncio.CancelledError:
            pass
        await lab.until(lambda: set(children()) <= before)
        return task.cancelled()
    assert same(scenario(main))["result"] is True


# ---- other parts of the program that have children ----

def test_the_user_asks_the_popen_object(aio):
    """asyncio loses the exit code to the user's poll(), and reports 255."""
    if aio is asyncio:
        pytest.skip("asyncio reports 255 and warns")

    async def main(lab):
        got = []
        for ask in (lambda popen: popen.poll(), lambda popen: popen.wait()):
            p = await asyncio.create_subprocess_shell("exit 5")
            popen = p._transport.get_extra_info("subprocess")
            deadline = time.monotonic() + 10
            while ask(popen) is None:
                assert time.monotonic() < deadline
            got += [popen.returncode, await p.wait()]
        return got
    got = scenario(main)(aio)
    assert got["result"] == [5] * 4 and got["records"] == []


@pytest.mark.skipif(PY < (3, 12), reason="there a thread of asyncio's waits from the beginning")
def test_reaped_by_somebody_else(same):
    """The code is lost: 255, and a warning."""
    async def main(lab):
        p = await asyncio.create_subprocess_shell("sleep 0.1; exit 5")
        os.waitpid(p.pid, 0)
        return await p.wait()

    def run(aio):
        got = scenario(main)(aio)
        assert len(got.pop("records")) == 1
        return got
    assert same(run)["result"] == 255


@pytest.mark.parametrize("how", ["pidfd", "thread"])
def test_many_beside_other_children(aio, how, monkeypatch):
    """Exit codes are right with a SIGCHLD handler, ignored wakeups, and subprocess used in threads; no zombie is left."""
    if how == "thread":
        def pidfd_open(pid, flags=0):
            raise OSError("no pidfd here")
        monkeypatch.setattr(os, "pidfd_open", pidfd_open)
    before = set(children())
    codes, stop = [], threading.Event()

    def others():
        while not stop.is_set():
            codes.append(subprocess.run(["sh", "-c", "exit 9"]).returncode)

    async def main(lab):
        chld = []
        lab.loop.add_signal_handler(signal.SIGCHLD, chld.append, 1)
        if aio is asyncio:    # so many signals fill the socket that tells its loop of them, and CPython would say so
            signal.set_wakeup_fd(lab.loop._csock.fileno(), warn_on_full_buffer=False)
        threads = [threading.Thread(target=others) for _ in range(2)]
        for t in threads:
            t.start()

        async def one(n):
            p = await asyncio.create_subprocess_shell(f"exit {n % 200}", stdout=PIPE)
            assert await p.communicate() == (b"", None)
            return p.returncode
        try:
            got = await asyncio.gather(*map(one, range(60)))
        finally:
            stop.set()
            for t in threads:
                t.join()
        await asyncio.sleep(0.01)
        lab.loop.remove_signal_handler(signal.SIGCHLD)
        return [got == [n % 200 for n in range(60)], len(chld) > 0]
    if aio is asyncio and PY < (3, 14) and how == "thread":
        pytest.skip("asyncio's watcher is chosen by the policy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)       # forking beside threads
        got = scenario(main)(aio)
    assert got["result"] == [True, True] and codes and set(codes) == {9}
    assert set(children()) <= before


def test_no_descriptor_for_a_pidfd(aio, monkeypatch):
    if aio is asyncio:
        pytest.skip("asyncio has no second way")

    def pidfd_open(pid, flags=0):
        raise OSError(24, "Too many open files")
    monkeypatch.setattr(os, "pidfd_open", pidfd_open)

    async def main(lab):
        p = await asyncio.create_subprocess_shell("exit 6")
        return [await p.wait(), is_gone(p.pid)]
    assert scenario(main)(aio)["result"] == [6, True]


@pytest.mark.skipif(PY >= (3, 14), reason="there are no child watchers any more")
def test_a_child_watcher_of_the_users(aio):
    async def main(lab):
        p = await asyncio.create_subprocess_shell("exit 4")
        return await p.wait()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)

        class Watcher(asyncio.ThreadedChildWatcher):
            seen = []

            def add_child_handler(self, pid, callback, *args):
                self.seen.append(pid)
                return super().add_child_handler(pid, callback, *args)

            def is_active(self):
                return self.active
        watcher = Watcher()
        watcher.active = True
        asyncio.set_child_watcher(watcher)
        try:
            assert scenario(main)(aio)["result"] == 4 and len(watcher.seen) == 1
            watcher.active = False
            with Lab(aio) as lab, pytest.raises(RuntimeError, match="is not activated"):
                lab.run(main(lab))
        finally:
            asyncio.set_child_watcher(None)
            Watcher.seen.clear()


def test_the_loop_ends_before_the_child(aio):
    """Its descriptor goes with the loop; the child can still be waited for."""
    before = open_fds().keys()

    async def main(lab):
        p = await asyncio.create_subprocess_exec("sleep", "0.2")
        return p._transport
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Lab(aio) as lab:
            transport = lab.run(main(lab))
        process = transport.get_extra_info("subprocess")
        assert process.wait(10) == 0
        del transport, lab
        import gc
        gc.collect()
    for fd in open_fds().keys() - before if aio is asyncio else ():
        os.close(fd)             # asyncio forgets its pidfd
    assert open_fds().keys() <= before


def test_debug_mode(same):
    async def main(lab):
        p = await asyncio.create_subprocess_exec("cat", stdin=PIPE, stdout=PIPE)
        return list(await p.communicate(b"data"))

    def run(aio):
        got = scenario(main, debug=True)(aio)
        got.pop("records")
        return got
    same(run)


@pytest.mark.skipif(not hasattr(asyncio, "set_child_watcher"), reason="Python 3.14 has no child watchers to set")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_watcher_that_is_asked(aio, loop):
    """On 3.11 the one that entering the watcher gives, later the watcher itself."""
    class Watcher(asyncio.AbstractChildWatcher):
        def __init__(self, active):
            self.active, self.log = active, []

        def attach_loop(self, loop):
            pass

        def close(self):
            pass

        def add_child_handler(self, pid, callback, *args):
            raise AssertionError("no process is started")

        remove_child_handler = add_child_handler

        def is_active(self):
            self.log.append("asked")
            return self.active

        def __enter__(self):
            self.log.append("entered")
            return inner

        def __exit__(self, kind, *exc):
            self.log.append(kind.__name__)
    outer, inner = Watcher(PY < (3, 12)), Watcher(PY >= (3, 12))
    asyncio.set_child_watcher(outer)
    try:
        with pytest.raises(RuntimeError, match="subprocess support is not installed"):
            loop.run_until_complete(loop.subprocess_exec(asyncio.SubprocessProtocol, "true"))
    finally:
        asyncio.set_child_watcher(None)
    assert outer.log + inner.log == (["entered", "RuntimeError", "asked"] if PY < (3, 12) else ["entered", "asked", "RuntimeError"])
