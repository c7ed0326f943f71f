"""Control operations on webhooks: configure, probe, send, redeliver, list deliveries."""

from typing import Any

import msgspec

from simulator.control.request import ControlRequest, InvalidControlRequest
from simulator.webhooks import Delivery


class Subscription(msgspec.Struct, forbid_unknown_fields=True):
    """Changes to the subscription; fields left out stay. `body_allowed` false refuses bodies, as Xero did in 2021."""

    url: str | None = None
    key: str | None = None
    body_allowed: bool | None = None
    categories: list[str] | None = None


class ProbeSeries(msgspec.Struct, forbid_unknown_fields=True):
    """Which of the probes are correctly signed, in order."""

    pattern: tuple[bool, ...] = (False, True, False, False)


class EventBatch(msgspec.Struct, forbid_unknown_fields=True):
    """Events to send, and whether to sign them correctly."""

    events: list[dict[str, Any]]
    sign_well: bool = True


async def configure(request: ControlRequest) -> object:
    """Set url, key, body_allowed, categories of the subscription."""
    body = request.parse_body(Subscription)
    values = {f"webhook_{name}": getattr(body, name) for name in body.__struct_fields__}
    values["webhook_categories"] = None if body.categories is None else tuple(body.categories)
    request.state.change_options(**{name: value for name, value in values.items() if value is not None})
    options = request.state.options
    return {"url": options.webhook_url, "key": options.webhook_key, "categories": options.webhook_categories}


async def probe(request: ControlRequest) -> object:
    """Send a series of intent-to-receive probes and check the responses."""
    deliveries = await request.state.webhooks.probe(request.parse_body(ProbeSeries).pattern)
    return {"ok": all(delivery.ok for delivery in deliveries), "deliveries": deliveries}


async def send(request: ControlRequest) -> object:
    """Send events as given, of any category, correctly signed or not."""
    body = request.parse_body(EventBatch)
    return await request.state.webhooks.send(body.events, sign_well=body.sign_well)


async def redeliver(request: ControlRequest) -> object:
    """Send a delivery's events again with new entropy."""
    delivery_id = int(request.path_params["delivery_id"])
    try:
        return await request.state.webhooks.redeliver(delivery_id)
    except KeyError as error:
        raise InvalidControlRequest(
            f"There is no delivery {delivery_id}; GET /_control/webhook/deliveries lists them."
        ) from error


async def list_deliveries(request: ControlRequest) -> list[Delivery]:
    """All deliveries and their responses."""
    return request.state.webhooks.deliveries
