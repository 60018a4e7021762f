-- Roles are the cluster's, which other tests share.
do $$
declare
  role text;
begin
  foreach role in array array['anon', 'reader', 'keeper'] loop
    begin
      execute format('create role %I', role);
    exception when duplicate_object or unique_violation then
      null;
    end;
  end loop;
end
$$;
create schema auth;
create schema private;
grant usage on schema auth to public;
grant usage on schema public to public;

create function auth.uid() returns uuid language sql stable as $$
  select nullif(current_setting('request.jwt.claims', true)::json ->> 'sub', '')::uuid
$$;
create function auth.jwt() returns jsonb language sql stable as $$
  select coalesce(
    nullif(current_setting('request.jwt.claim', true), ''),
    nullif(current_setting('request.jwt.claims', true), '')
  )::jsonb
$$;
create function auth.role() returns text language sql stable as $$
  select current_setting('request.jwt.claims', true)::jsonb ->> 'role'
$$;

create type public.app_role as enum ('user', 'admin');
create domain public.short as text check (value <> '');

create table public.conversations (
  id uuid primary key, user1_id uuid, user2_id uuid, is_public boolean, label text, dropped int, kind text
);
alter table public.conversations drop column dropped;
create table public.participants (
  conversation_id uuid, user_id uuid, left_at timestamptz, note varchar(20), primary key (conversation_id, user_id)
);
create table public.profiles (id uuid primary key, role text, org_id uuid);
create table public.user_roles (user_id uuid, role public.app_role, primary key (user_id, role));
create table public.members (org_id uuid, user_id uuid, primary key (org_id, user_id));
create table public.messages (
  id uuid primary key, conversation_id uuid, sender_id uuid, receiver_id uuid, participant_ids uuid[],
  participants text[], tags varchar[], body text, status text, deleted_at timestamptz, created_at timestamptz,
  org_id uuid, data jsonb, n int, title public.short,
  twice int generated always as (n * 2) stored
);
alter table public.messages enable row level security;
grant select on all tables in schema public to reader, keeper;

create view public.active as
  select conversation_id, user_id from public.participants where left_at is null;
alter view public.active owner to keeper;
grant select on public.active to reader;

create function public.is_participant(c uuid, u uuid) returns boolean
language sql stable security definer set search_path = '' as $$
  select exists (select 1 from public.participants p where p.conversation_id = c and p.user_id = u)
$$;
create function public.is_participant_plpgsql(c uuid) returns boolean
language plpgsql security definer set search_path = public as $$
begin
  return exists (select 1 from participants p where p.conversation_id = c and p.user_id = auth.uid());
end
$$;
create function public.has_role(_user_id uuid, _role public.app_role) returns boolean
language sql stable security definer as $$
  select exists (select 1 from public.user_roles where user_id = _user_id and role = _role)
$$;
create function public.ignores(a uuid) returns boolean language sql stable as $$ select true $$;
create function public.org_ids() returns setof uuid language sql stable security definer as $$
  select m.org_id from public.members m where m.user_id = auth.uid()
$$;
create function public.orgs() returns table (org uuid, who uuid) language sql stable as $$
  select m.org_id, m.user_id from public.members m
$$;
create function public.my_org() returns uuid language sql stable as $$
  select p.org_id from public.profiles p where p.id = auth.uid() limit 1
$$;
create function public.shout(a text) returns text language sql immutable strict begin atomic select upper(a); end;
