"""The building has a plan, and the plan is checked."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
SOURCE = ROOT / "src" / "pilothouse"
MODULES = sorted(SOURCE.rglob("*.py"))
MAX_LINES = 400
MAX_CLASS_LINES = 300
SUFFIXES = {".py", ".md", ".toml", ".yml", ".yaml", ".sh"}
NOT_OURS = {".venv", ".cache", ".git"}
ONLY_READERS = {
    # The guard runs by itself and imports nothing of ours.
    "time": {"clock.py", "log.py", "agent/guard/guard.py"},
    "random": {"ids.py"},
    "secrets": {"ids.py"},
    "uuid": set(),
}


def _name(path):
    return str(path.relative_to(ROOT))


@pytest.fixture(scope="module")
def trees():
    """Every module, read once."""
    return {str(path.relative_to(SOURCE)): ast.parse(path.read_text()) for path in MODULES}


def test_every_module_says_what_it_is(trees):
    assert [name for name, tree in trees.items() if not ast.get_docstring(tree)] == [], "give it a docstring"


def test_every_module_stays_small():
    too_long = [_name(path) for path in MODULES if len(path.read_text().splitlines()) > MAX_LINES]
    assert too_long == [], "split it by what changes together"


def test_classes_stay_small(trees):
    too_long = [
        f"{name}: {node.name}"
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef) and (node.end_lineno or 0) - node.lineno > MAX_CLASS_LINES
    ]
    assert too_long == []


def test_time_and_chance_are_arguments(trees):
    imported = [
        (name, alias.name.split(".")[0])
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    ]
    assert [(name, each) for name, each in imported if name not in ONLY_READERS.get(each, {name})] == []


def test_tasks_are_started_only_in_groups(trees):
    bare = [
        f"{name}:{node.lineno}"
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "create_task"
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "asyncio"
    ]
    assert bare == [], "use a TaskGroup"


def test_no_exception_is_swallowed(trees):
    swallowed = [
        f"{name}:{node.lineno}"
        for name, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler)
        and isinstance(node.type, ast.Name)
        and node.type.id in {"Exception", "BaseException"}
        and all(isinstance(line, ast.Pass) for line in node.body)
    ]
    assert swallowed == [], "say what you expect, or log it"


def _files(directory):
    for path in directory.iterdir():
        if path.is_file():
            yield path
        elif path.is_dir() and path.name not in NOT_OURS:
            yield from _files(path)


def test_nothing_in_the_tree_names_a_private_path():
    private = re.compile(r"/(?:work|root|home/[a-z]+)/")
    allowed = {pathlib.Path(__file__)}
    mine = [path for path in _files(ROOT) if path.suffix in SUFFIXES and path not in allowed]
    assert [_name(path) for path in mine if private.search(path.read_text(errors="replace"))] == []
