-- The columns of the relations in $1 that are not dropped, in their order.
select a.attrelid as relation, a.attnum as number, a.attname::text as name, a.atttypid as type_id,
       a.attcollation as collation, a.attgenerated <> '' as generated
  from pg_catalog.pg_attribute a
 where a.attrelid = any ($1) and a.attnum > 0 and not a.attisdropped
 order by a.attrelid, a.attnum
