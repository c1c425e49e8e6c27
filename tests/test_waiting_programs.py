"""Random programs of tasks, groups, timeouts, gathers, shields, barriers, futures of threads and cancellations on a clock that ticks:
asyncio and the module under test have to do the same at the same ticks.

Groups, wait() and as_completed() keep their tasks in sets, whose order is that of the tasks' addresses: who is cancelled first within one tick is
chance, with asyncio as well. In programs that have them the events of one tick are compared without their order.
"""
import asyncio
import concurrent.futures

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from support import plain, scrub
from ticking import chain, play

delays = st.integers(0, 4)
leaves = st.one_of(
    st.tuples(st.just("sleep"), delays),
    st.tuples(st.just("raise"), st.sampled_from(["ValueError", "KeyError", "CancelledError"])),
    st.tuples(st.just("cancel self"), st.integers(0, 1)),
    st.tuples(st.just("future"), delays),
)


def nodes(children):
    several = st.lists(children, min_size=1, max_size=3)
    return st.one_of(
        st.tuples(st.just("sequence"), several),
        st.tuples(st.just("gather"), several, st.booleans()),
        st.tuples(st.just("group"), several, children),
        st.tuples(st.just("timeout"), st.one_of(st.none(), delays), children),
        st.tuples(st.just("wait_for"), st.one_of(st.none(), st.integers(-1, 4)), children, st.booleans()),
        st.tuples(st.just("shield"), children),
        st.tuples(st.just("catch"), children),
        st.tuples(st.just("insist"), children),
        st.tuples(st.just("as_completed"), several, st.one_of(st.none(), delays), st.booleans()),
        st.tuples(st.just("barrier"), several, st.integers(1, 3), st.sampled_from(["abort", "reset", "nothing"]), delays),
        st.tuples(st.just("thread"), delays, st.sampled_from(["result", "ValueError", "cancel"]), st.booleans()),
        st.tuples(st.just("threadsafe"), children, st.one_of(st.none(), delays)),
        st.tuples(st.just("wait"), several, st.one_of(st.none(), delays), st.sampled_from(["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"])),
    )


programs = st.recursive(leaves, nodes, max_leaves=8)
cancellations = st.lists(st.tuples(st.integers(0, 8), st.integers(0, 5)), max_size=3)


class Interpreter:
    def __init__(self, aio, log):
        self.aio, self.log, self.tasks = aio, log, {}
        self.loop = aio.get_running_loop()

    def note(self, *what):
        self.log.append([self.loop.time(), *what])

    async def run(self, program, path):
        """Runs it and writes down when it began and how it ended. `path`: its place in the whole."""
        task = self.aio.current_task()
        if task not in self.tasks.values():
            self.tasks[path] = task
        self.note(path, "begins", program[0])
        try:
            result = await getattr(self, "do_" + program[0].replace(" ", "_"))(path, *program[1:])
        except BaseException as e:
            self.note(path, "raises", chain(e, 3), task.cancelling())
            raise
        self.note(path, "returns", plain(result), task.cancelling())
        return result

    def all(self, programs, path):
        return [self.run(p, f"{path}.{i}") for i, p in enumerate(programs)]

    async def do_sleep(self, path, delay):
        return await self.aio.sleep(delay, delay)

    async def do_raise(self, path, name):
        raise {"ValueError": ValueError, "KeyError": KeyError, "CancelledError": self.aio.CancelledError}[name]("raised")

    async def do_cancel_self(self, path, delay):
        self.aio.current_task().cancel("self")
        await self.aio.sleep(delay)

    async def do_future(self, path, delay):
        future = self.loop.create_future()
        self.loop.call_later(delay, lambda: future.done() or future.set_result("set"))
        return await future

    async def do_sequence(self, path, programs):
        return [await self.run(p, f"{path}.{i}") for i, p in enumerate(programs)]

    async def do_gather(self, path, programs, flag):
        return await self.aio.gather(*self.all(programs, path), return_exceptions=flag)

    async def do_group(self, path, programs, body):
        async with self.aio.TaskGroup() as group:
            tasks = [group.create_task(run) for run in self.all(programs, path)]
            await self.run(body, path + ".body")
        return [t.cancelled() or t.result() for t in tasks]

    async def do_timeout(self, path, delay, program):
        async with self.aio.timeout(delay) as timeout:
            result = await self.run(program, path + ".in")
        self.note(path, repr(timeout))
        return result

    async def do_wait_for(self, path, delay, program, as_task):
        what = self.run(program, path + ".in")
        try:
            return await self.aio.wait_for(self.aio.ensure_future(what) if as_task else what, delay)
        finally:
            what.close() if not as_task else None

    async def do_shield(self, path, program):
        return await self.aio.shield(self.run(program, path + ".in"))

    async def do_catch(self, path, program):
        try:
            return await self.run(program, path + ".in")
        except Exception as e:
            return ["caught", type(e).__name__]

    async def do_insist(self, path, program):
        """Takes a cancellation for a reason to begin anew, once."""
        try:
            return await self.run(program, path + ".first")
        except self.aio.CancelledError:
            return await self.run(program, path + ".again")

    async def do_wait(self, path, programs, timeout, mode):
        tasks = [self.aio.ensure_future(run) for run in self.all(programs, path)]
        try:
            done, pending = await self.aio.wait(tasks, timeout=timeout, return_when=mode)
            return [t in done for t in tasks], [t in pending for t in tasks]
        finally:
            for task in tasks:
                task.cancel("waited")


    async def do_as_completed(self, path, programs, timeout, asynchronous):
        tasks = [self.aio.ensure_future(run) for run in self.all(programs, path)]
        got = []
        try:
            completed = self.aio.as_completed(tasks, timeout=timeout)
            if asynchronous and hasattr(completed, "__aiter__"):
                async for task in completed:
                    got.append([tasks.index(task), self.loop.time()])
                return got
            for earliest in completed:
                try:
                    got.append([await earliest, self.loop.time()])
                except ValueError as e:
                    got.append([plain(e), self.loop.time()])
            return got
        finally:
            for task in tasks:
                task.cancel("completed")

    async def do_barrier(self, path, programs, parties, end, delay):
        """Each program, then all meet; after a while the barrier may be aborted or reset."""
        barrier = self.aio.Barrier(parties)

        async def meet(coro):
            try:
                await coro
                async with barrier as index:
                    return [index, self.loop.time()]
            except self.aio.BrokenBarrierError as e:
                return plain(e)
        tasks = [self.aio.ensure_future(meet(coro)) for coro in self.all(programs, path)]
        try:
            await self.aio.sleep(delay)
            if end != "nothing":
                await getattr(barrier, end)()
            await self.aio.wait(tasks, timeout=5)
            return scrub(repr(barrier)), [t.done() and (t.cancelled() or plain(t.exception() or t.result())) for t in tasks]
        finally:
            for task in tasks:
                task.cancel("met")

    async def do_thread(self, path, delay, end, wrapped):
        """The end of a call in an executor, which comes from the loop's thread here: so it is at a known time."""
        source = concurrent.futures.Future()
        executor = concurrent.futures.Executor()
        executor.submit = lambda fn, *args: source

        def finish():
            if end == "cancel":
                source.cancel()
            elif source.set_running_or_notify_cancel():
                source.set_result(["r"]) if end == "result" else source.set_exception(ValueError("in a thread"))
        self.loop.call_later(delay, finish)
        try:
            return await (self.aio.wrap_future(source) if wrapped else self.loop.run_in_executor(executor, int))
        finally:
            self.note(path, source.cancelled())

    async def do_threadsafe(self, path, program, cancel):
        """As another thread would start it, and perhaps cancel it."""
        future = self.aio.run_coroutine_threadsafe(self.run(program, path + ".in"), self.loop)
        future.add_done_callback(lambda f: self.note(path, "done", f.cancelled()))
        if cancel is not None:
            self.loop.call_later(cancel, lambda: self.note(path, "cancels", future.cancel()))
        return await self.aio.wrap_future(future)


SETS = (("group",), ("wait",), ("as_completed",), ("barrier",))


def keeps_order(program):
    return not isinstance(program, (tuple, list)) or (program[:1] not in SETS and all(map(keeps_order, program)))


async def main(aio, log, program, cancels):
    interpreter = Interpreter(aio, log)
    tasks = interpreter.tasks
    root = aio.ensure_future(interpreter.run(program, "root"))

    def cancel(index):
        if index < len(tasks):
            path = sorted(tasks)[index]
            interpreter.note("cancel", path, tasks[path].cancel("outside"))
    handles = [aio.get_running_loop().call_later(when, cancel, index) for when, index in cancels]
    await asyncio.wait([root])
    for handle in handles:
        handle.cancel()
    end = ["root", root.cancelled() or chain(root.exception(), 4) or plain(root.result())]
    left = sorted(path for path, task in tasks.items() if not task.done())
    for path in left:
        tasks[path].cancel("left")
    if left:
        await asyncio.wait([tasks[path] for path in left])
    if not keeps_order(program):
        log.sort(key=str)
    log += [end, [[path, tasks[path].cancelled(), tasks[path].cancelling()] for path in sorted(tasks)]]


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(program=programs, cancels=cancellations)
def test_programs_do_the_same(aio, program, cancels):
    scenario = play(main, program, cancels, numbered=True)
    assert scenario(aio) == scenario(asyncio)
