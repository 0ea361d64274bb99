"""Lets `python -m engine.cli` be `rugpt`."""

from engine.cli.commands import main

if __name__ == "__main__":
    main()
