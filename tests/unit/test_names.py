"""What people and organizations may be called, which passwords will do, and opaque cursors."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.cursor import BadCursor, decode_cursor, encode_cursor
from engine.core.text import one_line
from engine.domains.organizations.slugs import slug_of, slugs_of
from engine.domains.users import (
    DisplayNameInvalid,
    EmailInvalid,
    PasswordUnfit,
    TimezoneUnknown,
    UsernameInvalid,
    check_fitness,
    temporary_password,
)
from engine.domains.users.names import a_display_name, a_timezone, a_username, an_email


@pytest.mark.parametrize("name", ["ann", "Анна", "ann.smith", "a_b-c", "ab", "x" * 64, "李雷", "42"])
def test_a_good_username_is_kept(name: str) -> None:
    assert a_username(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "a",
        "x" * 65,
        ".ann",
        "ann.",
        "-a",
        "a b",
        "a@b",
        "a\0b",
        "ann\n",
        "a/b",
        "аnn\u202e",
        "²²",
        "🙂🙂",
        "admins",
        "Members",
        "ASKER",
    ],
)
def test_a_bad_username_is_refused(name: str) -> None:
    with pytest.raises(UsernameInvalid):
        a_username(name)


@pytest.mark.parametrize("name", ["Анна", "Анна @ Ромашка", "ann@example.com"])
def test_a_good_display_name_is_kept(name: str) -> None:
    assert a_display_name(name) == name


@pytest.mark.parametrize("name", ["@anna", "@@lawyer", " @@lawyer", "\u200b@@lawyer", "＠＠lawyer", "a\nb"])
def test_a_display_name_that_reads_like_a_mention_or_two_lines_is_refused(name: str) -> None:
    with pytest.raises(DisplayNameInvalid):
        a_display_name(name)


def test_a_username_is_composed() -> None:
    assert a_username("и\u0306ван") == "йван"


@pytest.mark.parametrize("email", ["a@b", "ann@example.com", "анна@почта.рф", "a.b+c@x-y.co.uk"])
def test_a_good_email_is_kept(email: str) -> None:
    assert an_email(email) == email


@pytest.mark.parametrize(
    "email",
    [
        "",
        "a",
        "@",
        "a@",
        "@b",
        "a@b@c",
        "a b@c",
        "a@b..c",
        "a@-b",
        "a@b-",
        "a@b\nBcc: x",
        "<a@b>",
        "a" * 65 + "@b",
    ],
)
def test_a_bad_email_is_refused(email: str) -> None:
    with pytest.raises(EmailInvalid):
        an_email(email)


@pytest.mark.parametrize("name", ["", "localtime", "../UTC", "europe/moscow", "UTC+3", "Europe"])
def test_a_time_zone_is_one_that_is_known(name: str) -> None:
    assert a_timezone("Europe/Moscow") == "Europe/Moscow"
    with pytest.raises(TimezoneUnknown):
        a_timezone(name)


@given(st.text(max_size=300))
def test_one_line_is_one_clean_line(text: str) -> None:
    line = one_line(text, longest=200)

    if line is not None:
        assert line == line.strip()
        assert 1 <= len(line) <= 200
        assert len(line.splitlines()) == 1
        assert "\0" not in line
        assert one_line(line, longest=200) == line


@given(st.text(min_size=1, max_size=200))
def test_every_name_has_slugs_that_the_table_takes(name: str) -> None:
    import re

    slugs = list(slugs_of(name))

    assert len(set(slugs)) == len(slugs)
    assert all(re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", slug) for slug in slugs)


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("ООО «Ромашка»", "ooo-romashka"),
        ("Щит и Меч", "shchit-i-mech"),
        ("Café №1", "cafe-no1"),
        ("株式会社", "organization"),
        ("Объект", "obekt"),
    ],
)
def test_a_slug_reads_like_the_name(name: str, slug: str) -> None:
    assert slug_of(name) == slug


@pytest.mark.parametrize(
    "password", ["short", "x" * 129, "ANN@example.com", "longusername", "aaaaaaaaaaaa", "it was this one"]
)
def test_an_easy_password_is_refused(password: str) -> None:
    with pytest.raises(PasswordUnfit):
        check_fitness(password, username="longusername", email="ann@example.com", current="it was this one")


def test_temporary_passwords_are_fit_and_never_alike() -> None:
    made = {temporary_password() for _ in range(200)}

    assert len(made) == 200
    for password in made:
        check_fitness(password, username="ann", email="ann@example.com")


@given(
    st.uuids(),
    st.datetimes(timezones=st.just(UTC)),
    st.integers(-(2**63), 2**63 - 1),
    st.text("aяй🙂\n", max_size=50),
)
def test_a_cursor_gives_back_what_it_was_given(key: UUID, at: datetime, no: int, after: str) -> None:
    cursor = encode_cursor({"key": key, "at": at, "no": no, "after": after})

    place = decode_cursor(cursor, key=UUID, at=datetime, no=int, after=str)

    assert place == {"key": key, "at": at, "no": no, "after": after}


@given(st.text(max_size=100))
def test_nonsense_is_a_bad_cursor(text: str) -> None:
    with pytest.raises(BadCursor):
        decode_cursor(text, after=UUID)


@pytest.mark.parametrize(
    ("place", "fields"),
    [
        ({"after": 7}, {"after": str}),
        ({"after": "7"}, {"after": int}),
        ({"no": True}, {"no": int}),
        ({"no": 2**63}, {"no": int}),
        ({"after": "a\0b"}, {"after": str}),
        ({"at": "2026-01-01T00:00:00"}, {"at": datetime}),
        ({"at": "0001-01-01T00:00:00+14:00"}, {"at": datetime}),
        ({"at": "9999-12-31T23:59:59-14:00"}, {"at": datetime}),
        ({"key": "x"}, {"key": UUID}),
        ({"key": uuid4(), "more": 1}, {"key": UUID}),
        ({}, {"key": UUID}),
    ],
)
def test_a_cursor_of_another_list_is_bad(place: dict[str, object], fields: dict[str, type]) -> None:
    with pytest.raises(BadCursor):
        decode_cursor(encode_cursor(place), **fields)
