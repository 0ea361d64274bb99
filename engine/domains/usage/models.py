"""What is kept of a model call."""

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of a model, made for a person's question; `estimated` when the provider gave no counts."""

    run_id: UUID
    fence: int
    step: int
    user_id: UUID
    role_code: str
    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    estimated: bool
    first_token_ms: int | None
    total_ms: int
