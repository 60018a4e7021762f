-- The tables of the publications in $1, as they are published: partitions, or their root.
select c.oid, n.nspname::text as schema, c.relname::text as name, c.relreplident::text as replica_identity,
       c.relrowsecurity as row_security, c.relforcerowsecurity as row_security_forced, c.relowner as owner,
       p.every_event
  from (select t.schemaname, t.tablename,
               bool_or(o.pubinsert) and bool_or(o.pubupdate) and bool_or(o.pubdelete) as every_event
          from pg_catalog.pg_publication_tables t join pg_catalog.pg_publication o using (pubname)
         where pubname = any ($1) group by t.schemaname, t.tablename) p
  join pg_catalog.pg_namespace n on n.nspname = p.schemaname
  join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
 order by c.oid
