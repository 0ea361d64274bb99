"""What a role is told before it answers: who asks, where, and what was said before."""

import re
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from engine.core.database import Transaction
from engine.domains import chats, organizations, users
from engine.domains.runs import Claim, ModelMessage
from engine.roles import Catalogue, Role

_CHARACTERS_PER_TOKEN = 3  # Cyrillic text in the tokenizers of today's models; Latin text has more.
_MOST_OF_THE_WINDOW = 0.5  # The rest is for the prompt, tools and the answer.
_SPEAKER_COST = 30  # characters
# People choose their names and words freely; a role's mark must be nobody's but a role's.
_MARKS = re.compile(r"[\[\]()№@:\s]+")
_ROLE_MARK = re.compile(r"\[(?=\s*роль\b)", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Briefing:
    """Everything a run knows when it starts; `said_at` is when its question was said."""

    organization: str
    chat_title: str
    asker: users.User
    said_at: datetime
    settings: dict[str, organizations.RoleSetting]
    conversation: tuple[ModelMessage, ...]

    def is_enabled(self, code: str) -> bool:
        """Whether the organization lets this role be called."""
        return code not in self.settings or self.settings[code].enabled

    def instruction_of(self, code: str) -> str:
        """Return what the organization adds to a role's prompt; often nothing."""
        return self.settings[code].instruction if code in self.settings else ""

    def instructions(self) -> dict[str, str]:
        """Return all that the organization adds, by role."""
        return {code: setting.instruction for code, setting in self.settings.items() if setting.instruction}


async def brief(
    tx: Transaction, claims: list[Claim], roles: Catalogue, *, window_tokens: int
) -> dict[UUID, Briefing]:
    """Read the briefings of some runs of one organization, all together."""
    conversations = await chats.conversations(tx, [claim.message_id for claim in claims])
    organization, settings = await organizations.current_with_roles(tx)
    budget = int(window_tokens * _MOST_OF_THE_WINDOW * _CHARACTERS_PER_TOKEN)
    briefings = {}
    for claim in claims:
        talk = conversations.get(claim.message_id)
        if talk is None:
            continue  # The question was deleted before anybody read it.
        briefings[claim.id] = Briefing(
            organization=organization.name,
            chat_title=talk.chat_title,
            asker=talk.asker,
            said_at=talk.lines[-1].said_at,
            settings=settings,
            conversation=as_role_reads(talk.lines, roles.get(claim.role_code), roles, budget),
        )
    return briefings


def as_role_reads(
    lines: list[chats.Line], reader: Role | None, roles: Catalogue, budget: int
) -> tuple[ModelMessage, ...]:
    """Return a conversation as one role reads it, oldest first, within a budget of characters.

    The newest lines are kept; the question, which is the last one, is kept whatever its length.
    """
    kept: list[ModelMessage] = []
    for line in reversed(lines):
        budget -= len(line.content) + _SPEAKER_COST
        if budget < 0 and kept:
            break
        if reader is not None and line.role_code == reader.code:
            kept.append(ModelMessage("assistant", line.content))
        else:
            said = without_role_marks(line.content)
            kept.append(ModelMessage("user", f"{speaker(line, roles)} (№{line.no}): {said}"))
    return tuple(reversed(kept))


def speaker(line: chats.Line, roles: Catalogue) -> str:
    """Return who speaks, as roles read it: a role in brackets, which no person's name can have here."""
    if line.role_code is None:
        return " ".join(_MARKS.sub(" ", line.speaker or "").split()) or "?"
    role = roles.get(line.role_code)
    return f"[роль {line.role_code if role is None else role.name.ru}]"


def without_role_marks(text: str) -> str:
    """Return a quoted text in which no line looks like a role's."""
    return _ROLE_MARK.sub("(", text)
