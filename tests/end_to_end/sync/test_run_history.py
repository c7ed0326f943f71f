"""Runs as they are listed: by what started them, how they ended and for whom, in full or in totals."""

from tests.support.service import INTEGRATION, open_harness

COUNTS = ("fetched", "created", "updated", "unchanged", "skipped", "failed", "calls", "bytes")


async def test_runs_are_filtered_and_their_totals_add_up_their_resources(dsn):
    async with open_harness(dsn, options={"organisations": 2, "limits_enabled": False}) as harness:
        first, second = (await harness.connect())[:2]
        await harness.select_tenants(first)
        await harness.run_until_idle()
        await harness.select_tenants(first, second)
        await harness.run_until_idle()
        await harness.add_fault("forbidden", tenant_id=second, times=None)
        await harness.call("POST", f"{INTEGRATION}/sync")
        await harness.run_until_idle()
        await harness.call("POST", f"{INTEGRATION}/reconcile")
        await harness.run_until_idle()
        path = f"{INTEGRATION}/runs"
        runs = (await harness.read(path))["items"]
        assert len(runs) == 4

        async def ids(**filters):
            return [run["id"] for run in (await harness.read(path, **filters))["items"]]

        for name in ("trigger", "status"):
            for value in {run[name] for run in runs}:
                assert await ids(**{name: value}) == [run["id"] for run in runs if run[name] == value]
        assert {run["status"] for run in runs} == {"succeeded", "partial"}
        for tenant_id in (first, second):
            covering = [run["id"] for run in runs if tenant_id in {each["tenant_id"] for each in run["resources"]}]
            assert await ids(tenant_id=tenant_id) == covering
        assert await ids(tenant_id=second, trigger="reconcile", status="succeeded") == []

        totals = (await harness.read(path, resources="false"))["items"]
        assert [run["id"] for run in totals] == [run["id"] for run in runs]
        for run, short in zip(runs, totals, strict=True):
            resources = run.pop("resources")
            found = short.pop("totals")
            assert short == run
            assert found.pop("organisations") == len({each["tenant_id"] for each in resources})
            assert found.pop("unsuccessful") == sum(each["status"] != "succeeded" for each in resources)
            assert found == {name: sum(each[name] for each in resources) for name in COUNTS}
