-- realtime.check_equality_op(): whether one value compares to another as a filter says, by Postgres's own operators.
-- Re-runnable; leaves a function of that name alone unless Rowcast made it.
--
-- Null is neither, except to `is` and `isdistinct`. The type is written without a length: char(n) compares all of its
-- characters. Text operators compare as text, so varchar and char(n) have them, too.
--
-- There is no `set search_path`: the operators of types that extensions bring are found in the caller's.

do $do$
begin
    if obj_description(to_regprocedure('realtime.check_equality_op(realtime.equality_op, regtype, text, text, boolean)'), 'pg_proc') like '%Made by Rowcast.'
        or to_regprocedure('realtime.check_equality_op(realtime.equality_op, regtype, text, text, boolean)') is null and to_regclass('realtime.schema_migrations') is null
    then
        create or replace function realtime.check_equality_op(
            op realtime.equality_op, type_ regtype, val_1 text, val_2 text, negate boolean
        ) returns boolean
        language plpgsql
        stable
        security invoker
        as $fn$
        declare
            type_name constant text := format_type(type_, -1);
            -- Bytes have patterns of their own; everything else that has any is text.
            pattern_type constant text := case when type_ = 'pg_catalog.bytea'::regtype then 'bytea' else 'text' end;
            condition text;
            result boolean;
        begin
            if op = 'is' and (val_2 is null or val_2 not in ('null', 'true', 'false', 'unknown')) then
                raise exception 'invalid value for is filter: must be null, true, false, or unknown';
            end if;
            condition := case op
                when 'eq' then format('%1$L::%3$s = %2$L::%3$s', val_1, val_2, type_name)
                when 'neq' then format('%1$L::%3$s <> %2$L::%3$s', val_1, val_2, type_name)
                when 'lt' then format('%1$L::%3$s < %2$L::%3$s', val_1, val_2, type_name)
                when 'lte' then format('%1$L::%3$s <= %2$L::%3$s', val_1, val_2, type_name)
                when 'gt' then format('%1$L::%3$s > %2$L::%3$s', val_1, val_2, type_name)
                when 'gte' then format('%1$L::%3$s >= %2$L::%3$s', val_1, val_2, type_name)
                when 'in' then format('%1$L::%3$s = any (%2$L::%3$s[])', val_1, val_2, type_name)
                when 'like' then format('%1$L::%3$s::%4$s like %2$L::%4$s', val_1, val_2, type_name, pattern_type)
                when 'ilike' then format('%1$L::%3$s::text ilike %2$L::text', val_1, val_2, type_name)
                when 'match' then format('%1$L::%3$s::text ~ %2$L::text', val_1, val_2, type_name)
                when 'imatch' then format('%1$L::%3$s::text ~* %2$L::text', val_1, val_2, type_name)
                when 'is' then format('%1$L::%3$s is %2$s', val_1, val_2, type_name)
                when 'isdistinct' then format('%1$L::%3$s is distinct from %2$L::%3$s', val_1, val_2, type_name)
            end;
            execute format('select (%s)', condition) into result;
            return result <> coalesce(negate, false);
        end
        $fn$;
        comment on function realtime.check_equality_op(realtime.equality_op, regtype, text, text, boolean) is 'Whether one value compares to another as a filter says; null where Postgres does not know. Made by Rowcast.';
    end if;
end
$do$;
