-- realtime.subscription_check_filters(): refuses subscriptions that name columns or values that cannot be.
-- Re-runnable; leaves a function of that name alone unless Rowcast made it.
--
-- A column must be one that the token's role may select. Filters and columns are sorted, so that equal subscriptions are
-- equal rows.
--
-- There is no `set search_path`: the operators of types that extensions bring are found in the caller's.

do $do$
begin
    if obj_description(to_regprocedure('realtime.subscription_check_filters()'), 'pg_proc') like '%Made by Rowcast.'
        or to_regprocedure('realtime.subscription_check_filters()') is null and to_regclass('realtime.schema_migrations') is null
    then
        create or replace function realtime.subscription_check_filters() returns trigger
        language plpgsql
        volatile
        security invoker
        as $fn$
        declare
            -- The generated column has no value before the row is written.
            subscriber constant regrole := (new.claims ->> 'role')::regrole;
            filter realtime.user_defined_filter;
            column_type regtype;
            is_text boolean;
            operand_count integer;
            unknown text;
        begin
            foreach filter in array new.filters loop
                select a.atttypid, t.typcategory = 'S' into column_type, is_text
                from pg_catalog.pg_attribute a
                join pg_catalog.pg_type t on t.oid = a.atttypid
                where a.attrelid = new.entity and a.attname = filter.column_name and a.attnum > 0 and not a.attisdropped
                    and has_column_privilege(subscriber, new.entity, a.attnum, 'select');
                if not found then
                    raise exception 'invalid column for filter %', filter.column_name;
                end if;
                if filter.op in ('like', 'ilike', 'match', 'imatch')
                    and not (is_text or filter.op = 'like' and column_type = 'pg_catalog.bytea'::regtype)
                then
                    raise exception 'operator % requires a text-compatible column type, got %', filter.op, column_type;
                end if;
                if filter.op = 'is' and filter.value in ('true', 'false', 'unknown')
                    and column_type <> 'pg_catalog.bool'::regtype
                then
                    raise exception 'is % filter requires a boolean column, got %', filter.value, column_type;
                end if;
                if filter.op in ('match', 'imatch') then
                    begin
                        perform '' ~ filter.value;
                    exception
                        when invalid_regular_expression then
                            raise exception 'invalid regular expression for % filter: %', filter.op, sqlerrm;
                    end;
                end if;
                -- Raises where the value is none of the column's type, or the type has no such operator.
                perform realtime.check_equality_op(filter.op, column_type, null, filter.value, filter.negate);
                if filter.op = 'in' then
                    execute format('select cardinality(%L::%s[])', filter.value, format_type(column_type, -1)) into operand_count;
                    if operand_count > 100 then
                        raise exception 'too many values for `in` filter. Maximum 100';
                    end if;
                end if;
            end loop;

            select name into unknown
            from unnest(new.selected_columns) as name
            where not exists (
                select from pg_catalog.pg_attribute a
                where a.attrelid = new.entity and a.attname = name and a.attnum > 0 and not a.attisdropped
                    and has_column_privilege(subscriber, new.entity, a.attnum, 'select')
            )
            limit 1;
            if found then
                raise exception 'invalid column for select %', unknown;
            end if;

            new.filters := array(
                select f::realtime.user_defined_filter from unnest(new.filters) as f
                order by f.column_name collate "C", f.op, f.value collate "C", f.negate
            );
            if new.selected_columns is not null then
                new.selected_columns := array(select name from unnest(new.selected_columns) as name order by name collate "C");
            end if;
            return new;
        end
        $fn$;
        comment on function realtime.subscription_check_filters() is 'Refuses subscriptions that name columns or values that cannot be. Made by Rowcast.';
    end if;
end
$do$;
