"""Role files and prompts: what ships is sound, and what breaks says where."""

import re
import shutil
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domains.runs import Share
from engine.roles import BrokenFile, Catalogue, Prompt, PromptMismatch, Resources, load_roles, render
from engine.roles.models import COMMON_NEEDS, ROLE_VALUES
from engine.roles.prompts import read_prompt

REPOSITORY = Path(__file__).parents[2]
PROMPTS = REPOSITORY / "prompts"

LAWYER = """\
code: lawyer
name: {ru: Юрист, en: Lawyer}
description:
  ru: Право
  en: Law
agent_type: simple
prompt: lawyer.md
tools: [current_time]
limits: {steps: 4, seconds: 60, tokens: 500}
"""

COUNCIL = """\
code: council
name: {ru: Совет, en: Council}
description: {ru: Совет, en: Council}
agent_type: multi_agent
prompt: chu.md
members: [lawyer]
limits: {steps: 4, seconds: 60, tokens: 500}
"""


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """A folder of one sound role, with the prompts that ship."""
    shutil.copytree(PROMPTS, tmp_path / "prompts")
    (tmp_path / "roles").mkdir()
    (tmp_path / "roles" / "lawyer.yaml").write_text(LAWYER, "utf-8")
    return tmp_path


def load(house: Path) -> Catalogue:
    return load_roles(house / "roles", house / "prompts")


def write(house: Path, text: str, name: str = "lawyer.yaml") -> None:
    (house / "roles" / name).write_text(text, "utf-8")


def test_every_role_that_ships_loads() -> None:
    catalogue = load_roles(REPOSITORY / "engine" / "roles", PROMPTS)

    assert catalogue.problems == ()
    assert [role.code for role in catalogue.all()] == ["accountant", "assistant", "chu", "hr", "lawyer"]
    chief = catalogue.get("chu")
    assert chief
    assert chief.agent_type == "multi_agent"
    assert chief.members == ("lawyer", "accountant", "hr")
    for role in catalogue.all():
        assert role.validation.required
        assert re.fullmatch("[0-9a-f]{64}", role.version)


@pytest.mark.parametrize("path", sorted(PROMPTS.glob("*.md")), ids=lambda path: path.name)
def test_every_prompt_needs_what_it_says(path: Path) -> None:
    prompt = read_prompt(path)

    text = render(prompt, {name: f"<{name}>" for name in prompt.needs})

    assert all(f"<{name}>" in text for name in prompt.needs)
    assert "{{" not in text
    assert len(prompt.text.split()) <= 350


def test_every_prompt_is_said_by_somebody() -> None:
    roles = load_roles(REPOSITORY / "engine" / "roles", PROMPTS).all()

    spoken = {role.prompt.name for role in roles} | {f"{name}.md" for name in COMMON_NEEDS}

    assert spoken == {path.name for path in PROMPTS.glob("*.md")}


@pytest.mark.parametrize("code", ["lawyer", "accountant", "hr", "assistant", "chu"])
def test_a_role_and_the_common_rules_fit_a_small_model(code: str) -> None:
    role = load_roles(REPOSITORY / "engine" / "roles", PROMPTS).get(code)

    assert role
    assert len(f"{role.prompt.text} {role.common.rules.text}".split()) <= 400


def test_a_role_is_found_by_code_and_by_either_name_however_spelled() -> None:
    catalogue = load_roles(REPOSITORY / "engine" / "roles", PROMPTS)

    found = [catalogue.find(name) for name in ("lawyer", "LAWYER", "юрист", "Юрист", "Lawyer", " юрист ")]

    assert {role.code for role in found if role} == {"lawyer"}
    assert None not in found
    assert catalogue.find("юристы") is None
    assert catalogue.find("") is None


@pytest.mark.parametrize(
    ("old", "new", "line", "told"),
    [
        ("steps: 4", "steps: four", 9, "limits.steps"),
        ("steps: 4", "steps: 0", 9, "limits.steps"),
        ("steps: 4", "steps: 4, stepz: 1", 9, "limits.stepz"),
        ("steps: 4, ", "", 9, "limits.steps"),
        ("tools: [current_time]", "tools: [current_time, fly]", 8, "unknown tool fly"),
        ("tools: [current_time]", "tools: [current_time, current_time]", 1, "twice"),
        ("prompt: lawyer.md", "prompt: nobody.md", 7, "no prompt file nobody.md"),
        ("prompt: lawyer.md", "prompt: ../lawyer.md", 7, "prompt"),
        ("agent_type: simple", "agent_type: genius", 6, "agent_type"),
        ("agent_type: simple", "agent_type: chain", 1, "steps"),
        ("agent_type: simple", "agent_type: multi_agent", 1, "members"),
        ("code: lawyer", "code: barrister", 1, "must be lawyer"),
        ("code: lawyer", "code: lawyer\ncode: lawyer", 2, "second time"),
        ("ru: Право", "ru: &x Право", 5, "alias"),
        ("tools: [current_time]", "tools: [current_time", 9, "not YAML"),
        ("tools: [current_time]", "tools:\t[current_time]", 8, "not YAML"),
        ("tools: [current_time]", "tools: [[[[[[[[[[[x]]]]]]]]]]]", 8, "nested deeper"),
        ("tools: [current_time]", "tools: !!python/name:os.system []", 8, "not YAML"),
        ("tools: [current_time]", "temperature: 3", 8, "temperature"),
        ("ru: Юрист", "ru: 2026-13-41", 1, "cannot be read"),
        ("ru: Юрист", "ru: no", 2, "name.ru"),
        ("Право", "\x07", 4, "not YAML"),
    ],
)
def test_a_broken_role_file_is_named_with_its_line(
    house: Path, old: str, new: str, line: int, told: str
) -> None:
    text = LAWYER.replace(old, new)
    write(house, text.replace("en: Law\n", "en: *x\n") if "&x" in new else text)

    catalogue = load(house)

    assert catalogue.get("lawyer") is None
    problem = catalogue.problems[0]
    assert (problem.file, problem.line) == ("lawyer.yaml", line), str(problem)
    assert told in problem.message


def test_an_empty_file_and_one_that_is_too_large_are_problems(house: Path) -> None:
    write(house, "", "hr.yaml")
    write(house, "x: " + "y" * 20_000, "accountant.yaml")
    (house / "roles" / "assistant.yaml").write_bytes(b"code: assistant\nname: \xff\n")

    problems = [str(problem) for problem in load(house).problems]

    assert problems == [
        "accountant.yaml:1: is larger than 16384 bytes",
        "assistant.yaml:2: is not UTF-8",
        "hr.yaml:1: is empty",
    ]


def test_a_reload_keeps_the_last_good_version_of_a_broken_role(house: Path) -> None:
    catalogue = load(house)
    good = catalogue.get("lawyer")

    write(house, LAWYER.replace("steps: 4", "steps: -4"))
    problems = catalogue.reload()

    assert [(problem.file, problem.line) for problem in problems] == [("lawyer.yaml", 9)]
    assert catalogue.get("lawyer") is good
    write(house, LAWYER.replace("steps: 4", "steps: 5"))
    assert catalogue.reload() == []
    mended = catalogue.get("lawyer")
    assert mended
    assert mended.limits.steps == 5


def test_a_reload_keeps_the_last_good_words(house: Path) -> None:
    catalogue = load(house)
    good = catalogue.get("lawyer")
    (house / "prompts" / "lawyer.md").write_text("needs: asker\n{{ asker }} и\n{{ salary }}", "utf-8")
    (house / "prompts" / "rules.md").unlink()

    problems = catalogue.reload()

    assert {(problem.file, problem.line) for problem in problems} == {("lawyer.md", 3), ("rules.md", 1)}
    assert catalogue.get("lawyer") is good


def test_a_role_whose_file_is_gone_is_gone(house: Path) -> None:
    catalogue = load(house)
    (house / "roles" / "lawyer.yaml").unlink()

    assert catalogue.reload() == []
    assert catalogue.find("юрист") is None


def test_nothing_is_read_again_before_a_reload(house: Path) -> None:
    catalogue = load(house)
    shutil.rmtree(house)

    assert catalogue.find("lawyer")


def test_no_role_works_without_the_common_words(house: Path) -> None:
    (house / "prompts" / "rules.md").write_text("needs: asker\nНичего", "utf-8")

    with pytest.raises(BrokenFile) as broken:
        load(house)

    assert str(broken.value.problems[0]).startswith("rules.md:1: needs asker but never uses it")


def test_a_prompt_may_ask_only_for_what_it_is_given(house: Path) -> None:
    (house / "prompts" / "lawyer.md").write_text("needs: salary\n{{ salary }}", "utf-8")

    problem = load(house).problems[0]

    assert problem.file == "lawyer.md"
    assert "needs salary" in problem.message
    assert all(name in problem.message for name in ROLE_VALUES)


@pytest.mark.parametrize(
    ("member", "told"), [("hr", "unknown member hr"), ("council", "unknown member council")]
)
def test_a_council_needs_members_that_are_there(house: Path, member: str, told: str) -> None:
    write(house, COUNCIL.replace("[lawyer]", f"[lawyer, {member}]"), "council.yaml")

    catalogue = load(house)

    assert catalogue.get("council") is None
    assert (catalogue.problems[0].line, told in catalogue.problems[0].message) == (6, True)


def test_a_council_cannot_convene_a_council(house: Path) -> None:
    write(house, COUNCIL, "council.yaml")
    write(
        house,
        COUNCIL.replace("council", "senate")
        .replace("Совет", "Сенат")
        .replace("Council", "Senate")
        .replace("[lawyer]", "[council]"),
        "senate.yaml",
    )

    catalogue = load(house)

    assert catalogue.get("council")
    assert catalogue.get("senate") is None
    assert "is itself a multi_agent" in catalogue.problems[0].message


ACCOUNTANT = LAWYER.replace("lawyer\n", "accountant\n").replace("{ru: Юрист, en: Lawyer}", "{ru: Б, en: A}")
HEAVY = "resources: {pool: heavy, cpus: 2, gpus: 0.5, memory_mb: 4000, concurrency: 8}\n"


def test_roles_may_have_a_pool_of_their_own_and_all_others_share_the_default(house: Path) -> None:
    write(house, LAWYER + HEAVY)
    write(house, ACCOUNTANT, "accountant.yaml")
    catalogue = load(house)

    assert catalogue.problems == ()
    assert {name: pool.roles for name, pool in catalogue.pools().items()} == {
        "default": ("accountant",),
        "heavy": ("lawyer",),
    }
    assert catalogue.pools()["heavy"].resources == Resources(2, 0.5, 4000, 8)
    assert catalogue.share_of(None) == Share()
    assert catalogue.share_of("heavy") == Share(only=("lawyer",))
    assert catalogue.share_of("gone") == Share(only=())
    of_the_rest = catalogue.share_of("default")
    assert (of_the_rest.has("accountant"), of_the_rest.has("unknown")) == (True, True)
    assert not of_the_rest.has("lawyer")


@pytest.mark.parametrize(
    ("resources", "told"),
    [
        ("{cpus: 2}", "`resources.pool` is missing"),
        ("{pool: default}", "is the pool of roles without `resources`"),
        ("{pool: heavy, gpus: -1}", "`resources.gpus` Input should be greater than or equal to 0"),
        ("{pool: heavy, disks: 1}", "`resources.disks` is not a key that a role file has"),
        ("{pool: Heavy}", "`resources.pool` String should match pattern"),
        ("{pool: heavy, concurrency: 0}", "`resources.concurrency`"),
    ],
)
def test_resources_that_make_no_sense_are_named_with_their_line(
    house: Path, resources: str, told: str
) -> None:
    write(house, f"{LAWYER}resources: {resources}\n")

    (problem,) = load(house).problems

    assert str(problem).startswith("lawyer.yaml:10: ")
    assert told in str(problem)


def test_roles_of_one_pool_must_ask_for_the_same_resources(house: Path) -> None:
    write(house, LAWYER + HEAVY)
    write(house, ACCOUNTANT + HEAVY.replace("cpus: 2", "cpus: 3"), "accountant.yaml")

    (problem,) = load(house).problems

    assert str(problem) == (
        "lawyer.yaml:10: pool heavy has other resources in accountant.yaml; they must be the same"
    )


def test_where_a_role_is_worked_changes_nothing_of_what_it_says(house: Path) -> None:
    before = load(house).get("lawyer")
    write(house, LAWYER + HEAVY)
    after = load(house).get("lawyer")

    assert before is not None
    assert after is not None
    assert after.version == before.version


def test_two_roles_of_one_name_are_a_problem(house: Path) -> None:
    write(house, LAWYER.replace("code: lawyer", "code: second"), "second.yaml")

    catalogue = load(house)

    assert "already calls lawyer" in catalogue.problems[0].message
    assert catalogue.find("юрист") is catalogue.get("lawyer")


def test_the_version_follows_every_word_and_nothing_else(house: Path) -> None:
    write(house, COUNCIL, "council.yaml")
    catalogue = load(house)
    before = {role.code: role.version for role in catalogue.all()}

    write(house, LAWYER.replace("code: lawyer", "# remark\ncode:  lawyer"))
    catalogue.reload()
    assert {role.code: role.version for role in catalogue.all()} == before

    prompt = house / "prompts" / "lawyer.md"
    prompt.write_text(prompt.read_text("utf-8") + "\nИ ещё.", "utf-8")
    catalogue.reload()
    after = {role.code: role.version for role in catalogue.all()}
    assert after["lawyer"] != before["lawyer"]
    assert after["council"] != before["council"]  # It speaks through its members.


def test_rendering_refuses_a_missing_and_an_unknown_value() -> None:
    prompt = Prompt("a.md", frozenset({"asker"}), "{{ asker }}")

    with pytest.raises(PromptMismatch, match="asker"):
        render(prompt, {})
    with pytest.raises(PromptMismatch, match="chat"):
        render(prompt, {"asker": "Анна", "chat": "Кадры"})


@given(value=st.text(), other=st.text())
def test_values_go_in_as_they_are(value: str, other: str) -> None:
    prompt = Prompt("a.md", frozenset({"one", "two"}), "[{{ one }}|{{two}}]")

    assert render(prompt, {"one": value, "two": other}) == f"[{value}|{other}]"
    assert render(prompt, {"one": "{{ two }} \\1", "two": other}) == f"[{{{{ two }}}} \\1|{other}]"


@given(text=st.text(alphabet=string.printable + "абв{}[]:&*!", max_size=200))
def test_no_text_in_a_role_file_does_more_than_be_a_problem(text: str) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "lawyer.yaml").write_text(text, "utf-8")
        catalogue = load_roles(Path(folder), PROMPTS)

    assert catalogue.all() == ()
    assert catalogue.problems
    assert all(problem.line >= 1 for problem in catalogue.problems)
