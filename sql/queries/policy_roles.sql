-- The roles named in $1 and those in $2, and which of $3 and of themselves they have the rights of.
select r.oid, r.rolname::text as name, r.rolsuper as superuser, r.rolsuper or r.rolbypassrls as bypasses,
       r.rolname = any ($1) as is_asked,
       array(select o.oid from pg_catalog.pg_roles o
              where (o.oid = r.oid or o.oid = any ($2) or o.oid = any ($3) or o.rolname = any ($1))
                and pg_catalog.pg_has_role(r.oid, o.oid, 'USAGE')) as has_rights_of
  from pg_catalog.pg_roles r
 where r.rolname = any ($1) or r.oid = any ($2)
 order by r.oid
