"""One replica in a process of its own, as `vectis-xero serve` runs it, with leases short enough for many rounds."""

import sys

import uvicorn

from app.log import configure_logging
from app.main import create_app
from app.settings import load_settings
from app.sync.leases import Terms


def main() -> None:
    port, lasting, heartbeat = sys.argv[1:]
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)
    app = create_app(settings, terms=Terms(float(lasting), float(heartbeat)))
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_config=None, access_log=False, timeout_graceful_shutdown=5)


if __name__ == "__main__":
    main()
