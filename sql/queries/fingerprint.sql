-- Changes whenever anything that the catalog reading depends on may have changed; $1 names the publications.
-- Policies and generated columns are compared as texts, too: what they name can be renamed without a trace in them.
with published as (
  select c.oid, c.xmin
    from (select distinct schemaname, tablename from pg_catalog.pg_publication_tables where pubname = any ($1)) p
    join pg_catalog.pg_namespace n on n.nspname = p.schemaname
    join pg_catalog.pg_class c on c.relnamespace = n.oid and c.relname = p.tablename
)
select pg_catalog.md5(pg_catalog.concat_ws('|',
  (select string_agg(concat_ws(',', oid, xmin), ';' order by oid) from published),
  (select string_agg(concat_ws(',', a.attrelid, a.attnum, a.xmin), ';' order by a.attrelid, a.attnum)
     from pg_catalog.pg_attribute a where a.attrelid in (select oid from published) and a.attnum > 0),
  (select string_agg(concat_ws(',', p.oid, p.xmin, pg_catalog.pg_get_expr(p.polqual, p.polrelid)), ';' order by p.oid)
     from pg_catalog.pg_policy p where p.polrelid in (select oid from published)),
  (select string_agg(concat_ws(',', d.oid, d.xmin, pg_catalog.pg_get_expr(d.adbin, d.adrelid)), ';' order by d.oid)
     from pg_catalog.pg_attrdef d
     join pg_catalog.pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum and a.attgenerated <> ''
    where d.adrelid in (select oid from published)),
  (select string_agg(concat_ws(',', oid, xmin), ';' order by oid) from pg_catalog.pg_publication where pubname = any ($1)),
  (select string_agg(concat_ws(',', i.indexrelid, i.xmin), ';' order by i.indexrelid)
     from pg_catalog.pg_index i where i.indrelid in (select oid from published) and i.indisprimary),
  (select string_agg(concat_ws(',', rolname, oid, rolsuper, rolinherit, rolbypassrls), ';' order by oid) from pg_catalog.pg_roles),
  (select string_agg(m::text, ';' order by m.roleid, m.member) from pg_catalog.pg_auth_members m),
  (select string_agg(concat_ws(',', oid, xmin), ';' order by oid) from pg_catalog.pg_namespace),
  (select string_agg(concat_ws(',', oid, xmin), ';' order by oid) from pg_catalog.pg_type where oid >= 16384),
  (select string_agg(concat_ws(',', oid, xmin), ';' order by oid) from pg_catalog.pg_enum),
  (select string_agg(concat_ws(',', oid, xmin), ';' order by oid) from pg_catalog.pg_cast where oid >= 16384)
)) as fingerprint
