-- What policies can reach by name: functions, tables with policies, and views; and the built-in functions, by number.
select 'function' as kind, p.oid, p.proname::text as name, l.lanname::text as language,
       p.provolatile::text as volatility, n.nspname::text as schema,
       case when p.oid >= 16384 then coalesce(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc) else '' end as source
  from pg_catalog.pg_proc p
  join pg_catalog.pg_language l on l.oid = p.prolang
  join pg_catalog.pg_namespace n on n.oid = p.pronamespace
 where p.oid >= 16384 and n.nspname not like 'pg\_temp\_%' or p.oid in (select pg_catalog.unnest($1::oid[]))
    or p.oid in (select oprcode from pg_catalog.pg_operator where oid in (select pg_catalog.unnest($2::oid[])))
union all
select 'table', c.oid, c.relname::text, c.relkind::text, '', n.nspname::text,
       (select string_agg(concat_ws(' ', pg_catalog.pg_get_expr(p.polqual, p.polrelid),
                                    pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid)), ' ')
          from pg_catalog.pg_policy p where p.polrelid = c.oid)
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.oid in (select polrelid from pg_catalog.pg_policy) and c.oid <> pg_catalog.to_regclass('realtime.messages')
union all
select 'view', c.oid, c.relname::text, c.relkind::text, '', n.nspname::text, pg_catalog.pg_get_viewdef(c.oid)
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.relkind in ('v', 'm') and c.oid >= 16384
union all
select 'relation', c.oid, c.relname::text, c.relkind::text, '', n.nspname::text, ''
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 where c.oid in (select pg_catalog.unnest($3::oid[]))
