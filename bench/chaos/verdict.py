"""What came of every message: lost, doubled, or answered once, and how soon somebody took over."""

import asyncio
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import asyncpg

from bench.chaos.monkey import Loss


@dataclass(frozen=True, slots=True)
class Verdict:
    """The count of what the engine said it keeps."""

    kept: int
    answered: int
    lost: int
    doubled: int
    of_one: tuple[float, ...]  # seconds until somebody took over from a worker that was killed
    of_all: tuple[float, ...]  # and from workers that were killed together with their Ray
    reasons: dict[str, int]


COUNT = """
SELECT count(*) FILTER (WHERE runs.status = 'completed'
                          AND answers.n = 1 AND ends.n = 1 AND drafts.n = 1)::int AS answered,
       count(*) FILTER (WHERE runs.id IS NULL OR runs.status <> 'completed' OR answers.n = 0)::int AS lost,
       count(*) FILTER (WHERE answers.n > 1 OR ends.n > 1 OR drafts.n > 1)::int AS doubled,
       count(*)::int AS kept
  FROM messages
  LEFT JOIN runs ON runs.message_id = messages.id,
       LATERAL (SELECT count(*) AS n FROM messages a
                 WHERE a.reply_to = messages.id AND a.role_code IS NOT NULL) AS answers,
       LATERAL (SELECT count(*) AS n FROM events
                 WHERE kind = 'run.completed' AND data->>'run_id' = runs.id::text) AS ends,
       LATERAL (SELECT count(*) AS n FROM drafts WHERE drafts.run_id = runs.id) AS drafts
 WHERE messages.client_message_id = ANY($1::text[])
"""


async def until_quiet(url: str, *, seconds: float) -> bool:
    """Wait until no run waits or is at work; False when that took too long."""
    deadline = asyncio.get_running_loop().time() + seconds
    while asyncio.get_running_loop().time() < deadline:
        try:
            connection = await asyncpg.connect(url, timeout=5)
            try:
                open_runs = await connection.fetchval(
                    "SELECT count(*) FROM runs WHERE status IN ('queued', 'running')"
                )
            finally:
                connection.terminate()
            if not open_runs:
                return True
        except (OSError, asyncpg.PostgresError, TimeoutError):
            pass
        await asyncio.sleep(0.5)
    return False


async def judge(url: str, heard: set[str], losses: list[Loss]) -> Verdict:
    """Look at what is on disk; `heard` are the marks of messages that were acknowledged."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "CREATE INDEX IF NOT EXISTS chaos_ends ON events ((data->>'run_id')) WHERE kind = 'run.completed'"
        )
        row = await connection.fetchrow(COUNT, sorted(heard))
        assert row is not None
        reasons = await connection.fetch(
            "SELECT coalesce(error_code, status) AS why, count(*)::int AS n FROM runs"
            " WHERE status <> 'completed' GROUP BY 1"
        )
        restarts = await connection.fetch(
            "SELECT data->>'run_id' AS run_id, at FROM events WHERE kind = 'run.restarted' ORDER BY at"
        )
    finally:
        await connection.close()
    begun: dict[UUID, list[datetime]] = {}
    for each in restarts:
        begun.setdefault(UUID(each["run_id"]), []).append(each["at"])
    takeovers = [
        (loss.of_all, (after[0] - loss.at).total_seconds())
        for loss in losses
        if (after := [at for at in begun.get(loss.run_id, []) if at > loss.at])
    ]
    return Verdict(
        kept=row["kept"],
        answered=row["answered"],
        lost=row["lost"] + len(heard) - row["kept"],
        doubled=row["doubled"],
        of_one=tuple(sorted(seconds for of_all, seconds in takeovers if not of_all)),
        of_all=tuple(sorted(seconds for of_all, seconds in takeovers if of_all)),
        reasons={each["why"]: each["n"] for each in reasons},
    )
