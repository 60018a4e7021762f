-- why:   existing SQL names these functions, and realtime.subscription needs three of them. Where somebody has put a
--        function of that name, such as Supabase, it stays. sql/functions says why each is as it is.
-- locks: nothing that exists.
-- undo:  drop function realtime.subscription_check_filters(), realtime.to_regrole(text),
--        realtime.is_visible_through_filters(realtime.wal_column[], realtime.user_defined_filter[]),
--        realtime.check_equality_op(realtime.equality_op, regtype, text, text),
--        realtime.check_equality_op(realtime.equality_op, regtype, text, text, boolean),
--        realtime."cast"(text, regtype), realtime.quote_wal2json(regclass),
--        realtime.wal2json_escape_identifier(text); (only where their comment says "Made by Rowcast")

do $do$
begin
    if obj_description(to_regprocedure('realtime.to_regrole(text)'), 'pg_proc') like '%Made by Rowcast.'
        or to_regprocedure('realtime.to_regrole(text)') is null and to_regclass('realtime.schema_migrations') is null
    then
        create or replace function realtime.to_regrole(role_name text) returns regrole
        language sql
        immutable
        security invoker
        set search_path = ''
        as $fn$
            select role_name::regrole
        $fn$;
        comment on function realtime.to_regrole(text) is 'The role of a name; raises if there is none. Made by Rowcast.';
    end if;
end
$do$;

do $do$
begin
    if obj_description(to_regprocedure('realtime.wal2json_escape_identifier(text)'), 'pg_proc') like '%Made by Rowcast.'
        or to_regprocedure('realtime.wal2json_escape_identifier(text)') is null and to_regclass('realtime.schema_migrations') is null
    then
        create or replace function realtime.wal2json_escape_identifier(name text) returns text
        language sql
        immutable
        strict
        security invoker
        set search_path = ''
        as $fn$
            select regexp_replace(name, '[\s\\,.]', '\\\&', 'g')
        $fn$;
        comment on function realtime.wal2json_escape_identifier(text) is 'A name with backslashes before what wal2json would read as the name''s end. Made by Rowcast.';
    end if;
end
$do$;

do $do$
begin
    if obj_description(to_regprocedure('realtime.quote_wal2json(regclass)'), 'pg_proc') like '%Made by Rowcast.'
        or to_regprocedure('realtime.quote_wal2json(regclass)') is null and to_regclass('realtime.schema_migrations') is null
    then
        create or replace function realtime.quote_wal2json(entity regclass) returns text
        language sql
        immutable
        strict
        security invoker
        set search_path = ''
        as $fn$
            select regexp_replace(n.nspname, '[\s\\,.]', '\\\&', 'g') || '.' || regexp_replace(c.relname, '[\s\\,.]', '\\\&', 'g')
            from pg_catalog.pg_class c
            join pg_catalog.pg_namespace n on n.oid = c.relnamespace
            where c.oid = entity
        $fn$;
        comment on function realtime.quote_wal2json(regclass) is 'A table''s schema and name, escaped for wal2json. Made by Rowcast.';
    end if;
end
$do$;

do $do$
begin
    if obj_description(to_regprocedure('realtime."cast"(text, regtype)'), 'pg_proc') like '%Made by Rowcast.'
        or to_regprocedure('realtime."cast"(text, regtype)') is null and to_regclass('realtime.schema_migrations') is null
    then
        create or replace function realtime."cast"(val text, type_ regtype) returns jsonb
        language plpgsql
        immutable
        security invoker
        set search_path = ''
        as $fn$
        declare
            result jsonb;
        begin
            -- Bytes stay the text they are delivered as.
            if type_ = 'pg_catalog.bytea'::regtype then
                return to_jsonb(val);
            end if;
            execute format('select to_jsonb(%L::%s)', val, format_type(type_, -1)) into result;
            return result;
        end
        $fn$;
        comment on function realtime."cast"(text, regtype) is 'A value of a type, given as text, as JSON. Made by Rowcast.';
    end if;
end
$do$;

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

do $do$
begin
    if obj_description(to_regprocedure('realtime.check_equality_op(realtime.equality_op, regtype, text, text)'), 'pg_proc') like '%Made by Rowcast.'
        or to_regprocedure('realtime.check_equality_op(realtime.equality_op, regtype, text, text)') is null and to_regclass('realtime.schema_migrations') is null
    then
        create or replace function realtime.check_equality_op(
            op realtime.equality_op, type_ regtype, val_1 text, val_2 text
        ) returns boolean
        language plpgsql
        immutable
        security invoker
        as $fn$
        begin
            return realtime.check_equality_op(op, type_, val_1, val_2, false);
        end
        $fn$;
        comment on function realtime.check_equality_op(realtime.equality_op, regtype, text, text) is 'Whether one value compares to another as a filter says; null where Postgres does not know. Made by Rowcast.';
    end if;
end
$do$;

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
