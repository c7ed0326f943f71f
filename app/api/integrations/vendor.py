"""Which vendor a route is about: the word after `/api/integrations/` or `/api/webhooks/`."""

from typing import Annotated

from fastapi import Depends, Request

from app.api.deps import ServicesDep
from app.sync.engine import Engine


def get_engine(request: Request, services: ServicesDep) -> Engine:
    # The routers are included once per vendor, under addresses that end in its name's segment, so it is always there.
    return services.engines[request.url.path.split("/")[3]]


EngineDep = Annotated[Engine, Depends(get_engine)]
