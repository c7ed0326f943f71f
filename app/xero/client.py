"""Sends one request to Xero, with limits on its time and on the size of the response, and counts what it cost."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from app.connector import Access, AnswerTooLarge, AnswerTooSlow, AnswerUnreadable, Traffic, VendorUnavailable

# A page of 1,000 full invoices is about 2.5 MB. A response larger than this is no page, or a decompression bomb.
MAX_BYTES = 64 * 1024 * 1024
TIMEOUT = httpx.Timeout(30, connect=5)
# The read timeout starts again with every byte received, so a slow response needs a limit for the whole of it.
MAX_SECONDS = 120.0
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


@dataclass(frozen=True, slots=True)
class Response:
    """A response of any status. The body is decompressed but not parsed."""

    status: int
    headers: httpx.Headers
    body: bytes
    traffic: Traffic


async def read(http: httpx.AsyncClient, url: str, access: Access, since: str | None = None) -> Response:
    """Request one page of the accounting API.

    Args:
        http: the connection pool.
        url: the whole address.
        access: the access token and the tenant whose data is read.
        since: `yyyy-mm-ddThh:mm:ss` in UTC; the form Xero documents, accurate to the second.

    Raises:
        AnswerTooSlow: the answer, or its end, did not come in time.
        VendorUnavailable: no answer, or not the whole of it, for another reason.
        AnswerTooLarge: the answer has more bytes than are accepted.
        AnswerUnreadable: the answer is compressed wrongly.
    """
    headers = {
        "Authorization": f"Bearer {access.access_token}",
        "xero-tenant-id": access.tenant_id,
        "Accept": "application/json",  # XML is Xero's default
        "Accept-Encoding": "gzip",
    }
    if since:
        headers["If-Modified-Since"] = since
    return await send(http, http.build_request("GET", url, headers=headers, timeout=TIMEOUT))


async def send(
    http: httpx.AsyncClient,
    request: httpx.Request,
    auth: httpx.Auth | None = None,
    max_bytes: int = MAX_BYTES,
    max_seconds: float = MAX_SECONDS,
) -> Response:
    """Send one request once. Redirects are not followed, and no status raises an error.

    Raises:
        AnswerTooSlow: the answer, or its end, did not come in time.
        VendorUnavailable: no answer, or not the whole of it, for another reason.
        AnswerTooLarge: the answer has more bytes than are accepted.
        AnswerUnreadable: the answer is compressed wrongly.
    """
    try:
        async with asyncio.timeout(max_seconds):
            return await _exchange(http, request, auth, max_bytes)
    except (TimeoutError, httpx.ReadTimeout):
        raise AnswerTooSlow("Xero did not finish its answer in time.", Traffic(calls=1)) from None
    except NEVER_SENT as error:
        raise VendorUnavailable(f"Xero could not be reached ({type(error).__name__}).") from None
    except httpx.DecodingError:
        raise AnswerUnreadable("Xero's answer is not compressed as it says.", Traffic(calls=1)) from None
    except httpx.RequestError as error:
        # The message of the exception would name the host; its class says as much to an operator.
        raise VendorUnavailable(f"Xero did not answer ({type(error).__name__}).", Traffic(calls=1)) from None


async def _exchange(
    http: httpx.AsyncClient, request: httpx.Request, auth: httpx.Auth | None, max_bytes: int
) -> Response:
    response = await http.send(request, stream=True, auth=auth, follow_redirects=False)
    body = bytearray()
    try:
        async for chunk in response.aiter_bytes():
            body += chunk
            if len(body) > max_bytes:
                raise AnswerTooLarge(f"Xero's answer is larger than {max_bytes} bytes.", _cost(response, len(body)))
    finally:
        await response.aclose()
    return Response(response.status_code, response.headers, bytes(body), _cost(response, len(body)))


def _cost(response: httpx.Response, bytes_raw: int) -> Traffic:
    """Return what the call cost; `bytes_wire` counts the body before decompression."""
    return Traffic(
        calls=1,
        bytes_raw=bytes_raw,
        bytes_wire=response.num_bytes_downloaded,
        day_remaining=_read_count(response.headers, "X-DayLimit-Remaining"),
    )


def _read_count(headers: Mapping[str, str], name: str) -> int | None:
    text = headers.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None  # noqa: PLR2004 - fits an integer column
