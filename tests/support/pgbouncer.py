"""A PgBouncer in transaction mode between a test and its database."""

import contextlib
import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

# Debian's package puts it where only root's PATH looks.
BINARY = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
SKIP_REASON = "No PgBouncer is installed; `make programs` installs Debian's package when run as root."
# So few that the connections of one replica alone have to share them.
SERVER_CONNECTIONS = 5
START_SECONDS = 10
# The settings that Debian's version begins with, apart from addresses and sizes, and from the one that
# docs/database.md recommends: no startup parameter is ignored.
CONFIGURATION = """
[databases]
* = host={host} port={server_port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {folder}/users
pool_mode = transaction
default_pool_size = {size}
max_client_conn = 500
server_login_retry = 1
logfile = {folder}/log
"""


@contextlib.contextmanager
def run_pgbouncer(dsn: str, port: int, **settings: object) -> Iterator[str]:
    """Run a PgBouncer during the block and yield the DSN through which it serves the same database.

    Args:
        dsn: any database of the server.
        port: where PgBouncer listens.
        settings: more lines of its configuration.
    """
    if BINARY is None:
        # Only Debian's root can be given it by `make test`; what it tests needs a real one.
        pytest.skip(SKIP_REASON)
    folder = Path(tempfile.mkdtemp(prefix="vectis-xero-pgbouncer-"))
    url = make_url(dsn)
    names = {"host": url.host, "server_port": url.port, "port": port, "size": SERVER_CONNECTIONS}
    lines = [f"{name} = {value}" for name, value in settings.items()]
    (folder / "configuration").write_text("\n".join([CONFIGURATION.format(folder=folder, **names), *lines]))
    (folder / "users").write_text(f'"{url.username}" "{url.password}"\n')
    process = subprocess.Popen([BINARY, "--quiet", folder / "configuration"], **_unprivileged_user(folder))  # type: ignore[call-overload]  # noqa: S603 - PgBouncer itself
    try:
        _wait_until_listening(port, process)
        yield with_port(dsn, port)
    finally:
        process.kill()
        process.wait(START_SECONDS)
        shutil.rmtree(folder)


def with_port(dsn: str, port: int) -> str:
    """Return the DSN of the same database at another port of this machine."""
    url = make_url(dsn).set(host="127.0.0.1", port=port)
    return url.render_as_string(hide_password=False)


def _unprivileged_user(folder: Path) -> dict[str, int | list[int]]:
    """Return the user PgBouncer runs as, which must not be root, and give it the folder."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("nobody")
    for path in (folder, *folder.iterdir()):
        os.chown(path, entry.pw_uid, entry.pw_gid)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _wait_until_listening(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "PgBouncer ended while it started"
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.01)
    raise AssertionError("PgBouncer does not listen")
