"""Signing in at the screen, and choosing a chat."""

from typing import Any

from engine.cli.chat.api import Api, Refused
from engine.cli.chat.plain_text import one_line
from engine.cli.chat.screen import Screen
from engine.cli.chat.words import Words

TRIES = 3


class InputEnded(Exception):
    """There is nobody left to ask."""


async def sign_in(
    api: Api, screen: Screen, words: Words, *, username: str | None, organization: str | None
) -> None:
    """Ask who it is until the engine agrees; raise Refused after three wrong answers."""
    if not api.is_private:
        screen.say(words("in_clear", url=api.url), style="yellow")
    for left in reversed(range(TRIES)):
        login = (username or await _ask(screen, words("username"))).strip()
        password = await _ask(screen, words("password"), hidden=True)
        try:
            if await _open_session(api, screen, words, login, password, organization):
                await _change_password(api, screen, words, password)
            words.locale = api.user["locale"]
            return
        except Refused as refused:
            if not left or not screen.is_live:
                raise
            screen.say(words("wrong", detail=refused.detail), style="red")


async def choose_chat(api: Api, screen: Screen, words: Words, *, title: str | None) -> dict[str, Any]:
    """Return the chat of that title, the one that is picked, or a new one."""
    chats = await api.all_of("/chats")
    if title is not None:
        found = _find(chats, title)
        if found is not None:
            return found
        screen.say(words("no_such_chat"), style="red")
    while True:
        screen.say(words("chats" if chats else "no_chats"))
        for number, chat in enumerate(chats, 1):
            unread = words("unread", count=chat["unread"]) if chat["unread"] else ""
            screen.say(f"  {number}. {one_line(chat['title'])}{unread}")
        answer = (await _ask(screen, words("pick"))).strip() if chats else "+"
        if answer == "+":
            return await _make_chat(api, screen, words)
        found = _find(chats, answer)
        if found is not None:
            return found
        screen.say(words("no_such_chat"), style="red")


async def _open_session(
    api: Api, screen: Screen, words: Words, login: str, password: str, organization: str | None
) -> bool:
    try:
        return await api.sign_in(login=login, password=password, organization=organization)
    except Refused as refused:
        if refused.code != "organization_required":
            raise
    organization = (await _ask(screen, words("organization"))).strip()
    return await api.sign_in(login=login, password=password, organization=organization)


async def _change_password(api: Api, screen: Screen, words: Words, current: str) -> None:
    while True:
        new = await _ask(screen, words("new_password"), hidden=True)
        if new != await _ask(screen, words("again"), hidden=True):
            screen.say(words("differ"), style="red")
            continue
        try:
            await api.change_password(current=current, new=new)
            return
        except Refused as refused:
            if not screen.is_live:
                raise
            screen.say(words("wrong", detail=refused.detail), style="red")


async def _make_chat(api: Api, screen: Screen, words: Words) -> dict[str, Any]:
    people = {user["username"].casefold(): user["id"] for user in await api.all_of("/users")}
    title = (await _ask(screen, words("title"))).strip()
    members = []
    for name in (await _ask(screen, words("members"))).replace(",", " ").split():
        user_id = people.get(name.removeprefix("@").casefold())
        if user_id is None:
            screen.say(words("nobody", name=one_line(name)), style="red")
        else:
            members.append(user_id)
    body = {"title": title, "kind": "group", "members": members}
    chat: dict[str, Any] = await api.call("POST", "/chats", body)
    return chat


def _find(chats: list[dict[str, Any]], answer: str) -> dict[str, Any] | None:
    if answer.isascii() and answer.isdigit() and 1 <= int(answer) <= len(chats):
        return chats[int(answer) - 1]
    return next((chat for chat in chats if chat["title"].casefold() == answer.casefold()), None)


async def _ask(screen: Screen, prompt: str, *, hidden: bool = False) -> str:
    answer = await screen.ask(prompt, hidden=hidden)
    if answer is None:
        raise InputEnded
    return answer
