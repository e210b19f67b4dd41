"""The queue in front of the embedded model."""

import anyio
import pytest
from anyio import wait_all_tasks_blocked
from anyio.abc import TaskGroup

from agentic_fleet.errors import ModelBusy
from agentic_fleet.workflows.admission import Admission


class Guests:
    """Generations that read their prompt at once, stay until told to leave, and note when they came in."""

    def __init__(self, admission: Admission, tasks: TaskGroup) -> None:
        self.admitted: list[str] = []
        self._admission = admission
        self._tasks = tasks
        self._leave: dict[str, anyio.CancelScope] = {}

    async def come(self, *names: str, reading: bool = False) -> None:
        """`name` is the run's, with anything after a dot to tell its generations apart."""
        for name in names:
            self._leave[name] = anyio.CancelScope()
            self._tasks.start_soon(self._stay, name, reading)
            await wait_all_tasks_blocked()

    async def leave(self, name: str) -> None:
        self._leave[name].cancel()
        await wait_all_tasks_blocked()

    async def _stay(self, name: str, reading: bool) -> None:
        with self._leave[name]:
            async with self._admission.place(name.split(".")[0]) as place:
                self.admitted.append(name)
                if not reading:
                    self._admission.prompt_read(place)
                await anyio.sleep_forever()


async def test_as_many_run_as_there_are_slots_and_the_rest_wait_in_order() -> None:
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            guests = Guests(Admission(slots=2, queue=2), tasks)
            await guests.come("a", "b", "c", "d")
            assert guests.admitted == ["a", "b"]
            await guests.leave("b")
            assert guests.admitted == ["a", "b", "c"]
            await guests.leave("a")
            assert guests.admitted == ["a", "b", "c", "d"]
            tasks.cancel_scope.cancel()


async def test_one_more_than_the_queue_holds_is_refused_at_once() -> None:
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            admission = Admission(slots=1, queue=1)
            await Guests(admission, tasks).come("a", "b")
            with pytest.raises(ModelBusy, match="busy: 1 answers under way, 1 waiting"):
                async with admission.place("c"):
                    pass
            tasks.cancel_scope.cancel()


async def test_without_a_queue_free_slots_are_still_usable_while_a_prompt_is_read() -> None:
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            guests = Guests(Admission(slots=2, queue=0), tasks)
            await guests.come("a", "b", reading=True)
            assert guests.admitted == ["a"]
            await guests.leave("a")
            assert guests.admitted == ["a", "b"]
            tasks.cancel_scope.cancel()


async def test_prompts_are_read_one_at_a_time() -> None:
    with anyio.fail_after(5):
        admission = Admission(slots=3, queue=0)
        async with anyio.create_task_group() as tasks, admission.place("a") as first:
            guests = Guests(admission, tasks)
            await guests.come("b")
            assert guests.admitted == []
            admission.prompt_read(first)
            admission.prompt_read(first)
            await wait_all_tasks_blocked()
            assert guests.admitted == ["b"]
            tasks.cancel_scope.cancel()


async def test_a_run_with_fewer_generations_goes_before_one_with_more() -> None:
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            guests = Guests(Admission(slots=3, queue=9), tasks)
            await guests.come("greedy.1", "greedy.2", "greedy.3", "greedy.4", "modest.1", "greedy.5", "other.1")
            await guests.leave("greedy.1")
            await guests.leave("greedy.2")
            assert guests.admitted[3:] == ["modest.1", "other.1"]
            await guests.leave("greedy.3")
            assert guests.admitted[5:] == ["greedy.4"]
            tasks.cancel_scope.cancel()


async def test_one_that_is_cancelled_while_it_waits_leaves_the_queue_at_once() -> None:
    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            guests = Guests(Admission(slots=1, queue=1), tasks)
            await guests.come("a", "b")
            await guests.leave("b")
            await guests.come("c")  # not refused
            await guests.leave("a")
            assert guests.admitted == ["a", "c"]
            tasks.cancel_scope.cancel()


async def test_one_that_is_cancelled_in_the_moment_of_its_admission_passes_the_slot_on() -> None:
    with anyio.fail_after(5):
        admission = Admission(slots=1, queue=2)
        async with anyio.create_task_group() as tasks:
            guests = Guests(admission, tasks)
            async with admission.place("a"):
                await guests.come("b", "c")
            tasks.start_soon(guests.leave, "b")  # "b" has the slot now, and has not run since
            await wait_all_tasks_blocked()
            assert guests.admitted[-1] == "c"
            tasks.cancel_scope.cancel()
