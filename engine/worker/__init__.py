"""The worker: claims runs, lets each role's graph work, and records the outcome once."""

from engine.worker.host import WorkerHost, WorkersElsewhere
from engine.worker.stand_in import StandIn
from engine.worker.worker import Worker

__all__ = ["StandIn", "Worker", "WorkerHost", "WorkersElsewhere"]
