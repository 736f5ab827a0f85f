"""What must be left of a durable store after a crash of any kind, for any backend.

`work` writes in a recognisable way and hands out a receipt for every commit the store acknowledged. Whoever tests a
backend ends the process, the power, the disk or the network at some point, opens the store again and calls
`check_survival` with the receipts it got. How a crash is made is the backend's affair; what may be left is not.
"""

import asyncio
from collections.abc import Callable, Iterable

import msgspec

from pilothouse.model.base import Object
from pilothouse.model.objects import Task
from pilothouse.model.states import Writer
from pilothouse.store.conformance import sample_task
from pilothouse.store.interface import Commit, Store, WriteTx

SIDES = ("left", "right")
_ALL = 1_000_000


class Receipt(msgspec.Struct, frozen=True):
    """That a commit was acknowledged, with the pair of tasks it wrote and how: "made", "marked" or "deleted"."""

    revision: int
    pair: str
    step: str


async def work(store: Store, acknowledge: Callable[[Receipt], None], pairs: Iterable[str]) -> None:
    """Make, mark and, for every other pair, delete pairs of tasks; all pairs at once, the steps of one in order.

    A commit always writes both tasks of a pair. What the store raises ends the pair, and is raised at the end.
    """

    async def one(number: int, pair: str) -> None:
        for step, (writer, change) in list(_STEPS.items())[: 2 + number % 2]:
            revision = await store.update(writer, lambda tx, change=change: change(tx, pair))  # type: ignore[misc]
            acknowledge(Receipt(revision, pair, step))

    failures = await asyncio.gather(*(one(number, pair) for number, pair in enumerate(pairs)), return_exceptions=True)
    for failure in failures:
        if failure is not None:
            raise failure


async def check_survival(store: Store, receipts: Iterable[Receipt]) -> int:
    """Check what a crash left of what `work` wrote; return the revision the store is at.

    Raises:
        AssertionError: An acknowledged commit is missing, a transaction is there in part, or the state is not what
            its history says.
    """
    revision, found = await store.view(lambda tx: (tx.revision, tx.find(Task)))
    history = await store.history(0, _ALL)
    assert [commit.revision for commit in history] == list(range(1, revision + 1)), "the history has gaps"
    replayed: dict[str, Object] = {}
    steps = {}
    for commit in history:
        steps[commit.revision] = _step_of(commit)
        for change in commit.changes:
            assert replayed.pop(change.object.id, None) == change.before, "history does not follow from itself"
            if change.after is not None:
                replayed[change.after.id] = change.after
    assert found == [replayed[name] for name in sorted(replayed)], "the objects are not what history says"
    for receipt in receipts:
        assert receipt.revision <= revision, f"the acknowledged commit {receipt} is lost"
        assert steps[receipt.revision] == (receipt.pair, receipt.step), f"{receipt} is not what was committed"
    return revision


def _step_of(commit: Commit) -> tuple[str, str]:
    pairs = {change.object.id.partition(" ")[0] for change in commit.changes}
    sides = [change.object.id.partition(" ")[2] for change in commit.changes]
    assert len(pairs) == 1, f"commit {commit.revision} mixes transactions"
    assert sides == list(SIDES), f"commit {commit.revision} is half a transaction"
    kinds = {(change.before is None, change.after is None) for change in commit.changes}
    assert len(kinds) == 1, f"commit {commit.revision} is half a transaction"
    return pairs.pop(), {(True, False): "made", (False, False): "marked", (False, True): "deleted"}[kinds.pop()]


def _make(tx: WriteTx, pair: str) -> int:
    for side in SIDES:
        tx.put(sample_task(f"{pair} {side}"))
    return tx.revision + 1


def _mark(tx: WriteTx, pair: str) -> int:
    for task in _pair(tx, pair):
        tx.put(msgspec.structs.replace(task, desired_reason=f"mark {tx.revision}"))
    return tx.revision + 1


def _delete(tx: WriteTx, pair: str) -> int:
    for task in _pair(tx, pair):
        tx.delete(task)
    return tx.revision + 1


def _pair(tx: WriteTx, pair: str) -> list[Task]:
    found = [tx.get(Task, f"{pair} {side}") for side in SIDES]
    return [task for task in found if task is not None]


_STEPS: dict[str, tuple[Writer, Callable[[WriteTx, str], int]]] = {
    "made": (Writer.ORCHESTRATOR, _make),
    "marked": (Writer.ORCHESTRATOR, _mark),
    "deleted": (Writer.REAPER, _delete),
}
