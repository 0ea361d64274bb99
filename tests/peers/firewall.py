"""The firewall of deploy/, loaded on a machine of a test."""

import tempfile

from bench.processes import ROOT
from tests.namespaces import Machine

RULES = ROOT / "deploy" / "firewall" / "rugpt.nft"


def close(machine: Machine, *, peers: tuple[str, ...] = (), proxies: tuple[str, ...] = ()) -> None:
    """Load the rules on a machine, with these addresses where the operator puts theirs."""
    text = RULES.read_text("utf-8")
    for line, addresses in (
        ("# elements = { 10.0.0.11, 10.0.0.12 }  # YOURS", peers),
        ("# elements = { 10.0.0.10 }  # YOURS", proxies),
    ):
        assert text.count(line) == 1, line
        text = text.replace(line, f"elements = {{ {', '.join(addresses)} }}" if addresses else "")
    with tempfile.NamedTemporaryFile("w", suffix=".nft", encoding="utf-8") as rules:
        rules.write(text)
        rules.flush()
        machine.run("nft", "-f", rules.name)
