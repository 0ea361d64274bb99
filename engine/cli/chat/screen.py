"""Where the conversation is shown and lines come from; this one is for pipes, the other for terminals."""

import asyncio
import codecs
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol, Self, TextIO

from engine.cli.chat.plain_text import plain

BLOCK = 65_536


class Screen(Protocol):
    """Shows lines, and answers that grow; gives what the person types."""

    is_live: bool  # A person looks at it and may type at any time.

    def __enter__(self) -> Self:
        """Take the terminal, if it is one."""

    def __exit__(self, *_: object) -> None:
        """Give it back as it was."""

    def say(self, text: str, *, style: str = "") -> None:
        """Show something that is complete."""

    def grow(self, run_id: str, speaker: str, text: str) -> None:
        """Show all that an answer says so far."""

    def settle(self, run_id: str, speaker: str, text: str | None) -> None:
        """End a growing answer with its whole text, or without one."""

    async def ask(self, prompt: str, *, hidden: bool = False) -> str | None:
        """Wait for a line; None is the end of input."""


class PlainScreen:
    """Plain text for pipes: an answer is written on as it grows, one at a time."""

    is_live = False

    def __init__(self, output: TextIO, lines: "asyncio.Queue[str | None]") -> None:
        self._output = output
        self._lines = lines
        self._growing: str | None = None  # whose words stand at the end of the output
        self._written: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._break_line()

    def say(self, text: str, *, style: str = "") -> None:
        self._break_line()
        self._write(plain(text) + "\n")

    def grow(self, run_id: str, speaker: str, text: str) -> None:
        if self._growing is None:
            self._growing = run_id
            self._write(f"{speaker}: ")
        if self._growing == run_id:
            self._go_on(run_id, text)

    def settle(self, run_id: str, speaker: str, text: str | None) -> None:
        if text is not None:
            if self._growing not in (None, run_id):
                self._break_line()
            self.grow(run_id, speaker, text)
        if self._growing == run_id:
            self._break_line()
        self._written.pop(run_id, None)

    async def ask(self, prompt: str, *, hidden: bool = False) -> str | None:
        return await self._lines.get()

    def _go_on(self, run_id: str, text: str) -> None:
        written = self._written.get(run_id, "")
        if not text.startswith(written):  # It was begun anew.
            self._write("\n")
            written = ""
        self._write(plain(text[len(written) :]))
        self._written[run_id] = text

    def _break_line(self) -> None:
        if self._growing is not None:
            self._write("\n")
            self._written.pop(self._growing, None)  # Whoever is interrupted says it again from the start.
            self._growing = None

    def _write(self, text: str) -> None:
        self._output.write(text)
        self._output.flush()


def read_lines(descriptor: int) -> "asyncio.Queue[str | None]":
    """Start to read a file's lines beside the event loop; None follows the last."""
    queue: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def read() -> None:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        rest = ""
        # Not sys.stdin: a thread that waits inside its lock would keep the process from ending.
        while block := os.read(descriptor, BLOCK):
            *lines, rest = (rest + decoder.decode(block)).split("\n")
            for line in lines:
                loop.call_soon_threadsafe(queue.put_nowait, line.removesuffix("\r"))
        for last in (rest, None) if rest else (None,):
            loop.call_soon_threadsafe(queue.put_nowait, last)

    threading.Thread(target=_until_the_loop_ends, args=(read,), daemon=True).start()
    return queue


def _until_the_loop_ends(read: Callable[[], None]) -> None:
    with suppress(RuntimeError):  # The loop was closed: nobody waits for lines any more.
        read()


def screen_for(standard_input: TextIO, standard_output: TextIO) -> Screen:
    """Return the screen that fits: a live one where a person sits at both ends."""
    if standard_input.isatty() and standard_output.isatty():
        from engine.cli.chat.terminal import TerminalScreen

        return TerminalScreen(standard_input, standard_output)
    return PlainScreen(standard_output, read_lines(standard_input.fileno()))
