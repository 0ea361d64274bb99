"""`rugpt doctor`: what is configured, reachable and missing on this machine; it looks and changes nothing."""

from engine.cli.doctor.examination import examine

__all__ = ["examine"]
