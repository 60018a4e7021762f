-- The relations in $1, with what their rows leave in the log.
-- Old rows are told by the key columns of the primary key or of a chosen index, or logged whole.
select c.oid, n.nspname::text as schema, c.relname::text as name, c.relkind::text as kind,
       c.relpersistence::text as persistence, c.relowner as owner, c.relrowsecurity as row_security,
       c.relforcerowsecurity as row_security_forced, c.relreplident::text as replica_identity,
       c.reltuples::float8 as row_estimate,
       c.relispartition or c.relhassubclass
         or exists (select from pg_catalog.pg_inherits h where h.inhrelid = c.oid or h.inhparent = c.oid) as inherits,
       case when c.relkind = 'v' then (
           select r.ev_action::text from pg_catalog.pg_rewrite r where r.ev_class = c.oid and r.ev_type = '1' limit 1
       ) end as view,
       coalesce((select o.option_value::boolean from pg_catalog.pg_options_to_table(c.reloptions) o
                  where o.option_name = 'security_invoker'), false) as security_invoker,
       (select array((select pg_catalog.unnest((i.indkey::int2[])[0:i.indnkeyatts - 1])))
          from pg_catalog.pg_index i
         where i.indrelid = c.oid and i.indisvalid and i.indisunique and i.indimmediate and i.indpred is null
           and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end
         limit 1) as identity
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.oid = any ($1)
