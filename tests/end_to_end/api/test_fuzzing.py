"""Requests that Schemathesis makes up from `openapi.json`, valid and invalid: none may end in a 5xx or a surprise."""

import asyncio
import os

import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import one_of
from schemathesis.checks import not_a_server_error
from schemathesis.generation.modes import GenerationMode
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance

from app.api.auth import mint_token
from tests.support.service import INTEGRATION, JWT_SECRET, PUBLIC_URL

# Per operation; `make test` is bounded, and a longer search can be asked for.
EXAMPLES = int(os.environ.get("FUZZING_EXAMPLES", "4"))
CHECKS = (not_a_server_error, status_code_conformance, response_schema_conformance)
# The stream of progress events never ends, and a client in this process receives a response as a whole.
ENDLESS = f"{INTEGRATION}/progress"


async def test_no_request_ends_in_a_server_error_or_in_what_the_document_does_not_promise(harness):
    await harness.connect_and_sync()
    loop = asyncio.get_running_loop()
    schema = schemathesis.openapi.from_dict(harness.app.openapi())
    operations = [found.ok() for found in schema.get_all_operations()]  # type: ignore[union-attr]  # a bad schema fails here
    tried = [operation for operation in operations if operation.path != ENDLESS]
    assert len(tried) >= 39

    def send(case):
        now = harness.services.clock.now()
        token = mint_token(JWT_SECRET, "admin", "fuzzing", hours=1, audience="vectis-billing", now=now)
        wanted = case.as_transport_kwargs(base_url=PUBLIC_URL, headers={"Authorization": f"Bearer {token}"})
        body = {"json": wanted["json"]} if "json" in wanted else {"content": wanted.get("data")}
        named = {name: wanted.get(name) for name in ("method", "url", "params", "headers")}
        sending = harness.client.request(**named, **body)
        return asyncio.run_coroutine_threadsafe(sending, loop).result(60)

    def try_operation(operation):
        modes = [operation.as_strategy(generation_mode=mode) for mode in GenerationMode]

        @given(case=one_of(modes))
        @settings(max_examples=EXAMPLES, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
        def try_requests(case):
            case.validate_response(send(case), checks=CHECKS)

        try_requests()

    for operation in tried:
        await asyncio.to_thread(try_operation, operation)
