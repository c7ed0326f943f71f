"""Each event is one log line, and no line contains a secret."""

import json
import logging

import pytest
import structlog

from app.log import configure_logging, redact


@pytest.fixture(autouse=True)
def _restored_logging():
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def lines(capsys):
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_an_event_is_one_json_line_whatever_its_values_contain(capsys):
    configure_logging("info", "json")
    structlog.get_logger("x").info("happened", name='Ltd\r\n{"level": "critical"}\x1b[31m', tenant_id="t")
    [line] = lines(capsys)
    assert (line["event"], line["level"], line["tenant_id"]) == ("happened", "info", "t")
    assert line["timestamp"].endswith("Z")


def test_secrets_are_redacted_by_name(capsys):
    configure_logging("info", "json")
    structlog.get_logger("x").warning("w", access_token="a", Authorization="b", client_secret="c", fencing_token=7)
    [line] = lines(capsys)
    assert (line["access_token"], line["Authorization"], line["client_secret"]) == ("[redacted]",) * 3
    assert line["fencing_token"] == 7


def test_a_traceback_contains_no_local_values(capsys):
    configure_logging("info", "console")

    def fail():
        password_in_a_local = "canary-canary"
        raise ValueError(len(password_in_a_local))

    try:
        fail()
    except ValueError:
        structlog.get_logger("x").exception("failed")
    assert "canary-canary" not in capsys.readouterr().err.replace('password_in_a_local = "canary-canary"', "")


def test_records_of_libraries_have_the_same_format(capsys):
    configure_logging("info", "json")
    logging.getLogger("some.library").warning("hello")
    logging.getLogger("httpx").info("GET https://example.com/?token=abc")
    [line] = lines(capsys)
    assert (line["event"], line["logger"]) == ("hello", "some.library")


def test_redaction_depends_on_the_field_name_only():
    assert redact(None, "info", {"event": "token refreshed", "grant_id": "g"}) == {
        "event": "token refreshed",
        "grant_id": "g",
    }
