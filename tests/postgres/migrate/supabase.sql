-- A database as Supabase leaves it: its roles, its schemas and what its realtime server has put there, in outline.
-- Applied by a superuser to an empty cluster.
create role supabase_admin login superuser createdb createrole replication bypassrls;
create role supabase_auth_admin nologin noinherit createrole;
create role supabase_realtime_admin nologin noinherit;
create role dashboard_user nologin createdb createrole replication;
create role anon nologin noinherit;
create role authenticated nologin noinherit;
create role service_role nologin noinherit bypassrls;
grant anon, authenticated, service_role to supabase_realtime_admin;

create schema auth authorization supabase_auth_admin;
grant usage on schema auth to anon, authenticated, service_role;
set role supabase_auth_admin;
create function auth.uid() returns uuid language sql stable
    as $$ select (current_setting('request.jwt.claims', true)::json ->> 'sub')::uuid $$;
create function auth.role() returns text language sql stable
    as $$ select current_setting('request.jwt.claims', true)::json ->> 'role' $$;
create function auth.jwt() returns jsonb language sql stable
    as $$ select current_setting('request.jwt.claims', true)::jsonb $$;
reset role;

create schema realtime authorization supabase_admin;
grant usage on schema realtime to anon, authenticated, service_role;
grant usage on schema realtime to postgres with grant option;
grant all on schema realtime to supabase_realtime_admin;
set role supabase_admin;
create table realtime.schema_migrations (version bigint primary key, inserted_at timestamp(0));
revoke all on realtime.schema_migrations from public;
insert into realtime.schema_migrations select 20211116024918 + n, now() from generate_series(0, 80) n;
create type realtime.action as enum ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'ERROR');
create type realtime.equality_op as enum ('eq', 'neq', 'lt', 'lte', 'gt', 'gte', 'in');
create type realtime.user_defined_filter as (column_name text, op realtime.equality_op, value text);
create type realtime.wal_column as (name text, type_name text, type_oid oid, value jsonb, is_pkey boolean, is_selectable boolean);
create type realtime.wal_rls as (wal jsonb, is_rls_enabled boolean, subscription_ids uuid[], errors text[]);
create table realtime.subscription (
    id bigint generated always as identity primary key,
    subscription_id uuid not null,
    entity regclass not null,
    claims jsonb not null
);
grant select on realtime.subscription to anon, authenticated, service_role;
create table realtime.messages (
    topic text not null,
    extension text not null,
    payload jsonb,
    event text,
    private boolean default false,
    updated_at timestamp not null default now(),
    inserted_at timestamp not null default now(),
    id uuid not null default gen_random_uuid(),
    primary key (id, inserted_at)
) partition by range (inserted_at);
alter table realtime.messages enable row level security;
create policy "theirs" on realtime.messages for select to authenticated using (realtime.messages.topic = 'room');
grant all on realtime.messages to postgres, dashboard_user;
grant select, insert, update on realtime.messages to anon, authenticated, service_role;
alter table realtime.messages owner to supabase_realtime_admin;
do $$
declare
    day date := timezone('utc', now())::date - 5;
begin
    execute format(
        'create table realtime.%I partition of realtime.messages for values from (%L) to (%L)',
        to_char(day, '"messages_"YYYY_MM_DD'), day, day + 1
    );
end
$$;
create function realtime.topic() returns text language sql stable as $$ select 'theirs' $$;
create function realtime.send(payload jsonb, event text, topic text, private boolean default true) returns void
    language plpgsql
    as $$ begin
        insert into realtime.messages (payload, event, topic, private, extension) values ($1, $2, $3, $4, 'broadcast');
    end $$;
alter function realtime.topic() owner to supabase_realtime_admin;
alter function realtime.send(jsonb, text, text, boolean) owner to supabase_realtime_admin;
create publication supabase_realtime;
create publication supabase_realtime_messages_publication for table realtime.messages;
reset role;
