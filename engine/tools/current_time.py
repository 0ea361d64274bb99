"""The tool that tells a model what day it is."""

from engine.tools.clock import describe_time, zone
from engine.tools.context import ToolContext


async def current_time(context: ToolContext) -> str:
    """Tell the current date, weekday and time on the clock of the person who asked.

    Use it before you count days, terms or deadlines. Do not use it for anything else.
    """
    local = context.now.astimezone(zone(context.timezone))
    said = describe_time(context.now, context.timezone)
    return f"Сейчас {said}. ISO 8601: {local.isoformat(timespec='seconds')}"
