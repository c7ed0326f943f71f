"""Addresses are understood as Apprise understands them, and no part of one that may be a secret is shown."""

import pytest

from app.prepared_settings import read_settings
from app.settings import SettingsError
from app.sync.notifications.addresses import parse_addresses

CANARY = "TIiajkdnlazkcOXrIdevi7FQ"
SLACK = f"slack://T1JJ3T3L2/A1BRTD4JD/{CANARY}"
MAIL = f"mailtos://me:{CANARY}@example.com?smtp=smtp.example.com"
TELEGRAM = f"tgram://123456789:{CANARY}_abcdefgh/12315544/"


@pytest.fixture(autouse=True)
def _empty_working_directory(tmp_path, monkeypatch):
    """Run in a folder without a `.env` file."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("url", "name"),
    [
        (f"json://user:{CANARY}@hooks.example.com:8443/{CANARY}?x={CANARY}", "json://hooks.example.com"),
        (MAIL, "mailtos://example.com"),
        (SLACK, "slack://"),
        (TELEGRAM, "tgram://"),
        (f"https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/{CANARY}", "https://"),
        # The part before a slash would be taken for the host, though it is a user's name.
        (f"json://{CANARY}/secret@example.com/", "json://"),
    ],
)
def test_the_name_of_an_address_is_its_scheme_and_its_host_where_that_is_no_secret(url, name):
    [address] = parse_addresses(url)
    assert address.name == name
    assert CANARY not in repr(address)


def test_addresses_are_separated_by_blanks_and_line_ends_and_known_by_a_fingerprint():
    assert parse_addresses(" \n ") == []
    first, second = parse_addresses(f"\n{SLACK}  {MAIL}\n{SLACK}\n")
    assert (first.url, second.url) == (SLACK, MAIL)
    assert first.fingerprint != second.fingerprint
    assert parse_addresses(SLACK)[0].fingerprint == first.fingerprint


@pytest.mark.parametrize(
    ("second", "scheme"),
    [
        ("slack://too-short", "slack://"),
        (f"{CANARY}://host", "of an unknown scheme"),
        (CANARY, "of an unknown scheme"),
        (f"json://us@er:{CANARY}/x@host/", "json://"),
    ],
)
def test_an_address_that_cannot_be_used_is_named_at_start_by_position_and_scheme_alone(
    monkeypatch, tmp_path, second, scheme
):
    path = tmp_path / "urls"
    path.write_text(f"{SLACK}\n{second}\n")
    monkeypatch.setenv("NOTIFY_URLS_FILE", str(path))
    with pytest.raises(SettingsError) as raised:
        read_settings()
    assert str(raised.value) == f"NOTIFY_URLS: address 2 ({scheme}) is none that Apprise can use."
    assert raised.value.__cause__ is None
