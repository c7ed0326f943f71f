"""Rows and envelopes in Xero's form, after the examples of its OpenAPI file and recorded answers."""

import json
from contextlib import asynccontextmanager

import httpx

from app.connector import Access, AppCredentials, Traffic
from app.xero.client import Response
from app.xero.connector import XeroConnector

LOGIN, IDENTITY, API = "https://login.test", "https://identity.test", "https://api.test"
ACCESS = Access("access-token-1", "70784a63-d24b-46a9-a4db-0e70a274b056")
APP = AppCredentials("CLIENT", "client-secret-1")

INVOICE_ID = "046d8a6d-1ae1-4b4d-9340-5601bdf41b87"
CONTACT_ID = "a3675fc4-f8dd-4f03-ba5b-f1870566bcd7"
CREDIT_NOTE_ID = "249f15fa-f2a7-4acc-8769-0984103f2225"
PAYMENT_ID = "99ea7f6b-c513-4066-bc27-b7c65dcd76c2"
OTHER_ID = "cb0053c3-0000-4000-8000-000000000001"


def without(row, *names):
    return {name: value for name, value in row.items() if name not in names}


def contact(**changes):
    row = {
        "ContactID": CONTACT_ID,
        "ContactStatus": "ACTIVE",
        "Name": "Barney Rubble-83203",
        "EmailAddress": "barney@example.test",
        "Addresses": [{"AddressType": "STREET", "City": ""}],
        "UpdatedDateUTC": "/Date(1503348544227+0000)/",
        "IsSupplier": False,
        "IsCustomer": True,
        "Balances": {
            "AccountsReceivable": {"Outstanding": 760.00, "Overdue": 920.00},
            "AccountsPayable": {"Outstanding": 231.60, "Overdue": 360.00},
        },
        "HasValidationErrors": False,
    }
    return row | changes


def invoice(**changes):
    row = {
        "Type": "ACCREC",
        "InvoiceID": INVOICE_ID,
        "InvoiceNumber": "INV-0002",
        "Reference": "Red Fish, Blue Fish",
        "CreditNotes": [],
        "Prepayments": [],
        "Overpayments": [],
        "AmountDue": 0.00,
        "AmountPaid": 46.00,
        "AmountCredited": 0.00,
        "CurrencyRate": 1.000000,
        "Contact": {"ContactID": CONTACT_ID, "Name": "Barney Rubble-83203", "Addresses": [], "Phones": []},
        "DateString": "2018-10-20T00:00:00",
        "Date": "/Date(1539993600000+0000)/",
        "DueDateString": "2018-12-30T00:00:00",
        "DueDate": "/Date(1546128000000+0000)/",
        "Status": "PAID",
        "SubTotal": 40.00,
        "TotalTax": 6.00,
        "Total": 46.00,
        "UpdatedDateUTC": "/Date(1541176592690+0000)/",
        "UpdatedDateUTCString": "2018-11-02T16:36:32Z",
        "CurrencyCode": "NZD",
        "FullyPaidOnDate": "/Date(1543449600000+0000)/",
    }
    return row | changes


def credit_note(**changes):
    row = {
        "CreditNoteID": CREDIT_NOTE_ID,
        "CreditNoteNumber": "CN-0005",
        "ID": CREDIT_NOTE_ID,
        "CurrencyRate": 1.000000,
        "Type": "ACCRECCREDIT",
        "Reference": "US Tour",
        "RemainingCredit": 14.55,
        "Allocations": [
            {
                "AllocationID": OTHER_ID,
                "Amount": 19.95,
                "Date": "/Date(1585094400000+0000)/",
                "Invoice": {"InvoiceID": INVOICE_ID, "InvoiceNumber": "INV-0002", "LineItems": []},
            }
        ],
        "Contact": {"ContactID": CONTACT_ID, "Name": "Liam Gallagher"},
        "DateString": "2019-03-05T00:00:00",
        "Date": "/Date(1551744000000+0000)/",
        "Status": "AUTHORISED",
        "Total": 34.50,
        "UpdatedDateUTC": "/Date(1551812346157+0000)/",
        "CurrencyCode": "NZD",
    }
    return row | changes


def payment(**changes):
    row = {
        "PaymentID": PAYMENT_ID,
        "BatchPayment": {"TotalAmount": "50.00", "IsReconciled": "false"},
        "Date": "/Date(1543449600000+0000)/",
        "Amount": 46.00,
        "Reference": "",
        "CurrencyRate": 1.000000,
        "PaymentType": "ACCRECPAYMENT",
        "Status": "AUTHORISED",
        "UpdatedDateUTC": "/Date(1541176592690+0000)/",
        "Invoice": {
            "Type": "ACCREC",
            "InvoiceID": INVOICE_ID,
            "Contact": {"ContactID": CONTACT_ID, "Name": "Barney Rubble-83203"},
            "CurrencyCode": "NZD",
        },
    }
    return row | changes


def envelope(path, rows, page=1, page_count=1, item_count=None):
    """Return the bytes Xero sends: indented, CRLF, slashes escaped."""
    document = {
        "Id": "12b9c7bc-4c28-4920-a54c-136e7014eaa2",
        "Status": "OK",
        "ProviderName": "Vectis",
        "DateTimeUTC": "/Date(1588633397422)/",
        "pagination": {
            "page": page,
            "pageSize": 100,
            "pageCount": page_count,
            "itemCount": len(rows) if item_count is None else item_count,
        },
        path: rows,
    }
    return json.dumps(document, indent=2).replace("\n", "\r\n").replace("/", "\\/").encode()


def answer(body=b"", status=200, headers=None):
    return Response(status, httpx.Headers(headers or {}), body, Traffic(calls=1, bytes_raw=len(body)))


@asynccontextmanager
async def connected(handler):
    """Yield a connector whose network is a function from request to response."""
    async with httpx.AsyncClient(transport=httpx.MockTransport(handler)) as http:
        yield XeroConnector(http, LOGIN, IDENTITY, API)
