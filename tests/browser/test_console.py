"""The console in a browser: sign-in, set-up, progress of a sync, customers' figures, webhook events."""

from dataclasses import replace
from urllib.parse import urlsplit

import pytest
from playwright.async_api import expect
from pydantic import SecretStr

from app.db import Database
from tests.browser.pages import SIMULATOR_OPTIONS, open_site, token
from tests.support.api import add_customer
from tests.support.message_server import message_server
from tests.support.service import INTEGRATION

pytestmark = pytest.mark.asyncio(loop_scope="module")

FIGURES = ("invoiced_this_month", "outstanding", "overdue", "unapplied_credit", "contracted_mrr")
OUTCOMES = {
    "connected": "Xero is connected",
    "denied": "Access was not allowed",
    "invalid_state": "not started here",
    "expired_state": "took too long",
    "exchange_failed": "refused to finish",
    "scope_refused": "other permissions",
    "missing_scope": "permission is missing",
    "missing_offline_access": "30 minutes only",
    "no_tenants": "No organisation to sync",
    "different_tenants": "different organisations",
}


async def test_a_pasted_token_signs_in_and_is_stored_in_the_tab_only(page, synced):
    await page.goto(f"{synced.url}/console")
    await page.get_by_label("Access token").fill("Bearer not-a-token")
    await page.get_by_role("button", name="Sign in").click()
    await expect(notice(page, "This is not a token")).to_be_visible()

    await page.get_by_label("Access token").fill(token("admin"))
    await page.get_by_role("button", name="Sign in").click()

    await expect(page.locator("[data-state=connected]")).to_be_visible()
    card = await synced.read(INTEGRATION)
    await expect(page.get_by_label("Redirect URI", exact=True)).to_have_value(card["redirect_uri"])
    assert await page.evaluate("[Object.keys(localStorage), document.cookie]") == [[], ""]

    await page.get_by_role("button", name="Sign out").click()
    await expect(page.get_by_label("Access token")).to_be_visible()
    assert await page.evaluate("Object.keys(sessionStorage)") == []


async def test_the_service_s_message_is_shown_when_it_refuses_a_token(page, synced, console_messages):
    head, claims, _ = token("admin").split(".")
    await page.goto(f"{synced.url}/console#token={head}.{claims}.forged")

    await expect(notice(page, "The token is not good here.")).to_be_visible()
    console_messages.remove_expected("401")


async def test_connecting_selecting_organisations_and_the_progress_of_the_sync(page, site):
    await page.goto(site.link())
    await expect(page.locator("[data-state=not_connected]")).to_be_visible()
    assert urlsplit(page.url).fragment == ""
    await expect_checks(page, "The set-up is not complete yet", {"Connection": "Not yet", "Redirect URI": "Passed"})
    await page.get_by_role("button", name="Connect Xero").click()

    await expect(notice(page, "Xero is connected")).to_be_visible()
    assert urlsplit(page.url).query == ""
    await expect(page.get_by_label("Tasman IT UK Limited")).not_to_be_checked()
    await page.get_by_role("button", name="Select all").click()
    await expect(page.locator("main").get_by_text("3 of 3 selected, not saved yet")).to_be_visible()
    await page.get_by_role("button", name="Save selection").click()

    await expect(page.get_by_role("progressbar", name="Sync progress")).to_be_visible()
    await expect(page.get_by_text("of 12 resources finished")).to_be_visible()
    await expect(notice(page, "Sync succeeded")).to_be_visible()
    await expect(page.get_by_text("3 organisations, none with problems.")).to_be_visible()
    card = await site.read(INTEGRATION)
    assert (card["state"], card["tenants"]) == ("connected", {"available": 3, "selected": 3})
    await expect_checks(page, "All checks passed", {"Connection": "Passed", "Organisations": "Passed"})
    await site.control("PATCH", "/options", {"client_secret": "a new one"})
    await expect_checks(page, "Some checks failed", {"Client id and secret": "Failed", "Connection": "Passed"})


async def expect_checks(page, title, states):
    """Press the button of the pre-flight check and expect its title, and the state of some checks by their label."""
    await page.get_by_role("button", name="Check now").click()
    await expect(notice(page, title)).to_be_visible()
    for label, state in states.items():
        row = page.locator(".checks > li").filter(has=page.get_by_text(label, exact=True))
        await expect(row.locator(".badge")).to_have_text(state)


async def test_hundreds_of_organisations_are_searched_and_paged(page, dsn):
    async with open_site(
        dsn, replace(SIMULATOR_OPTIONS, organisations=55, contacts=1, invoices=1, payments=0, credit_notes=0)
    ) as site:
        await site.connect()
        await page.goto(site.link())
        checkboxes = page.locator(".tenant-list input")
        await expect(checkboxes).to_have_count(50)
        await page.get_by_role("button", name="Show more").click()
        await expect(checkboxes).to_have_count(55)

        names = [tenant["name"] for tenant in (await site.read(f"{INTEGRATION}/tenants", limit=200))["items"]]
        wanted = sum("uk" in name.lower() for name in names)
        assert 0 < wanted < 50
        await page.get_by_label("Find an organisation").fill("UK")
        await expect(checkboxes).to_have_count(wanted)
        await page.get_by_role("button", name="Select all").click()
        await expect(page.locator("main").get_by_text(f"{wanted} of 55 selected")).to_be_visible()
        await page.get_by_label("Find an organisation").fill("")
        await expect(checkboxes).to_have_count(50)
        await page.get_by_role("button", name="Select none").click()
        await page.get_by_role("button", name="Select all").click()
        await expect(page.locator("main").get_by_text("55 of 55 selected")).to_be_visible()
        await page.goto("about:blank")


async def test_progress_is_shown_from_the_stream_while_the_run_cannot_be_polled(page, synced, console_messages):
    await page.goto(synced.link())
    await page.route("**/runs/*", lambda route: route.abort())
    async with page.expect_event("requestfailed"):
        await page.get_by_role("button", name="Sync now").click()
        await expect(page.get_by_text("12 of 12 resources finished")).to_be_visible()

    await page.unroute("**/runs/*")

    await expect(notice(page, "Sync succeeded")).to_be_visible()
    console_messages.remove_expected("ERR_FAILED")


async def test_progress_is_polled_while_the_stream_cannot_be_opened(page, synced, console_messages):
    await page.route("**/progress", lambda route: route.abort())
    await page.goto(synced.link())
    await page.get_by_role("button", name="Sync now").click()

    await expect(notice(page, "Sync succeeded")).to_be_visible()
    console_messages.remove_expected("ERR_FAILED")


async def test_a_problem_is_shown_with_its_request_id(page, synced, console_messages):
    await page.goto(synced.link())
    await expect(page.get_by_label("Tasman IT UK Limited")).to_be_checked()
    await page.get_by_role("button", name="Select none").click()
    await page.get_by_role("button", name="Save selection").click()

    box = notice(page, "No organisation is selected")
    await expect(box).to_contain_text("Pick at least one organisation; nothing syncs until one is saved.")
    await expect(box.locator("code")).not_to_be_empty()
    assert (await synced.read(INTEGRATION))["tenants"]["selected"] == 3
    console_messages.remove_expected("422")


async def test_a_customer_s_figures_equal_those_of_the_api(page, synced):
    summaries = [await synced.read(f"/api/customers/{one['id']}/billing") for one in await customers(synced)]
    busiest = max(summaries, key=lambda each: (len(each["currencies"]), len(each["recent_invoices"])))
    name = (await synced.read(f"/api/customers/{busiest['customer_id']}"))["name"]

    await page.goto(synced.link())
    await page.get_by_role("link", name="Customers").click()
    await page.get_by_label("Find a customer").fill(name)
    await page.locator(f"a[href='#/customers/{busiest['customer_id']}']").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text(name)
    await expect(page.locator(".figures").first).to_be_visible()

    expected = {each["currency"]: {figure: each[figure] for figure in FIGURES} for each in busiest["currencies"]}
    inactive = {currency for currency, figures in expected.items() if set(figures.values()) == {"0.00"}}
    assert await figures_shown(page) == {currency: expected[currency] for currency in expected.keys() - inactive} != {}
    rows = page.get_by_role("table", name="Recent invoices").locator("tbody tr")
    assert await rows.count() == len(busiest["recent_invoices"])
    for row, invoice in zip(await rows.all(), busiest["recent_invoices"], strict=True):
        await expect(row).to_contain_text(invoice["number"])
        await expect(row).to_contain_text(f"{invoice['currency']} {invoice['balance']}")
        issued = row.locator(f"time[datetime='{invoice['issued_on']}']").first
        await expect(issued).to_contain_text(str(int(invoice["issued_on"][-2:])))
        assert await row.get_by_role("link").get_attribute("href") == invoice["vendor_url"]
    await expect(page.locator(".timeline li").first).to_be_visible()


async def test_figures_of_an_organisation_that_is_no_longer_picked_are_said_to_be_old(page, site):
    await site.sync()
    left, *kept = (await site.read(f"{INTEGRATION}/tenants"))["items"]
    await site.send("PUT", f"{INTEGRATION}/tenants", {"tenant_ids": [tenant["tenant_id"] for tenant in kept]})
    invoices = await site.read("/api/invoices", tenant_id=left["tenant_id"])

    await page.goto(site.link())
    await page.goto(f"{site.url}/console#/customers/{invoices['items'][0]['customer_id']}")

    told = notice(page, "organisations that are no longer synced")
    await expect(told).to_contain_text(left["name"])
    await expect(told.locator(f"time[datetime='{left['data_as_of']}']")).to_be_visible()


async def test_every_page_fits_the_width_of_a_small_phone(page, synced):
    customer = (await customers(synced))[0]["id"]
    await page.set_viewport_size({"width": 320, "height": 700})
    await page.goto(synced.link())
    ready = {
        "setup": ".run",
        "customers": "tbody tr",
        f"customers/{customer}": ".figures",
        "events": ".empty, tbody tr",
    }
    for route, selector in ready.items():
        await page.goto(f"{synced.url}/console#/{route}")
        await expect(page.locator(selector).first).to_be_visible()
        assert await page.evaluate("document.documentElement.scrollWidth") == 320, route


async def test_every_outcome_of_a_consent_is_explained(page, synced):
    await page.goto(synced.link())
    for code, words in OUTCOMES.items():
        await page.goto(f"{synced.url}/console?xero={code}")
        await expect(page.locator(f"[data-outcome={code}]")).to_contain_text(words)
        assert urlsplit(page.url).query == ""


async def test_a_refused_set_of_permissions_is_followed_by_the_other(page, dsn):
    async with open_site(dsn, replace(SIMULATOR_OPTIONS, app_may_ask_broad_scopes=False)) as site:
        await page.goto(site.link())
        await page.get_by_role("button", name="Connect Xero").click()
        await expect(page.locator("[data-outcome=scope_refused]")).to_be_visible()

        await page.get_by_role("button", name="Connect with the other permissions").click()

        await expect(page.locator("[data-outcome=connected]")).to_be_visible()
        assert (await site.read(INTEGRATION))["scope_set"] == "granular"
        # Left before the site closes: a request of the open page would fail and be reported as an error.
        await page.goto("about:blank")


async def test_a_viewer_sees_everything_but_no_button_that_changes_something(page, synced):
    await page.goto(synced.link(role="viewer"))

    await expect(page.get_by_text("none with problems")).to_be_visible()
    offered = [await button.text_content() for button in await page.get_by_role("button").all()]
    assert offered == ["Sign out", "Copy", "Copy"]


async def test_a_selected_event_is_replayed_with_a_reason(page, synced):
    tenant_id = (await synced.read(f"{INTEGRATION}/tenants"))["items"][0]["tenant_id"]
    resource_id = await synced.deliver(tenant_id, "CONTACT")
    await page.goto(synced.link())
    await page.goto(f"{synced.url}/console#/events")
    replay = page.get_by_role("button", name="Replay")
    await page.get_by_label("About").select_option("CONTACT")
    await page.get_by_label(f"Select CONTACT UPDATE {resource_id}").check()
    await expect(replay).to_have_text("Replay 1 selected event")
    await replay.click()
    await expect(page.get_by_label("Reason for a replay")).to_be_focused()

    await page.get_by_label("Reason for a replay").fill("The contact was merged in Xero")
    await replay.click()

    await expect(notice(page, "1 event will be processed again")).to_be_visible()


async def test_events_that_were_given_up_are_dismissed_and_a_test_message_is_sent(page, dsn):
    async with message_server() as people:
        people.status = 403
        async with open_site(dsn, notify_urls=SecretStr(people.url())) as site:
            await site.deliver_unreadable()
            await page.goto(site.link())
            await expect(page.locator("[data-banner=webhook_events_given_up]")).to_be_visible()
            await page.get_by_role("button", name="Send a test message").click()
            await expect(page.get_by_text("status 403")).to_be_visible()
            people.status = 200
            await page.get_by_role("button", name="Send a test message").click()
            await expect(page.get_by_text("Delivered", exact=True)).to_be_visible()
            assert "Test message from Vectis" in people.titles()

            await page.goto(f"{site.url}/console#/events")
            await page.get_by_label("Select UNREADABLE").check()
            await page.get_by_label("Reason for a replay or a dismissal").fill("Nothing is missing")
            await page.get_by_role("button", name="Dismiss 1 selected event").click()
            await expect(notice(page, "1 event dismissed")).to_be_visible()
            assert (await site.read(INTEGRATION))["webhook"]["failed"] == 0
            await page.goto("about:blank")


async def test_a_name_is_shown_as_text_and_not_interpreted_as_markup(page, synced, module_dsn):
    name = "<img src=x onerror=alert(1)> & Sons"
    db = Database(module_dsn)
    async with db.transaction() as session:
        customer_id = await add_customer(session, name)
    await db.close()

    await page.goto(synced.link())
    await page.goto(f"{synced.url}/console#/customers")
    await page.get_by_role("link", name=name).click()

    await expect(page.get_by_role("heading", level=1)).to_have_text(name)
    assert page.url.endswith(str(customer_id))
    await expect(notice(page, "Not linked to a billing contact")).to_be_visible()


async def test_the_disconnect_dialog_explains_what_stops_and_what_stays(page, site):
    await site.sync()
    await page.goto(site.link())
    await page.get_by_role("button", name="Disconnect…").click()
    dialog = page.get_by_role("dialog", name="Disconnect Xero?")
    await expect(dialog.get_by_role("button", name="Keep connected")).to_be_focused()
    await expect(dialog).to_contain_text("3 organisations will no longer be synced")

    await dialog.get_by_role("button", name="Disconnect Xero").click()

    await expect(page.locator("[data-state=not_connected]")).to_be_visible()
    assert (await site.read(INTEGRATION))["state"] == "not_connected"


def notice(page, text):
    return page.locator(".notice", has_text=text)


async def customers(site):
    return (await site.read("/api/customers", limit=200))["items"]


async def figures_shown(page):
    """Return the amounts that the page shows, by currency and figure."""
    return {
        await box.get_attribute("data-currency"): {
            figure: await box.locator(f"[data-figure={figure}]").text_content() for figure in FIGURES
        }
        for box in await page.locator(".figures").all()
    }
