"""Runs the process that keeps Ray and its workers, and starts it again when it dies."""

import asyncio
import os
import sys
import time

from pydantic import SecretStr

from engine.bootstrap import Engine
from engine.core.logging import log
from engine.core.settings import Settings

STOP_SECONDS = 8.0
AGAIN_SECONDS = 1.0


class RayHost:
    """The child process; `run` keeps it until cancelled, and then waits until it has ended."""

    def __init__(self, engine: Engine, *, tiny: bool) -> None:
        """Find or make the cluster's token; raises RayTokenUnsafe, before anything is served."""
        from ray_cluster.cluster import token_file
        from ray_cluster.sealed import seal

        self._since = time.time()  # Of engines with different code, the one that began later has the say.
        self._token = token_file(engine.settings)
        settings = _of_workers(engine, tiny=tiny)
        self._sealed = seal(settings, self._token.read_bytes().strip())
        self._process: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Keep the child process running until cancelled."""
        try:
            while True:
                try:
                    self._process = await self._start()
                    log.error("ray_host_ended", status=await self._process.wait())
                except OSError as error:  # no memory, no processes left: perhaps soon
                    log.error("ray_host_not_started", error=str(error))
                await asyncio.sleep(AGAIN_SECONDS)
        finally:
            await self._end()

    async def _start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "ray_cluster.host",
            str(self._token),
            str(self._since),
            stdin=asyncio.subprocess.PIPE,
            env=_without_secrets(),
            start_new_session=True,  # Ctrl-C is for the engine, which then ends the child in its turn.
        )
        assert process.stdin is not None
        process.stdin.write(self._sealed)
        await process.stdin.drain()
        process.stdin.close()
        return process

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            log.warning("ray_host_stopped_late")
            process.kill()  # The kernel then ends its Ray.
            await process.wait()


def _of_workers(engine: Engine, *, tiny: bool) -> Settings:
    """Return the settings of workers: where the database is, and nothing that signs or migrates."""
    changes: dict[str, object] = {
        "database_url": SecretStr(engine.urls.application),
        "database_owner_url": None,
        "secret_key": None,
        "data_dir": engine.settings.data_dir.absolute(),
    }
    if tiny:
        from engine.adapters.models.embedded import TINY

        changes["model"] = f"embedded:{TINY}"
    return engine.settings.model_copy(update=changes)


def _without_secrets() -> dict[str, str]:
    # Its children inherit the environment, and Ray shows theirs.
    return {name: value for name, value in os.environ.items() if not name.startswith("RUGPT_")}
