-- Whether row level security binds the roles in $1 on realtime.messages, whose number is $2, and whether they may do
-- there what a question about a private channel does: read a row by its id, insert a row.
select r.oid as role,
       c.relrowsecurity and not (r.rolsuper or r.rolbypassrls)
         and (c.relforcerowsecurity or not pg_catalog.pg_has_role(r.oid, c.relowner, 'USAGE')) as row_security,
       pg_catalog.has_schema_privilege(r.oid, c.relnamespace, 'USAGE')
         and exists (select from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attname = 'id'
                        and a.attnum > 0 and pg_catalog.has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT')) as may_select,
       pg_catalog.has_schema_privilege(r.oid, c.relnamespace, 'USAGE')
         and pg_catalog.has_function_privilege(r.oid, 'pg_catalog.gen_random_uuid()', 'EXECUTE')
         and 4 = (select count(*) from pg_catalog.pg_attribute a
                   where a.attrelid = c.oid and a.attname in ('topic', 'extension', 'inserted_at', 'updated_at')
                     and a.attnum > 0 and pg_catalog.has_column_privilege(r.oid, c.oid, a.attnum, 'INSERT')) as may_insert
  from pg_catalog.pg_roles r
 cross join pg_catalog.pg_class c
 where r.rolname = any ($1) and c.oid = $2
