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
ONLY_READERS = {
    # The guard runs by itself and imports nothing of ours.
    "time": {"clock.py", "log.py", "agent/guard/guard.py"},
    "random": {"ids.py"},
    "secrets": {"ids.py"},
    "uuid": set(),
}


def _name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_every_module_says_what_it_is_and_stays_small(path):
    text = path.read_text()
    assert ast.get_docstring(ast.parse(text)), "give the module a docstring"
    assert len(text.splitlines()) <= MAX_LINES, "split it by what changes together"


def test_classes_stay_small():
    too_long = [
        f"{_name(path)}: {node.name}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and (node.end_lineno or 0) - node.lineno > MAX_CLASS_LINES
    ]
    assert too_long == []


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_time_and_chance_are_arguments(path):
    relative = str(path.relative_to(SOURCE))
    imported = {
        alias.name.split(".")[0]
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert [name for name, readers in ONLY_READERS.items() if name in imported and relative not in readers] == []


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_tasks_are_started_only_in_groups_and_no_exception_is_swallowed(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "create_task":
            owner = node.func.value
            assert not (isinstance(owner, ast.Name) and owner.id == "asyncio"), f"line {node.lineno}: use a TaskGroup"
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            broad = isinstance(node.type, ast.Name) and node.type.id in {"Exception", "BaseException"}
            silent = all(isinstance(line, ast.Pass) for line in node.body)
            assert not (broad and silent), f"line {node.lineno}: say what you expect, or log it"


def test_nothing_in_the_tree_names_a_private_path():
    looked_at = [p for p in ROOT.rglob("*") if p.suffix in {".py", ".md", ".toml", ".yml", ".yaml", ".sh"}]
    mine = [p for p in looked_at if not {".venv", ".cache", ".git"} & set(p.relative_to(ROOT).parts)]
    private = re.compile(r"/(?:work|root|home/[a-z]+)/")
    allowed = {pathlib.Path(__file__)}
    assert [_name(p) for p in mine if p not in allowed and private.search(p.read_text(errors="replace"))] == []
