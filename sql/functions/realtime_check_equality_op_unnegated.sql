-- realtime.check_equality_op() in its older form, without negation.
-- Re-runnable; leaves a function of that name alone unless Rowcast made it.
--
-- Immutable, though casts of some types are not, as elsewhere.
--
-- There is no `set search_path`: the operators of types that extensions bring are found in the caller's.

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
