-- realtime.is_visible_through_filters(): whether a row passes all filters.
-- Re-runnable; leaves a function of that name alone unless Rowcast made it.
--
-- Doubt hides: a column that is not there, and a comparison that Postgres does not know, also where it is negated.
--
-- There is no `set search_path`: the operators of types that extensions bring are found in the caller's.

do $do$
begin
    if obj_description(to_regprocedure('realtime.is_visible_through_filters(realtime.wal_column[], realtime.user_defined_filter[])'), 'pg_proc') like '%Made by Rowcast.'
        or to_regprocedure('realtime.is_visible_through_filters(realtime.wal_column[], realtime.user_defined_filter[])') is null and to_regclass('realtime.schema_migrations') is null
    then
        create or replace function realtime.is_visible_through_filters(
            columns realtime.wal_column[], filters realtime.user_defined_filter[]
        ) returns boolean
        language sql
        stable
        security invoker
        as $fn$
            select not exists (
                select from unnest(filters) as f
                where (
                    select realtime.check_equality_op(
                        f.op, coalesce(c.type_oid::regtype, c.type_name::regtype), c.value #>> '{}', f.value, f.negate
                    )
                    from unnest(columns) as c
                    where c.name = f.column_name
                ) is not true
            )
        $fn$;
        comment on function realtime.is_visible_through_filters(realtime.wal_column[], realtime.user_defined_filter[]) is 'Whether a row passes all filters; not if a filtered column is missing. Made by Rowcast.';
    end if;
end
$do$;
