-- The collations in $1, and whether they order text by its bytes; 100 is the database's own.
select o.oid, coalesce(o.collisdeterministic, true) as deterministic,
       case o.collprovider when 'c' then o.collcollate in ('C', 'POSIX')
         when 'd' then (select d.datcollate in ('C', 'POSIX') and coalesce(pg_catalog.to_jsonb(d) ->> 'datlocprovider', 'c') = 'c'
                          from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
         else false end as is_c
  from pg_catalog.pg_collation o
 where o.oid = any ($1)
