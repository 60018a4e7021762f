-- Which schemas named in $2 each role in $1 may use.
select r.oid as role, n.nspname::text as schema
  from pg_catalog.unnest($1::oid[]) as r(oid)
 cross join pg_catalog.pg_namespace n
 where n.nspname = any ($2) and pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')
