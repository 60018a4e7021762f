-- The types that realtime.subscription and its functions are made of.
-- Re-runnable; leaves types of these names alone.

do $do$
begin
    if to_regclass('realtime.schema_migrations') is not null then
        return;
    end if;
    if to_regtype('realtime.action') is null then
        create type realtime.action as enum ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'ERROR');
        comment on type realtime.action is 'What a change does, or that it cannot be shown. Made by Rowcast.';
    end if;
    if to_regtype('realtime.equality_op') is null then
        create type realtime.equality_op as enum (
            'eq', 'neq', 'lt', 'lte', 'gt', 'gte', 'in', 'like', 'ilike', 'is', 'match', 'imatch', 'isdistinct'
        );
        comment on type realtime.equality_op is 'How a filter compares. Made by Rowcast.';
    end if;
    if to_regtype('realtime.user_defined_filter') is null then
        create type realtime.user_defined_filter as (column_name text, op realtime.equality_op, value text, negate boolean);
        comment on type realtime.user_defined_filter is 'One condition of a subscription. Made by Rowcast.';
    end if;
    if to_regtype('realtime.wal_column') is null then
        create type realtime.wal_column as (
            name text, type_name text, type_oid oid, value jsonb, is_pkey boolean, is_selectable boolean
        );
        comment on type realtime.wal_column is 'One column of a change, as wal2json tells it. Made by Rowcast.';
    end if;
    if to_regtype('realtime.wal_rls') is null then
        create type realtime.wal_rls as (wal jsonb, is_rls_enabled boolean, subscription_ids uuid[], errors text[]);
        comment on type realtime.wal_rls is 'A change and who is to get it. Made by Rowcast.';
    end if;
end
$do$;
