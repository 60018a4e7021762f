-- Which functions in $2 each role in $1 may call.
select r.oid as role, p.oid as function
  from pg_catalog.unnest($1::oid[]) as r(oid)
 cross join pg_catalog.unnest($2::oid[]) as p(oid)
 where pg_catalog.has_function_privilege(r.oid, p.oid, 'EXECUTE')
