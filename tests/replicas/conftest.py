"""Shows what the replicas said when a test of them fails."""

import pytest


@pytest.fixture(autouse=True)
def logs(tmp_path):
    """Show the end of each replica's log when a test fails."""
    yield
    for log in sorted(tmp_path.glob("*.log")):
        print(f"--- {log.name}", *log.read_text().splitlines()[-15:], sep="\n")  # noqa: T201 - pytest shows it when a test fails
