"""Messages to people: a test message, which shows whether the addresses of `NOTIFY_URLS` work."""

from fastapi import APIRouter

from app.api.deps import Admin, EngineDep
from app.api.errors import document_problems
from app.api.schemas import ResponseModel

router = APIRouter(tags=["integration"])


class MessageDelivery(ResponseModel):
    """What came of the message to one address, which is shown without its secrets."""

    position: int
    address: str
    delivered: bool
    reason: str | None


class MessageDeliveries(ResponseModel):
    delivered: int
    addresses: list[MessageDelivery]


@router.post("/notifications/test", responses=document_problems("not_configured"))
async def send_test_message(engine: EngineDep, admin: Admin) -> MessageDeliveries:
    """Send a test message to every address, and say for each whether it was delivered and why not."""
    deliveries = await engine.notifier.send_test(admin.subject)
    answers = [
        MessageDelivery(position=position, address=one.address, delivered=one.reason is None, reason=one.reason)
        for position, one in enumerate(deliveries, start=1)
    ]
    return MessageDeliveries(delivered=sum(one.delivered for one in answers), addresses=answers)
