"""Whether whoever joins a cluster reaches it, is on a machine of it, and reaches the database of its runs."""

import socket
from typing import Any
from urllib.parse import parse_qs, urlsplit

from engine.core.errors import Unavailable
from engine.core.settings import Settings

CONNECT_SECONDS = 3.0
CALL_SECONDS = 4.0
POSTGRES_PORT = 5432


class ClusterOutOfReach(Unavailable):
    """Nobody answers where the head of the cluster should be."""

    code = "cluster_out_of_reach"


class NoNodeHere(Unavailable):
    """This machine is none of the cluster's, and only from one of those can it be used."""

    code = "no_node_here"


class DatabaseOutOfReach(Unavailable):
    """This machine cannot reach the database of the engines whose cluster it joins."""

    code = "database_out_of_reach"


def require_cluster(address: str) -> None:
    """Raise ClusterOutOfReach when nobody answers at an address; Ray would try for a minute."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    except (OSError, ValueError) as error:
        raise ClusterOutOfReach(f"No Ray cluster answers at {address}: {error}.") from error


def require_node(address: str) -> None:
    """Raise NoNodeHere when no part of a cluster runs here; Ray would look for one for a minute."""
    from ray._private import services

    if not services.find_node_ids():  # type: ignore[no-untyped-call]  # Ray gives it no types.
        raise NoNodeHere(
            f"This machine is none of the cluster's. Let it join by `rugpt worker --address {address}`, with"
            " `--cpus 0` where it shall work no runs."
        )


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
