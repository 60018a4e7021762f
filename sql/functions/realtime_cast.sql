-- realtime.cast(): a value of a type, given as text, as JSON.
-- Re-runnable; leaves a function of that name alone unless Rowcast made it.
--
-- Immutable, though casts of some types are not, as elsewhere. The type is written without a length: char(n) keeps all of
-- its characters.

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
