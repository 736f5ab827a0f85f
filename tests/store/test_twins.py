"""The store on disk does what the store in memory does, whatever is asked of both and however often it is reopened."""

import asyncio
import pathlib
import shutil
import tempfile

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from pilothouse.errors import PilothouseError
from pilothouse.model.objects import Task
from pilothouse.model.states import TaskState, Writer
from pilothouse.store.conformance import sample_task
from pilothouse.store.memory import MemoryStore
from pilothouse.store.sqlite import SQLiteStore

NAMES = st.sampled_from(["a", "b", "c", "d"])
WRITERS = st.sampled_from([Writer.ORCHESTRATOR, Writer.RESOURCES, Writer.SCHEDULER, Writer.REAPER])
FIELDS = st.fixed_dictionaries(
    {},
    optional={
        "desired_reason": st.sampled_from(["", "because", "ümlaut 🚢"]),
        "node_id": st.sampled_from(["", "n1"]),
        "state": st.sampled_from([TaskState.PENDING, TaskState.ASSIGNED]),
        "version": st.integers(0, 3),
    },
)
CHANGES = st.lists(st.tuples(st.sampled_from(["make", "change", "delete", "raise"]), NAMES, FIELDS), max_size=4)
KEPT = 12


class Clock:
    """Counts, so that commits of both stores carry the same times."""

    def __init__(self):
        self.at = 0.0

    def now(self):
        return self.at

    def monotonic(self):
        return self.at

    async def sleep(self, seconds):
        self.at += seconds


def apply(changes):
    def run(tx):
        seen = []
        for what, name, fields in changes:
            found = tx.get(Task, name)
            if what == "raise":
                raise LookupError(name)
            if what == "make":
                seen.append(tx.put(sample_task(name)))
            elif found is not None and what == "change":
                seen.append(tx.put(msgspec.structs.replace(found, **fields)))
            elif found is not None:
                tx.delete(msgspec.structs.replace(found, version=fields.get("version", found.version)))
            seen.append([task.id for task in tx.find(Task, node_id="n1")])
        return seen, tx.revision

    return run


class Twins(RuleBasedStateMachine):
    """Asks both stores the same and compares the answers."""

    def __init__(self):
        super().__init__()
        self.runner = asyncio.Runner()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="ph-twins-"))
        self.clock = Clock()
        self.memory = MemoryStore(self.clock, keep=KEPT)
        self.disk = self.opened()

    def opened(self):
        return self.runner.run(SQLiteStore.open(self.directory, self.clock, keep=KEPT))

    def both(self, ask):
        answers = []
        for store in (self.memory, self.disk):
            try:
                answers.append(self.runner.run(ask(store)))
            except (PilothouseError, LookupError) as error:
                answers.append((type(error), str(error)))
        assert answers[0] == answers[1]
        return answers[0]

    @rule(writer=WRITERS, changes=CHANGES)
    def one_update(self, writer, changes):
        self.clock.at += 1
        self.both(lambda store: store.update(writer, apply(changes)))

    @rule(groups=st.lists(st.tuples(WRITERS, CHANGES), min_size=2, max_size=5))
    def many_at_once(self, groups):
        async def ask(store):
            updates = (store.update(writer, apply(changes)) for writer, changes in groups)
            found = await asyncio.gather(*updates, return_exceptions=True)
            return [(type(each), str(each)) if isinstance(each, Exception) else each for each in found]

        self.both(ask)

    @rule()
    def reopen(self):
        self.runner.run(self.disk.close())
        self.disk = self.opened()

    @rule(since=st.integers(0, 30), limit=st.integers(1, 20))
    def history(self, since, limit):
        self.both(lambda store: store.history(since, limit))

    @rule(since=st.integers(0, 30))
    def the_next_commit_of_a_watch(self, since):
        async def ask(store):
            watch = store.watch(since)
            if since == await store.view(lambda tx: tx.revision):
                return None
            try:
                return await anext(watch)
            finally:
                await watch.aclose()

        self.both(ask)

    @invariant()
    def the_same_objects(self):
        self.both(lambda store: store.view(lambda tx: (tx.revision, tx.find(Task), tx.find(Task, node_id="n1"))))

    def teardown(self):
        self.runner.run(self.disk.close())
        self.runner.close()
        shutil.rmtree(self.directory)


TestTwins = Twins.TestCase
TestTwins.settings = settings(max_examples=8, stateful_step_count=20, deadline=None)
