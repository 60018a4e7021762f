-- What each role named in $1 may do with realtime.messages, which policies bind it, and which schemas it may not use.
select r.rolname::text as role,
       c.relrowsecurity and not (r.rolsuper or r.rolbypassrls)
         and (c.relforcerowsecurity or not pg_catalog.pg_has_role(r.oid, c.relowner, 'USAGE')) as row_security,
       pg_catalog.has_schema_privilege(r.oid, c.relnamespace, 'USAGE')
         and pg_catalog.has_column_privilege(r.oid, c.oid, 'id', 'SELECT') as may_select,
       pg_catalog.has_schema_privilege(r.oid, c.relnamespace, 'USAGE')
         and pg_catalog.has_column_privilege(r.oid, c.oid, 'topic', 'INSERT')
         and pg_catalog.has_column_privilege(r.oid, c.oid, 'extension', 'INSERT')
         and pg_catalog.has_column_privilege(r.oid, c.oid, 'inserted_at', 'INSERT')
         and pg_catalog.has_column_privilege(r.oid, c.oid, 'updated_at', 'INSERT')
         and pg_catalog.has_function_privilege(r.oid, 'pg_catalog.gen_random_uuid()', 'EXECUTE') as may_insert,
       array(select p.oid from pg_catalog.pg_policy p
              where p.polrelid = c.oid and exists (select from unnest(p.polroles) as granted(role)
                    where granted.role = 0 or pg_catalog.pg_has_role(r.oid, granted.role, 'USAGE'))) as policies,
       array(select pg_catalog.quote_ident(n.nspname) || '.' from pg_catalog.pg_namespace n
              where not pg_catalog.has_schema_privilege(r.oid, n.oid, 'USAGE')) as closed_schemas
  from pg_catalog.pg_roles r
 cross join pg_catalog.pg_class c
 where r.rolname = any ($1) and c.oid = pg_catalog.to_regclass('realtime.messages')
