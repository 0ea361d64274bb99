"""Looks at everything, one thing after another, and tells."""

import sys

from engine.cli.doctor.configuration import look_at_settings
from engine.cli.doctor.database import look_at_database
from engine.cli.doctor.exposure import look_at_exposure
from engine.cli.doctor.findings import is_anything_missing, show
from engine.cli.doctor.machine import look_at_machine
from engine.cli.doctor.model import look_at_model
from engine.cli.doctor.port import look_at_port
from engine.cli.doctor.post import look_at_post
from engine.cli.doctor.runtime import look_at_runtime
from engine.core.settings import Settings


async def examine(settings: Settings, *, tiny: bool, start: bool) -> int:
    """Print what was found; return 1 when something that the engine needs is missing, else 0.

    `start` lets a stopped embedded database be started for the look, and stopped after it.
    """
    findings = [
        *look_at_settings(settings),
        *await look_at_database(settings, start=start),
        *await look_at_model(settings, tiny=tiny),
        *look_at_machine(settings),
        *look_at_runtime(settings),
        *await look_at_port(settings),
        *await look_at_post(settings),
        *look_at_exposure(settings),
    ]
    show(findings, sys.stdout)
    return 1 if is_anything_missing(findings) else 0
