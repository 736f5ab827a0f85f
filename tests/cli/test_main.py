"""The command line: cheap to start, complete in its help, clear in its ends."""

import json
import subprocess
import sys

import click
import pytest

from pilothouse.cli import main
from pilothouse.cli.command import Command
from pilothouse.cli.places import MANIFESTS

HEAVY = {"aiohttp", "litestar", "uvicorn", "rich", "yaml", "cryptography", "asyncio", "sqlite3", "aiodocker"}


def _imported(*modules):
    code = f"import sys, {', '.join(modules)}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_starting_the_program_imports_nothing_heavy():
    assert _imported("pilothouse.cli.main") & HEAVY == set()


def test_ps_where_there_is_no_project_loads_no_loader(here):
    code = "from pilothouse.cli.main import run; import sys; run(['ps']); print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {name.split(".")[0] for name in names} & HEAVY == set()
    assert [name for name in names if name.startswith("pilothouse.compose")] == []


def test_the_names_of_manifests_are_those_of_the_loader():
    from pilothouse.compose import discover

    assert discover.NAMES == MANIFESTS


def test_asking_the_server_imports_nothing_heavy():
    modules = ("pilothouse.cli.commands.ps", "pilothouse.cli.commands.logs", "pilothouse.cli.commands.explain")
    assert _imported("pilothouse.cli.main", *modules) & HEAVY == set()


def _leaves(group, path=()):
    context = click.Context(group)
    for name in group.list_commands(context):
        found = group.get_command(context, name)
        if isinstance(found, click.Group):
            yield from _leaves(found, (*path, name))
        else:
            yield (*path, name), found


LEAVES = dict(_leaves(main.cli))


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_every_command_has_a_summary_examples_and_exit_codes(path):
    found = LEAVES[path]
    assert isinstance(found, Command)
    assert found.get_short_help_str(200).rstrip(".")
    assert found.help.split("\n\n")[0].rstrip().endswith(".")
    assert found.examples
    assert all(line.lstrip('eval "$(').startswith("pilothouse " + " ".join(path)) for line, _ in found.examples)
    assert {0, 2, 3} <= set(found.exits)


@pytest.mark.parametrize("path", LEAVES, ids=" ".join)
def test_help_works_for_every_command(command, path):
    done = command(*path, "--help")
    assert done.code == 0
    assert "Exit codes:" in done.out
    assert "Examples:" in done.out


@pytest.mark.parametrize(
    "path", [p for p, c in LEAVES.items() if any(o.name == "as_json" for o in c.params)], ids=" ".join
)
def test_the_json_option_is_told_of_everywhere_alike(command, path):
    assert "problems" in command(*path, "--help").out


def test_an_unknown_command_is_refused_with_a_code(command):
    done = command("upp")
    assert done.code == 3
    assert done.err.startswith("error PH105: No such command 'upp'")
    assert "pilothouse --help" in done.err


def test_no_server_is_one_clear_sentence(command):
    done = command("ps")
    assert done.code == 2
    assert done.err.startswith("error PH203: no server answers at ")
    assert "pilothouse server start" in done.err
    assert "Traceback" not in done.err


def test_no_server_is_a_problem_with_json(command):
    done = command("ps", "--json")
    assert json.loads(done.err)["code"] == "PH203"
    assert done.out == ""


def test_the_socket_option_wins_over_the_variable(command, tmp_path):
    assert str(tmp_path / "other.sock") in command("--socket", str(tmp_path / "other.sock"), "ps").err
