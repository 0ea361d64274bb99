"""A scheduler for a clock that jumps: `python -m tests.peers.clocked URL`, until it is killed."""

import asyncio
import sys

from engine.bootstrap import PROMPTS, ROLES, make_bus
from engine.core.database import Database
from engine.core.feed import Feed
from engine.domains.calendar import Scheduler
from engine.roles import load_roles


async def work(url: str) -> None:
    """Fire what is due, as every engine does."""
    database = await Database.open(url, bus=make_bus(), feed=Feed())
    await Scheduler(database, load_roles(ROLES, PROMPTS)).run()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
