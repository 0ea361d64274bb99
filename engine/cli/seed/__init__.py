"""`rugpt seed`: a demo organization, made through the doors that production uses, and its removal."""

from engine.cli.seed.command import seed_database

__all__ = ["seed_database"]
