-- users and customers: who talks.
-- Re-runnable; leaves tables that Rowcast made as they are.
--
-- A user has an account, and the token's subject is their id. A customer has none, and the token's claim customer_id is
-- theirs. Rows are made by upsert_profile(), or by whoever imports them.

do $do$
begin
    if to_regclass('public.users') is null then
        create table public.users (
            id uuid not null constraint users_pkey primary key,
            full_name text constraint users_full_name_check check (octet_length(full_name) <= 400),
            username text
                constraint users_username_key unique
                constraint users_username_check check (octet_length(username) between 1 and 200),
            email text constraint users_email_check check (octet_length(email) <= 400),
            role text constraint users_role_check check (octet_length(role) <= 100),
            avatar_url text constraint users_avatar_url_check check (octet_length(avatar_url) <= 2048 and avatar_url ~* '^(https?://|[^:]*($|[/?#]))'),
            created_at timestamptz not null default now(),
            updated_at timestamptz not null default now()
        );
        comment on table public.users is 'People with accounts. Made by Rowcast.';
        alter table public.users enable row level security;
    end if;

    if to_regclass('public.customers') is null then
        create table public.customers (
            id uuid not null constraint customers_pkey primary key,
            full_name text constraint customers_full_name_check check (octet_length(full_name) <= 400),
            email text constraint customers_email_check check (octet_length(email) <= 400),
            created_at timestamptz not null default now(),
            updated_at timestamptz not null default now()
        );
        comment on table public.customers is 'Customers of a portal, without accounts. Made by Rowcast.';
        alter table public.customers enable row level security;
    end if;
end
$do$;
