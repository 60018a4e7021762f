-- The tables in $1, whether they are published or not.
select c.oid, n.nspname::text as schema, c.relname::text as name, c.relreplident::text as replica_identity,
       c.relrowsecurity as row_security, c.relforcerowsecurity as row_security_forced, c.relowner as owner
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.oid = any ($1)
