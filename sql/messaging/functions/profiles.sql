-- upsert_profile(): the caller's row in users or customers.
-- Re-runnable.
--
-- Security definer: email and role come from the token alone, so nobody may write these columns.

create or replace function public.upsert_profile(
    full_name text default null,
    username text default null,
    avatar_url text default null
) returns jsonb
language plpgsql
volatile
security definer
set search_path = pg_catalog, pg_temp
as $fn$
declare
    claims constant jsonb := auth.jwt();
    own_user_id constant uuid := rowcast.caller_user_id();
    own_customer_id constant uuid := rowcast.caller_customer_id();
    user_metadata constant jsonb := claims -> 'user_metadata';
    claimed record;
    profile jsonb;
begin
    -- The address is answered and not kept: whoever shares a conversation sees the row.
    -- What a token only suggests is not worth an error if it does not fit, or if somebody else has that name.
    select
        case when octet_length(c.full_name) between 1 and 400 then c.full_name end as full_name,
        case when octet_length(c.email) between 1 and 400 then c.email end as email,
        case when octet_length(c.role) between 1 and 100 then c.role end as role,
        case
            when octet_length(c.username) between 1 and 200
                and not exists (select from public.users u where u.username = c.username and u.id <> own_user_id)
            then c.username
        end as username,
        case
            when octet_length(c.avatar_url) between 1 and 2048 and c.avatar_url ~* '^(https?://|[^:]*($|[/?#]))'
            then c.avatar_url
        end as avatar_url
    into claimed
    from (
        select
            coalesce(
                case when own_customer_id is not null then claims ->> 'customer_name' end, user_metadata ->> 'full_name'
            ) as full_name,
            claims ->> 'email' as email,
            claims -> 'app_metadata' ->> 'role' as role,
            coalesce(user_metadata ->> 'username', user_metadata ->> 'user_name') as username,
            user_metadata ->> 'avatar_url' as avatar_url
    ) c;
    if own_customer_id is not null then
        insert into public.customers as c (id, full_name)
        values (own_customer_id, coalesce(upsert_profile.full_name, claimed.full_name))
        on conflict on constraint customers_pkey do update
        set full_name = coalesce(upsert_profile.full_name, c.full_name, excluded.full_name)
        returning jsonb_build_object(
            'id', c.id, 'kind', 'customer', 'full_name', c.full_name, 'username', null,
            'email', coalesce(claimed.email, c.email),
            'role', null, 'avatar_url', null
        ) into profile;
        return profile;
    end if;
    if own_user_id is null then
        raise exception using errcode = '22023', message = 'the token names nobody';
    end if;
    insert into public.users as u (id, full_name, username, role, avatar_url)
    values (
        own_user_id,
        coalesce(upsert_profile.full_name, claimed.full_name),
        coalesce(upsert_profile.username, claimed.username),
        claimed.role,
        coalesce(upsert_profile.avatar_url, claimed.avatar_url)
    )
    on conflict on constraint users_pkey do nothing;
    if not found then
        -- By itself, as it is a key: to set it locks the row against all who refer to it.
        update public.users u
        set username = coalesce(upsert_profile.username, claimed.username)
        where u.id = own_user_id
            and coalesce(upsert_profile.username, u.username, claimed.username) is distinct from u.username;
        -- What a trusted server has written stays where the token says nothing; but nobody is shown as staff who is not.
        update public.users u
        set full_name = coalesce(upsert_profile.full_name, u.full_name, claimed.full_name),
            role = coalesce(claimed.role, case when u.role <> 'staff' then u.role end),
            avatar_url = coalesce(upsert_profile.avatar_url, u.avatar_url, claimed.avatar_url)
        where u.id = own_user_id;
    end if;
    return (
        select jsonb_build_object(
            'id', u.id, 'kind', 'user', 'full_name', u.full_name, 'username', u.username,
            'email', coalesce(claimed.email, u.email), 'role', u.role, 'avatar_url', u.avatar_url
        )
        from public.users u
        where u.id = own_user_id
    );
end
$fn$;
comment on function public.upsert_profile(text, text, text) is 'Makes or changes the caller''s profile; null keeps what is there. Made by Rowcast.';

-- Whoever writes for the first time has a profile from then on; and whoever became staff, or is no longer, is shown so.
create or replace function rowcast.make_profile() returns void
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    own_user_id constant uuid := rowcast.caller_user_id();
    own_customer_id constant uuid := rowcast.caller_customer_id();
begin
    if own_user_id is not null and not exists (
            select from public.users u
            where u.id = own_user_id and coalesce(u.role = 'staff', false) = rowcast.caller_is_staff()
        )
        or own_customer_id is not null and not exists (select from public.customers c where c.id = own_customer_id)
    then
        perform public.upsert_profile();
    end if;
end
$fn$;
comment on function rowcast.make_profile() is 'Makes the caller''s profile where there is none, or where it is wrong about who is staff. Made by Rowcast.';

revoke all on function public.upsert_profile(text, text, text), rowcast.make_profile() from public;
