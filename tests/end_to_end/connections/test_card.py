"""The integration's card: one banner per trouble, and what this token may do now."""

from tests.support.service import INTEGRATION, open_harness


async def test_the_card_counts_what_needs_a_person_and_says_what_may_be_done(dsn):
    async with open_harness(dsn, options={"organisations": 3, "limits_enabled": False}) as harness:
        before = await harness.integration_status()
        assert before["allowed_actions"] == ["connect", "check"]
        tenant_ids = await harness.connect_and_sync(3)
        connected = await harness.integration_status()
        assert connected["needs_attention"] == 0
        assert connected["allowed_actions"] == ["connect", "check", "tenants", "disconnect", "sync", "reconcile"]
        viewer = await harness.call("GET", INTEGRATION, role="viewer")
        assert viewer.json()["allowed_actions"] == []

        await harness.add_fault("forbidden", times=None)
        await harness.call("POST", f"{INTEGRATION}/sync")
        await harness.run_until_idle()
        refused = await harness.integration_status()
        [banner] = refused["banners"]
        assert (banner["code"], banner["count"], banner["tenant_id"]) == ("tenant_forbidden", 3, None)
        assert sorted(banner["tenant_ids"]) == sorted(tenant_ids)
        assert banner["title"] == "3 organisations no longer grant access"
        assert refused["needs_attention"] == 1

        await harness.select_tenants(tenant_ids[0])
        [banner] = (await harness.integration_status())["banners"]
        assert (banner["count"], banner["tenant_id"], banner["tenant_ids"]) == (1, tenant_ids[0], [tenant_ids[0]])
