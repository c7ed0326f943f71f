"""A browser and a synced site per module, a page per test; whatever the browser complains of fails the test."""

import shutil

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright

from tests.browser.pages import open_site

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
REASON = "No Chromium is installed; `make browser` installs Debian's where it may (as root, with apt-get)."
# Nothing but the page shall speak: no updates, no look-ups of the browser's own.
QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def pytest_collection_modifyitems(items):
    """Every test with a page needs the browser; where there is none, the report says so and how to get one."""
    for item in items:
        if "page" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.skipif(CHROMIUM is None, reason=REASON))


@pytest.fixture(scope="module")
def module_dsn(administrator, template):
    database = administrator.create_database(template)
    yield database
    administrator.drop_database(database)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def synced(module_dsn):
    """A site with three organisations connected, picked and synced; what tests do to it must not matter to others."""
    async with open_site(module_dsn) as opened:
        await opened.sync()
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def site(dsn, browser):
    """A site where nothing has been done yet."""
    async with open_site(dsn) as opened:
        yield opened
        # A page that is still looking when its site goes would complain of that.
        for context in browser.contexts:
            await context.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield launched
        await launched.close()


class Complaints(list[str]):
    """What the browser's console said at warning level or above; a test takes out what it provoked."""

    def expect(self, words: str) -> None:
        found = [complaint for complaint in self if words in complaint]
        assert found, f"nothing about {words!r} in {list(self)}"
        for complaint in found:
            self.remove(complaint)


@pytest.fixture
def complaints():
    """Policy violations reach the console as errors, so they count too."""
    heard = Complaints()
    yield heard
    assert heard == []


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser, complaints):
    """A page of desktop size in a context of its own, far from the zone the service counts its days in."""
    context = await browser.new_context(
        viewport={"width": 1280, "height": 900}, locale="en-GB", timezone_id="America/Los_Angeles"
    )
    context.set_default_timeout(10_000)
    opened = await context.new_page()
    opened.on("console", lambda said: complaints.append(said.text) if said.type in {"error", "warning"} else None)
    opened.on("pageerror", lambda error: complaints.append(str(error)))
    yield opened
    await context.close()
