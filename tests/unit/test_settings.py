"""Settings: an invalid value is reported in one sentence that names its variable."""

import pytest

from app.prepared_settings import read_settings
from app.settings import SettingsError, find_unknown_settings, load_settings, parse_keys

KEY = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE="


@pytest.fixture(autouse=True)
def _empty_working_directory(tmp_path, monkeypatch):
    """Run in a folder without a `.env` file."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("DATABASE_URL", "mysql://localhost/x"),
        ("DATABASE_URL", "sqlite+aiosqlite://"),
        ("PUBLIC_URL", "localhost:8000"),
        ("PUBLIC_URL", "https://x.example/?q=1"),
        ("FRONTEND_URL", "javascript:alert(1)"),
        ("ENCRYPTION_KEYS", "no-key-at-all"),
        ("ENCRYPTION_KEYS", "k1:c2hvcnQ="),
        ("ENCRYPTION_KEYS", f"k1:{KEY},k1:{KEY}"),
        ("AUTH_JWT_SECRET", "short"),
        ("XERO_SCOPE_SET", "wide"),
        ("XERO_REQUESTS_PER_MINUTE", "0"),
        ("XERO_REQUESTS_PER_MINUTE", "many"),
        ("XERO_DAILY_CAP_PAUSE_AT", "1.5"),
        ("XERO_PAGE_SIZE", "1001"),
        ("XERO_WEBHOOK_ACK", "loud"),
        ("SYNC_INTERVAL_SECONDS", "-1"),
        ("BILLING_TIMEZONE", "Mars/Olympus"),
        ("BILLING_TIMEZONE", "../etc/passwd"),
        ("WEBHOOK_EVENT_DAYS", "44"),
        ("SCHEDULER_ENABLED", "perhaps"),
        ("LOG_LEVEL", "loud"),
    ],
)
def test_an_invalid_value_is_reported_in_one_sentence_that_names_the_variable(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        read_settings()
    assert str(raised.value).startswith(name)
    assert str(raised.value).count("\n") == 0
    assert value not in str(raised.value) or name not in {"ENCRYPTION_KEYS", "AUTH_JWT_SECRET", "DATABASE_URL"}


def test_a_secret_can_be_read_from_a_file(monkeypatch, tmp_path):
    path = tmp_path / "secret"
    path.write_text("the secret of the app\n")
    monkeypatch.setenv("XERO_CLIENT_SECRET_FILE", str(path))
    secret = load_settings().xero_client_secret
    assert secret is not None
    assert secret.get_secret_value() == "the secret of the app"


def test_the_error_names_a_secret_file_that_cannot_be_read(monkeypatch):
    monkeypatch.setenv("AUTH_JWT_SECRET_FILE", "/does/not/exist")
    with pytest.raises(SettingsError, match=r"AUTH_JWT_SECRET_FILE names /does/not/exist"):
        load_settings()


def test_only_secrets_are_read_from_files(monkeypatch, tmp_path):
    path = tmp_path / "url"
    path.write_text("https://elsewhere.example")
    monkeypatch.setenv("PUBLIC_URL_FILE", str(path))
    assert load_settings().public_url == "http://localhost:8000"


def test_a_repr_contains_no_secret(monkeypatch):
    monkeypatch.setenv("XERO_CLIENT_SECRET", "canary-canary")
    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://user:canary-canary@host/db")
    assert "canary" not in repr(load_settings())


def test_urls_are_derived_from_the_public_url(monkeypatch):
    monkeypatch.setenv("PUBLIC_URL", "https://billing.example.com/")
    settings = load_settings()
    assert settings.redirect_uri("xero") == "https://billing.example.com/api/integrations/xero/callback"
    assert settings.return_url == "https://billing.example.com/console"


def test_a_configured_database_requires_configured_secrets(monkeypatch):
    monkeypatch.setenv("DATABASE_URL", "postgresql+asyncpg://host/db")
    with pytest.raises(SettingsError, match="ENCRYPTION_KEYS"):
        read_settings()
    monkeypatch.setenv("ENCRYPTION_KEYS", f"k1:{KEY}")
    with pytest.raises(SettingsError, match="AUTH_JWT_SECRET"):
        read_settings()
    monkeypatch.setenv("AUTH_JWKS_URL", "https://id.example.com/keys")
    assert read_settings().encryption_keys is not None


def test_encryption_keys_keep_their_order():
    assert list(parse_keys(f"k2:{KEY}, k1:{KEY}")) == ["k2", "k1"]


def test_everything_that_is_wrong_is_reported_at_once_with_the_values_that_are_no_secrets(monkeypatch):
    wrong = {
        "SYNC_INTERVAL_SECONDS": "soon",
        "XERO_PAGE_SIZE": "1001",
        "LOG_LEVEL": "loud",
        "ENCRYPTION_KEYS": "canary",
        "XERO_SCOPE_SET": "wide",
        "XERO_DAILY_CAP": "0",
        "SCHEDULER_ENABLED": "perhaps",
        "PUBLIC_URL": "billing",
    }
    for name, value in wrong.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        read_settings()
    told = dict(line.split(": ", 1) for line in str(raised.value).splitlines())
    assert told == {
        "SYNC_INTERVAL_SECONDS": "must be a whole number, and is 'soon'.",
        "XERO_PAGE_SIZE": "must be at most 1000, and is '1001'.",
        "LOG_LEVEL": "must be 'debug', 'info', 'warning' or 'error', and is 'loud'.",
        "ENCRYPTION_KEYS": "must be id:base64(32 bytes), comma separated, newest first, each id once.",
        "XERO_SCOPE_SET": "must be 'broad' or 'granular', and is 'wide'.",
        "XERO_DAILY_CAP": "must be at least 1, and is '0'.",
        "SCHEDULER_ENABLED": "must be true or false, and is 'perhaps'.",
        "PUBLIC_URL": "must be an address such as https://billing.example.com, without ? and #, and is 'billing'.",
    }


def test_names_that_are_no_settings_are_told_with_the_one_that_was_probably_meant(monkeypatch, tmp_path):
    for name in ("XERO_CLIENTID", "XERO_CLIENT_SECRET_FILE", "XERO_PAGE_SIZE", "xero_webhook_key"):
        monkeypatch.setenv(name, "x")
    (tmp_path / ".env").write_text("XERO_RATE=3\nOTHER_RATE=3\n")
    assert find_unknown_settings() == [
        "XERO_CLIENTID is no setting and has no effect; did you mean XERO_CLIENT_ID?",
        "XERO_RATE is no setting and has no effect.",
    ]
