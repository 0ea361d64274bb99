"""The strict fake model server, told request by request what to answer."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from aiohttp import web

from tests.contracts.fake_models import KEY, MODEL, FakeModels, Script, serving

__all__ = ["MODEL", "PlannedModel", "Script", "answering"]

Plan = Callable[[dict[str, Any]], Script]


class PlannedModel(FakeModels):
    """Each request gets the script that `plan` makes of it; without a plan, `script`."""

    def __init__(self) -> None:
        self._of_request: ContextVar[Script | None] = ContextVar("script", default=None)
        self.plan: Plan | None = None
        super().__init__()

    @property
    def script(self) -> Script:
        """What the request at hand, or the next one, gets."""
        return self._of_request.get() or self._script

    @script.setter
    def script(self, script: Script) -> None:
        self._script = script

    @property
    def settings(self) -> dict[str, str]:
        """The environment that makes an engine ask this model."""
        return {
            "RUGPT_MODEL": f"openai:{MODEL}",
            "RUGPT_OPENAI_BASE_URL": f"{self.url}/v1",
            "RUGPT_OPENAI_API_KEY": KEY,
        }

    async def _openai(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self._of_request.set(self.plan(body) if self.plan else self._script)
        return await super()._openai(request)


@asynccontextmanager
async def answering(script: Script | None = None, plan: Plan | None = None) -> AsyncIterator[PlannedModel]:
    """Serve a planned model while the block runs."""
    model = PlannedModel()
    model.script = script or Script()
    model.plan = plan
    async with serving(model):
        yield model


def has_tool_result(body: dict[str, Any]) -> bool:
    """Whether a request brings the result of a tool."""
    return any(message["role"] == "tool" for message in body["messages"])


def slowly(words: int = 40, gap_seconds: float = 0.05) -> Script:
    """Write an answer long enough to be interrupted."""
    pieces = tuple(f"слово {number}; " for number in range(words))
    return Script(pieces=pieces, gap_seconds=gap_seconds)
