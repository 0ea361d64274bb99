"""What a model may do: thin functions over the rooms, and the registry that guards them."""

from engine.tools.ask_role import ask_role, refuse_circles
from engine.tools.clock import describe_time
from engine.tools.context import FoundMessage, Outcome, ToolContext, ToolRecord, Workplace
from engine.tools.current_time import current_time
from engine.tools.events import cancel_event, create_event, list_events, update_event
from engine.tools.registry import Registry, Toolbox, ToolResult
from engine.tools.search_messages import search_messages

__all__ = [
    "FoundMessage",
    "Outcome",
    "Registry",
    "ToolContext",
    "ToolRecord",
    "ToolResult",
    "Toolbox",
    "Workplace",
    "describe_time",
    "every_tool",
    "refuse_circles",
]


def every_tool() -> Registry:
    """Make the registry of all tools the engine has."""
    registry = Registry()
    registry.add(current_time)
    registry.add(search_messages)
    for tool in (create_event, list_events, update_event, cancel_event):
        registry.add(tool, changes=tool is not list_events)
    registry.add(ask_role, seconds=900)  # a whole answer of another role; the run's own limits are tighter
    return registry
