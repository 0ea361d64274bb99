"""A process that does not heed SIGTERM; its file says that it is there: `python -m tests.unit.deaf FILE`."""

import signal
import sys
import time
from pathlib import Path

signal.signal(signal.SIGTERM, signal.SIG_IGN)
Path(sys.argv[1]).touch()
time.sleep(60)
