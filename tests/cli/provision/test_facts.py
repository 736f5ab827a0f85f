"""What a machine answers is read as it was meant, and what is no answer breaks nothing."""

import os
import platform
import socket
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.cli.provision.facts import QUESTIONS, parse
from pilothouse.errors import RuntimeUnavailableError


def _ask(*places):
    return subprocess.run(["sh", "-s", "--", *places], input=QUESTIONS, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def here():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        free = "127.0.0.1:1"
        yield port, parse(_ask(free, f"127.0.0.1:{port}"), 0.0, 4e9)


def test_this_machine_answers_the_questions(here):
    port, found = here
    assert found.uid == os.getuid()
    assert (found.system, found.kernel, found.machine) == ("Linux", platform.release(), platform.machine())
    assert found.hostname == socket.gethostname()
    assert found.memory_bytes == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert found.disk_data_bytes > 0
    assert port in found.listening
    assert found.cgroups in {1, 2}
    assert found.python.startswith("3.")
    assert found.venv


def test_what_cannot_be_reached_is_named_with_the_cause(here):
    _, found = here
    assert found.unreachable == (("127.0.0.1:1", "Connection refused"),)


@pytest.mark.parametrize(
    ("there", "asked", "answered", "offset"),
    [
        ("100.5", 100.0, 101.0, 0.0),
        ("90", 100.0, 101.0, -10.0),
        ("111.0", 100.0, 101.0, 10.0),
        ("111.N", 100.0, 101.0, 10.0),
        ("", 100.0, 101.0, 0.0),
    ],
)
def test_a_clock_is_wrong_only_as_far_as_asking_cannot_explain(there, asked, answered, offset):
    assert parse(f"uid=0\ntime={there}\n", asked, answered).offset_seconds == pytest.approx(offset)


def test_a_greeting_of_the_shell_is_passed_over():
    assert parse("Welcome!\nuid=0\nkernel=6.1.0\n  bye = bye\n", 0, 0).kernel == "6.1.0"


def test_a_machine_that_does_not_answer_is_said_to_be_so():
    with pytest.raises(RuntimeUnavailableError, match="This account is not available"):
        parse("This account is not available.\n", 0, 0)


KEYS = ["time", "mtu", "listening", "unreachable", "memory_kib", "cgroups", "kernel", "nonsense"]


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.text())))
def test_no_answer_breaks_the_reading(pairs):
    found = parse("uid=0\n" + "".join(f"{key}={value}\n" for key, value in pairs), 0.0, sys.float_info.max)
    assert found.uid == 0
