"""`rugpt` as a person or a script runs it: in its own process, behind a pipe or a terminal of ours."""

import asyncio
import fcntl
import os
import pty
import re
import signal
import struct
import sys
import tempfile
import termios
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bench.processes import ROOT

ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[()].|.)")


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command said, and how it ended."""

    code: int
    output: str
    errors: str


async def rugpt(
    *arguments: str, settings: Mapping[str, str], lines: Sequence[str] = (), seconds: float = 40
) -> Finished:
    """Run a command to its end, with these lines on its standard input."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine.cli", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=tempfile.gettempdir(),
        env=environment(settings),
    )
    try:
        async with asyncio.timeout(seconds):
            said, erred = await process.communicate("".join(f"{line}\n" for line in lines).encode())
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Finished(process.returncode, said.decode(), erred.decode())


class Terminal:
    """A terminal with a command in it; `screen` is all that was ever painted, without the escapes."""

    def __init__(self, descriptor: int, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.screen = ""
        self._descriptor = descriptor
        self._fresh = asyncio.Event()
        self._is_open = True
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def type(self, keys: str) -> None:
        """Press keys."""
        os.write(self._descriptor, keys.encode())

    def enter(self, line: str) -> None:
        """Type a line and end it."""
        self.type(f"{line}\r")

    async def see(self, text: str, *, seconds: float = 20) -> None:
        """Wait until something was painted since this was last asked; forget what came before its end."""
        try:
            async with asyncio.timeout(seconds):
                while text not in self.screen:
                    self._fresh.clear()
                    await self._fresh.wait()
        except TimeoutError as late:
            raise AssertionError(f"not painted in {seconds} s: {text!r}; {self.screen[-3000:]!r}") from late
        self.screen = self.screen.partition(text)[2]

    def is_cooked(self) -> bool:
        """Whether the terminal echoes and edits lines itself, as a shell needs it."""
        flags = termios.tcgetattr(self._descriptor)[3]
        return bool(flags & termios.ECHO and flags & termios.ICANON)

    def hang_up(self) -> None:
        """Close the window: the command hears of it, and can read and write nothing any more."""
        self.close()
        self.process.send_signal(signal.SIGHUP)

    def close(self) -> None:
        """Let the terminal go."""
        if self._is_open:
            self._is_open = False
            asyncio.get_running_loop().remove_reader(self._descriptor)
            os.close(self._descriptor)

    def _read(self) -> None:
        try:
            block = os.read(self._descriptor, 65_536)
        except OSError:  # Nobody holds the other end.
            block = b""
        if not block:
            asyncio.get_running_loop().remove_reader(self._descriptor)
        self.screen += ESCAPES.sub("", block.decode(errors="replace"))
        self._fresh.set()


@asynccontextmanager
async def in_terminal(*arguments: str, settings: Mapping[str, str]) -> AsyncIterator[Terminal]:
    """Run a command in a terminal of 100 by 30 while the block runs."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "engine.cli", *arguments),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        cwd=tempfile.gettempdir(),
        env={**environment(settings), "TERM": "xterm-256color"},
        start_new_session=True,
    )
    terminal = Terminal(ours, process)
    try:
        yield terminal
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        terminal.close()
        os.close(theirs)


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return an environment with no settings but these."""
    ours = ("RUGPT_", "LC_", "LANG")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1", "LANG": "ru_RU.UTF-8", **settings}
