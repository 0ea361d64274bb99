"""With the network cut, but for the loopback, the engine does its main job and talks to nobody else."""

import asyncio
import json
import sys
import tempfile

from bench.processes import ROOT
from tests.process.model import Script


async def test_the_main_job_needs_no_network_and_nothing_is_sent_anywhere() -> None:
    # A machine that refuses network namespaces cannot prove this: the test says so and fails, because
    # a promise that is not tried anywhere is not kept. Root, or unprivileged user namespaces, will do.
    with tempfile.TemporaryDirectory(prefix="rugpt-offline-", ignore_cleanup_errors=True) as folder:
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.process.offline", folder),
            cwd=ROOT,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, errors = await asyncio.wait_for(child.communicate(), 55)
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()

    assert child.returncode == 0, errors.decode()[-3000:]
    told = json.loads(output.splitlines()[-1])
    assert "refused" not in told, (
        f"This machine lets nobody make a network namespace ({told['refused']}); run the test as root "
        "or allow unprivileged user namespaces."
    )
    assert told == {"answer": "".join(Script().pieces), "heard": []}
