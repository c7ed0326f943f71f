# Tags, not digests: a rebuild then brings Debian's and Python's security fixes. Pin digests where your policy asks.
FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /srv/vectis-xero
COPY requirements.lock .
# Wheels only, each with the hash from the lock: nothing is compiled here and nothing unlooked-for gets in.
# The environment needs no pip of its own; the one of the base image fills it.
RUN python -m venv --without-pip /venv \
 && pip --python /venv/bin/python install --require-hashes --only-binary :all: -r requirements.lock \
 && rm requirements.lock
# The migrations are read from beside `app`, so the tree is copied as it stands instead of packed into a wheel.
COPY migrations migrations
COPY simulator simulator
COPY app app
RUN printf '%s\n' '#!/venv/bin/python' 'import sys' 'from app.cli.commands import main' 'sys.exit(main())' > /venv/bin/vectis-xero \
 && chmod 755 /venv/bin/vectis-xero \
 && pwd > "$(echo /venv/lib/python*/site-packages)/vectis-xero.pth" \
 && python -m compileall -q app simulator migrations

FROM python:3.11-slim-bookworm
# The root file system may be read-only: bytecode is compiled above, and the service writes nowhere but to stderr.
ENV PATH=/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
COPY --from=build /venv /venv
COPY --from=build /srv/vectis-xero /srv/vectis-xero
WORKDIR /srv/vectis-xero
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=4s --start-period=30s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/live', timeout=3)"]
ENTRYPOINT ["vectis-xero"]
CMD ["serve", "--host", "0.0.0.0", "--port", "8000"]
