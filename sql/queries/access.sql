-- What each role named in $1 may do with each table in $2. Without USAGE on its schema a table is out of reach,
-- and has no row here.
-- The condition joins the policies for SELECT that apply to the role: one permissive policy must hold, and all
-- restrictive ones; they stand in the order in which Postgres tries them. One that has no expression permits nothing, and forbids nothing. Names in it are qualified because the reading session has an empty search_path.
select r.rolname::text as role, c.oid as relation,
       c.relrowsecurity and not (r.rolsuper or r.rolbypassrls)
         and (c.relforcerowsecurity or not pg_catalog.pg_has_role(r.oid, c.relowner, 'USAGE')) as row_security,
       array(select a.attnum from pg_catalog.pg_attribute a
              where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
                and pg_catalog.has_column_privilege(r.oid, c.oid, a.attnum, 'SELECT')
              order by a.attnum) as selectable,
       (select coalesce(string_agg(case when not p.polpermissive then '(' || q.condition || ')' end, ' and '
                                   order by p.polname) || ' and ', '')
               || coalesce('(' || string_agg(case when p.polpermissive then '(' || q.condition || ')' end, ' or '
                                             order by p.polname desc) || ')', 'false')
          from pg_catalog.pg_policy p
         cross join lateral (select pg_catalog.pg_get_expr(p.polqual, p.polrelid) as condition) q
         where p.polrelid = c.oid and p.polcmd in ('r', '*')
           and exists (select from unnest(p.polroles) as granted(role)
                        where granted.role = 0 or pg_catalog.pg_has_role(r.oid, granted.role, 'USAGE'))) as condition
  from pg_catalog.pg_roles r
 cross join pg_catalog.pg_class c
 where r.rolname = any ($1) and c.oid = any ($2)
   and pg_catalog.has_schema_privilege(r.oid, c.relnamespace, 'USAGE')
