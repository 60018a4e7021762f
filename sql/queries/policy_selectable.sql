-- Which columns each role in $1 may SELECT of each relation in $2; without any there is no row.
select r.oid as role, c.oid as relation, s.columns
  from pg_catalog.unnest($1::oid[]) as r(oid)
 cross join pg_catalog.unnest($2::oid[]) as c(oid)
 cross join lateral (
     select case when pg_catalog.has_table_privilege(r.oid, c.oid, 'SELECT')
         then array(select a.attnum from pg_catalog.pg_attribute a
                     where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum)
         else array(select a.attnum from pg_catalog.pg_attribute a
                     where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                       and pg_catalog.has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT') order by a.attnum)
     end as columns
 ) s
 where s.columns <> '{}'
