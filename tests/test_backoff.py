"""A crash is retried at once, a crash loop ever more slowly."""

from hypothesis import given
from hypothesis import strategies as st

from pilothouse.backoff import delay_seconds


def test_the_first_failure_is_retried_at_once():
    assert delay_seconds(1, fraction=0.9) == 0.0


def test_then_one_second_doubling_to_five_minutes():
    waits = [delay_seconds(n, fraction=0.5) for n in range(2, 13)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_wait_stays_within_a_fifth_of_the_cap(failures, fraction):
    assert 0.0 <= delay_seconds(failures, fraction=fraction) <= 360.0
