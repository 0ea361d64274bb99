"""llama.cpp in a process of its own: loading a model holds Python's lock for seconds.

Run by its path, it reads from a line on stdin what to serve, and says on stdout where it answers. It ends
when stdin does, and so with whoever has started it, however that ends.
"""

import contextlib
import importlib
import json
import os
import subprocess
import sys
from typing import Any

END_SECONDS = 5.0
PROMPT_CACHE_MB = 256


class LlamaFailed(Exception):
    """llama.cpp could not load a model; its words say why."""


class LlamaServer:
    """A running server, as the process that has started it sees it."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        """Start it and wait until it answers; raises LlamaFailed."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={name: value for name, value in os.environ.items() if not name.startswith("RUGPT_")},
            text=True,
            start_new_session=True,  # Ctrl-C is for the engine, whose runs may end before this does.
        )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(wanted) + "\n")
            self._process.stdin.flush()
            said = json.loads(self._process.stdout.readline() or "{}")
        except (OSError, ValueError):
            said = {}
        finally:
            self._process.stdout.close()
        if "address" not in said:
            self.stop()
            raise LlamaFailed(said.get("error") or f"it ended with status {self._process.returncode}")
        self.address: str = said["address"]

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone."""
        return self._process.poll() is not None

    def stop(self) -> None:
        """End the process and give the model's memory back."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # It has ended, and did not read everything.
            self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def load(wanted: dict[str, Any]) -> Any:
    """Load a model and answer for it, in threads of llama.cpp's own; raises RuntimeError."""
    llama: Any = importlib.import_module("xllamacpp")
    cores = wanted["cores"] or len(os.sched_getaffinity(0))
    params = llama.CommonParams()
    params.model.path = wanted["path"]
    params.model_alias = {wanted["name"]}
    # The window is divided among the slots, and each answer shall have the whole of what was set.
    params.n_ctx = wanted["context_tokens"] * wanted["parallel"]
    params.n_parallel = wanted["parallel"]
    # Its threads wait for one another after every layer. With one on each core, anything else that runs
    # (our database does) makes it six times slower; with one core left free it hardly notices.
    params.cpuparams.n_threads = max(1, cores - 1)
    params.cpuparams_batch.n_threads = cores  # A prompt is read in large pieces, with little waiting.
    params.cpuparams.poll = 0  # Waiting by spinning would take the time of the one that is waited for.
    params.cpuparams_batch.poll = 0
    params.cache_ram_mib = PROMPT_CACHE_MB  # by default it would keep 8 GB of old prompts
    params.fit_params = False
    params.offline = True
    params.verbosity = -1  # nothing on our streams
    params.ui = False
    params.endpoint_slots = wanted["tells_slots"]  # what says how busy it is
    params.hostnames = [wanted["host"]]
    params.port = wanted["port"]
    params.api_keys = [wanted["key"]]
    params.cors_origins = ""
    return llama.Server(params)


def main() -> None:
    """Serve what stdin says until it ends."""
    answer = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # Whatever a library prints is no answer.
    try:
        server = load(json.loads(sys.stdin.readline()))
    except RuntimeError as error:
        print(json.dumps({"error": str(error)}), file=answer, flush=True)
        sys.exit(1)
    print(json.dumps({"address": server.listening_address}), file=answer, flush=True)
    sys.stdin.read()
    os._exit(0)  # Whoever is still being answered has nobody to tell.


if __name__ == "__main__":
    main()
