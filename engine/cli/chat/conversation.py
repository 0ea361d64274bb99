"""One open chat: takes in its events, shows them, and knows what can be signed, stopped or tried again."""

import asyncio
from typing import Any

from engine.cli.chat.api import Api, Refused
from engine.cli.chat.plain_text import one_line
from engine.cli.chat.screen import Screen
from engine.cli.chat.stream import Event
from engine.cli.chat.words import Words

FIRST_LINES = 10
ENDS = ("run.completed", "run.failed", "run.cancelled")
Json = dict[str, Any]


class Conversation:
    """What the person at the screen sees of one chat."""

    def __init__(self, api: Api, screen: Screen, words: Words, chat: Json) -> None:
        self.chat = chat
        self.people: dict[str, Json] = {}
        self.roles: dict[str, Json] = {}
        self.drafts: dict[str, Json] = {}  # messages that wait for a signature, oldest first
        self.working: dict[str, Json] = {}  # runs that have not ended
        self.failed: dict[str, Json] = {}  # runs that can be tried again
        self.is_idle = asyncio.Event()
        self.is_idle.set()
        self.is_lost = False
        self._api = api
        self._screen = screen
        self._words = words
        self._over: set[str] = set()  # runs that have ended
        self._said: dict[str, str] = {}
        self._seen: dict[str, int] = {}  # the last words of each run, by their seq
        self._authors: dict[str, str | None] = {}  # of every message that was shown
        self.is_open = asyncio.Event()

    async def load(self) -> None:
        """Learn who is here and which roles can be called."""
        self.people = {user["id"]: user for user in await self._api.all_of("/users")}
        roles = (await self._api.call("GET", "/roles"))["items"]
        self.roles = {role["code"]: role for role in roles}

    async def take(self, event: Event) -> None:
        """Show what an event tells."""
        if self.is_lost:
            self.is_lost = False
            self._note("found")
        data = event.data
        if event.kind == "hello":
            await self._open()
        elif event.kind == "resync":
            self._note("resync")
            await self.show_history(FIRST_LINES)
        elif event.kind in ("message.created", "message.updated", "message.deleted"):
            await self._take_message(event.kind, data["message"])
        elif event.kind == "message.validated":
            await self._take_verdict(data)
        elif event.kind.startswith("run."):
            await self._take_run(event.kind, data)
        elif event.kind == "chat.updated":
            self.chat = await self._api.call("GET", f"/chats/{self.chat['id']}")
        elif event.kind in ("chat.left", "chat.deleted"):
            await self._api.call("GET", f"/chats/{self.chat['id']}")  # Refused, if it was me who left.

    def lost(self) -> None:
        """Tell that the engine does not answer for the moment."""
        self.is_lost = True
        self._note("lost")

    def started(self, run: Json) -> None:
        """Wait for a run that a post of ours has started."""
        if run["id"] not in self._over:  # The stream may have told its end before the post was answered.
            self._began({"run_id": run["id"], "role": run["role"], "message_id": run["answer_id"]})

    def begins_anew(self, run_id: str) -> None:
        """Forget how a run ended that is about to be tried again."""
        self._over.discard(run_id)

    async def mark_read(self) -> None:
        """Tell the engine that the chat was read to its end."""
        await self._api.call("POST", f"/chats/{self.chat['id']}/read", {})

    async def show_history(self, count: int) -> None:
        """Show the last messages, oldest first."""
        path = f"/chats/{self.chat['id']}/messages?limit={count}"
        for message in reversed((await self._api.call("GET", path))["items"]):
            await self._show(message)

    def role_name(self, code: str) -> str:
        """Return what a role is called here."""
        role = self.roles.get(code)
        return self._words.role_name(role) if role else code

    def person_name(self, user_id: str | None) -> str:
        """Return what a person is called here."""
        person = self.people.get(user_id or "")
        return one_line(person["display_name"]) if person else "?"

    def members(self) -> str:
        """Return the names of those in the chat."""
        return ", ".join(self.person_name(user_id) for user_id in self.chat["members"])

    def callable_roles(self) -> list[Json]:
        """Return the roles that can be called in this chat."""
        allowed = self.chat["roles"]
        return [
            role for code, role in self.roles.items() if role["enabled"] and (not allowed or code in allowed)
        ]

    async def _open(self) -> None:
        if self.is_open.is_set():
            return  # A reconnection; what was missed follows.
        title = one_line(self.chat["title"])
        self._screen.say(self._words("in_chat", title=title, members=self.members()), style="bold")
        await self.show_history(FIRST_LINES)
        await self.mark_read()
        self.is_open.set()

    # Messages and signatures.

    async def _take_message(self, kind: str, message: Json) -> None:
        if kind == "message.created":
            if message["id"] not in self._authors:
                await self._show(message)
            return
        if kind == "message.updated":
            self._note("changed", no=message["no"])
        await self._show(message)

    async def _show(self, message: Json) -> None:
        self._authors[message["id"]] = message["author_id"]
        role = message["role"]
        if role is None and message["author_id"] not in self.people:
            await self.load()  # Somebody new.
        speaker = self.role_name(role) if role else self.person_name(message["author_id"])
        text = message["content"]
        if message["is_deleted"]:
            text = self._words("deleted")
        elif message["is_withdrawn"] and not text:
            text = self._words("withdrawn")
        status = (message["validation"] or {}).get("status")
        label = f" ({self._words('draft')})" if status == "draft" else ""
        if role is None:
            self._screen.say(f"{speaker}: {text}")
        else:
            self._screen.settle(message["id"], speaker + label, text)
        if status == "draft":
            self._await_signature(message)
        else:
            self.drafts.pop(message["id"], None)

    def _await_signature(self, message: Json) -> None:
        self.drafts[message["id"]] = message
        approvers = message["validation"]["approvers"]
        draft = self._words("draft")
        may_sign = (
            ("admins" in approvers and self._api.user["role"] == "admin")
            or "members" in approvers
            or self._api.user["username"] in approvers
            or ("asker" in approvers and not self._others_asked(message))
        )
        if may_sign:
            self._note("sign", no=message["no"], draft=draft)
        else:
            self._note("waits", no=message["no"], draft=draft, approvers=self._names_of(approvers))

    def _others_asked(self, message: Json) -> bool:
        asker = self._authors.get(message["reply_to"] or "")
        return asker is not None and asker != self._api.user["id"]

    def _names_of(self, approvers: list[str]) -> str:
        words = {"asker": "asker", "admins": "admins", "members": "everybody"}
        named = {approver: self._words(word) for approver, word in words.items()}
        return ", ".join(named.get(one, f"@{one}") for one in approvers)

    async def _take_verdict(self, data: Json) -> None:
        message = data["message"]
        self.drafts.pop(message["id"], None)
        self._note(data["status"], no=message["no"], by=self.person_name(data["by"]))
        if data["status"] == "edited":
            self._screen.settle(message["id"], self.role_name(message["role"]), message["content"])

    # Runs and their words.

    async def _take_run(self, kind: str, data: Json) -> None:
        run_id = data["run_id"]
        if "role" not in data and run_id not in self.working:
            run = await self._api.call("GET", f"/runs/{run_id}")
            self._began({"run_id": run_id, "role": run["role"], "message_id": run["answer_id"]})
        role = self.role_name(data["role"] if "role" in data else self.working[run_id]["role"])
        if kind == "run.queued":
            self._began(data)
            self._note("queued", role=role)
        elif kind in ("run.started", "run.restarted"):
            self._began(data)
            self._said[run_id], self._seen[run_id] = "", -1
            self._note("working" if kind == "run.started" else "restarted", role=role)
        elif kind == "run.snapshot":
            self._said[run_id], self._seen[run_id] = data["text"], data["seq"]
            self._grow(run_id, role)
        elif kind == "run.delta":
            # What a snapshot already said comes again behind it.
            if data["seq"] > self._seen.get(run_id, -1):
                self._said[run_id] = self._said.get(run_id, "") + data["text"]
                self._seen[run_id] = data["seq"]
                self._grow(run_id, role)
        elif kind == "run.tool":
            self._tell_step(data, role)
        elif kind in ENDS:
            self._ended(kind, data, role)

    def _tell_step(self, step: Json, role: str) -> None:
        """Tell what a role turns to; its end shows in what it says."""
        if step["status"] == "started":
            name = self.role_name(step["name"]) if step["kind"] == "member" else step["name"]
            self._note("tool", role=role, what=one_line(name))

    def _began(self, data: Json) -> None:
        self.failed.pop(data["run_id"], None)
        self._over.discard(data["run_id"])
        self.working[data["run_id"]] = {**self.working.get(data["run_id"], {}), **data}
        self.is_idle.clear()

    def _grow(self, run_id: str, role: str) -> None:
        if self._said[run_id]:
            answer_id = self.working[run_id]["message_id"]
            self._screen.grow(answer_id, f"{role} ({self._words('draft')})", self._said[run_id])

    def _ended(self, kind: str, data: Json, role: str) -> None:
        run_id = data["run_id"]
        self.working.pop(run_id, None)
        self._said.pop(run_id, None)
        self._over.add(run_id)
        if kind != "run.completed":
            self.failed[run_id] = data
            self._screen.settle(data["message_id"], role, None)
        if kind == "run.failed":
            self._note("failed", role=role, detail=data.get("detail", ""), code=data.get("code", ""))
        elif kind == "run.cancelled":
            self._note("cancelled", role=role)
        elif "limit" in data:
            self._note("limit", role=role, limit=data["limit"])
        if not self.working:
            self.is_idle.set()

    def _note(self, name: str, /, **values: object) -> None:
        self._screen.say(self._words(name, **values), style="dim")


def is_gone(refused: Refused) -> bool:
    """Tell whether a refusal means that the chat is no longer the person's."""
    return refused.status in (403, 404)
