"""A secret at rest opens with this server's key, for the thing it was sealed for, and nowhere else."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilothouse.errors import StoreCorruptError
from pilothouse.governance.secrets.seal import KEY_FILE, Vault, load_vault

VAULT = Vault(b"k" * 32)
NAMES = st.text(min_size=1, max_size=8)


@given(app=NAMES, key=NAMES, content=st.binary(max_size=200))
def test_what_was_sealed_opens_again(app, key, content):
    version = VAULT.content_version(app, key, content)
    sealed = VAULT.seal(app, key, version, content)
    assert VAULT.open(app, key, version, sealed) == content
    assert len(content) < 8 or content not in sealed


@given(app=NAMES, key=NAMES, other=NAMES, content=st.binary(max_size=50))
def test_a_sealed_content_opens_for_nothing_else(app, key, other, content):
    sealed = VAULT.seal(app, key, "v1", content)
    for place in {(other, key, "v1"), (app, other, "v1"), (app, key, other), (app + key, "", "v1")} - {
        (app, key, "v1")
    }:
        with pytest.raises(StoreCorruptError):
            VAULT.open(*place, sealed)


@given(content=st.binary(max_size=50), at=st.integers(0, 500))
def test_a_changed_byte_is_noticed(content, at):
    sealed = bytearray(VAULT.seal("a", "k", "v", content))
    sealed[at % len(sealed)] ^= 1
    with pytest.raises(StoreCorruptError):
        VAULT.open("a", "k", "v", bytes(sealed))


@pytest.mark.parametrize("sealed", [b"", b"short", b"x" * 12])
def test_a_cut_content_is_an_error_and_not_a_crash(sealed):
    with pytest.raises(StoreCorruptError):
        VAULT.open("a", "k", "v", sealed)


@given(one=st.binary(max_size=20), two=st.binary(max_size=20))
def test_a_content_version_changes_exactly_when_the_content_does(one, two):
    assert (VAULT.content_version("a", "k", one) == VAULT.content_version("a", "k", two)) is (one == two)


def test_a_content_version_tells_nothing_without_the_key():
    assert VAULT.content_version("a", "k", b"hunter2") != Vault(b"x" * 32).content_version("a", "k", b"hunter2")


def test_two_seals_of_one_content_differ():
    assert VAULT.seal("a", "k", "v", b"x") != VAULT.seal("a", "k", "v", b"x")


def test_the_key_is_made_once_and_is_for_its_owner_only(tmp_path):
    first = load_vault(tmp_path / "data").content_version("a", "k", b"x")
    assert stat.S_IMODE(os.stat(tmp_path / "data" / KEY_FILE).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(tmp_path / "data").st_mode) == 0o700
    assert load_vault(tmp_path / "data").content_version("a", "k", b"x") == first
    assert os.listdir(tmp_path / "data") == [KEY_FILE]


def test_servers_that_start_at_once_agree_on_one_key(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        versions = set(pool.map(lambda _: load_vault(tmp_path).content_version("a", "k", b"x"), range(8)))
    assert len(versions) == 1


@pytest.mark.parametrize(("mode", "content"), [(0o640, b"k" * 32), (0o600, b"short")])
def test_a_key_that_others_can_read_or_that_is_damaged_is_not_used(tmp_path, mode, content):
    path = tmp_path / KEY_FILE
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(StoreCorruptError):
        load_vault(tmp_path)


def test_no_text_of_a_vault_shows_its_key():
    assert "kkk" not in repr(VAULT)
