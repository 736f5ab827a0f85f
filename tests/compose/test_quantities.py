"""Durations, sizes, CPUs, permissions and ports, as Compose writes them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.compose import quantities


@pytest.mark.parametrize(
    ("written", "expected"),
    [("0", 0.0), ("90s", 90.0), ("1h5m30s20ms", 3930.02), ("500us", 0.0005), ("1.5m", 90.0), ("2d", 172800.0)],
)
def test_durations(written, expected):
    assert quantities.seconds(written) == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [("1", 1), ("1b", 1), ("2k", 2048), ("2kb", 2048), ("1.5m", 1572864), ("1GB", 2**30), ("1gib", 2**30), ("-1", -1)],
)
def test_sizes(written, expected):
    assert quantities.byte_count(written) == expected


@pytest.mark.parametrize(
    ("parse", "written"),
    [
        (quantities.seconds, "10"), (quantities.seconds, ""), (quantities.seconds, "1s2"), (quantities.seconds, True),
        (quantities.byte_count, "64 MB/s"), (quantities.byte_count, "9" * 20 + "g"), (quantities.byte_count, False),
        (quantities.cpu_nano, "-1"), (quantities.cpu_nano, "nan"), (quantities.cpu_nano, "many"),
        (quantities.permission, "0999"), (quantities.permission, "77777"), (quantities.port_range, "90-80"),
        (quantities.port_range, "65536"), (quantities.integer, "1.5"), (quantities.number, "inf"),
    ],
)  # fmt: skip
def test_what_is_no_quantity_is_refused_with_an_example_or_a_reason(parse, written):
    with pytest.raises(ValueError, match=r"\w{3}"):
        parse(written)


def test_cpus_permissions_and_ports():
    assert (quantities.cpu_nano("0.1"), quantities.cpu_nano(1.5)) == (100_000_000, 1_500_000_000)
    assert (quantities.permission("0440"), quantities.permission("0o1777")) == (0o440, 0o1777)
    assert (quantities.port_range("80"), quantities.port_range("80-82"), quantities.port_range("0")) == (
        (80, 80), (80, 82), None)  # fmt: skip


@given(st.text(max_size=12) | st.integers() | st.floats() | st.booleans())
def test_anything_else_is_a_value_error(value):
    for parse in (
        quantities.seconds, quantities.byte_count, quantities.cpu_nano, quantities.integer, quantities.number,
        quantities.permission, quantities.port_range,
    ):  # fmt: skip
        try:
            parse(value)
        except ValueError as problem:
            assert str(problem)  # noqa: PT017 - some values are quantities
