"""The audit trail: who did what to what, appended in the transaction that did it and never rewritten."""

from engine.domains.audit.service import record

__all__ = ["record"]
