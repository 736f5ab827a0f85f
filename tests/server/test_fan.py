"""Who keeps up is pushed every commit once and in order; who does not is told so, and from where to read on."""

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from pilothouse.model.states import Writer
from pilothouse.server.commits import Commits
from pilothouse.server.fan import MOST_BYTES, Fan, Told, Watcher
from pilothouse.store.interface import Commit


def commit(revision):
    return Commit(revision, 0.0, Writer.API, ())


def number(made):
    return (("shop", b"%d " % made.revision),)


def fan_of(tell):
    """Return a fan and how to have it note a commit, or with None that some were missed."""
    noted, commits = [], Commits()
    commits.listen = noted.append
    commits.ignore = noted.remove
    return Fan(Told(tell)), commits, lambda made: [each(made) for each in tuple(noted)]


@given(
    seen=st.integers(1, 6),
    first=st.integers(1, 6),
    groups=st.lists(st.integers(1, 3), min_size=1, max_size=4),
    takes=st.integers(0, 5),
)
def test_what_was_pushed_and_what_is_left_to_read_are_everything_without_gap_or_repeat(seen, first, groups, takes):
    pushed = []

    def push(chunk):
        if len(pushed) < takes:
            pushed.append(chunk)
            return True
        return False

    async def story():
        fan, commits, note = fan_of(number)
        watcher = Watcher("", push)
        fan.step_in(commits, watcher, seen)
        revision = first
        for group in groups:
            for _ in range(group):
                note(commit(revision))
                revision += 1
            await asyncio.sleep(0)
        told = [int(each) for each in b"".join(pushed).split()]
        assert told == list(range(seen + 1, watcher.seen + 1))
        missed = max(0, revision - 1 - watcher.seen)
        assert await watcher.out_of_step(0.0) is (missed > 0)
        assert fan.watching == (0 if missed else 1)

    asyncio.run(story())


async def test_missed_commits_put_everybody_out_of_step():
    fan, commits, note = fan_of(number)
    watchers = [Watcher("", lambda _: True) for _ in range(3)]
    for each in watchers:
        fan.step_in(commits, each, 4)
    note(commit(5))
    note(None)
    await asyncio.sleep(0)
    assert [(each.seen, await each.out_of_step(0.0)) for each in watchers] == [(4, True)] * 3


async def test_what_is_long_is_left_to_each_watchers_own_pace():
    pushed = []
    fan, commits, note = fan_of(lambda _: (("shop", b"x" * MOST_BYTES), ("shop", b"y")))
    watcher = Watcher("shop", lambda chunk: pushed.append(chunk) or True)
    other = Watcher("blog", lambda chunk: pushed.append(chunk) or True)
    for each in (watcher, other):
        fan.step_in(commits, each, 1)
    note(commit(2))
    await asyncio.sleep(0)
    assert pushed == []
    assert await watcher.out_of_step(0.0)
    assert other.seen == 2
    assert not await other.out_of_step(0.0)
