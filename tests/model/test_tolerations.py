"""Which taints a service can live with."""

import pytest

from pilothouse.model.placement import Placement, Taint, Toleration, tolerates


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        (Toleration(key="gpu"), True),
        (Toleration(key="gpu", value="old"), True),
        (Toleration(key="gpu", value="new"), False),
        (Toleration(key="disk"), False),
        (Toleration(), True),
    ],
)
def test_a_toleration_without_a_value_covers_every_value_and_one_without_a_key_every_taint(toleration, tolerated):
    placement = Placement(tolerations=(Toleration(key="other"), toleration))
    assert tolerates(placement, Taint(key="gpu", value="old")) is tolerated


def test_a_service_that_tolerates_nothing_tolerates_no_taint():
    assert not tolerates(Placement(), Taint(key="gpu"))
