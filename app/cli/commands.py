"""The `vectis-xero` commands."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated

import typer
import uvicorn
from rich.console import Console

from app import main as composition
from app.api.auth import Role, mint_token
from app.api.metrics import shared_metrics
from app.api.server.options import server_options
from app.audit import AuditEntry
from app.cli.address import check_address
from app.cli.demo.run import run_demo
from app.cli.report import print_check, print_status, report_from_settings
from app.cli.sync import sync_from_settings
from app.clock import SystemClock
from app.connections.key_rotation import RotationResult, rotate
from app.crypto import Sealer
from app.db import DatabaseUnavailable, UnusableRole, grant_to_service
from app.embedded_postgres import EmbeddedPostgresError
from app.generated_secrets import generated_jwt_secret
from app.log import configure_logging
from app.prepared_settings import prepare_settings, read_settings
from app.settings import Settings, SettingsError, find_unknown_settings, load_settings, parse_keys
from app.version import VERSION

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
error_console = Console(stderr=True)

Port = Annotated[int, typer.Option(min=0, max=65535)]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _print_version(is_wanted: bool) -> None:  # noqa: FBT001 - the form of an option's callback
    if is_wanted:
        typer.echo(f"vectis-xero {VERSION}")
        raise typer.Exit


@app.callback()
def describe_program(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Xero in Vectis."""


@app.command()
def status(*, as_json: AsJson = False) -> None:
    """Say how the connection stands; exit status 1 when something needs a person."""
    with _usable_settings() as settings:
        raise typer.Exit(asyncio.run(report_from_settings(settings, partial(print_status, as_json=as_json))))


@app.command()
def check(*, as_json: AsJson = False) -> None:
    """Try everything a sync needs, without changing anything; exit status 0 exactly when all of it works."""
    with _usable_settings() as settings:
        raise typer.Exit(asyncio.run(report_from_settings(settings, partial(print_check, as_json=as_json))))


@app.command()
def serve(
    host: str = "127.0.0.1",
    port: Port = 8000,
    workers: Annotated[int, typer.Option(min=1)] = 1,
    *,
    migrate_first: Annotated[bool, typer.Option("--migrate", help="Bring the schema up to date first.")] = False,
) -> None:
    """Serve HTTP, and sync on a schedule unless SCHEDULER_ENABLED is false."""
    with _usable_settings(partial(check_address, host, port)) as settings:
        if migrate_first or load_settings().database_url is None:
            composition.migrate_database(settings)
        _greet(settings)
        # After its shutdown uvicorn raises the signal again; the default handler would end this process before the
        # embedded server is stopped.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
        # Each worker process reads the environment again and uses the same embedded server, if there is one.
        with shared_metrics(workers):
            uvicorn.run(
                "app.main:build",
                factory=True,
                host=host,
                port=port,
                workers=workers,
                **server_options(settings.max_connections),
            )


@app.command()
def demo(*, once: Annotated[bool, typer.Option("--once", help="Exit after the last step.")] = False) -> None:
    """Run the demo on the embedded PostgreSQL and the Xero simulator, and serve until Ctrl-C."""
    raise typer.Exit(run_demo(once=once))


@app.command(name="migrate")
def migrate_command(
    service_role: Annotated[
        str | None,
        typer.Option(help="Another role, which the service connects as; it may read and write, and alter nothing."),
    ] = None,
) -> None:
    """Migrate the schema to the newest version; with --service-role, let that role use it."""
    with _usable_settings() as settings:
        composition.migrate_database(settings)
        if service_role:
            asyncio.run(_grant_to_service(settings, service_role))


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []})
def simulator(context: typer.Context) -> None:
    """Run the Xero simulator; --help lists its options."""
    # The simulator takes the place of this process, so that signals reach it and its exit status is the command's.
    command = [sys.executable, "-m", "simulator", *context.args]
    os.execv(sys.executable, command)  # noqa: S606 - the operator's own arguments, without a shell


@app.command()
def sync(
    tenant: Annotated[list[str] | None, typer.Option(help="Id of the organisation to sync; repeatable.")] = None,
) -> None:
    """Sync the selected organisations now, with progress bars."""
    with _usable_settings() as settings:
        raise typer.Exit(asyncio.run(sync_from_settings(settings, tenant or None)))


@app.command()
def token(
    role: Annotated[Role, typer.Option(help="The role of the token's holder.")],
    subject: Annotated[str | None, typer.Option(help="The claim `sub`.", show_default="operator-ROLE")] = None,
    hours: Annotated[float, typer.Option(min=0.01, max=8760)] = 8,
) -> None:
    """Mint an HS256 token for the API and print it."""
    settings = load_settings()
    if settings.auth_jwt_secret:
        secret = settings.auth_jwt_secret.get_secret_value()
    elif settings.database_url is None:
        secret = generated_jwt_secret(settings.data_dir)
    else:
        raise SettingsError("AUTH_JWT_SECRET is not set; tokens of an identity provider cannot be minted here.")
    now = SystemClock().now()
    # The default names the role, so that the audit trail tells the holders of two such tokens apart.
    subject = subject or f"operator-{role}"
    typer.echo(mint_token(secret, role, subject, hours=hours, audience=settings.auth_jwt_audience, now=now))


@app.command()
def rotate_keys() -> None:
    """Encrypt every secret with the newest key of ENCRYPTION_KEYS; the older keys can be removed afterwards.

    Exit status 1: some cannot be decrypted. One that was interrupted is continued by the next.
    """
    with _usable_settings() as settings:
        rotated = asyncio.run(_rotate(settings))
    typer.echo(_describe_rotation(rotated))
    raise typer.Exit(1 if rotated.unreadable else 0)


@app.command()
def openapi() -> None:
    """Print the OpenAPI schema."""
    typer.echo(composition.describe(), nl=False)


def main() -> None:
    """Run a command. An error that an operator can fix is one sentence on stderr and exit status 2, no traceback."""
    try:
        app()
    except (SettingsError, EmbeddedPostgresError, DatabaseUnavailable) as error:
        for line in str(error).splitlines():
            error_console.print(f"vectis-xero: {line}", style="red", markup=False, highlight=False, soft_wrap=True)
        sys.exit(2)


@contextmanager
def _usable_settings(check: Callable[[], None] = lambda: None) -> Iterator[Settings]:
    """Yield complete settings; while the block runs, the embedded server runs too if no database is configured.

    Args:
        check: raises SettingsError for what else the command needs; called before anything is started.
    """
    settings = read_settings()
    configure_logging(settings.log_level, settings.log_format)
    for sentence in find_unknown_settings():
        error_console.print(f"vectis-xero: {sentence}", style="yellow", markup=False, highlight=False, soft_wrap=True)
    check()
    ready = prepare_settings(settings)
    try:
        yield ready.settings
    finally:
        ready.close()


def _greet(settings: Settings) -> None:
    """Tell whoever started the service where the console is and how to sign in; others read the log."""
    if sys.stderr.isatty():
        error_console.print(
            f"The console is at {settings.return_url}. To sign in, make a token: vectis-xero token --role admin",
            highlight=False,
            soft_wrap=True,
        )


async def _grant_to_service(settings: Settings, role: str) -> None:
    """Let the service's role use the schema, except for changing the audit trail.

    Raises:
        SettingsError: there is no such role, or it is the one that migrates.
    """
    db = composition.open_database(settings)
    try:
        await grant_to_service(db, role, [AuditEntry.__tablename__])
    except UnusableRole as error:
        raise SettingsError(f"--service-role: {error}") from error
    finally:
        await db.close()


async def _rotate(settings: Settings) -> RotationResult:
    keys = settings.encryption_keys
    db = composition.open_database(settings)
    try:
        return await rotate(db, Sealer(parse_keys(keys.get_secret_value() if keys else "")), "command")
    finally:
        await db.close()


def _describe_rotation(rotated: RotationResult) -> str:
    told = f"{rotated.resealed} of {rotated.total} secrets were encrypted again; {rotated.current} of {rotated.total} "
    if not rotated.unreadable:
        return f"{told}use the newest key now, so the older keys can be removed."
    return (
        f"{told}use the newest key now. {rotated.unreadable} cannot be decrypted and stay as they are: their key is "
        "missing or they were altered. The set-up page says which; put the key back and rotate again, or enter them "
        "again."
    )


if __name__ == "__main__":
    main()
