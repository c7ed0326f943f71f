# Tags instead of digests, so that a rebuild includes Debian's and Python's security fixes. Pin digests if your policy
# requires it.
FROM python:3.11-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1
WORKDIR /srv/vectis-xero
COPY requirements.lock .
# Only wheels with the hashes of the lock file are installed, so nothing is compiled or added unnoticed.
# The environment has no pip of its own; the pip of the base image installs into it.
RUN python -m venv --without-pip /venv \
 && pip --python /venv/bin/python install --require-hashes --only-binary :all: -r requirements.lock \
 && rm requirements.lock
# The service reads the migrations from the folder next to `app`, so the files are copied instead of built into a wheel.
COPY migrations migrations
COPY simulator simulator
COPY app app
RUN printf '%s\n' '#!/venv/bin/python' 'import sys' 'from app.cli.commands import main' 'sys.exit(main())' > /venv/bin/vectis-xero \
 && chmod 755 /venv/bin/vectis-xero \
 && pwd > "$(echo /venv/lib/python*/site-packages)/vectis-xero.pth" \
 && python -m compileall -q app simulator migrations

FROM python:3.11-slim-bookworm
# The root file system can be read-only: the bytecode is compiled above, and the service writes only to stderr.
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
