"""What a typed line does: it is posted, or it is a command."""

import re
import secrets
from collections.abc import Awaitable, Callable
from enum import Enum

from engine.cli.chat.api import Api, EngineAway, Refused
from engine.cli.chat.conversation import Conversation, Json
from engine.cli.chat.plain_text import one_line
from engine.cli.chat.screen import Screen
from engine.cli.chat.words import Words

HISTORY_LINES = 30
MOST_HISTORY_LINES = 200
# In a script every other line waits until the answers are there.
AT_ONCE = ("/stop",)


class Next(Enum):
    """What comes after a line."""

    LINE = "line"
    ANOTHER_CHAT = "another chat"
    LEAVE = "leave"


class Commands:
    """Carries out the lines that are typed in one open chat."""

    def __init__(self, api: Api, screen: Screen, words: Words, conversation: Conversation) -> None:
        self._api = api
        self._screen = screen
        self._words = words
        self._talk = conversation
        self._all: dict[str, Callable[[str], Awaitable[None]]] = {
            "/approve": self._approve,
            "/edit": self._edit,
            "/reject": self._reject,
            "/stop": self._stop,
            "/retry": self._retry,
            "/history": self._history,
            "/who": self._who,
            "/help": self._help,
        }

    async def carry_out(self, line: str) -> Next:
        """Do what a line says; what the engine refuses is told."""
        command, _, rest = line.strip().partition(" ")
        if command == "/quit":
            return Next.LEAVE
        if command == "/chats":
            return Next.ANOTHER_CHAT
        try:
            if not command.startswith("/"):
                await self._post(line)
            elif command in self._all:
                await self._all[command](rest.strip())
            else:
                self._say("unknown", command=one_line(command))
        except Refused as refused:
            self._say("no", detail=refused.detail)
        except EngineAway as away:
            self._say("no", detail=away.message)  # The arrow up brings the line back.
            if not self._screen.is_live:
                raise
        return Next.LINE

    async def _post(self, line: str) -> None:
        if not line.strip():
            return
        # The same id should an answer be lost and the line be sent again: it is posted once.
        body = {"content": line, "client_message_id": secrets.token_urlsafe(12)}
        posted = await self._api.call("POST", f"/chats/{self._talk.chat['id']}/messages", body)
        for run in posted["runs"]:
            self._talk.started(run)
        if posted["ignored"]:
            self._say("ignored", names=", ".join(f"@@{one_line(name)}" for name in posted["ignored"]))

    async def _approve(self, rest: str) -> None:
        message, _ = self._draft(rest)
        if message is not None:
            await self._sign(message, {"verdict": "approve"})

    async def _reject(self, rest: str) -> None:
        message, reason = self._draft(rest)
        if message is not None:
            await self._sign(message, {"verdict": "reject", "comment": reason or None})

    async def _edit(self, rest: str) -> None:
        message, text = self._draft(rest)
        if message is None:
            return
        text = text or await self._several_lines()
        if text.strip():
            await self._sign(message, {"verdict": "edit", "content": text})
        else:
            self._say("no_edit")

    async def _several_lines(self) -> str:
        self._say("edit_text")
        lines = []
        while (line := await self._screen.ask("│ ")) not in (None, "."):
            lines.append(line or "")
        return "\n".join(lines)

    async def _sign(self, message: Json, body: Json) -> None:
        await self._api.call("POST", f"/messages/{message['id']}/validation", body)

    def _draft(self, rest: str) -> tuple[Json | None, str]:
        """Return the draft that is meant, by its number or as the only one, and the words behind that."""
        drafts = list(self._talk.drafts.values())
        numbered = re.match(r"[№#]?(\d+)(?:\s+|$)", rest)
        if numbered is not None:
            for draft in drafts:
                if draft["no"] == int(numbered[1]):
                    return draft, rest[numbered.end() :].strip()
        if not drafts or (numbered is not None and rest[:1] in "№#"):
            self._say("nothing_to_sign")
            return None, ""
        if len(drafts) > 1:
            # Not the last one: it may have come up while the command for another was written.
            self._say("which", numbers=", ".join(str(draft["no"]) for draft in drafts))
            return None, ""
        return drafts[0], rest

    async def _stop(self, rest: str) -> None:
        if not self._talk.working:
            self._say("nothing_to_stop")
        for run_id in list(self._talk.working):
            await self._api.call("POST", f"/runs/{run_id}/cancel")

    async def _retry(self, rest: str) -> None:
        if not self._talk.failed:
            self._say("nothing_to_retry")
            return
        run_id = list(self._talk.failed)[-1]
        self._talk.begins_anew(run_id)
        run = await self._api.call("POST", f"/runs/{run_id}/retry")
        self._talk.started(run)

    async def _history(self, rest: str) -> None:
        count = int(rest) if rest.isascii() and rest.isdigit() else HISTORY_LINES
        await self._talk.show_history(max(1, min(count, MOST_HISTORY_LINES)))

    async def _who(self, rest: str) -> None:
        await self._talk.load()
        people = [self._talk.people[user_id] for user_id in self._talk.chat["members"]]
        self._say(
            "who_people",
            people=", ".join(f"{one_line(one['display_name'])} @{one['username']}" for one in people),
        )
        roles = [f"{self._words.role_name(role)} @@{role['code']}" for role in self._talk.callable_roles()]
        self._say("who_roles", roles=", ".join(roles))

    async def _help(self, rest: str) -> None:
        self._say("help")

    def _say(self, name: str, /, **values: object) -> None:
        self._screen.say(self._words(name, **values), style="dim")
