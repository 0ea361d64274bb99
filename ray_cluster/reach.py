"""Whether a machine that joins reaches the database whose runs it is to work."""

import socket
from typing import Any
from urllib.parse import parse_qs, urlsplit

from engine.core.errors import Unavailable
from engine.core.settings import Settings

CONNECT_SECONDS = 3.0
CALL_SECONDS = 4.0
POSTGRES_PORT = 5432


class DatabaseOutOfReach(Unavailable):
    """This machine cannot reach the database of the engines whose cluster it joins."""

    code = "database_out_of_reach"


def database_place(settings: Settings) -> tuple[str, int]:
    """Return where the database listens: host and port, or the folder of its socket."""
    assert settings.database_url is not None, "an engine tells its actors where the database is"
    parts = urlsplit(settings.database_url.get_secret_value())
    asked = parse_qs(parts.query)
    host = parts.hostname or asked.get("host", ["localhost"])[0]
    return host, parts.port or int(asked.get("port", [str(POSTGRES_PORT)])[0])


def require_database(ray: Any, supervisors: list[Any]) -> None:
    """Raise DatabaseOutOfReach when a database that these supervisors work for does not answer here."""
    try:
        places = ray.get([each.database_place.remote() for each in supervisors], timeout=CALL_SECONDS)
    except (ray.exceptions.RayError, TimeoutError):
        return  # Nobody who could tell; those that come later will find out.
    for host, port in places:
        try:
            if host.startswith("/"):
                with socket.socket(socket.AF_UNIX) as local:
                    local.connect(f"{host}/.s.PGSQL.{port}")
            else:
                socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
        except OSError as error:
            raise DatabaseOutOfReach(
                f"The engine's database at {host}, port {port}, does not answer on this machine: {error}."
                " RUGPT_DATABASE_URL of the engine must be an address that every machine reaches."
            ) from error
