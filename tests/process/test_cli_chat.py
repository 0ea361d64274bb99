"""`rugpt chat` against a real engine: by a script through a pipe, and by a person at a terminal."""

import asyncio
import signal
from pathlib import Path

import pytest

from tests.process.conftest import StartEngine
from tests.process.engine import PASSWORD, EngineProcess, Person, register
from tests.process.model import PlannedModel, Script, slowly
from tests.process.terminal import in_terminal, rugpt

ANSWER = "Договор можно расторгнуть по соглашению сторон."


def quickly() -> Script:
    return Script(pieces=tuple(f"{word} " for word in ANSWER.split()))


def address(person: Person) -> str:
    return f"http://127.0.0.1:{person.port}"


@pytest.fixture
async def ann(start_engine: StartEngine, model: PlannedModel) -> Person:
    """The admin of a running engine whose model answers at once."""
    model.script = quickly()
    return await register((await start_engine()).port)


async def test_a_script_asks_signs_edits_and_rejects(ann: Person) -> None:
    chat_id = await ann.open_chat()

    done = await rugpt(
        *("chat", "--url", address(ann), "--username", "ann", "--chat", "поставка"),
        settings={},
        lines=[PASSWORD, "@@lawyer как расторгнуть?", "/approve", "@@lawyer ещё раз?", "/edit Нельзя.",
               "@@Юрист а так?", "/reject не то", "/approve", "/quit"],
    )  # fmt: skip

    assert (done.code, done.errors) == (0, "")
    assert f"Юрист (черновик): {ANSWER}" in done.output
    messages = sorted((await ann.messages(chat_id)).values(), key=lambda message: message["no"])
    states = [message["validation"]["status"] for message in messages if message["role"]]
    assert states == ["approved", "edited", "rejected"]
    assert messages[3]["content"] == "Нельзя."
    assert messages[5]["validation"]["comment"] == "не то"
    for said in (
        "№2 подписан: Анна",
        "№4 исправлен и подписан: Анна",
        "№6 отклонён: Анна",
        "Подписывать нечего.",
    ):
        assert said in done.output


async def test_of_several_drafts_none_is_decided_before_its_number_is_said(ann: Person) -> None:
    chat_id = await ann.open_chat()

    done = await rugpt(
        *("chat", "--url", address(ann), "--username", "ann", "--chat", "поставка"),
        settings={},
        lines=[PASSWORD, "@@lawyer как расторгнуть?", "@@lawyer ещё раз?", "/approve", "/reject не то",
               "/reject 2 не то", "/approve", "/quit"],
    )  # fmt: skip

    assert (done.code, done.errors) == (0, "")
    assert done.output.count("Подписи ждут несколько: 2, 4. Назовите номер.") == 2
    messages = await ann.messages(chat_id)
    states = {
        message["no"]: message["validation"]["status"] for message in messages.values() if message["role"]
    }
    assert states == {2: "rejected", 4: "approved"}


async def test_a_script_makes_a_chat_and_learns_who_can_be_called(ann: Person) -> None:
    bob = await ann.hire("bob")

    done = await rugpt(
        *("chat", "--url", address(ann)),
        settings={},
        lines=["ann", PASSWORD, "Новый", "@bob @nobody", "/who", "@@nobody, ты тут?", "/нет", "/quit"],
    )

    assert done.code == 0
    assert "Нет такого человека: @nobody" in done.output
    assert "Люди: " in done.output
    assert "Bob @bob" in done.output
    assert "Юрист @@lawyer" in done.output
    assert "Никого не зовёт: @@nobody" in done.output
    assert "Нет такой команды: /нет" in done.output
    (chat,) = (await bob.call("GET", "/chats"))["items"]
    assert (chat["title"], chat["unread"]) == ("Новый", 1)


async def test_a_newcomer_has_to_change_the_temporary_password(ann: Person) -> None:
    new = {"username": "eve", "email": "eve@example.com", "display_name": "Eve", "locale": "en"}
    first, second = "a new long one", "a new other one"
    temporary = (await ann.call("POST", "/users", new, expect=201))["temporary_password"]

    done = await rugpt(
        *("chat", "--url", address(ann), "--username", "eve"),
        settings={"LANG": "en_US.UTF-8"},
        lines=[temporary, first, second, first, first, "Mine", "", "/quit"],
    )

    assert done.code == 0
    assert "The two are not the same." in done.output
    assert "Eve, Ромашка. /help lists the commands" in done.output
    assert "Goodbye." in done.output
    session = {"username": "eve", "password": first}
    assert not (await ann.call("POST", "/auth/login", session))["password_change_required"]


async def test_a_wrong_password_is_told_in_one_line(ann: Person) -> None:
    done = await rugpt(*("chat", "--url", address(ann)), settings={}, lines=["ann", "not the password"])

    assert done.code == 1
    assert done.errors.startswith("rugpt: The name, the password")
    assert done.errors.count("\n") == 1
    assert "not the password" not in done.output + done.errors


async def test_an_engine_that_is_not_there_is_told_in_one_line() -> None:
    done = await rugpt("chat", "--url", "http://127.0.0.1:9", settings={}, lines=["ann", PASSWORD])

    assert done.code == 1
    assert done.errors.startswith("rugpt: No engine answers at http://127.0.0.1:9")
    assert done.errors.count("\n") == 1


async def test_a_failed_answer_is_told_and_can_be_tried_again(ann: Person, model: PlannedModel) -> None:
    await ann.open_chat()
    model.script = Script(ending="error")
    arguments = ("chat", "--url", address(ann), "--username", "ann", "--chat", "Поставка")

    done = await rugpt(*arguments, settings={}, lines=[PASSWORD, "@@lawyer?", "/retry", "/quit"])

    assert done.code == 0
    assert done.output.count("Юрист не ответил:") == 2


async def test_what_others_write_cannot_steer_the_terminal(ann: Person) -> None:
    chat_id = await ann.open_chat()
    await ann.post(chat_id, "\x1b]0;owned\x07\x1b[2J красиво\u202e")

    done = await rugpt(
        *("chat", "--url", address(ann), "--username", "ann", "--chat", "Поставка"),
        settings={},
        lines=[PASSWORD, "/quit"],
    )

    assert "красиво" in done.output
    assert not {"\x1b", "\x07", "\u202e"} & set(done.output)


async def test_a_person_at_a_terminal_watches_words_grow_and_signs(ann: Person, model: PlannedModel) -> None:
    chat_id = await ann.open_chat()
    model.script = slowly()

    async with in_terminal("chat", "--url", address(ann), settings={}) as terminal:
        await terminal.see("Имя пользователя")
        terminal.enter("ann")
        await terminal.see("Пароль")
        terminal.enter(PASSWORD)
        await terminal.see("1. Поставка")
        terminal.enter("1")
        await terminal.see("── Поставка ──")
        terminal.type("@@lawyer что дд\x7f\x7fделать?")
        terminal.enter("")
        await terminal.see("Анна: @@lawyer что делать?")
        await terminal.see("Юрист (черновик): слово 0;")
        first = terminal.screen
        await terminal.see("слово 20;")
        assert "слово 39;" not in first
        await terminal.see("/approve — подписать")
        terminal.enter("/approve")
        await terminal.see("№2 подписан: Анна")
        assert PASSWORD not in terminal.screen
        terminal.enter("/quit")
        async with asyncio.timeout(10):
            assert await terminal.process.wait() == 0
        assert terminal.is_cooked()
    (answer,) = [message for message in (await ann.messages(chat_id)).values() if message["role"]]
    assert answer["validation"]["status"] == "approved"


async def test_a_person_stops_an_answer_and_a_signal_gives_the_terminal_back(
    ann: Person, model: PlannedModel
) -> None:
    await ann.open_chat()
    model.script = slowly(words=400)

    async with in_terminal("chat", "--url", address(ann), "--username", "ann", settings={}) as terminal:
        await terminal.see("Пароль")
        terminal.enter(PASSWORD)
        await terminal.see("Номер чата")
        terminal.enter("1")
        await terminal.see("── Поставка ──")
        terminal.enter("@@lawyer?")
        await terminal.see("слово 5;")
        terminal.enter("/stop")
        await terminal.see("Юрист остановлен.", seconds=5)
        terminal.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await terminal.process.wait() == 143
        assert terminal.is_cooked()


async def test_the_client_goes_on_where_it_was_when_the_engine_comes_back(
    start_engine: StartEngine, settings: dict[str, str], tmp_path: Path
) -> None:
    first = await start_engine()
    ann = await register(first.port)
    chat_id = await ann.open_chat()
    second = await start_engine()

    async with in_terminal("chat", "--url", address(ann), "--username", "ann", settings={}) as terminal:
        await terminal.see("Пароль")
        terminal.enter(PASSWORD)
        await terminal.see("Номер чата")
        terminal.enter("1")
        await terminal.see("── Поставка ──")
        await terminal.see("> ")
        await first.terminate()
        await ann.at(second).post(chat_id, "пока вас не было")
        await terminal.see("Связь с движком потеряна")
        terminal.enter("слышно?")
        await terminal.see("Нет: No engine answers")
        third = await EngineProcess.start(tmp_path, settings, port=first.port)
        try:
            await terminal.see("Связь восстановлена.", seconds=30)
            await terminal.see("пока вас не было")
            terminal.enter("я снова тут")
            await terminal.see("Анна: я снова тут")
        finally:
            await third.kill()
