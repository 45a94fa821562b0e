"""The documents: every link resolves, every command and path that they name exists."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = [
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "configs/*/README.md")
    for path in sorted(ROOT.glob(pattern))
]
INDEX = "docs/README.md"


@pytest.mark.parametrize("page", PAGES)
def test_links_resolve(page):
    text = (ROOT / page).read_text()
    links = re.findall(r"!?\[[^\]]*\]\(([^)\s]+)\)", text)
    broken = [
        link
        for link in links
        if "://" not in link
        and not link.startswith("#")
        and not ((ROOT / page).parent / link.partition("#")[0]).exists()
    ]
    assert not broken


@pytest.mark.parametrize("page", PAGES)
def test_scripts_and_configs_that_are_named_exist(page):
    text = (ROOT / page).read_text()
    named = set(
        re.findall(r"\b(?:tools|configs|tests|mmext)/[\w/.-]+\.(?:py|sh|yml|cpp|h)\b", text)
    )
    missing = [path for path in named if not (ROOT / path).exists() and "<" not in path]
    assert not missing


def test_the_index_lists_every_page():
    text = (ROOT / INDEX).read_text()
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"}
    assert pages == {page for page in pages if f"]({page})" in text}


def test_make_targets_that_are_named_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {
        target
        for page in PAGES
        for target in re.findall(r"`make ([a-z]+)", (ROOT / page).read_text())
    }
    assert named
    assert named <= targets
