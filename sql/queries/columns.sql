-- The columns of the tables in $1 that are not dropped, in their order.
select a.attrelid as relation, a.attnum as number, a.attname::text as name, a.atttypid as type_id,
       coalesce(a.attnum = any (i.indkey::int2[]), false) as primary_key,
       case when a.attgenerated <> '' then pg_catalog.pg_get_expr(d.adbin, d.adrelid) end as generated,
       a.attcollation as collation, coalesce(o.collisdeterministic, true) as deterministic_collation,
       case o.collprovider when 'c' then o.collcollate in ('C', 'POSIX')
         when 'd' then (select d.datcollate in ('C', 'POSIX') and coalesce(pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c') = 'c'
                          from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
         else false end as c_collation
  from pg_catalog.pg_attribute a
  left join pg_catalog.pg_index i on i.indrelid = a.attrelid and i.indisprimary
  left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
  left join pg_catalog.pg_collation o on o.oid = a.attcollation
 where a.attrelid = any ($1) and a.attnum > 0 and not a.attisdropped
 order by a.attrelid, a.attnum
