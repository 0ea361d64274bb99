"""Runs a process of our own beside this one, and starts it again when it dies."""

import asyncio
import os
import sys
from asyncio import sleep
from time import monotonic

from engine.core.logging import log

AGAIN_SECONDS = 1.0
MOST_AGAIN_SECONDS = 10.0  # between tries of one that does not come to life
ALIVE_SECONDS = 60.0


class KeptProcess:
    """A module of ours in a process of its own; `run` keeps it until cancelled, then waits for its end."""

    def __init__(self, module: str, *arguments: str, given: bytes = b"", stop_seconds: float) -> None:
        self._module = module
        self._arguments = arguments
        self._given = given
        self._stop_seconds = stop_seconds
        self._process: asyncio.subprocess.Process | None = None

    async def run(self) -> None:
        """Keep the process running until cancelled."""
        pause = AGAIN_SECONDS
        try:
            while True:
                began = monotonic()
                try:
                    self._process = await self._start()
                    log.error("process_ended", module=self._module, status=await self._process.wait())
                except OSError as error:  # no memory, no processes left: perhaps soon
                    log.error("process_not_started", module=self._module, error=str(error))
                pause = AGAIN_SECONDS if monotonic() - began > ALIVE_SECONDS else pause
                await sleep(pause)
                pause = min(2 * pause, MOST_AGAIN_SECONDS)
        finally:
            await self._end()

    async def _start(self) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            self._module,
            *self._arguments,
            stdin=asyncio.subprocess.PIPE,
            env=_without_secrets(),
            start_new_session=True,  # Ctrl-C is for this process, which then ends the other in its turn.
        )
        assert process.stdin is not None
        process.stdin.write(self._given)
        await process.stdin.drain()
        process.stdin.close()
        return process

    async def _end(self) -> None:
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(self._stop_seconds):
                await process.wait()
        except TimeoutError:
            process.kill()  # The kernel then ends its Ray.
            await process.wait()
            # Last: where the terminal is closed, telling it fails.
            log.warning("process_stopped_late", module=self._module)


def _without_secrets() -> dict[str, str]:
    # Its children inherit the environment, and Ray shows theirs.
    return {name: value for name, value in os.environ.items() if not name.startswith("RUGPT_")}
