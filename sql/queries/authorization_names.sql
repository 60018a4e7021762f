-- Whether one of the built-in functions in $1, or an operator that stands for one, shares its name with a function or
-- operator that somebody has made in the schemas of $2. A condition that was analysed means the built-in one; as a text
-- it could mean the other.
select exists (
  select from pg_catalog.pg_proc b
    join pg_catalog.pg_proc p on p.proname = b.proname and p.oid >= 16384 and p.pronamespace = any ($2)
   where b.oid = any ($1) and b.oid < 16384
  union all
  select from pg_catalog.pg_operator b
    join pg_catalog.pg_operator o on o.oprname = b.oprname and o.oid >= 16384 and o.oprnamespace = any ($2)
   where b.oprcode = any ($1) and b.oid < 16384
) as is_ambiguous
