#!/bin/sh
# Makes the roles of docker-compose.yml, when the database is made: those that tokens name, the one Rowcast serves
# with, and the one PostgREST logs in with.
set -eu
psql --set ON_ERROR_STOP=1 --username "${POSTGRES_USER:-postgres}" --dbname "${POSTGRES_DB:-postgres}" \
    --set rowcast="$ROWCAST_PASSWORD" --set authenticator="$AUTHENTICATOR_PASSWORD" <<'SQL'
create role anon nologin;
create role authenticated nologin;
create role service_role nologin bypassrls;

create role authenticator login noinherit password :'authenticator';
grant anon, authenticated, service_role to authenticator;

-- It reads changes, and has Postgres judge rows as these roles, with their rights and policies; it owns nothing.
-- Policies do not bind it itself, so that it can read back the broadcasts that private channels have missed.
create role rowcast login replication bypassrls password :'rowcast';
grant anon, authenticated, service_role to rowcast;
-- What `rowcast migrate` makes in these schemas: stored broadcasts, and the upkeep of their partitions.
create schema realtime;
create schema rowcast;
grant usage on schema realtime, rowcast to rowcast;
alter default privileges in schema realtime grant select, insert on tables to rowcast;
alter default privileges in schema rowcast grant execute on functions to rowcast;

-- Tables that are made later, by the superuser: row level security decides which rows.
grant usage on schema public to anon, authenticated, service_role;
alter default privileges in schema public grant all on tables to anon, authenticated, service_role;
alter default privileges in schema public grant all on sequences to anon, authenticated, service_role;
SQL
