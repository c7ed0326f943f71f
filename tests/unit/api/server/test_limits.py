"""A process serves no more connections than it may open files for, and logs refusals without filling the log."""

import resource

import pytest
from structlog.testing import capture_logs

from app.api.server.limits import RESERVED_FILES, usable_connections
from app.api.server.refusals import Refusal, RefusalLog

UNLIMITED = resource.RLIM_INFINITY


@pytest.mark.parametrize(
    ("soft", "hard", "usable", "raised_to"),
    [
        (256, 256, 256 - RESERVED_FILES, None),
        (100, 100, 25, None),
        (1024, 4096, 1000, 1000 + RESERVED_FILES),
        (1024, 1100, 1100 - RESERVED_FILES, 1100),
        (1024, UNLIMITED, 1000, 1000 + RESERVED_FILES),
        (20_000, 20_000, 1000, None),
        (UNLIMITED, UNLIMITED, 1000, None),
    ],
)
def test_connections_leave_files_for_the_rest_of_the_process(monkeypatch, soft, hard, usable, raised_to):
    limits = [(soft, hard)]
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, pair: limits.append(pair))
    with capture_logs() as logged:
        assert usable_connections(1000) == usable
    assert limits[-1][0] == (raised_to or soft)
    assert bool(logged) == (usable < 1000), "an operator should be told that fewer connections are served"


def test_a_flood_of_refusals_is_logged_once_a_second_with_its_number():
    now = 0.0
    refusals = RefusalLog(lambda: now)
    with capture_logs() as logged:
        refusals.add(Refusal.TOO_SLOW)
        for _ in range(5000):
            refusals.add(Refusal.TOO_MANY_CONNECTIONS)
        now = 1.0
        refusals.add(Refusal.TOO_SLOW)
    counts = [{key: entry[key] for key in entry.keys() & set(Refusal)} for entry in logged]
    assert counts == [{"request_timeout": 1}, {"request_timeout": 1, "too_many_connections": 5000}]
