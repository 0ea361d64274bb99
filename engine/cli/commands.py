"""The commands of `rugpt` and their options; what they do lies beside this file, imported when called."""

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from engine.core.errors import Refusal
from engine.core.logging import set_up_logging
from engine.core.settings import Settings

Result = TypeVar("Result")

app = typer.Typer(
    name="rugpt",
    help="RuGPT Engine: AI roles that answer in group chats, and people who sign what they say.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DataFolder = Annotated[
    Path | None, typer.Option("--data", help="Folder of the embedded database, the key and models.")
]
Tiny = Annotated[bool, typer.Option("--tiny", help="Answer with the smallest embedded model.")]


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    data: DataFolder = None,
    tiny: Tiny = False,
    runtime: Annotated[
        str | None, typer.Option(help="Who works runs: `ray`, Ray actors, or `inline`, this process.")
    ] = None,
) -> None:
    """Start the engine and serve its API until it is stopped."""
    from engine.cli.serve import serve_until_stopped

    _run(serve_until_stopped(_settings(host=host, port=port, data_dir=data, runtime=runtime), tiny=tiny))


@app.command()
def worker(
    address: Annotated[str | None, typer.Option(help="The Ray cluster to join, as HOST:PORT.")] = None,
    cpus: Annotated[int | None, typer.Option(min=0, help="Processors to offer; all by default.")] = None,
    gpus: Annotated[int | None, typer.Option(min=0, help="GPUs to offer; all by default.")] = None,
) -> None:
    """Let this machine of a cluster work runs until it is stopped."""
    from engine.cli.worker import work_until_stopped

    _run(work_until_stopped(_settings(ray_address=address), cpus=cpus, gpus=gpus))


@app.command()
def migrate(
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would run.")] = False,
    data: DataFolder = None,
) -> None:
    """Bring the database to the schema of this release."""
    from engine.cli.migrate import migrate_database

    _run(migrate_database(_settings(data_dir=data, log_level="warning"), only_plan=plan))


@app.command()
def doctor(
    data: DataFolder = None,
    tiny: Tiny = False,
    start: Annotated[
        bool, typer.Option("--start", help="Start a stopped embedded database to look into it.")
    ] = False,
) -> None:
    """Say what is configured, reachable and missing; nothing is changed."""
    from engine.cli.doctor import examine

    sys.exit(_run(examine(_settings(data_dir=data, log_level="warning"), tiny=tiny, start=start)))


@app.command()
def chat(
    url: Annotated[
        str | None, typer.Option(help="Where the engine listens; by default on this machine.")
    ] = None,
    username: Annotated[str | None, typer.Option(help="Who signs in; asked for when not given.")] = None,
    organization: Annotated[
        str | None, typer.Option(help="The organization's slug, where a name is used in several.")
    ] = None,
    room: Annotated[str | None, typer.Option("--chat", help="Title of the chat to open.")] = None,
) -> None:
    """Talk in a chat from the terminal: post, call roles, watch them answer, sign."""
    from engine.cli.chat import talk

    settings = _settings(log_level="warning")
    _run(
        talk(
            url or f"http://127.0.0.1:{settings.port}",
            username=username,
            organization=organization,
            title=room,
        )
    )


@app.command()
def seed(
    remove: Annotated[bool, typer.Option("--remove", help="Remove the organization, all of it.")] = False,
    reset_passwords: Annotated[
        bool, typer.Option("--reset-passwords", help="Make new passwords for its people.")
    ] = False,
    data: DataFolder = None,
) -> None:
    """Make the demo organization "Ромашка": people, chats, first messages."""
    from engine.cli.seed import seed_database

    settings = _settings(data_dir=data, log_level="warning")
    _run(seed_database(settings, remove=remove, reset_passwords=reset_passwords))


@app.command("gpu-config")
def gpu_config(
    source: Annotated[str, typer.Argument(help="The model: its name on Hugging Face, or a folder.")],
    accelerator: Annotated[
        str | None, typer.Option(help="The kind of GPU to be placed on, such as L4 or H100; any by default.")
    ] = None,
    least: Annotated[int, typer.Option("--min", help="Replicas at least.")] = 1,
    most: Annotated[int, typer.Option("--max", help="Replicas at most.")] = 1,
    gpus: Annotated[int, typer.Option(help="GPUs of each replica.")] = 1,
    memory: Annotated[float, typer.Option(help="Share of a GPU's memory that vLLM takes.")] = 0.9,
    slots: Annotated[int, typer.Option(help="Answers that a replica writes at once.")] = 64,
    host: Annotated[str, typer.Option(help="Where Serve's proxy listens.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Its port.")] = 8000,
) -> None:
    """Print the configuration by which Ray Serve serves a model on GPUs with vLLM, checked."""
    from ray_cluster import gpu

    config = gpu.gpu_config(
        _settings(log_level="warning"),
        source=source,
        accelerator=accelerator,
        replicas=(least, max(least, most)),
        gpus_each=gpus,
        memory_share=memory,
        slots=slots,
        host=host,
        port=port,
    )
    if not gpu.check_with_ray(config):
        typer.echo("ray[llm] is not installed here: checked by our own schema alone.", err=True)
    typer.echo(gpu.written(config), nl=False)


def main() -> None:
    """Run a command; a refusal is told in one line."""
    try:
        app()
    except Refusal as refusal:
        typer.secho(f"rugpt: {refusal.message}", fg=typer.colors.RED, err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    except asyncio.CancelledError:  # SIGTERM, where a command ends by it.
        sys.exit(143)


def _run(work: Coroutine[Any, Any, Result]) -> Result:
    with asyncio.Runner(loop_factory=_event_loop) as runner:
        return runner.run(work)


def _event_loop() -> asyncio.AbstractEventLoop:
    import uvloop

    return uvloop.new_event_loop()


def _settings(**given: object) -> Settings:
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from engine.core.errors import Invalid

    try:
        settings = Settings(**{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    except ValidationError as error:
        raise Invalid(
            "; ".join(_setting_problem(each["loc"], each["msg"]) for each in error.errors())
        ) from None
    except (SettingsError, PermissionError) as error:  # a file that is not for this user's eyes
        raise Invalid(f"The settings cannot be read: {error.__cause__ or error}") from None
    set_up_logging(settings.log_level)
    return settings


def _setting_problem(where: tuple[int | str, ...], message: str) -> str:
    # The value is not repeated: it may be a secret.
    name = "_".join(str(part) for part in where).upper()
    return f"RUGPT_{name}: {message.removeprefix('Value error, ')}"
