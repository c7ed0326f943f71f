"""The loop that one writes by hand: requests, json, psycopg's executemany, one table per list, at most 11 columns.

It reads its task as JSON from the first argument and prints the rows and the seconds. It has no cursor, no retry, no
rate limit, and it stores no row's history.
"""

import json
import sys
import time

import psycopg
import requests

# By list: the table and, by column, the path to its value in a row.
TABLES = {
    "Contacts": (
        "contacts",
        {"id": ["ContactID"], "name": ["Name"], "email": ["EmailAddress"], "status": ["ContactStatus"]},
    ),
    "Invoices": (
        "invoices",
        {
            "id": ["InvoiceID"],
            "contact_id": ["Contact", "ContactID"],
            "number": ["InvoiceNumber"],
            "status": ["Status"],
            "currency": ["CurrencyCode"],
            "total": ["Total"],
            "paid": ["AmountPaid"],
            "balance": ["AmountDue"],
            "issued_on": ["DateString"],
            "due_on": ["DueDateString"],
            "updated": ["UpdatedDateUTC"],
        },
    ),
    "CreditNotes": (
        "credit_notes",
        {"id": ["CreditNoteID"], "contact_id": ["Contact", "ContactID"], "status": ["Status"], "total": ["Total"]},
    ),
    "Payments": (
        "payments",
        {"id": ["PaymentID"], "invoice_id": ["Invoice", "InvoiceID"], "status": ["Status"], "amount": ["Amount"]},
    ),
}


def main(task: dict) -> None:
    """Read every page of every list, and write each in a transaction of its own."""
    session = requests.Session()
    session.headers.update(task["headers"])
    with psycopg.connect(task["dsn"]) as connection:
        create_tables(connection)
        started, before, rows = time.perf_counter(), time.process_time(), 0
        for name, query in task["queries"].items():
            rows += load(connection, session, task["url"], name, {**query, "pageSize": 1000})
        seconds = time.perf_counter() - started
    print(json.dumps({"rows": rows, "seconds": seconds, "cpu": time.process_time() - before}))


def create_tables(connection: psycopg.Connection) -> None:
    """Create one table per list, with its id as the only index."""
    numbers = {"total", "paid", "balance", "amount"}
    for table, columns in TABLES.values():
        kinds = [f"{name} {'numeric' if name in numbers else 'text'}" for name in columns]
        connection.execute(f"CREATE TABLE hand_written_{table} ({', '.join(kinds)}, PRIMARY KEY (id))")
    connection.commit()


def load(connection: psycopg.Connection, session: requests.Session, url: str, name: str, query: dict) -> int:
    """Load one list page by page; return the number of rows."""
    table, columns = TABLES[name]
    updates = ", ".join(f"{column} = excluded.{column}" for column in columns if column != "id")
    statement = (
        f"INSERT INTO hand_written_{table} ({', '.join(columns)}) VALUES ({', '.join(['%s'] * len(columns))}) "
        f"ON CONFLICT (id) DO UPDATE SET {updates}"
    )
    page, pages, rows = 0, 1, 0
    while page < pages:
        page += 1
        answer = json.loads(session.get(f"{url}/api.xro/2.0/{name}", params={**query, "page": page}).content)
        pages = answer["pagination"]["pageCount"]
        found = [tuple(pick(row, path) for path in columns.values()) for row in answer[name]]
        with connection.cursor() as cursor:
            cursor.executemany(statement, found)
        connection.commit()
        rows += len(found)
    return rows


def pick(row: dict, path: list) -> object:
    """Return the value at a path, None where there is none."""
    for name in path:
        row = row.get(name) if row else None
    return row


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
