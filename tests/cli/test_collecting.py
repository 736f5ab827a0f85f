"""When images are removed is a setting of the node's process, and a wrong one is refused in words."""

import pytest

from pilothouse.agent.images.decide import Policy, Scope
from pilothouse.cli.collecting import image_policy
from pilothouse.errors import InvalidRequestError


def test_what_is_not_said_is_as_it_was():
    assert image_policy({}) == image_policy({"PILOTHOUSE_IMAGES": ""}) == Policy()
    assert image_policy({"PILOTHOUSE_IMAGES": "remove=none"}) == Policy(scope=Scope.NONE)
    text = "begin=70, end=60, age=10s, remove=all"
    assert image_policy({"PILOTHOUSE_IMAGES": text}) == Policy(begins=0.7, ends=0.6, age_seconds=10, scope=Scope.ALL)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("start=70", "'start' is none of begin, end, age, remove"),
        ("begin=0", "'0' is no percentage"),
        ("begin=half", "'half' is no percentage"),
        ("begin=70", "end must not be above begin"),
        ("remove=some", "remove is one of ours, all, none"),
        ("age=soon", "soon"),
    ],
)
def test_a_wrong_setting_is_refused_with_what_to_write(text, why):
    with pytest.raises(InvalidRequestError, match=why):
        image_policy({"PILOTHOUSE_IMAGES": text})
