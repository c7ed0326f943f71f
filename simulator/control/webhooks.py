"""Control of webhooks: configure, probe, send, redeliver, read what came back."""

from typing import Any

import msgspec

from simulator.control.request import Ask, Refused
from simulator.webhooks import Delivery


class Subscription(msgspec.Struct, forbid_unknown_fields=True):
    """What is left out stays. `body_allowed` false judges acknowledgements as Xero did in 2021."""

    url: str | None = None
    key: str | None = None
    body_allowed: bool | None = None
    categories: list[str] | None = None


class Probing(msgspec.Struct, forbid_unknown_fields=True):
    """Which probes are signed well, in order."""

    pattern: tuple[bool, ...] = (False, True, False, False)


class Sending(msgspec.Struct, forbid_unknown_fields=True):
    events: list[dict[str, Any]]
    sign_well: bool = True


async def configure(ask: Ask) -> object:
    """Set url, key, body_allowed, categories of the subscription."""
    wish = ask.read(Subscription)
    values = {f"webhook_{name}": getattr(wish, name) for name in wish.__struct_fields__}
    values["webhook_categories"] = None if wish.categories is None else tuple(wish.categories)
    ask.world.choose(**{name: value for name, value in values.items() if value is not None})
    options = ask.world.options
    return {"url": options.webhook_url, "key": options.webhook_key, "categories": options.webhook_categories}


async def probe(ask: Ask) -> object:
    """Run an intent-to-receive series and judge it."""
    deliveries = await ask.world.webhooks.probe(ask.read(Probing).pattern)
    return {"ok": all(delivery.ok for delivery in deliveries), "deliveries": deliveries}


async def send(ask: Ask) -> object:
    """Send events as given, of any category, signed well or not."""
    wish = ask.read(Sending)
    return await ask.world.webhooks.send(wish.events, sign_well=wish.sign_well)


async def redeliver(ask: Ask) -> object:
    """Send a delivery's events again with fresh entropy."""
    delivery_id = int(ask.parts["delivery_id"])
    try:
        return await ask.world.webhooks.redeliver(delivery_id)
    except KeyError as error:
        raise Refused(f"There is no delivery {delivery_id}; GET /_control/webhook/deliveries lists them.") from error


async def list_deliveries(ask: Ask) -> list[Delivery]:
    """All deliveries and what came back."""
    return ask.world.webhooks.deliveries
