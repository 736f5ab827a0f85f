"""A fake API, and the command line run against it in this process."""

import contextlib
import io
import sys
from dataclasses import dataclass

import pytest

from pilothouse.cli import main
from tests.cli.fake_api import fake_api


@dataclass
class Done:
    """How a command ended and what it wrote."""

    code: int
    out: str
    err: str


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty directory to be in, with none of the caller's variables."""
    for name in ("DATA", "RUN", "SOCKET", "ENGINE"):
        monkeypatch.delenv(f"PILOTHOUSE_{name}", raising=False)
    monkeypatch.delenv("COMPOSE_PROJECT_NAME", raising=False)
    monkeypatch.setenv("PILOTHOUSE_RUN", str(tmp_path))
    monkeypatch.setenv("PILOTHOUSE_DATA", str(tmp_path / "data"))
    directory = tmp_path / "here"
    directory.mkdir()
    monkeypatch.chdir(directory)
    return directory


@pytest.fixture
def api(here, tmp_path):
    """A server that answers what the test says."""
    with fake_api(tmp_path / "api.sock") as found:
        yield found


@pytest.fixture
def command(here, monkeypatch):
    """Run one command line in this process."""

    def run(*arguments, stdin=""):
        out, err = io.StringIO(), io.StringIO()
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin.encode())))
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main.run(list(arguments))
        return Done(code, out.getvalue(), err.getvalue())

    return run
