-- Whether somebody has made an operator, or a function, that shares its name with a built-in one. A condition that was
-- analysed means the one that it meant then; as a text it could mean the other, where names are looked up there.
select exists (
  select from pg_catalog.pg_operator o
    join pg_catalog.pg_operator b on b.oprname = o.oprname and b.oid < 16384
   where o.oid >= 16384
  union all
  select from pg_catalog.pg_proc p
    join pg_catalog.pg_proc b on b.proname = p.proname and b.oid < 16384
   where p.oid >= 16384
) as is_ambiguous
