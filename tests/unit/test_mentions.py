"""Who a text calls: what people write around a mention must neither hide it nor make one up."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.domains.chats import find_mentions

ROLES = {
    "lawyer": "lawyer",
    "юрист": "lawyer",
    "chu": "chu",
    "начальник штаба": "chu",
    "chief of staff": "chu",
    "счётчик": "counter",
}
CODES = sorted(set(ROLES.values()))
LETTERS = "abcxyzАБВабвгёЁйЙіїßüñçøłđªº漢字かな한글שלוםعربي٣४"
names = st.text(LETTERS, min_size=2, max_size=20).map(lambda name: unicodedata.normalize("NFC", name))
after = st.sampled_from(
    ["", " ", ",", ".", "!", "?", ":", ";", "…", ")", "»", "”", "'", "\n", "\t", " — ", "/", "*", "</b>"]
)
before = st.sampled_from(["", " ", "(", "«", "„", '"', "\n", "\t", "— ", ",", "*", "!", "привет: "])


@given(name=names, before=before, after=after)
def test_a_person_is_named_whatever_stands_around_the_name(name: str, before: str, after: str) -> None:
    called = find_mentions(f"{before}@{name}{after}", ROLES)

    assert [options[0] for options in called.users] == [name.casefold()]
    assert not called.roles
    assert not called.unknown_roles


@given(spelling=st.sampled_from(sorted(ROLES)), before=before, after=after, data=st.data())
def test_a_role_is_called_by_code_and_name_in_any_case_and_either_composition(
    spelling: str, before: str, after: str, data: st.DataObject
) -> None:
    case = data.draw(st.sampled_from([str.upper, str.lower, str.title]))
    form = data.draw(st.sampled_from(["NFC", "NFD"]))

    called = find_mentions(unicodedata.normalize(form, f"{before}@@{case(spelling)}{after}"), ROLES)  # type: ignore[arg-type]

    assert called.roles == (ROLES[spelling],)
    assert not called.users
    assert not called.unknown_roles


@pytest.mark.parametrize(
    "text",
    [
        "пишите на ann@lawyer.ru, или ann.b@@lawyer",
        "почта ann+tag@lawyer, ann_@lawyer, ann-@lawyer, ann.@lawyer",
        "ё@lawyer и е\u0308@lawyer, 漢@lawyer, 7@lawyer",
        "https://example.com/@ann и http://x.org/a?b=@@lawyer",
        "www.example.com/?who=@ann ssh://git@host/@@lawyer HTTPS://X.ORG/@ann",
        "example.com/@ann и ../@ann и \\@ann",
        "в коде `@ann` и `зови @@lawyer`",
        "в двойных ``@ann`` и ``зови ` @@lawyer``",
        "```\n@ann\n@@lawyer\n```",
        "```python\n@dataclass\nclass A: ...\n@@lawyer",
        "@ @@ @@@lawyer @@@@ann @, @@. @- @@-lawyer",
        "чужие: @ann@example.com, @@lawyer@example.com, @lawyer@x",
    ],
)
def test_nobody_is_called_by_addresses_code_and_stray_signs(text: str) -> None:
    called = find_mentions(text, ROLES)

    assert (called.users, called.roles, called.unknown_roles) == ((), (), ())


@pytest.mark.parametrize(
    ("text", "roles"),
    [
        ("`код` @@lawyer `ещё`", ("lawyer",)),
        ("незакрытая ` кавычка\n@@lawyer", ("lawyer",)),
        ("``` блок ``` @@lawyer", ("lawyer",)),
        ("``код`` @@lawyer", ("lawyer",)),
        ("см. https://example.com @@lawyer", ("lawyer",)),
        ("@@Начальник Штаба, и @@chief of staff!", ("chu",)),
        ("@@начальник", ()),
        ("@@начальник штабаx", ()),
        ("@@lawyer, @@ЮРИСТ и @@lawyer.", ("lawyer",)),
        ("@@chu @@lawyer", ("chu", "lawyer")),
        ("@@Счетчик", ()),
        ("@@Сче\u0308тчик", ("counter",)),
        ("@@lawyer-@@chu", ("lawyer",)),
        ("@@lawyer.Привет", ("lawyer",)),
    ],
)
def test_roles_are_called_in_order_and_once(text: str, roles: tuple[str, ...]) -> None:
    assert find_mentions(text, ROLES).roles == roles


def test_a_dot_in_a_name_may_belong_to_it_or_end_it() -> None:
    assert find_mentions("@anna.Привет", ROLES).users == (("anna.привет", "anna"),)
    assert find_mentions("@anna-maria.smith...", ROLES).users == (("anna-maria.smith", "anna-maria", "anna"),)


@given(st.lists(st.sampled_from(["@@lawyer", "@@Юрист", "@@chu", "@@nobody", "@ann", "@Ann", "слово"])))
def test_each_is_called_once_in_the_order_of_the_text(words: list[str]) -> None:
    called = find_mentions(" ".join(words), ROLES)

    in_order = dict.fromkeys(ROLES[word[2:].casefold()] for word in words if word[2:].casefold() in ROLES)
    assert called.roles == tuple(in_order)
    assert called.unknown_roles == (("nobody",) if "@@nobody" in words else ())
    assert called.users == ((("ann",),) if {"@ann", "@Ann"} & set(words) else ())


@given(st.text(st.sampled_from("@@`./:wW-_ \nаёe\u0308lawyerhtps\u0301\u200d\ud83d\U0001f600"), max_size=300))
def test_any_text_can_be_read_and_calls_only_roles_there_are(text: str) -> None:
    called = find_mentions(text, ROLES)

    assert set(called.roles) <= set(CODES)
    assert len(called.users) == len(set(called.users))
    assert all(options and all(options) for options in called.users)


def test_a_thousand_mentions_are_all_found() -> None:
    called = find_mentions(" ".join(f"@user{n} @@role{n}" for n in range(1000)), ROLES)

    assert len(called.users) == len(called.unknown_roles) == 1000


@pytest.mark.parametrize(
    "piece",
    [
        *["@a", "@@a ", "@a.", "@a-.", "@", "a@", "\\@", "@@начальник ", "е\u0308", "_", "."],
        *["`", "` ", "``", "`` ", "```", "`\n", "x`", "w.", "www.", "h:", "a:/", "://", "a.", "a-", "a+"],
    ],
)
def test_the_longest_message_is_read_in_a_moment_whatever_it_repeats(piece: str) -> None:
    text = (piece * 32_000)[:31_999] + "a"

    began = time.process_time()
    find_mentions(text, ROLES)

    assert time.process_time() - began < 0.5
