-- How the caller wants to be notified.
-- Re-runnable.
--
-- Policies bind these to the caller's own row. Whoever has none gets what a new row would have.

create or replace function public.get_notification_preferences() returns jsonb
language plpgsql
stable
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    preferences public.notification_preferences;
begin
    if rowcast.caller_user_id() is null then
        raise exception using errcode = '42501', message = 'only users have preferences';
    end if;
    select p.* into preferences
    from public.notification_preferences p
    where p.user_id = rowcast.caller_user_id();
    if not found then
        preferences.email := true;
        preferences.push := true;
        preferences.in_app := true;
        preferences.new_message := true;
        preferences.mentions := true;
        preferences.time_zone := 'UTC';
    end if;
    return to_jsonb(preferences) - '{user_id,created_at,updated_at}'::text[];
end
$fn$;
comment on function public.get_notification_preferences() is 'The caller''s notification preferences. Made by Rowcast.';

create or replace function public.update_notification_preferences(changes jsonb) returns jsonb
language plpgsql
volatile
security invoker
set search_path = pg_catalog, pg_temp
as $fn$
declare
    current_ones constant jsonb := public.get_notification_preferences();
    wanted public.notification_preferences;
begin
    if jsonb_typeof(changes) is distinct from 'object' or changes - array(select jsonb_object_keys(current_ones)) <> '{}' then
        raise exception using
            errcode = '22023',
            message = 'changes are an object of email, push, in_app, new_message, mentions, quiet_hours_start, quiet_hours_end, time_zone';
    end if;
    wanted := jsonb_populate_record(null::public.notification_preferences, current_ones || changes);
    if num_nulls(wanted.email, wanted.push, wanted.in_app, wanted.new_message, wanted.mentions, wanted.time_zone) > 0 then
        raise exception using errcode = '22023', message = 'only quiet hours may be null';
    end if;
    -- A zone that Postgres does not know is refused here (22023).
    perform now() at time zone wanted.time_zone;
    perform rowcast.make_profile();
    insert into public.notification_preferences as p (
        user_id, email, push, in_app, new_message, mentions, quiet_hours_start, quiet_hours_end, time_zone
    )
    values (
        rowcast.caller_user_id(), wanted.email, wanted.push, wanted.in_app, wanted.new_message, wanted.mentions,
        wanted.quiet_hours_start, wanted.quiet_hours_end, wanted.time_zone
    )
    on conflict on constraint notification_preferences_pkey do update
    set email = excluded.email,
        push = excluded.push,
        in_app = excluded.in_app,
        new_message = excluded.new_message,
        mentions = excluded.mentions,
        quiet_hours_start = excluded.quiet_hours_start,
        quiet_hours_end = excluded.quiet_hours_end,
        time_zone = excluded.time_zone;
    return public.get_notification_preferences();
end
$fn$;
comment on function public.update_notification_preferences(jsonb) is 'Changes some of the caller''s notification preferences. Made by Rowcast.';

revoke all on function public.get_notification_preferences(), public.update_notification_preferences(jsonb) from public;
