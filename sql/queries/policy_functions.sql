-- The functions in $1 and those behind the operators in $2; "operators" lists the latter. Types in "parameters" and
-- "returned" are qualified, because the reading session has an empty search_path.
-- A built-in function that not everybody may call has "restricted".
select p.oid, n.nspname::text as schema, p.proname::text as name, p.proowner as owner, l.lanname::text as language,
       p.provolatile::text as volatility, p.proisstrict as strict, p.prosecdef as security_definer,
       p.proretset as returns_set, p.proargtypes::oid[] as arguments,
       array(select coalesce(p.proargnames[a.place], '')
               from pg_catalog.generate_series(1, coalesce(pg_catalog.cardinality(p.proargmodes), p.pronargs)) as a(place)
              where coalesce(p.proargmodes[a.place], 'i') in ('i', 'b', 'v') order by a.place) as argument_names,
       p.prorettype as result, coalesce(p.proconfig, '{}') as config, p.prosrc as source, p.prosqlbody::text as body,
       p.prokind = 'f' as is_function,
       coalesce('o' = any (p.proargmodes) or 'b' = any (p.proargmodes) or 't' = any (p.proargmodes), false) as has_outputs,
       pg_catalog.pg_get_function_identity_arguments(p.oid) as parameters,
       pg_catalog.pg_get_function_result(p.oid) as returned,
       p.oid < 16384 and not pg_catalog.has_function_privilege('public', p.oid, 'EXECUTE') as restricted,
       array(select o.oid from pg_catalog.pg_operator o where o.oprcode = p.oid and o.oid = any ($2)) as operators
  from pg_catalog.pg_proc p
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace
  join pg_catalog.pg_language l on l.oid = p.prolang
 where p.oid = any ($1) or p.oid in (select o.oprcode from pg_catalog.pg_operator o where o.oid = any ($2))
