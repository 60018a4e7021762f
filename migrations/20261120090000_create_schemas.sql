-- why:   a home for Rowcast's own objects (rowcast) and for those that Supabase clients and policies know
--        (realtime, auth), and the record of applied migrations.
-- locks: nothing that exists.
-- undo:  drop schema rowcast cascade; drop schema realtime; (auth only where Supabase did not bring it)

do $do$
begin
    -- "if not exists" still asks for the right to create; a schema that stands needs none.
    if to_regnamespace('rowcast') is null then
        create schema rowcast;
        comment on schema rowcast is 'Rowcast''s own objects.';
    end if;
    if to_regnamespace('realtime') is null then
        create schema realtime;
        comment on schema realtime is 'What Supabase clients and policies expect of a realtime server.';
    end if;
    if to_regnamespace('auth') is null then
        create schema auth;
        comment on schema auth is 'Who is asking: auth.uid(), auth.role() and auth.jwt() for policies.';
    end if;
end
$do$;

create table rowcast.migrations (
    version bigint not null constraint migrations_pkey primary key,
    name text not null,
    applied_at timestamptz not null default now()
);
comment on table rowcast.migrations is 'Which of Rowcast''s migrations this database has.';
alter table rowcast.migrations enable row level security;
revoke all on table rowcast.migrations from public;
