"""One claimed run at work: what it says becomes numbered events, live and in rows."""

from asyncio import Task
from time import monotonic
from typing import Any, Literal

from engine.core.feed import Feed
from engine.domains import runs, usage
from engine.domains.runs import Claim, Outcome, RunEvent, RunHeard, ToolUse
from engine.graphs import ModelUse
from engine.tools import ToolRecord

Stop = Literal["cancelled", "handed_back", "lost"]


class Attempt:
    """What a worker holds of a run between its claim and its end.

    It is the run's only writer, so it numbers the events: fence << 20 | 0, 1, 2 … Nothing is heard
    of it before its start is announced: a chat learns of a role at work before it hears its words.
    """

    def __init__(self, claim: Claim, feed: Feed, provider: str, model: str) -> None:
        self.claim = claim
        self.stop: Stop | None = None
        self.task: Task[None] | None = None
        self.role_version: str | None = None
        self.has_checkpoints = False
        self.seconds = 0.0
        self.spoke_at = 0.0  # by the clock of the event loop
        self._began = monotonic()
        self._feed = feed
        self._provider = provider
        self._model = model
        self._calls: list[usage.ModelCall] = []
        self._unsaid: list[str] = []
        self._unheard: list[RunEvent] = []
        self._unwritten: list[RunEvent] = []
        self._steps: list[dict[str, Any]] = []
        self._tool_uses: list[ToolUse] = []
        self._tools_used = 0
        self._has_spoken = False
        self._is_announced = False
        self._next_id = claim.fence << runs.FENCE_SHIFT
        kind = "run.restarted" if claim.is_takeover else "run.started"
        self._add(kind, {"role": claim.role_code, "message_id": str(claim.answer_id)})

    def say(self, piece: str) -> None:
        """Add a piece of the answer; the first one is heard at once, later ones when `speak` is called."""
        self._unsaid.append(_storable(piece))
        if not self._has_spoken:
            self._has_spoken = True
            self.speak()

    def speak(self) -> None:
        """Let what was said since the last time be heard, as one event."""
        if self._unsaid:
            text = "".join(self._unsaid)
            self._unsaid.clear()
            self.spoke_at = monotonic()
            self._add("run.delta", {"text": text})

    def report(self, step: dict[str, Any]) -> None:
        """Tell of a tool, a step or a member at work."""
        self.speak()
        self._steps.append(step)
        self._add("run.tool", step)

    def announced(self) -> None:
        """Let be heard what was held back until the chat knew that the role is at work."""
        self._is_announced = True
        unheard, self._unheard = self._unheard, []
        if unheard:
            self._feed.send(self._heard(unheard))

    def record_tool(self, used: ToolRecord) -> None:
        """Keep the use of a tool for the audit."""
        self._tools_used += 1
        self._tool_uses.append(
            ToolUse(
                place=self._tools_used,
                step=used.step,
                call_id=used.call_id[:200],
                tool=used.tool[:100],
                arguments=used.arguments,
                outcome=used.outcome,
                result=used.result_excerpt,
                seconds=used.seconds,
            )
        )

    def record_use(self, use: ModelUse) -> None:
        """Keep what a model call used."""
        self._calls.append(
            usage.ModelCall(
                run_id=self.claim.id,
                fence=self.claim.fence,
                step=use.step,
                user_id=self.claim.asker_id,
                role_code=use.role,
                provider=self._provider,
                model=self._model,
                input_tokens=use.usage.input_tokens,
                output_tokens=use.usage.output_tokens,
                estimated=use.usage.estimated,
                first_token_ms=use.first_token_ms,
                total_ms=use.ms,
            )
        )

    def completed(
        self,
        text: str,
        *,
        limit: str | None,
        approvers: list[str] | None,
        sign_within_hours: int | None = None,
    ) -> Outcome:
        """End the attempt with an answer; `approvers` None means that nobody has to sign it."""
        data: dict[str, Any] = {"message_id": str(self.claim.answer_id)}
        if limit:
            data["limit"] = limit
        return self._ended(
            "completed",
            data,
            text=_storable(text),
            limit_hit=limit,
            approvers=approvers,
            sign_within_hours=sign_within_hours,
        )

    def failed(self, code: str, detail: str) -> Outcome:
        """End the attempt without an answer; a person may retry the run."""
        data = {"code": code, "detail": detail}
        return self._ended("failed", data, error_code=code, error_detail=detail)

    def cancelled(self) -> Outcome:
        """End the attempt because somebody wanted it."""
        return self._ended("cancelled", {})

    def take_events(self) -> list[RunEvent]:
        """Give the events that no row holds yet; they are the caller's to write."""
        taken, self._unwritten = self._unwritten, []
        return taken

    def take_steps(self) -> list[dict[str, Any]]:
        """Give the steps that were not announced yet."""
        taken, self._steps = self._steps, []
        return taken

    def take_tool_uses(self) -> list[ToolUse]:
        """Give the tool uses that are not in the audit yet."""
        taken, self._tool_uses = self._tool_uses, []
        return taken

    def _ended(
        self, status: Literal["completed", "failed", "cancelled"], data: dict[str, Any], **facts: Any
    ) -> Outcome:
        self.speak()
        self.seconds = monotonic() - self._began
        # The last event becomes true with the finish, and is heard of after it.
        last = RunEvent(self._next_id, f"run.{status}", data)
        return Outcome(
            claim=self.claim,
            status=status,
            role_version=self.role_version,
            model=f"{self._provider}:{self._model}",
            calls=self._calls,
            has_checkpoints=self.has_checkpoints,
            unwritten=[*self.take_events(), last],
            **facts,
        )

    def _add(self, kind: str, data: dict[str, Any]) -> None:
        event = RunEvent(self._next_id, kind, data)
        self._next_id += 1
        self._unwritten.append(event)
        if self._is_announced:
            self._feed.send(self._heard([event]))
        else:
            self._unheard.append(event)

    def _heard(self, events: list[RunEvent]) -> RunHeard:
        claim = self.claim
        return RunHeard(claim.org_id, claim.chat_id, claim.id, claim.answer_id, events)


def _storable(text: str) -> str:
    """Leave out the one character that PostgreSQL cannot keep in a text."""
    return text.replace("\0", "") if "\0" in text else text
