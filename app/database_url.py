"""The address of the database, how connections to it are encrypted, and what stands between."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

DRIVER = "postgresql+asyncpg"
SCHEMES = frozenset({DRIVER, "postgresql", "postgres"})
# The `sslmode` values of libpq (PostgreSQL's manual, "SSL Support"). The first three do not promise encryption.
OPTIONAL_TLS = ("disable", "allow", "prefer")
REQUIRED_TLS = ("require", "verify-ca", "verify-full")
CERTIFICATE_PARAMETERS = ("sslrootcert", "sslcert", "sslkey")
# The value of `sslrootcert` that means the certificate authorities the operating system trusts.
SYSTEM_AUTHORITIES = "system"
# Where the server listens, if not in the part before the path; a socket's folder can only be given so.
LOCATION_PARAMETERS = frozenset({"host", "port"})
UNDERSTOOD_PARAMETERS = frozenset({"sslmode", "ssl", *CERTIFICATE_PARAMETERS, *LOCATION_PARAMETERS, "channel_binding"})
REFUSED_PARAMETERS = {
    "application_name": "the service sets it itself, because it finds its own transactions by it",
    "connect_timeout": "the service waits for 3 seconds",
    "options": "set such parameters with ALTER ROLE or ALTER DATABASE",
}


class Pooler(StrEnum):
    """What stands between the service and PostgreSQL (DATABASE_POOLER)."""

    NONE = "none"
    TRANSACTION = "transaction"


class DatabaseUrlError(ValueError):
    """The URL cannot be used; the message says why without repeating any of its secrets."""


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """What DATABASE_URL says.

    Attributes:
        url: the server, database, user and password, without the parameters of TLS.
        tls: what asyncpg takes as `ssl`: a context that requires TLS, the name of a mode that does not, or None for
            asyncpg's own default.
    """

    url: URL
    tls: ssl.SSLContext | str | None


def parse_database_url(text: str) -> DatabaseAddress:
    """Read a database URL as managed databases print it, and load the certificates it names.

    Args:
        text: `postgresql://user:password@host:port/database?sslmode=verify-full&sslrootcert=ca.pem`; the schemes
            `postgres` and `postgresql+asyncpg` mean the same.

    Raises:
        DatabaseUrlError: it is no such URL, a parameter or a combination of them cannot be used, or a certificate
            cannot be read.
    """
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise DatabaseUrlError(f"must be a URL such as {DRIVER}://user:password@host:5432/database") from None
    if url.drivername not in SCHEMES:
        raise DatabaseUrlError(f"must begin with {DRIVER}://, postgresql:// or postgres://")
    parameters = {name: _single_value(name, value) for name, value in url.query.items()}
    for name in parameters.keys() - UNDERSTOOD_PARAMETERS:
        reason = REFUSED_PARAMETERS.get(name, "the service does not know it")
        raise DatabaseUrlError(f"the parameter {name} cannot be used: {reason}; remove it")
    _check_channel_binding(parameters.get("channel_binding", "prefer"))
    location = {name: value for name, value in parameters.items() if name in LOCATION_PARAMETERS}
    return DatabaseAddress(url.set(drivername=DRIVER, query=location), _read_tls(parameters))


def _single_value(name: str, value: str | tuple[str, ...]) -> str:
    if not isinstance(value, str):
        raise DatabaseUrlError(f"the parameter {name} must be given once")
    return value


def _check_channel_binding(value: str) -> None:
    # asyncpg authenticates without channel binding. Whoever requires it wants to be sure of the server, which is what
    # a verified certificate gives too; leaving the requirement out unseen would give neither.
    if value == "require":
        raise DatabaseUrlError(
            "channel_binding=require cannot be met; remove it, and use sslmode=verify-full to be sure of the server"
        )
    if value not in {"disable", "prefer"}:
        raise DatabaseUrlError("channel_binding must be disable or prefer")


def _read_tls(parameters: Mapping[str, str]) -> ssl.SSLContext | str | None:
    if "ssl" in parameters and "sslmode" in parameters:
        raise DatabaseUrlError("sslmode and ssl mean the same; give sslmode alone")
    name = "ssl" if "ssl" in parameters else "sslmode"
    mode = parameters.get(name)
    if mode is not None and mode not in OPTIONAL_TLS + REQUIRED_TLS:
        raise DatabaseUrlError(f"{name} must be one of {', '.join(OPTIONAL_TLS + REQUIRED_TLS)}")
    if mode in REQUIRED_TLS:
        return _make_context(mode, parameters)
    if unused := [parameter for parameter in CERTIFICATE_PARAMETERS if parameter in parameters]:
        used_with = ", ".join(REQUIRED_TLS)
        raise DatabaseUrlError(f"{unused[0]} has no effect without sslmode= {used_with}; add one of them")
    return mode


def _make_context(mode: str, parameters: Mapping[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode == "verify-full"
    _trust_authorities(context, mode, parameters.get("sslrootcert"))
    certificate, key = parameters.get("sslcert"), parameters.get("sslkey")
    if key and not certificate:
        raise DatabaseUrlError("sslkey needs sslcert, the certificate that belongs to the key")
    if certificate:
        _load_client_certificate(context, certificate, key)
    return context


def _trust_authorities(context: ssl.SSLContext, mode: str, authorities: str | None) -> None:
    """Trust the authorities of `sslrootcert`; as with libpq, `require` checks no certificate unless it is given."""
    if authorities is None and mode == "require":
        context.verify_mode = ssl.CERT_NONE
    elif authorities is None:
        raise DatabaseUrlError(
            f"sslmode={mode} needs sslrootcert=, the file of the authority that issued the server's certificate,"
            f" or sslrootcert={SYSTEM_AUTHORITIES} for those the operating system trusts"
        )
    elif authorities == SYSTEM_AUTHORITIES:
        if mode != "verify-full":
            # A public authority issues certificates to anyone, so that one without a checked name proves nothing.
            raise DatabaseUrlError(f"sslrootcert={SYSTEM_AUTHORITIES} needs sslmode=verify-full")
        context.load_default_certs()
    else:
        try:
            context.load_verify_locations(cafile=authorities)
        except OSError as error:
            raise _cannot_be_read("sslrootcert", authorities, "certificates in PEM form", error) from None


def _load_client_certificate(context: ssl.SSLContext, certificate: str, key: str | None) -> None:
    try:
        # Without a password of ours, OpenSSL would ask for one at the terminal.
        context.load_cert_chain(certificate, key, password="")
    except OSError as error:
        names = f"{certificate} and {key}" if key else certificate
        what = "a certificate and its unencrypted key in PEM form"
        raise _cannot_be_read("sslcert and sslkey" if key else "sslcert", names, what, error) from None


def _cannot_be_read(parameter: str, path: str, what: str, error: OSError) -> DatabaseUrlError:
    reason = (error.strerror if not isinstance(error, ssl.SSLError) else None) or "its content does not fit"
    return DatabaseUrlError(f"{parameter} must name {what}, and {path} cannot be used: {reason}")
