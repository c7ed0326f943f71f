#!/bin/sh
# Creates the role that the service connects as: it may sign in, and `vectis-xero migrate --service-role` lets it read
# and write. It owns nothing, so it can neither change a table nor disable the trigger of the audit trail.
#
# The PostgreSQL image runs this once, when its data folder is empty. Needs POSTGRES_USER, POSTGRES_DB and
# SERVICE_PASSWORD_FILE, the path of a file with the role's password, which stays out of the list of processes.
set -eu
psql --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" --no-psqlrc --quiet --set ON_ERROR_STOP=1 <<'SQL'
\set password `cat "$SERVICE_PASSWORD_FILE"`
CREATE ROLE vectis_service LOGIN PASSWORD :'password' NOSUPERUSER NOCREATEDB NOCREATEROLE;
SQL
