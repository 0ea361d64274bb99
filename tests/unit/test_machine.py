"""A machine that leaves a cluster waits for whoever works on it."""

from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from ray_cluster import machine
from ray_cluster.models import PREFIX as MODELS
from ray_cluster.supervisor_actor import NAME as SUPERVISOR

LATE = object()


class RayError(Exception):
    """As Ray raises it for an actor that is gone."""


@dataclass(eq=False)
class Method:
    """An actor's method that says one thing after another, the last one again and again."""

    says: list[Any]
    asked: int = 0

    def remote(self, *_: Any) -> Callable[[], Any]:
        said = self.says[min(self.asked, len(self.says) - 1)]
        self.asked += 1

        def result() -> Any:
            if isinstance(said, Exception):
                raise said
            return said

        result.__dict__["is_late"] = said is LATE
        return result


@dataclass(eq=False)
class Replica:
    node: Method
    leave: Method


@dataclass(eq=False)
class Supervisor:
    leave_machine: Method


class Ray:
    """A cluster with one supervisor, that has no worker here, and some replicas."""

    def __init__(self, *replicas: Replica) -> None:
        self._actors: dict[str, Any] = {SUPERVISOR: Supervisor(Method([0]))}
        self._actors |= {f"{MODELS}:{number}": each for number, each in enumerate(replicas)}
        self.util = SimpleNamespace(
            list_named_actors=lambda all_namespaces: [
                {"name": name, "namespace": "rugpt"} for name in self._actors
            ]
        )
        self.exceptions = SimpleNamespace(RayError=RayError)

    def get_actor(self, name: str, namespace: str) -> Any:
        assert namespace == "rugpt"
        return self._actors[name]

    def wait(self, calls: list[Any], num_returns: int, timeout: float) -> tuple[list[Any], list[Any]]:
        assert 0 < num_returns <= len(calls)
        assert timeout > 0
        return [call for call in calls if not call.is_late], [call for call in calls if call.is_late]

    def get(self, call: Callable[[], Any]) -> Any:
        return call()


@pytest.mark.parametrize(
    ("node", "leave", "asked"),
    [
        (["here"], [True], 1),
        (["here"], [False, LATE, LATE, True], 4),
        ([LATE], [False], 0),  # It waits for a machine, and is nowhere.
        (["here"], [False, RayError()], 2),
        ([RayError()], [False], 0),
        (["elsewhere"], [False], 0),
    ],
)
def test_a_machine_stays_until_its_replicas_have_ended_what_they_say(
    node: list[Any], leave: list[Any], asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "LOOK_SECONDS", 0.0)
    replica = Replica(Method(node), Method(leave))

    machine.leave(Ray(replica), "here", seconds=20)

    assert replica.node.asked == len(node)
    assert replica.leave.asked == asked


def test_it_waits_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "LOOK_SECONDS", 0.01)
    replica = Replica(Method(["here"]), Method([LATE]))

    machine.leave(Ray(replica), "here", seconds=0.1)

    assert replica.leave.asked > 1
