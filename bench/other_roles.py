"""Runs the engine's command with other roles than its own: `python -m bench.other_roles FOLDER serve …`."""

import sys
from pathlib import Path

from engine import bootstrap, cli

if __name__ == "__main__":
    bootstrap.ROLES = Path(sys.argv.pop(1))
    cli.main()
