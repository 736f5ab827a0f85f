"""Times as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.cli import times
from pilothouse.errors import InvalidRequestError

NOW = 1_800_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("90s", 90.0), ("1h30m", 5400.0), ("7d", 604800.0), ("1.5m", 90.0), ("0s", 0.0)],
)
def test_durations_are_numbers_with_units(text, seconds):
    assert times.parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "10", "m", "10 m", "-5s", "5s ", "5S", "1h-2m", "٣s", "1e3s", "5y"])
def test_what_is_no_duration_is_refused_with_an_example(text):
    with pytest.raises(InvalidRequestError, match="is not a duration: write numbers with units, such as 500ms"):
        times.parse_duration(text)


def test_a_past_time_is_a_duration_ago_or_a_stamp():
    assert times.parse_past("10m", NOW) == NOW - 600
    assert times.parse_past("2026-03-01", NOW) == times.parse_past("2026-03-01T00:00:00Z", NOW)
    assert times.parse_past("2026-03-01T12:00:00+02:00", NOW) == times.parse_past("2026-03-01T10:00:00Z", NOW)


@pytest.mark.parametrize("text", ["yesterday", "2026", "20260301", "2026-13-01", "12:00", "1800000000"])
def test_what_is_no_time_is_refused(text):
    with pytest.raises(InvalidRequestError, match="is not a time"):
        times.parse_past(text, NOW)


def test_an_end_that_has_passed_is_refused():
    assert times.parse_future("30d", NOW) == NOW + 30 * 86400
    with pytest.raises(InvalidRequestError, match="has passed already"):
        times.parse_future("2020-01-01", NOW)


@given(st.integers(min_value=0, max_value=4_000_000_000))
def test_a_written_stamp_is_read_back(at):
    assert times.parse_past(times.stamp(at), NOW) == at


@given(st.floats(min_value=0, max_value=1e9), st.floats(min_value=0, max_value=1e9))
def test_what_is_older_never_reads_as_younger(one, other):
    older, younger = max(one, other), min(one, other)
    assert times.parse_duration(times.ago(NOW - older, NOW)) >= times.parse_duration(times.ago(NOW - younger, NOW))


def test_an_age_is_told_in_its_largest_sensible_unit():
    assert [times.ago(NOW - s, NOW) for s in (0, 59, 119, 120, 7199, 7200, 172800)] == [
        "0s", "59s", "119s", "2m", "119m", "2h", "2d"]  # fmt: skip
