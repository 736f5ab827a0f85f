"""How far a service is, in a few words."""

import io

from pilothouse.cli.progress import Progress
from pilothouse.cli.rows import rollout_row, rows, service_row
from pilothouse.model.api import AppView, ServiceView
from pilothouse.model.release import ReleaseState
from pilothouse.model.release_api import RolloutView
from pilothouse.model.rollout import RolloutState
from tests.cli import views


def service(**changes):
    known = {"mode": "replicated", "wanted": 1, "running": 0, "healthy": 0, "completed": 0, "outdated": 0}
    return ServiceView(
        **{"app": "shop", "name": "web", "image": "web", "converged": False, "failed": False, **known, **changes}
    )


def shop(*services):
    return AppView(
        name="shop", revision=1, deployed_at=0, deployed_by="", removing=False, converged=False, failed=False,
        sentence="", services=services,
    )  # fmt: skip


def far(**changes):
    return service_row(service(**changes))[1]


def test_a_service_is_as_far_as_its_tasks_are_healthy():
    assert far(wanted=3, running=2, healthy=2) == "2/3 healthy"
    assert far(wanted=3, running=3, healthy=2) == "2/3 healthy, 3 running"
    assert far(wanted=3, running=3, healthy=3, outdated=1) == "3/3 healthy, 1 to replace"


def test_what_was_meant_to_end_has_completed():
    assert far(mode="replicated-job", wanted=3, completed=1, running=1) == "1/3 completed"
    assert far(completed=1) == "1/1 completed"


def test_every_line_is_written_once_where_nothing_can_be_drawn_in_place():
    stream = io.StringIO()
    progress = Progress(stream)
    view = shop(service(running=1, healthy=1, converged=True))
    progress.show(view)
    progress.show(view)
    assert stream.getvalue() == "shop/web: done: 1/1 healthy\n"


def test_what_is_over_at_once_gets_no_line_where_nothing_can_be_drawn_in_place():
    stream, waiting = io.StringIO(), []
    progress = Progress(stream, later=lambda _, call: waiting.append(call))
    for sentence in ("web.1 is starting", "web.1 runs, but its startup probe has not passed yet"):
        progress.show(shop(service(sentence=sentence)))
    for call in waiting:
        call()
    progress.show(shop(service(running=1, healthy=1, converged=True)))
    assert stream.getvalue() == (
        "shop/web: 0/1 healthy: web.1 runs, but its startup probe has not passed yet\nshop/web: done: 1/1 healthy\n"
    )


def test_a_service_that_goes_is_said_to_go_once():
    stream, waiting = io.StringIO(), []
    Progress(stream, later=lambda _, call: waiting.append(call)).show(
        shop(service(removing=True, sentence="is being removed"))
    )
    waiting[0]()
    assert stream.getvalue() == "shop/web: is being removed\n"


class Terminal(io.StringIO):
    """A stream that can be drawn over."""

    def isatty(self):
        return True


class StandingClock:
    """Wall-clock time that a test moves."""

    def __init__(self, at):
        self.at = at

    def now(self):
        return self.at

    def monotonic(self):
        return self.at


def rolling(**fields):
    whole = {"state": RolloutState.ROLLING, "wanted": 8, "updated": 3, "starting": 1, "old": 5, **fields}
    return RolloutView(service="web", **whole)


def test_a_rollout_says_what_is_new_what_is_old_and_what_it_waits_for_since_when():
    row = rollout_row(rolling(waits_for="web.4 to become ready", since=100.0, until=700.0), 112.0)
    assert row == ("web", "rolling 3/8 new, 5 old, 1 starting", "waits for web.4 to become ready (12 s)", "")


def test_where_nothing_can_be_drawn_in_place_no_clock_runs():
    view = rolling(waits_for="web.4 to become ready", since=100.0)
    assert rollout_row(view, None)[2] == "waits for web.4 to become ready"
    judged = rolling(state=RolloutState.HELD, step=1, steps=2, weight=10, waits_for="the judge", requests=7, errors=0)
    assert rollout_row(judged, None)[2] == "step 1 of 2, 10 % of traffic; waits for the judge"


def test_a_canary_says_its_step_its_share_and_when_it_is_judged():
    view = rolling(
        state=RolloutState.HELD, step=2, steps=3, weight=25, waits_for="the judge", until=130.0, requests=412, errors=0
    )
    assert rollout_row(view, 112.0)[2] == "step 2 of 3, 25 % of traffic; judged in 18 s (412 requests, 0 errors)"
    assert rollout_row(view, 140.0)[2] == ("step 2 of 3, 25 % of traffic; waits for the judge (412 requests, 0 errors)")


def test_a_monitor_window_says_how_long_it_has_yet_to_run():
    view = rolling(state=RolloutState.MONITORING, waits_for="the monitor window", since=100.0, until=110.0)
    assert rollout_row(view, 103.0)[2] == "waits for the monitor window (7 s left)"


def test_a_failed_rollout_is_marked_and_waits_for_nothing():
    row = rollout_row(rolling(state=RolloutState.FAILED, waits_for="web.1 keeps failing"), 1.0)
    assert row[2:] == ("web.1 keeps failing", "failed")


def test_a_first_release_and_a_service_left_alone_are_counted_by_their_tasks():
    first = views.release(services=(rolling(updated=0, old=0),))
    assert rows(views.app(service(), release=first), 1.0)["web"][1] == "0/1 healthy"
    done = views.release(base=1, services=(rolling(state=RolloutState.DONE),))
    assert rows(views.app(service(), release=done), 1.0)["web"][1] == "0/1 healthy"
    later = views.release(base=1, services=(rolling(),))
    assert rows(views.app(service(), release=later), 1.0)["web"][1] == "rolling 3/8 new, 5 old, 1 starting"
    over = views.release(base=1, state=ReleaseState.FAILED, services=(rolling(),))
    assert rows(views.app(service(), release=over), 1.0)["web"][1] == "0/1 healthy"


def test_on_a_terminal_clocks_go_on_by_themselves_until_the_wait_is_over(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    stream, ticks, clock = Terminal(), [], StandingClock(103.0)
    progress = Progress(stream, later=lambda seconds, call: ticks.append((seconds, call)), clock=clock)
    view = rolling(waits_for="web.4 to become ready", since=100.0)
    progress.show(views.app(service(), release=views.release(base=1, services=(view,))))
    assert "(3 s)" in stream.getvalue()
    assert [seconds for seconds, _ in ticks] == [1.0]
    clock.at = 104.0
    ticks.pop()[1]()
    assert "(4 s)" in stream.getvalue()
    assert len(ticks) == 1
    progress.rest()
    clock.at = 105.0
    ticks.pop()[1]()
    assert "(5 s)" not in stream.getvalue()
    assert ticks == []


def test_a_turn_of_the_release_is_a_line_that_stays():
    stream = io.StringIO()
    progress = Progress(stream, later=lambda *_: None)
    for release in (
        views.release(number=2, base=1),
        views.release(number=2, base=1, paused=True),
        views.release(number=2, base=1, state=ReleaseState.ROLLING_BACK, sentence="web.1 exited with code 3"),
        views.release(number=3, base=1, undoes=2, copies=1),
        views.release(number=3, base=1, undoes=2, copies=1, state=ReleaseState.STABLE),
    ):
        progress.show(views.app(revision=release.number, release=release))
    assert stream.getvalue().splitlines() == [
        "shop release 2 is paused",
        "shop release 2 rolling back: web.1 exited with code 3",
        "shop release 3 rolling",
    ]
