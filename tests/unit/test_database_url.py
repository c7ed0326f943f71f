"""DATABASE_URL: addresses as managed databases print them, and one sentence for what cannot be used."""

import ssl

import pytest

from app.database_url import DatabaseUrlError, parse_database_url
from app.settings import SettingsError, load_settings
from tests.support.certificates import Authority

SERVER = "user:canary-word@db.example.com:6543/billing"


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_every_scheme_of_a_postgresql_means_the_same(scheme):
    address = parse_database_url(f"{scheme}://user:p%40ss@db.example.com:6543/billing")
    assert address.url.drivername == "postgresql+asyncpg"
    assert (address.url.username, address.url.password) == ("user", "p@ss")
    assert (address.url.host, address.url.port, address.url.database) == ("db.example.com", 6543, "billing")
    assert address.tls is None


@pytest.mark.parametrize("name", ["sslmode", "ssl"])
@pytest.mark.parametrize("mode", ["disable", "allow", "prefer"])
def test_modes_that_promise_nothing_are_passed_on(name, mode):
    address = parse_database_url(f"postgresql://{SERVER}?{name}={mode}&channel_binding=prefer")
    assert address.tls == mode
    assert not address.url.query


@pytest.mark.parametrize(
    ("parameters", "verifies", "checks_name"),
    [
        ("sslmode=require", ssl.CERT_NONE, False),
        ("sslmode=require&sslrootcert={authority}", ssl.CERT_REQUIRED, False),
        ("sslmode=verify-ca&sslrootcert={authority}", ssl.CERT_REQUIRED, False),
        ("sslmode=verify-full&sslrootcert={authority}", ssl.CERT_REQUIRED, True),
        ("sslmode=verify-full&sslrootcert=system", ssl.CERT_REQUIRED, True),
    ],
)
def test_a_mode_verifies_what_libpq_verifies(authority, parameters, verifies, checks_name):
    tls = parse_database_url(f"postgresql://{SERVER}?{parameters.format(authority=authority.certificate)}").tls
    assert isinstance(tls, ssl.SSLContext)
    assert (tls.verify_mode, tls.check_hostname) == (verifies, checks_name)
    trusted = [found["subject"] for found in tls.get_ca_certs()]
    assert (((("commonName", "authority"),),) in trusted) == ("{authority}" in parameters)


def test_the_folder_of_a_socket_is_kept():
    assert parse_database_url("postgresql://user@/billing?host=/run/postgresql").url.query == {
        "host": "/run/postgresql"
    }


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ("sslmode=always", "sslmode must be one of disable"),
        ("ssl=true", "ssl must be one of disable"),
        ("sslmode=require&ssl=require", "give sslmode alone"),
        ("sslmode=require&sslmode=disable", "sslmode must be given once"),
        ("sslmode=verify-full", "needs sslrootcert="),
        ("sslmode=verify-ca", "needs sslrootcert="),
        ("sslmode=verify-ca&sslrootcert=system", "needs sslmode=verify-full"),
        ("sslmode=verify-full&sslrootcert=/no/such/file", "/no/such/file cannot be used: No such file"),
        ("sslmode=verify-full&sslrootcert={folder}", "{folder} cannot be used: Is a directory"),
        ("sslmode=verify-full&sslrootcert={text}", "{text} cannot be used: its content does not fit"),
        ("sslmode=require&sslcert=/no/such/file", "sslcert must name"),
        ("sslmode=require&sslkey={key}", "sslkey needs sslcert"),
        ("sslmode=require&sslcert={certificate}", "sslcert must name"),
        ("sslmode=require&sslcert={certificate}&sslkey={other_key}", "its content does not fit"),
        ("sslmode=require&sslcert={certificate}&sslkey={encrypted_key}", "unencrypted key"),
        ("sslrootcert={authority}", "sslrootcert has no effect"),
        ("sslmode=prefer&sslcert={certificate}&sslkey={key}", "sslcert has no effect"),
        ("sslmode=require&channel_binding=require", "channel_binding=require cannot be met"),
        ("channel_binding=always", "channel_binding must be"),
        ("application_name=other", "application_name cannot be used"),
        ("options=-c%20statement_timeout%3D0", "options cannot be used"),
        ("connect_timeout=10", "connect_timeout cannot be used"),
        ("prepared_statement_cache_size=500", "prepared_statement_cache_size cannot be used"),
    ],
)
def test_what_cannot_be_used_is_named_in_one_sentence_without_the_password(
    authority, tmp_path, monkeypatch, parameters, words
):
    (certificate, key), (_, other_key) = authority.issue("client"), authority.issue("other")
    text = tmp_path / "text"
    text.write_text("no certificate")
    files = {
        "authority": authority.certificate,
        "folder": tmp_path,
        "text": text,
        "certificate": certificate,
        "key": key,
        "other_key": other_key,
        "encrypted_key": authority.encrypt_key(key, b"a passphrase"),
    }
    monkeypatch.setenv("DATABASE_URL", f"postgresql://{SERVER}?{parameters.format(**files)}")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    message = str(raised.value)
    assert message.startswith("DATABASE_URL: ")
    assert words.format(**files) in message
    assert "\n" not in message
    assert "canary" not in message


@pytest.mark.parametrize(
    "text", ["", "billing", "mysql://host/x", "postgresql+psycopg://host/x", "postgres://h:port/x"]
)
def test_what_is_no_address_of_a_postgresql_is_refused(text):
    with pytest.raises(DatabaseUrlError, match=r"^must be"):
        parse_database_url(text)
