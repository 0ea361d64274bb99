"""`rugpt serve`: the engine and its API in one process."""

import asyncio
import re
import signal
import socket
import sys
from pathlib import Path

from engine.bootstrap import Engine, open_engine
from engine.core.errors import Unavailable
from engine.core.logging import log
from engine.core.settings import Settings
from engine.domains.organizations import RegistrationClosed

SHUTDOWN_SECONDS = 3
DEFAULT_ADDRESS = "http://127.0.0.1:8100"
LOOK_SECONDS = 0.5
_SECRETS = re.compile(r"^[ \t]*(?:export[ \t]+)?RUGPT_\w*(?:KEY|URL|TOKEN)[ \t]*=[ \t]*\S", re.MULTILINE)


class AddressTaken(Unavailable):
    """Something else listens where the engine should, or the address is not this machine's."""

    code = "address_taken"


async def serve_until_stopped(settings: Settings, *, tiny: bool) -> None:
    """Serve until SIGTERM or SIGINT; streams are then told to reconnect and running work is handed back."""
    import uvicorn

    from engine.api.app import create_app
    from engine.cli.http_limits import LimitedHttp, make_room
    from engine.cli.ray_host import with_runtime

    warn_of_readable_secrets(Path(".env"))
    LimitedHttp.most_connections = make_room()
    settings = with_runtime(settings)
    listener = _bind(settings.host, settings.port)  # First: a port that is taken is told at once.
    async with open_engine(settings, tiny=tiny) as engine:
        api = create_app(engine)
        server = uvicorn.Server(
            uvicorn.Config(
                api,
                host=settings.host,
                port=settings.port,
                loop="none",
                http=LimitedHttp,
                ws="none",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=bool(settings.trusted_proxies),
                forwarded_allow_ips=settings.trusted_proxies,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
                timeout_keep_alive=75,
            )
        )

        def leave() -> None:
            # Streams would keep the server waiting: their readers are told to come back.
            server.force_exit = server.should_exit
            server.should_exit = True
            api.state.hub.say_goodbye()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup lets it outlive its terminal.
                loop.add_signal_handler(number, leave)
        address, port = listener.getsockname()[:2]
        address = f"http://[{address}]:{port}" if ":" in address else f"http://{address}:{port}"
        log.info("listening", address=address, data=str(settings.data_dir))
        banner = asyncio.create_task(_tell_a_person(engine, address)) if sys.stdout.isatty() else None
        ray_host = _keep_ray(engine, tiny=tiny) if settings.runtime == "ray" else None
        await server._serve([listener])  # Not serve(): it would take the signals away from us.
        if engine.stand_in is not None:
            engine.stand_in.retire()  # What the actors hand back is for whoever comes after us.
        for task in (banner, ray_host):
            if task is not None:
                task.cancel()
        if ray_host is not None:
            await asyncio.gather(ray_host, return_exceptions=True)  # Its runs are handed back first.


def _keep_ray(engine: Engine, *, tiny: bool) -> asyncio.Task[None]:
    """Have runs worked by Ray actors until cancelled; the API answers meanwhile."""
    from engine.cli.ray_host import ray_host

    return asyncio.create_task(ray_host(engine, tiny=tiny).run())


def warn_of_readable_secrets(file: Path) -> None:
    """Say in the log when others on this machine can read the keys and addresses in a settings file."""
    try:
        mode, text = file.stat().st_mode, file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return  # There is none, or it is not ours to read: nothing was taken from it.
    if mode & 0o077 and _SECRETS.search(text):
        log.warning("settings_readable_by_others", file=str(file), advice=f"chmod 600 {file}")


def _bind(host: str, port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise AddressTaken(f"Cannot listen on {host}, port {port}: {error.strerror}.") from error
    return listener


async def _tell_a_person(engine: Engine, address: str) -> None:
    """Print where the engine is and what to do next, then how its model comes along."""
    print("\n".join(["", *await _welcome(engine, address), ""]), flush=True)
    said = ""
    while not (state := engine.model_state())["ready"]:
        # A fetch shows its own progress bar; only what keeps the model away is told here.
        detail = str(state["detail"])
        if detail != said and " " in detail and not detail.startswith(("looking", "fetching", "not started")):
            print(f"  Model: {detail}", flush=True)
            said = detail
        await asyncio.sleep(LOOK_SECONDS)
    print(f"  Model: {state['provider']}:{state['name']} is ready.\n", flush=True)


async def _welcome(engine: Engine, address: str) -> list[str]:
    is_new = True
    try:
        await engine.registration.check()
    except RegistrationClosed:
        is_new = False
    data = engine.settings.data_dir
    seed = "scripts/rugpt seed" + ("" if str(data) == "data" else f" --data {data}")
    chat = "scripts/rugpt chat" + ("" if address == DEFAULT_ADDRESS else f" --url {address}")
    first = [f"  {seed:<40} makes a demo organization with people to sign in as"] if is_new else []
    return [
        f"  RuGPT Engine listens on {address}",
        f"  Data lies in {data.resolve()}",
        f"  Model: {engine.model_state().get('reason') or 'being looked for …'}",
        "",
        "  Next, in a second terminal:",
        *first,
        f"  {chat:<40} opens a chat; there, write @@lawyer and a question",
        "",
        "  Ctrl-C stops the engine.",
    ]
