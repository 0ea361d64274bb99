"""What keeps a cluster ends with its engine, even when it is stuck in a call that never returns."""

import signal
import subprocess
import sys
import time
from pathlib import Path

STUCK = """
import os, sys, threading, time
from ray_cluster.host import end_after
threading.Thread(target=end_after, args=(os.getppid(),), kwargs={"grace_seconds": 0.2}, daemon=True).start()
print(os.getpid(), flush=True)
time.sleep(60)
"""
JOINING = """
import ctypes
from ray_cluster.host import ended_after
with ended_after(5):
    pass
with ended_after(1):
    ctypes.PyDLL(None).sleep(20)
"""
ENGINE = "import subprocess, sys; subprocess.Popen([sys.executable, '-c', sys.argv[1]]); input()"


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_host_that_is_stuck_ends_a_while_after_its_engine() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", ENGINE, STUCK], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as engine:
        assert engine.stdout is not None
        host = int(engine.stdout.readline())
        time.sleep(0.5)
        lived_with_it = is_alive(host)
        engine.kill()
    deadline = time.monotonic() + 20
    while is_alive(host) and time.monotonic() < deadline:
        time.sleep(0.05)

    assert lived_with_it
    assert not is_alive(host)


def test_a_host_that_joins_for_too_long_is_ended_even_when_no_thread_of_it_runs() -> None:
    """Ray keeps the interpreter's lock while it joins a cluster."""
    began = time.monotonic()
    host = subprocess.run([sys.executable, "-c", JOINING], timeout=30, check=False)

    assert host.returncode == -signal.SIGALRM
    assert time.monotonic() - began < 10
