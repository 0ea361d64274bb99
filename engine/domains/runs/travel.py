"""How what is heard of runs travels between processes."""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from engine.core.json import dump
from engine.core.relay import Relay
from engine.domains.runs.models import (
    CancelRequested,
    ReplicaSeen,
    RunEvent,
    RunHeard,
    RunsQueued,
    WorkerSeen,
)

PART_BYTES = 6_000


def let_travel(relay: Relay) -> None:
    """Let other processes hear of words, of work that waits, of wishes to stop, of workers and of models."""
    relay.carry(RunHeard, "heard", _pack_heard, _unpack_heard)
    relay.carry(
        RunsQueued,
        "queued",
        lambda queued: [queued.role_codes],
        lambda value: RunsQueued(tuple(map(str, value or ()))),
    )
    relay.carry(
        WorkerSeen,
        "worker",
        lambda seen: [[seen.worker, seen.model, seen.stands_in]],
        lambda value: WorkerSeen(str(value[0]), dict(value[1]), stands_in=any(value[2:])),
    )
    relay.carry(
        ReplicaSeen,
        "replica",
        lambda seen: [[seen.replica, seen.model, seen.url, seen.slots, seen.busy, seen.detail]],
        _unpack_replica,
    )
    relay.carry(
        CancelRequested, "cancel", lambda wish: [wish.run_id], lambda value: CancelRequested(UUID(value))
    )


def _pack_heard(heard: RunHeard) -> Iterable[Any]:
    """Give the events in parts small enough; one that is too large alone is found in the rows."""
    head = [heard.org_id, heard.chat_id, heard.run_id, heard.answer_id]
    part: list[Any] = []
    size = 0
    for event in heard.events:
        item = [event.id, event.kind, event.data]
        length = len(dump(item))
        if part and size + length > PART_BYTES:
            yield [*head, part]
            part, size = [], 0
        part.append(item)
        size += length
    yield [*head, part]


def _unpack_replica(value: Any) -> ReplicaSeen:
    replica, model, url, slots, busy, detail = value
    return ReplicaSeen(
        str(replica), str(model), None if url is None else str(url), int(slots), int(busy), str(detail)
    )


def _unpack_heard(value: Any) -> RunHeard:
    org_id, chat_id, run_id, answer_id, events = value
    return RunHeard(
        UUID(org_id),
        UUID(chat_id),
        UUID(run_id),
        UUID(answer_id),
        [RunEvent(int(no), str(kind), dict(data)) for no, kind, data in events],
    )
