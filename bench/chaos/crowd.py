"""People who ask roles, and ask again with the same mark until they are told that it was heard."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic

from bench.chaos.stage import Stage

ROLES = ("lawyer", "accountant", "hr")
CHATS = 40
ASKERS = 12
TOKEN_SECONDS = 480.0
MOST_ATTEMPTS = 400
AGAIN_SECONDS = 0.5


@dataclass
class Crowd:
    """Some people at once; `heard` are the marks of messages that the engine has said it keeps."""

    stage: Stage
    chance: random.Random
    messages: int
    per_second: float
    heard: set[str] = field(default_factory=set)
    given_up: int = 0
    _logged_in_at: float = field(default_factory=monotonic)

    async def open_chats(self) -> list[str]:
        """Open the chats in which they ask."""
        opened = []
        for number in range(CHATS):
            new = {"title": f"Хаос {number}", "kind": "group", "members": [], "roles": []}
            status, chat = await self.stage.ask("POST", "/chats", new)
            if status != 201:
                raise RuntimeError(f"a chat was not opened: {status} {chat}")
            opened.append(str(chat["id"]))
        return opened

    async def ask_all(self, chats: list[str]) -> None:
        """Post every message."""
        marks = iter(range(self.messages))
        await asyncio.gather(*(self._ask(marks, chats) for _ in range(ASKERS)))

    async def _ask(self, marks: Iterator[int], chats: list[str]) -> None:
        for number in marks:
            await asyncio.sleep(self.chance.uniform(0, 2 * ASKERS / self.per_second))
            chat, role = self.chance.choice(chats), self.chance.choice(ROLES)
            said = {"content": f"@@{role} Вопрос {number}: что со сроком?", "client_message_id": f"m{number}"}
            for _ in range(MOST_ATTEMPTS):
                status, _ = await self.stage.ask("POST", f"/chats/{chat}/messages", said)
                if status in (200, 201):
                    self.heard.add(said["client_message_id"])
                    break
                if status == 401 or monotonic() - self._logged_in_at > TOKEN_SECONDS:
                    self._logged_in_at = monotonic()
                    await self.stage.log_in()
                await asyncio.sleep(AGAIN_SECONDS)  # It was killed, is busy, or has too much waiting.
            else:
                self.given_up += 1
