"""`pip install .` gives the `pilothouse` command, with everything it needs in the package."""

import pathlib
import shutil
import subprocess
import sys
import zipfile

import pytest

ROOT = pathlib.Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    target = tmp_path_factory.mktemp("wheel")
    # A build leaves files beside the source, so the source is a copy.
    source = tmp_path_factory.mktemp("source")
    shutil.copytree(ROOT / "src", source / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, source)
    build = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--wheel-dir", target, source]
    subprocess.run(build, check=True, capture_output=True)
    return next(target.glob("*.whl"))


@pytest.mark.slow
def test_an_installed_wheel_runs_without_the_source_tree(wheel, tmp_path):
    place = tmp_path / "site"
    install = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", place, wheel]
    subprocess.run(install, check=True, capture_output=True)
    run = [sys.executable, "-c", "from pilothouse.cli.main import main; main(['config', '-f', 'compose.yaml'])"]
    (tmp_path / "compose.yaml").write_text("services: {web: {image: web}}\n")
    environment = {"PYTHONPATH": str(place), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(run, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "image: web" in done.stdout


@pytest.mark.slow
def test_the_wheel_carries_the_unit_the_types_and_the_reference_of_x_pilothouse(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    source = ROOT / "src" / "pilothouse"
    wanted = [*source.rglob("*.py"), source / "py.typed", *(source / "compose/docs").glob("*.yml"),
              *(source / "cli/units").glob("*.service")]  # fmt: skip
    assert [str(p) for p in wanted if str(p.relative_to(ROOT / "src")) not in names] == []
    assert not [name for name in names if name.startswith("tests/")]
