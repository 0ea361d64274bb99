"""How a graph looks, as Mermaid text: what `python -m engine.graphs` has drawn, which a test keeps true."""

from functools import cache
from pathlib import Path

from engine.roles import AgentType


@cache
def drawing_of(agent_type: AgentType) -> str:
    """Return the drawing of the graph by which such a role thinks."""
    return Path(__file__).with_name(f"{agent_type}.mmd").read_text("utf-8")
