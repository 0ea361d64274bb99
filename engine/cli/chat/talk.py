"""From signing in to leaving."""

import asyncio
import os
import signal
import sys
from contextlib import suppress

from engine.cli.chat.api import Api, EngineAway, Refused, SignedOut
from engine.cli.chat.commands import AT_ONCE, Commands, Next
from engine.cli.chat.conversation import Conversation, is_gone
from engine.cli.chat.screen import Screen, screen_for
from engine.cli.chat.sign_in import InputEnded, choose_chat, sign_in
from engine.cli.chat.stream import Event, follow
from engine.cli.chat.words import Words, locale_of
from engine.core.errors import Forbidden

AGAIN_SECONDS = 1.0


class ChatEnded(Forbidden):
    """The engine did not let the person in, or no longer does."""

    code = "chat_ended"


async def talk(url: str, *, username: str | None, organization: str | None, title: str | None) -> None:
    """Let a person, or a script on the standard input, talk in chats until they leave."""
    words = Words(locale_of(os.environ))
    _leave_tidily()
    api = Api(url)
    try:
        with screen_for(sys.stdin, sys.stdout) as screen:
            try:
                await sign_in(api, screen, words, username=username, organization=organization)
                name, firm = api.user["display_name"], api.organization["name"]
                screen.say(words("hello", name=name, organization=firm))
                while await _talk_in_one(api, screen, words, title) is Next.ANOTHER_CHAT:
                    title = None
                screen.say(words("bye"))
            except InputEnded:
                pass
            finally:
                await api.sign_out()
    except SignedOut:
        raise ChatEnded(words("signed_out")) from None
    except Refused as refused:
        raise ChatEnded(refused.detail) from refused
    finally:
        await api.close()


def _leave_tidily() -> None:
    """Let a signal end this task, so that the terminal is given back as it was."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)


async def _talk_in_one(api: Api, screen: Screen, words: Words, title: str | None) -> Next:
    chat = await choose_chat(api, screen, words, title=title)
    conversation = Conversation(api, screen, words, chat)
    await conversation.load()
    hearing = asyncio.create_task(_hear(api, conversation))
    typing = asyncio.create_task(_type(screen, Commands(api, screen, words, conversation), conversation))
    try:
        await asyncio.wait({hearing, typing}, return_when=asyncio.FIRST_COMPLETED)
        if hearing.done():
            hearing.result()
            screen.say(words("gone"), style="red")
            return Next.ANOTHER_CHAT if screen.is_live else Next.LEAVE
        leaving = typing.result()
        with suppress(EngineAway, Refused):
            await conversation.mark_read()  # What was said while it was open was seen.
        return leaving
    finally:
        for task in (hearing, typing):
            task.cancel()
        await asyncio.gather(hearing, typing, return_exceptions=True)


async def _hear(api: Api, conversation: Conversation) -> None:
    """Take in what happens in the chat; return when it is no longer the person's."""
    try:
        async for event in follow(api, conversation.chat["id"], lost=conversation.lost):
            await _take_in(conversation, event)
    except Refused as refused:
        if not is_gone(refused):
            raise


async def _take_in(conversation: Conversation, event: Event) -> None:
    """Take an event in, again should the engine go away while more of it is asked for."""
    while True:
        try:
            return await conversation.take(event)
        except EngineAway:
            await asyncio.sleep(AGAIN_SECONDS)


async def _type(screen: Screen, commands: Commands, conversation: Conversation) -> Next:
    """Carry out line after line; a script's lines wait for the answers to those before."""
    await conversation.is_open.wait()
    while (line := await screen.ask("> ")) is not None:
        if not screen.is_live and line.strip() not in AT_ONCE:
            await conversation.is_idle.wait()
        after = await commands.carry_out(line)
        if after is not Next.LINE:
            return after
    if not screen.is_live:
        await conversation.is_idle.wait()
    return Next.LEAVE
