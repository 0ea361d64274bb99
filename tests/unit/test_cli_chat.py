"""The terminal client without an engine: what is typed, what is shown, and how a stream is followed."""

import asyncio
import io
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from engine.cli.chat import stream
from engine.cli.chat.api import Api, Refused, SignedOut
from engine.cli.chat.line_editor import EndOfInput, LineEditor
from engine.cli.chat.plain_text import one_line, plain
from engine.cli.chat.screen import PlainScreen
from engine.cli.chat.words import Words, locale_of

USER = {"id": "1", "username": "ann", "role": "admin", "locale": "ru", "display_name": "Анна"}


@pytest.mark.parametrize(
    ("keys", "line"),
    [
        ("привет\r", "привет"),
        ("приветт\x7f\r", "привет"),
        ("вет\x1b[H\x1b[Cо\x01при\x0b\x15да\r", "да"),
        ("мир\x01\x1b[Cи\x05!\r", "миир!"),
        ("раз два\x17три\r", "раз три"),
        ("abc\x1b[D\x1b[3~d\r", "abd"),
        ("\x1b[200~одна\nдве\x1b[201~\r", "одна\nдве"),
        ("a\x00\x1b[15~b\r", "ab"),
    ],
)
def test_keys_make_a_line(keys: str, line: str) -> None:
    whole, by_one = LineEditor(), LineEditor()

    assert whole.type(keys) == [line]
    assert [done for key in keys for done in by_one.type(key)] == [line]


def test_earlier_lines_come_back_by_the_arrow_up() -> None:
    editor = LineEditor()
    editor.remember("первая")
    editor.remember("вторая")

    assert editor.type("\x1b[A\x1b[A\r") == ["первая"]
    editor.remember("первая")
    assert editor.type("\x1b[A\x1b[A\x1b[B\r") == ["первая"]


def test_the_end_of_input_ends_an_empty_line_only() -> None:
    editor = LineEditor()

    assert editor.type("a\x04") == []
    editor.forget_line()
    with pytest.raises(EndOfInput):
        editor.type("\x04")


def test_what_a_terminal_would_obey_is_taken_out() -> None:
    assert plain("a\x1b[31mb\tc\r\nd\u202ee\x9b") == "a\ufffd[31mb\tc\nd\ufffde\ufffd"
    assert one_line("a\n b\x07") == "a b\ufffd"


async def test_words_grow_on_one_line_and_are_not_said_twice() -> None:
    output = io.StringIO()
    screen = PlainScreen(output, asyncio.Queue())

    for words in ("Дого", "Договор", "Договор!"):
        screen.grow("1", "Юрист", words)
    screen.grow("2", "Бухгалтер", "Сче")
    screen.settle("1", "Юрист", "Договор!")
    screen.settle("2", "Бухгалтер", "Счет")

    assert output.getvalue() == "Юрист: Договор!\nБухгалтер: Счет\n"


async def test_an_answer_that_begins_anew_is_said_anew() -> None:
    output = io.StringIO()
    screen = PlainScreen(output, asyncio.Queue())

    screen.grow("1", "Юрист", "Нет")
    screen.say("прервано")
    screen.grow("1", "Юрист", "Да")
    screen.settle("1", "Юрист", "Да.")

    assert output.getvalue() == "Юрист: Нет\nпрервано\nЮрист: Да.\n"


@pytest.mark.parametrize(
    ("environment", "locale"),
    [
        ({"LANG": "ru_RU.UTF-8"}, "ru"),
        ({"LANG": "ru_RU.UTF-8", "LC_ALL": "en_US.UTF-8"}, "en"),
        ({"LANG": "C.UTF-8"}, "en"),
        ({}, "en"),
    ],
)
def test_the_terminal_says_which_language_to_begin_in(environment: dict[str, str], locale: str) -> None:
    assert locale_of(environment) == locale
    assert Words(locale)("bye") == {"ru": "До встречи.", "en": "Goodbye."}[locale]


async def test_events_are_read_across_lines_and_comments() -> None:
    text = ': still here\n\nid: 7\nevent: read\ndata: {"a":\ndata: 1}\n\nevent: nothing\n\n'
    text += "data: {}\n\nevent: cut\ndata: {"

    events = [event async for event in stream.read_events(_lines(text))]

    assert events == [stream.Event("read", {"a": 1}, "7"), stream.Event("message", {}, None)]


async def test_a_broken_stream_is_resumed_behind_its_last_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(stream, "LONGEST_PAUSE_SECONDS", 0.001)
    asked: list[str | None] = []
    answers = [
        'event: hello\ndata: {"last_event_id": 4}\n\n',
        'id: 5\nevent: read\ndata: {}\n\nevent: run.delta\ndata: {"seq": 1}\n\n',
        None, None, 503,
        'id: 6\nevent: read\ndata: {}\n\n',
        404,
    ]  # fmt: skip

    def engine(request: httpx.Request) -> httpx.Response:
        asked.append(request.headers.get("last-event-id"))
        answer = answers[len(asked) - 1]
        if answer is None:
            raise httpx.ConnectError("refused")
        if isinstance(answer, int):
            return httpx.Response(answer, json={"code": "gone", "detail": "no"})
        return httpx.Response(200, text=answer)

    lost: list[str] = []
    seen: list[str] = []

    async def follow() -> None:
        async for event in stream.follow(_api(engine), "7", lost=lambda: lost.append("lost")):
            seen.append(event.kind)  # noqa: PERF401 - what was seen before the refusal counts

    with pytest.raises(Refused):
        await follow()

    assert seen == ["hello", "read", "run.delta", "read"]
    assert asked == [None, "4", "5", "5", "5", "5", "6"]
    assert lost == ["lost"]


def test_the_pauses_between_attempts_grow_and_have_an_end() -> None:
    pauses = [stream.pause_seconds(failures) for failures in range(1, 60)]

    assert 0.25 <= pauses[0] <= 0.5
    assert all(7.5 <= pause <= 15 for pause in pauses[10:])


async def test_an_expired_token_is_renewed_once_for_many_calls() -> None:
    refreshed: list[str] = []

    async def engine(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/auth/login"):
            return httpx.Response(200, json=_session("old", "r1"))
        if request.url.path.endswith("/auth/refresh"):
            refreshed.append(request.content.decode())
            await asyncio.sleep(0.01)
            return httpx.Response(200, json=_session("new", "r2"))
        if request.headers["authorization"] == "Bearer new":
            return httpx.Response(200, json={"fine": True})
        return httpx.Response(401, json={"code": "token_expired"})

    api = _api(engine)
    await api.sign_in(login="ann", password="x", organization=None)
    answers = await asyncio.gather(*(api.call("GET", "/roles") for _ in range(5)))

    assert answers == [{"fine": True}] * 5
    assert refreshed == ['{"refresh_token":"r1"}']


async def test_a_session_that_is_over_is_told_apart_from_a_refusal() -> None:
    def engine(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/auth/login"):
            return httpx.Response(200, json=_session("old", "r1"))
        return httpx.Response(401, json={"code": "session_ended"})

    api = _api(engine)
    await api.sign_in(login="ann@example.com", password="x", organization=None)

    with pytest.raises(SignedOut):
        await api.call("GET", "/roles")


def test_only_this_machine_and_tls_are_private() -> None:
    addresses = ("http://127.0.0.1:1", "http://[::1]:1", "https://rugpt.example", "http://rugpt.example")

    assert [Api(address).is_private for address in addresses] == [True, True, True, False]


def _api(engine: Any) -> Api:
    return Api("http://127.0.0.1:1", transport=httpx.MockTransport(engine))


def _session(access: str, refresh: str) -> dict[str, Any]:
    organization = {"id": "1", "name": "Ромашка", "slug": "romashka"}
    return {
        "access_token": access, "refresh_token": refresh, "user": USER, "organization": organization,
        "password_change_required": False,
    }  # fmt: skip


async def _lines(text: str) -> AsyncIterator[str]:
    for line in text.split("\n"):
        yield line
