"""What can be wrong with a role file or a prompt, said so that its author finds the line."""

from dataclasses import dataclass

from engine.core.errors import Invalid


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault in one file; `str()` reads like a compiler's message."""

    file: str
    line: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class BrokenFile(Invalid):
    """A role or prompt file that cannot be used as it is."""

    code = "broken_role_file"

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)), problems=[str(problem) for problem in problems])
        self.problems = problems


class PromptMismatch(Invalid):
    """A prompt and its caller do not agree on the values it is given."""

    code = "prompt_mismatch"
