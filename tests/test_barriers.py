"""Barrier: its states at every point of waiting, subclasses, patches. asyncio's and pyasync's do the same."""
import asyncio
import inspect
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from programs_of_tasks import ignore_register_random, programs, quick, trace_of
from support import fresh_loop, outcome, plain, scrub
from ticking import chain, play


def look(barrier):
    return [scrub(repr(barrier)), barrier.parties, barrier.n_waiting, barrier.broken, barrier._state.name, barrier._count,
            barrier._cond.locked(), len(barrier._cond._waiters), len(barrier._cond._lock._waiters or ())]


async def use(barrier, name):
    if name == "with":
        async with barrier as index:
            await asyncio.sleep(0)
            return index
    if name == "hold":                        # somebody else has the lock, so that the others wait for it
        async with barrier._cond:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return look(barrier)
    result = await getattr(barrier, name)()
    return [result, look(barrier)]


actions = st.sampled_from(["wait", "wait", "wait", "with", "reset", "abort", "hold"]).map(lambda name: (name,))


@ignore_register_random
@pytest.mark.parametrize("parties", [1, 3])
def test_programs(aio, parties):
    @quick
    @given(program=programs(actions))
    def run(program):
        assert trace_of(aio, lambda aio: aio.Barrier(parties), use, program) == trace_of(asyncio, lambda aio: aio.Barrier(parties), use, program)
    run()


@pytest.mark.parametrize("parties", [0, -1, 1, True, 2.5, 3.0, 10 ** 30, "x", None, 1j])
def test_numbers_of_parties(same, parties):
    async def main(aio, log):
        barrier = aio.Barrier(parties)
        log.append(look(barrier))
        tasks = [aio.ensure_future(barrier.wait()) for _ in range(3)]
        await aio.sleep(3)
        log.append([t.done() and t.result() for t in tasks])
        await barrier.abort()
        log.append(plain(await aio.gather(*tasks, barrier.wait(), return_exceptions=True)))
        log.append(look(barrier))
    same(play(main))


def test_arguments_and_names(same):
    async def main(aio, log):
        barrier = aio.Barrier(parties=2)
        for call in (lambda: aio.Barrier(), lambda: aio.Barrier(1, 2), lambda: aio.Barrier(n=1), lambda: barrier.wait(1), lambda: barrier.reset(x=1)):
            log.append(outcome(call, text=False))
        for name in ("wait", "reset", "abort", "__aenter__", "__aexit__"):
            function = getattr(barrier, name)
            log.append([function.__qualname__, [p.kind.name for p in inspect.signature(function).parameters.values()]])
        for make in (barrier.wait, barrier.reset, barrier.abort, barrier.__aenter__, barrier.__aexit__):
            coro = make()
            log.append([asyncio.iscoroutine(coro), coro.__qualname__])
            coro.close()
        log.append([await barrier.__aexit__(1, 2, 3, 4), look(barrier), isinstance(barrier, asyncio.Barrier)])
    same(play(main))


@pytest.mark.parametrize("what", ["wait", "reset", "abort", "__aenter__"])
@pytest.mark.parametrize("point", ["lock", "draining", "filling"])
@pytest.mark.parametrize("how", ["cancel", "close"])
def test_leaving_at_every_point(same, what, point, how):
    async def main(aio, log):
        barrier = aio.Barrier(2)
        others = []
        if point == "lock":
            await barrier._cond.acquire()
        elif point == "draining":
            others = [aio.ensure_future(barrier.wait()) for _ in range(2)]
            await aio.sleep(0)
            await aio.sleep(0)
            log.append(look(barrier))
        coro = getattr(barrier, what)()
        if how == "close":
            try:
                coro.send(None)
                log.append(look(barrier))
                log.append(outcome(coro.close))
            except StopIteration as e:
                log.append(["at once", e.value])
        else:
            task = aio.ensure_future(coro)
            for _ in range(2):
                await aio.sleep(0)
                log.append([look(barrier), task.done()])
                task.cancel("why")
            await aio.sleep(0)
            log.append(look(barrier))
            if point == "lock":
                barrier._cond.release()
            try:
                log.append(await task)
            except aio.CancelledError as e:
                log.append(chain(e))
        if barrier._cond.locked():
            barrier._cond.release()
        log.append(plain(await aio.gather(*others)))
        log.append(look(barrier))
    same(play(main))


def test_broken_and_reset_while_tasks_wait(same):
    async def main(aio, log):
        barrier = aio.Barrier(3)

        async def waits(name):
            try:
                log.append([name, await barrier.wait()])
            except aio.BrokenBarrierError as e:
                log.append([name, chain(e), look(barrier)])
        for change in ("abort", "reset", "reset", "abort"):
            tasks = [aio.ensure_future(waits(i)) for i in range(2)]
            await aio.sleep(0)
            log.append(look(barrier))
            await getattr(barrier, change)()
            log.append(look(barrier))
            tasks.append(aio.ensure_future(waits("late")))
            await aio.sleep(2)
            log.append(look(barrier))
            for task in tasks:
                task.cancel()
            await aio.gather(*tasks, return_exceptions=True)
            await barrier.reset()
    same(play(main))


def test_a_subclass(same):
    async def main(aio, log):
        class Mine(aio.Barrier):
            async def wait(self):
                log.append("wait")
                return ["mine", await super().wait()]

            async def _block(self):
                log.append("block")
                await super()._block()

            def _exit(self):
                log.append("exit")
                super()._exit()
        barrier = Mine(2)

        async def uses():
            async with barrier as index:
                return index
        log.append([await aio.gather(uses(), barrier.wait()), look(barrier)])

        class Plain(aio.Barrier):
            pass
        barrier = Plain(2)
        log.append([await aio.gather(uses(), barrier.wait()), look(barrier)])
        barrier.extra = 5
        await barrier.abort()
        log.append([look(barrier), barrier.extra, plain(await aio.gather(barrier.wait(), return_exceptions=True))])
    same(play(main))


@pytest.mark.parametrize("name", ["_block", "_wait", "_release", "_exit", "wait"])
@pytest.mark.parametrize("where", ["class", "base", "instance"])
def test_patched_methods(same, name, where):
    async def main(aio, log):
        barrier = aio.Barrier(2)
        home = {"class": aio.Barrier, "base": asyncio.Barrier, "instance": barrier}[where]
        original = getattr(asyncio.Barrier, name)

        def patched(*args):
            log.append([name, len(args)])
            return original(barrier)
        if where == "base" and name == "wait" and aio is not asyncio:
            patched(barrier).close()                  # pyasync's class has a wait() of its own
            log.pop()
            home = aio.Barrier
        with mock.patch.object(home, name, patched):
            async def uses():
                async with barrier as index:
                    return index
            log.append(await aio.gather(uses(), uses()))
        log.append([await aio.gather(barrier.wait(), barrier.wait()), look(barrier)])
    same(play(main))


def test_attributes_can_be_assigned(same):
    async def main(aio, log):
        barrier = aio.Barrier(3)
        barrier._parties = 2
        log.append([await aio.gather(barrier.wait(), barrier.wait()), look(barrier)])
        barrier._cond = aio.Condition(aio.Lock())
        log.append([await aio.gather(barrier.wait(), barrier.wait()), look(barrier)])

        class Watched(aio.Condition):
            async def wait(self):
                log.append("waits")
                return await super().wait()
        barrier._cond = Watched()
        log.append([await aio.gather(barrier.wait(), barrier.wait()), look(barrier)])
        barrier._state = type(barrier._state).BROKEN
        log.append([barrier.broken, look(barrier), outcome(barrier.wait().send, None)])
        barrier._state = type(barrier._state).FILLING
        barrier._count = 1
        log.append([barrier.n_waiting, await barrier.wait(), look(barrier)])
        barrier.__init__(1)
        log.append([await barrier.wait(), look(barrier)])
    same(play(main))


def test_a_lock_exchanged_while_a_task_waits(aio, run):
    """The lock that was taken is the one that is released, and nothing crashes."""
    async def main():
        barrier = aio.Barrier(2)
        task = aio.ensure_future(barrier.wait())
        await aio.sleep(0)
        before = barrier._cond._lock
        barrier._cond._lock = aio.Lock()
        other = aio.ensure_future(barrier.wait())
        await aio.sleep(0)
        barrier._cond._lock = before
        task.cancel()
        other.cancel()
        await aio.gather(task, other, return_exceptions=True)
    run(main())


def test_on_two_loops(same):
    def scenario(aio):
        got = []
        with fresh_loop(aio) as loop:
            async def first():
                barrier = aio.Barrier(2)
                got.append(await aio.gather(barrier.wait(), barrier.wait()))
                return barrier
            barrier = loop.run_until_complete(first())
        with fresh_loop(aio) as loop:
            async def second():
                try:
                    await aio.wait_for(barrier.wait(), 1)
                except RuntimeError as e:
                    got.append(scrub(str(e)))
            loop.run_until_complete(second())
        return got
    same(scenario)
