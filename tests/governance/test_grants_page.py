"""The page about grants lists the kinds there are."""

import pathlib
import re

from pilothouse.governance.policy import GRANT_KINDS, containers, paths

PAGE = (pathlib.Path(__file__).parents[2] / "docs" / "reference" / "grants.md").read_text()


def test_the_page_lists_every_kind_and_what_it_opens():
    rows = dict(re.findall(r"^\| `([a-z-]+)` \| .*? \| (.+) \|$", PAGE, re.MULTILINE))
    assert rows == {kind.name: kind.says for kind in GRANT_KINDS.values()}


def test_the_page_names_every_sealed_path_and_safe_setting():
    named = {paths.normal(place) for place in re.findall(r"`(/[a-z./]+)`", PAGE)}
    assert {paths.normal(p) for p in paths.SEALED_PATHS} - {"/run/docker"} <= named
    assert all(f"`{n}`" in PAGE for n in containers.SAFE_NETWORK_SYSCTLS | containers.SAFE_IPC_SYSCTLS)
