"""The files of the API's documentation: all from the service, with their types, and kept by browsers."""

import re

import pytest

from app.api.pages import CONSOLE, include_pages
from tests.support.api import ManualClock, api_client, make_app, make_services

FILE = re.compile(r'(?:href|src)="([^"]+\.(?:css|js|svg))"')
TYPES = {"css": "text/css", "js": "text/javascript"}


@pytest.fixture
async def client():
    clock = ManualClock()
    app = make_app(make_services(None, clock), [])
    include_pages(app)
    async with api_client(app, clock) as api:
        yield api.client


@pytest.mark.parametrize("path", ["/docs", "/redoc"])
async def test_a_documentation_page_names_files_of_the_service_only_and_all_of_them_exist(client, path):
    page = await client.get(path)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert page.headers["cache-control"] == "no-cache"
    assert not re.search(r"//|<style|style=|<script>", page.text)
    files = FILE.findall(page.text)
    libraries = [file for file in files if file.startswith("/docs/assets/")]
    assert libraries
    for file in libraries:
        await expect_library(client, file)
    for file in set(files) - set(libraries):
        assert (CONSOLE / file.removeprefix("/console/")).is_file()


async def expect_library(client, path):
    file = await client.get(path)
    assert file.status_code == 200
    assert file.headers["content-type"].startswith(TYPES[path.rpartition(".")[2]])
    assert "max-age=604800" in file.headers["cache-control"]


async def test_an_unknown_file_of_the_documentation_is_404(client):
    for path in ["/docs/assets/missing.js", "/docs/assets/../core.py", "/docs/assets/%2e%2e/core.py"]:
        assert (await client.get(path)).status_code == 404
