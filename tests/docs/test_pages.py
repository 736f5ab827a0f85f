"""What the documentation says is there, is there."""

import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").rglob("*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_script_that_is_named_exists(page):
    named = set(re.findall(r"(?<![\w/.-])((?:scripts|bench|examples)/[\w./-]*\w)", page.read_text()))
    assert [name for name in named if not (ROOT / name).exists() and not (page.parent / name).exists()
            and name.rsplit("/", 1)[-1].isupper() is False and "NAME" not in name] == []  # fmt: skip


def test_every_kind_of_object_is_in_the_glossary():
    words = set(re.findall(r"^\| \*\*(.+?)\*\*", (ROOT / "docs/GLOSSARY.md").read_text(), re.MULTILINE))
    kinds = {"app", "service", "task", "node", "volume", "secret", "config", "grant", "audit record"}
    assert kinds <= words
    assert sorted(words) == sorted(words, key=str.lower)


def test_the_glossary_has_no_word_twice():
    words = re.findall(r"^\| \*\*(.+?)\*\*", (ROOT / "docs/GLOSSARY.md").read_text(), re.MULTILINE)
    assert len(words) == len(set(words))


def test_every_decision_says_what_was_rejected():
    for page in (ROOT / "docs/adr").glob("[0-9]*.md"):
        text = page.read_text()
        assert "**Decided.**" in text, page.name
        assert "**Why.**" in text, page.name
        assert "**Rejected.**" in text, page.name
