"""A line as it is typed: what each key makes of it."""

import re
import unicodedata

# What terminals send for the keys that write nothing.
_KEYS = {
    "\x1b[D": "left", "\x1bOD": "left", "\x02": "left",
    "\x1b[C": "right", "\x1bOC": "right", "\x06": "right",
    "\x1b[A": "earlier", "\x1bOA": "earlier", "\x10": "earlier",
    "\x1b[B": "later", "\x1bOB": "later", "\x0e": "later",
    "\x1b[H": "home", "\x1bOH": "home", "\x1b[1~": "home", "\x01": "home",
    "\x1b[F": "end", "\x1bOF": "end", "\x1b[4~": "end", "\x05": "end",
    "\x7f": "backspace", "\x08": "backspace", "\x1b[3~": "delete",
    "\x15": "cut_before", "\x0b": "cut_after", "\x17": "cut_word",
    "\r": "enter", "\n": "enter", "\x04": "end_of_input",
    "\x1b[200~": "paste", "\x1b[201~": "paste_end",
}  # fmt: skip
_SEQUENCE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O.|[^\[O])")
_UNFINISHED = re.compile(r"\x1b(?:\[[0-?]*[ -/]*|O)?")
MOST_REMEMBERED = 200


class EndOfInput(Exception):
    """The person closed the input."""


class LineEditor:
    """One line being typed, with the lines typed before it."""

    def __init__(self) -> None:
        self.text = ""
        self.cursor = 0
        self._unfinished = ""
        self._is_pasting = False
        self._before: list[str] = []
        self._place = 0

    def type(self, keys: str) -> list[str]:
        """Take what a terminal sent; return the lines that were ended by it."""
        keys, self._unfinished = self._unfinished + keys, ""
        done: list[str] = []
        while keys:
            if keys[0] == "\x1b":
                found = _SEQUENCE.match(keys)
                if found is None:
                    # The rest of the key comes with the next read.
                    unfinished = _UNFINISHED.fullmatch(keys)
                    self._unfinished = keys if unfinished and len(keys) < 16 else ""
                    break
                key, keys = found[0], keys[found.end() :]
            else:
                key, keys = keys[0], keys[1:]
            line = self._press(key)
            if line is not None:
                done.append(line)
        return done

    def forget_line(self) -> None:
        """Throw away what is typed so far."""
        self.text, self.cursor = "", 0

    def remember(self, line: str) -> None:
        """Let a line be fetched back by the arrow up."""
        if line.strip() and line not in self._before[-1:]:
            self._before = [*self._before, line][-MOST_REMEMBERED:]
        self._place = len(self._before)

    def _press(self, key: str) -> str | None:
        name = _KEYS.get(key)
        if name == "enter":
            if self._is_pasting:
                self._insert("\n")
                return None
            line = self.text
            self.forget_line()
            return line
        if name == "end_of_input":
            if not self.text:
                raise EndOfInput
        elif name in ("paste", "paste_end"):
            self._is_pasting = name == "paste"
        elif name is not None:
            getattr(self, f"_{name}")()
        elif key == "\t" or (len(key) == 1 and unicodedata.category(key) != "Cc"):
            self._insert(key)
        return None

    def _insert(self, text: str) -> None:
        self.text = self.text[: self.cursor] + text + self.text[self.cursor :]
        self.cursor += len(text)

    def _left(self) -> None:
        self.cursor = max(0, self.cursor - 1)

    def _right(self) -> None:
        self.cursor = min(len(self.text), self.cursor + 1)

    def _home(self) -> None:
        self.cursor = 0

    def _end(self) -> None:
        self.cursor = len(self.text)

    def _backspace(self) -> None:
        if self.cursor:
            self.text = self.text[: self.cursor - 1] + self.text[self.cursor :]
            self.cursor -= 1

    def _delete(self) -> None:
        self.text = self.text[: self.cursor] + self.text[self.cursor + 1 :]

    def _cut_before(self) -> None:
        self.text, self.cursor = self.text[self.cursor :], 0

    def _cut_after(self) -> None:
        self.text = self.text[: self.cursor]

    def _cut_word(self) -> None:
        before = self.text[: self.cursor].rstrip()
        kept = before[: before.rfind(" ") + 1]
        self.text, self.cursor = kept + self.text[self.cursor :], len(kept)

    def _earlier(self) -> None:
        self._recall(self._place - 1)

    def _later(self) -> None:
        self._recall(self._place + 1)

    def _recall(self, place: int) -> None:
        self._place = max(0, min(place, len(self._before)))
        self.text = self._before[self._place] if self._place < len(self._before) else ""
        self.cursor = len(self.text)
