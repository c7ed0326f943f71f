"""The API's documentation in a browser: Swagger UI and ReDoc, with no file from elsewhere."""

from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def test_swagger_ui_shows_and_calls_an_operation_without_leaving_the_service(page, unconnected):
    hosts = record_hosts(page)
    await page.goto(f"{unconnected.url}/docs")

    operation = page.locator("#operations-operations-check_live")
    await operation.locator(".opblock-summary-control").click()
    await operation.get_by_role("button", name="Try it out").click()
    await operation.get_by_role("button", name="Execute").click()

    await expect(operation.locator(".live-responses-table .response-col_status").last).to_contain_text("200")
    assert hosts == {urlsplit(unconnected.url).netloc}


async def test_redoc_shows_and_finds_an_operation_without_leaving_the_service(page, unconnected):
    hosts = record_hosts(page)
    await page.goto(f"{unconnected.url}/redoc")

    await expect(page.get_by_role("heading", name="List Invoices")).to_be_visible()
    # The search runs in a worker, which the policy has to allow.
    await page.get_by_placeholder("Search").fill("reconciliations")
    await expect(page.get_by_role("search").get_by_text("List Reconciliations")).to_be_visible()
    # The image of ReDoc's maker is left out once it could not be loaded.
    await expect(page.get_by_role("link", name="API docs by Redocly").locator("img")).to_have_count(0)
    assert hosts == {urlsplit(unconnected.url).netloc}


def record_hosts(page):
    """Return a set that fills with the host of each request, those that the policy blocks included."""
    hosts = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url.removeprefix("blob:")).netloc))
    return hosts
