#!/bin/sh
# Run once, by the image of PostgreSQL, when it makes the database: the login by which the engine works.
# The owner migrates; this one owns nothing, and cannot pass row-level security.
set -eu
psql --no-psqlrc --quiet --set ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    --set password="$(cat /run/secrets/postgres_app_password)" <<'END'
CREATE ROLE rugpt_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS PASSWORD :'password';
END
