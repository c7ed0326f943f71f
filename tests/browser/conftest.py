"""Fixtures: a browser and a synced site per module, a page per test. Warnings and errors of the browser fail a test."""

import shutil

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright, expect

from tests.browser.pages import open_site

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
SKIP_REASON = "No Chromium is installed; `make programs` installs Debian's package when run as root."
# An idle machine shows what is expected within a second or two; a busy one takes many times as long.
TIMEOUT_MS = 60_000
expect.set_options(timeout=TIMEOUT_MS)
# Switch off the browser's own network requests, such as those for updates.
CHROMIUM_OPTIONS = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def pytest_collection_modifyitems(items):
    """Skip the tests that need a browser when none is installed; the reason says how to install one."""
    for item in items:
        if "page" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skipif(CHROMIUM is None, reason=SKIP_REASON))


@pytest.fixture(scope="module")
def module_dsn(administrator, template):
    database = administrator.create_database(template)
    yield database
    administrator.drop_database(database)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def synced(module_dsn):
    """A site with three organisations that are connected, selected and synced; the tests of a module share it."""
    async with open_site(module_dsn) as opened:
        await opened.sync()
        yield opened


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def unconnected(module_dsn):
    """A site that is not connected to Xero; the tests of a module share it and change nothing."""
    async with open_site(module_dsn) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def site(dsn, browser):
    """A site that has not been set up."""
    async with open_site(dsn) as opened:
        yield opened
        # A page that is still polling when the service stops would log an error.
        for context in browser.contexts:
            await context.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=CHROMIUM_OPTIONS)
        yield launched
        await launched.close()


class ConsoleMessages(list[str]):
    """Warnings and errors of the browser's console; a test removes those that it expects."""

    def remove_expected(self, text: str) -> None:
        expected = [message for message in self if text in message]
        assert expected, f"no message with {text!r} in {list(self)}"
        for message in expected:
            self.remove(message)


@pytest.fixture
def console_messages():
    """Fail a test that causes a warning or an error, such as a violation of the content security policy."""
    messages = ConsoleMessages()
    yield messages
    assert messages == []


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser, console_messages):
    """A page of desktop size, in a time zone that differs from BILLING_TIMEZONE."""
    context = await browser.new_context(
        viewport={"width": 1280, "height": 900}, locale="en-GB", timezone_id="America/Los_Angeles"
    )
    context.set_default_timeout(TIMEOUT_MS)
    opened = await context.new_page()
    opened.on(
        "console",
        lambda message: console_messages.append(message.text) if message.type in {"error", "warning"} else None,
    )
    opened.on("pageerror", lambda error: console_messages.append(str(error)))
    yield opened
    await context.close()
