"""How far a service is, in a few words."""

import io

from pilothouse.cli.progress import Progress, service_row
from pilothouse.model.api import AppView, ServiceView


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
    progress = Progress(stream, later=waiting.append)
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
    Progress(stream, later=waiting.append).show(shop(service(removing=True, sentence="is being removed")))
    waiting[0]()
    assert stream.getvalue() == "shop/web: is being removed\n"
