"""What chaos is played with: a database, a model, and an engine that has its runs worked by Ray actors."""

import asyncio
import os
import signal
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench.fake_model import Pace
from bench.http1 import BadAnswer, Connection, call, request
from bench.processes import Child, DidNotStart, postgres_pid, start
from engine.core.embedded import EmbeddedPostgres

API = "/api/v1"
PACE = Pace(first_ms=100, gap_ms=20, tokens=60)
PASSWORD = "chaos chaos chaos"
OPTIONS = {"max_connections": "200"}
GONE_SECONDS = 20
REGISTER_ATTEMPTS = 100


@dataclass
class Stage:
    """Everything that can be killed, and the way to ask."""

    folder: Path
    database: EmbeddedPostgres
    settings: dict[str, str]
    engine: Child | None = None
    port: int = 0
    token: str = ""
    restarts: dict[str, int] = field(default_factory=dict)

    @property
    def owner_url(self) -> str:
        return self.database.url(user="postgres")

    async def start_engine(self) -> None:
        """Start the engine, where it was before if it ran already."""
        arguments = ("serve", "--port", str(self.port), "--data", str(self.folder / "data"))
        self.engine = await start("engine.cli", *arguments, environment=self.settings, limit_seconds=120)
        self.port = self.engine.port

    async def register(self) -> None:
        """Make the organization."""
        new = {
            "organization": "Chaos", "username": "chaos", "email": "chaos@example.com",
            "password": PASSWORD, "display_name": "Chaos",
        }  # fmt: skip
        for _ in range(REGISTER_ATTEMPTS):
            status, answer = await self.ask("POST", "/auth/register", new)
            if status == 201:
                self.token = answer["access_token"]
                return
            await asyncio.sleep(0.2)
        raise DidNotStart("nobody could register")

    async def log_in(self) -> None:
        """Take a new access token; the old one grows old, or was made before the engine was killed."""
        who = {"username": "chaos", "password": PASSWORD}
        status, answer = await self.ask("POST", "/auth/login", who, token="")
        if status == 200:
            self.token = answer["access_token"]

    async def ask(
        self, method: str, path: str, content: Any = None, *, token: str | None = None
    ) -> tuple[int, Any]:
        """Call the API; status 0 is one that nobody answered."""
        connection = Connection(self.port)
        sent = request(method, API + path, content, token=self.token if token is None else token)
        try:
            async with asyncio.timeout(20):
                return await call(connection, sent)
        except (OSError, TimeoutError, BadAnswer):
            return 0, None
        finally:
            connection.close()

    def processes(self, *names: str) -> list[psutil.Process]:
        """Return those of the engine's processes whose command line has one of these names in it."""
        if self.engine is None:
            return []
        try:
            family = psutil.Process(self.engine.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []
        return [one for one in family if _is_named(one, names)]

    async def restart_database(self) -> None:
        """End PostgreSQL without a goodbye, and start it again."""
        pid = postgres_pid(self.folder / "postgres")
        if pid is not None:
            os.kill(pid, signal.SIGQUIT)
            for _ in range(GONE_SECONDS * 20):
                if not psutil.pid_exists(pid):
                    break
                await asyncio.sleep(0.05)
        await asyncio.to_thread(self.database.start_again)

    async def end_engine(self) -> None:
        """End the engine and its Ray."""
        if self.engine is not None:
            await self.engine.stop()
            self.engine = None


def _is_named(process: psutil.Process, names: tuple[str, ...]) -> bool:
    try:
        words = process.cmdline()[:4]
        return process.status() != psutil.STATUS_ZOMBIE and any(
            name in word for name in names for word in words
        )
    except psutil.Error:
        return False


@asynccontextmanager
async def set_stage(workers: int) -> AsyncIterator[Stage]:
    """Start everything, and end it after the block."""
    async with AsyncExitStack() as parts:
        folder = Path(parts.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True)))
        database = EmbeddedPostgres(folder / "postgres", options=OPTIONS)
        await asyncio.to_thread(database.start)
        model = await start(
            "bench.fake_model",
            f"--first-ms={PACE.first_ms}", f"--gap-ms={PACE.gap_ms}", f"--tokens={PACE.tokens}",
        )  # fmt: skip
        parts.push_async_callback(model.stop)
        settings = {
            "RUGPT_DATABASE_URL": database.url(user="rugpt_app"),
            "RUGPT_DATABASE_OWNER_URL": database.url(user="postgres"),
            "RUGPT_SECRET_KEY": "a secret of the chaos bench, not of anybody",
            "RUGPT_MODEL": f"openai:{PACE.model}",
            "RUGPT_OPENAI_BASE_URL": f"http://127.0.0.1:{model.port}/v1",
            "RUGPT_OPENAI_API_KEY": "bench",
            "RUGPT_RUNTIME": "ray",
            "RUGPT_WORKERS": str(workers),
        }
        stage = Stage(folder, database, settings)
        try:
            await stage.start_engine()
            yield stage
        finally:
            await stage.end_engine()
            await asyncio.to_thread(stage.database.stop)
