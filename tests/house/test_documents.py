"""What is written down agrees with the code."""

import re
from collections import Counter

import pytest

from engine.core.errors import Refusal
from engine.roles.prompts import read_prompt
from scripts.write_docs import api_statuses, pages, refusals
from tests.house.tree import ROOT, files, place


@pytest.mark.parametrize("name", ["docs/guides/settings.md", "docs/guides/errors.md", "openapi.json"])
def test_the_pages_made_from_the_code_are_current(name: str) -> None:
    assert (ROOT / name).read_text("utf-8") == pages()[name], "run scripts/docs"


def test_no_two_refusals_share_a_code() -> None:
    counted = Counter(refusal.code for refusal in refusals())

    assert len(counted) > 40
    assert [code for code, count in counted.items() if count > 1] == []


def test_every_kind_of_refusal_has_a_status_and_every_refusal_a_sentence() -> None:
    kinds = {kind.__name__ for kind in Refusal.__subclasses__() if kind.__module__ == "engine.core.errors"}

    assert len(kinds) == 5
    assert kinds <= api_statuses().keys()
    assert [refusal.name for refusal in refusals() if not refusal.status] == []
    assert [refusal.name for refusal in refusals() if not refusal.sentence] == []


def test_codes_are_words() -> None:
    assert [
        refusal.code for refusal in refusals() if not re.fullmatch(r"[a-z]+(_[a-z0-9]+)*", refusal.code)
    ] == []


def test_both_readmes_have_the_same_headings() -> None:
    english, russian = (
        [heading for heading, _ in headings((ROOT / name).read_text("utf-8"))]
        for name in ("README.md", "README.ru.md")
    )

    assert english
    assert english == russian


def test_the_changelog_has_a_place_for_what_is_not_released() -> None:
    titles = [title for _, title in headings((ROOT / "CHANGELOG.md").read_text("utf-8"))]

    assert "Unreleased" in titles


def test_every_prompt_names_what_it_needs() -> None:
    """A prompt that cannot be read raises, and names the line."""
    prompts = sorted((ROOT / "prompts").rglob("*.md"))

    assert prompts
    for path in prompts:
        read_prompt(path)


def test_links_between_documents_lead_somewhere() -> None:
    broken = [
        f"{place(path)}: {target}"
        for path in files()
        if path.suffix == ".md" and path.is_relative_to(ROOT) and "prompts" not in path.parts
        for target in re.findall(r"\]\(([^)\s#]+)", without_code(path.read_text("utf-8")))
        if "://" not in target and not target.startswith("mailto:") and not (path.parent / target).exists()
    ]

    assert broken == []


def test_decisions_are_numbered_and_say_why() -> None:
    decisions = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    numbers = [decision.name[:4] for decision in decisions]

    assert len(decisions) >= 4
    assert numbers == sorted(set(numbers))
    for decision in decisions:
        assert re.fullmatch(r"\d{4}-[a-z0-9-]+\.md", decision.name)
        titles = [title for _, title in headings(decision.read_text("utf-8"))]
        assert {"Context", "Decision", "Consequences"} <= set(titles), decision.name


def headings(text: str) -> list[tuple[str, str]]:
    """Return the depth (#, ##, …) and the words of each heading."""
    return re.findall(r"^(#+) +(.+?)\s*$", without_code(text), re.MULTILINE)


def without_code(text: str) -> str:
    """Return a page without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
