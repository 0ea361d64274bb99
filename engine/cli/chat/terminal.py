"""The live screen: what is complete scrolls by, below it answers grow, and at the bottom a line is typed."""

import asyncio
import codecs
import os
import termios
import tty
from typing import Any, Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from engine.cli.chat.line_editor import EndOfInput, LineEditor
from engine.cli.chat.plain_text import plain

PAINT_SECONDS = 0.05
BLOCK = 4096
PASTE_ON, PASTE_OFF = "\x1b[?2004h", "\x1b[?2004l"


class TerminalScreen:
    """A terminal with a person at it; a context manager that gives the terminal back as it was."""

    is_live = True

    def __init__(self, standard_input: TextIO, output: TextIO) -> None:
        self._descriptor = standard_input.fileno()
        self._output = output
        self._console = Console(file=output, highlight=False, emoji=False, markup=False, soft_wrap=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._editor = LineEditor()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._lines: asyncio.Queue[str | None] = asyncio.Queue()
        self._growing: dict[str, tuple[str, str]] = {}
        self._prompt: str | None = None
        self._is_hidden = False
        self._painting: asyncio.TimerHandle | None = None
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        self._before = termios.tcgetattr(self._descriptor)
        tty.setcbreak(self._descriptor)
        self._output.write(PASTE_ON)
        self._live.start()
        asyncio.get_running_loop().add_reader(self._descriptor, self._read)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        if self._painting is not None:
            self._painting.cancel()
        self._prompt, self._growing = None, {}
        self._paint()
        self._live.stop()
        self._output.write(PASTE_OFF)
        self._output.flush()
        termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._before)

    def say(self, text: str, *, style: str = "") -> None:
        self._console.print(Text(plain(text), style=style))

    def grow(self, run_id: str, speaker: str, text: str) -> None:
        self._growing[run_id] = (speaker, text)
        self._paint_soon()

    def settle(self, run_id: str, speaker: str, text: str | None) -> None:
        self._growing.pop(run_id, None)
        if text is not None:
            self._console.print(_speech(speaker, text))
        self._paint()

    async def ask(self, prompt: str, *, hidden: bool = False) -> str | None:
        self._prompt, self._is_hidden = prompt, hidden
        self._paint()
        line = await self._lines.get()
        if line is None:
            self._lines.put_nowait(None)  # The end stays the end.
        elif not hidden:
            self._editor.remember(line)
        self._prompt, self._is_hidden = None, False
        return line

    def _read(self) -> None:
        try:
            block = os.read(self._descriptor, BLOCK)
        except OSError:  # The terminal is gone.
            block = b""
        if not block:
            asyncio.get_running_loop().remove_reader(self._descriptor)
            self._lines.put_nowait(None)
            return
        try:
            for line in self._editor.type(self._decoder.decode(block)):
                self._lines.put_nowait(line)
        except EndOfInput:
            self._lines.put_nowait(None)
        self._paint_soon()

    def _paint_soon(self) -> None:
        if self._painting is None:
            self._painting = asyncio.get_running_loop().call_later(PAINT_SECONDS, self._paint)

    def _paint(self) -> None:
        if self._painting is not None:
            self._painting.cancel()
            self._painting = None
        parts = [self._tail_of(speaker, text) for speaker, text in self._growing.values()]
        if self._prompt is not None:
            parts.append(self._typed())
        self._live.update(Group(*parts), refresh=True)

    def _tail_of(self, speaker: str, text: str) -> Text:
        """Return the last lines of an answer: what is taller than the terminal cannot be painted over."""
        width, height = self._console.size
        room = max(3, (height - 4) // max(1, len(self._growing)))
        # What cannot be seen need not be wrapped anew with each word.
        lines = _speech(speaker, text[-width * room :] if len(text) > width * room else text)
        return Text("\n").join(lines.wrap(self._console, width)[-room:])

    def _typed(self) -> Text:
        editor = self._editor
        shown = "•" * len(editor.text) if self._is_hidden else editor.text.replace("\n", "⏎")
        line = Text(self._prompt or "", style="bold")
        line.append(shown[: editor.cursor], style="not bold")
        line.append(shown[editor.cursor : editor.cursor + 1] or " ", style="reverse not bold")
        line.append(shown[editor.cursor + 1 :], style="not bold")
        return line


def _speech(speaker: str, text: str) -> Text:
    return Text.assemble((f"{plain(speaker)}: ", "bold cyan"), plain(text))
