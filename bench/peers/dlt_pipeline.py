"""dlt, loading the same lists at 1,000 rows a page into PostgreSQL, merged by their ids, nothing nested.

It reads its task as JSON from the first argument and prints the rows and the seconds.
"""

import json
import os
import sys
import tempfile
import time

os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
os.environ["RUNTIME__LOG_LEVEL"] = "ERROR"

import dlt
import requests

IDS = {"Contacts": "ContactID", "Invoices": "InvoiceID", "CreditNotes": "CreditNoteID", "Payments": "PaymentID"}


def main(task: dict) -> None:
    """Run one pipeline over all lists."""
    session = requests.Session()
    session.headers.update(task["headers"])
    counts: dict[str, int] = {}

    def read(name: str, query: dict) -> object:
        page, pages = 0, 1
        while page < pages:
            page += 1
            parameters = {**query, "pageSize": 1000, "page": page}
            answer = session.get(f"{task['url']}/api.xro/2.0/{name}", params=parameters).json()
            pages = answer["pagination"]["pageCount"]
            counts[name] = counts.get(name, 0) + len(answer[name])
            yield answer[name]

    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            "bench",
            pipelines_dir=folder,
            destination=dlt.destinations.postgres(task["dsn"]),
            dataset_name="dlt_bench",
        )
        resources = [
            dlt.resource(
                read(name, query),
                name=name.lower(),
                primary_key=IDS[name],
                write_disposition="merge",
                max_table_nesting=0,
            )
            for name, query in task["queries"].items()
        ]
        started, before = time.perf_counter(), time.process_time()
        pipeline.run(resources)
        result = {"seconds": time.perf_counter() - started, "cpu": time.process_time() - before}
    print(json.dumps({"rows": sum(counts.values()), **result}))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
