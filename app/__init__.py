"""The service: mirrors what Xero organisations bill and serves it over HTTP. Imports go downward in this list only.

cli           the commands: serve, migrate, sync, token, rotate-keys, openapi, simulator, demo
main          the composition root: builds the application; the only module that names a vendor
api           HTTP: middlewares and routers | scheduler: runs periodic jobs | xero: the connector of one vendor
sync          keeps billing data equal to the vendor's: engine, worker, leases, runs, pull, webhooks, client, status,
              and tells people what is wrong: notifications
connections   vendor apps, consent, grants and tokens, tenants and their selection, connection status
connector     the port that every vendor implements
billing       the vendor-neutral data: records, tables, store, mirror, matching, alerts, summaries, timeline
audit, concurrency, generated_secrets, idempotency, paging     helpers of several layers
clock, crypto, db, embedded_postgres, log, settings, console   foundations, and the static files of the console
database_url, db_connection, db_deadline                       how the database is reached, how long it is waited for
compiled_statements, setting_problems, version                 what all pools compile once, what is wrong with settings
"""
