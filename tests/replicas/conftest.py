"""Shows the replicas' logs when a test fails."""

import pytest


@pytest.fixture(autouse=True)
def print_replica_logs(tmp_path):
    """Print the end of each replica's log, which pytest shows when a test fails."""
    yield
    for log in sorted(tmp_path.glob("*.log")):
        print(f"--- {log.name}", *log.read_text().splitlines()[-15:], sep="\n")  # noqa: T201 - pytest captures it
