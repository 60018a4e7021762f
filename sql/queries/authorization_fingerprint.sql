-- Changes whenever what was read of realtime.messages and of those who ask about it may have changed: policies of any
-- table, functions, views, roles, memberships, rights, and everything that decides what an INSERT into it does.
-- Things are compared by their rows in the catalog; what policies name is among them, as it can be renamed.
with messages as (
  select pg_catalog.to_regclass('realtime.messages')::oid as oid
), tables as (
  select oid from messages union all
  select i.inhrelid from pg_catalog.pg_inherits i join messages m on m.oid = i.inhparent
), policies as (
  select p.oid, p.xmin, p.polrelid from pg_catalog.pg_policy p
), named as (
  select distinct d.refclassid as class, d.refobjid as oid from pg_catalog.pg_depend d
   where d.classid = 'pg_catalog.pg_policy'::pg_catalog.regclass and d.objid in (select oid from policies)
  union select 'pg_catalog.pg_class'::pg_catalog.regclass, oid from tables
)
select pg_catalog.md5(pg_catalog.concat_ws('|',
  (select string_agg(concat_ws(',', oid, xmin), ';' order by oid) from policies),
  (select string_agg(concat_ws(',', c.oid, c.xmin), ';' order by c.oid) from pg_catalog.pg_class c
    where c.oid in (select oid from named where class = 'pg_catalog.pg_class'::pg_catalog.regclass)),
  (select string_agg(concat_ws(',', a.attrelid, a.attnum, a.xmin), ';' order by a.attrelid, a.attnum)
     from pg_catalog.pg_attribute a
    where a.attnum > 0
      and a.attrelid in (select oid from named where class = 'pg_catalog.pg_class'::pg_catalog.regclass)),
  (select string_agg(concat_ws(',', oid, xmin), ';' order by oid) from pg_catalog.pg_attrdef
    where adrelid in (select oid from tables)),
  (select string_agg(concat_ws(',', oid, xmin), ';' order by oid) from pg_catalog.pg_constraint
    where conrelid in (select oid from tables)),
  (select string_agg(concat_ws(',', oid, xmin), ';' order by oid) from pg_catalog.pg_trigger
    where tgrelid in (select oid from tables)),
  (select string_agg(concat_ws(',', indexrelid, xmin), ';' order by indexrelid) from pg_catalog.pg_index
    where indrelid in (select oid from tables)),
  (select string_agg(concat_ws(',', oid, xmin), ';' order by oid) from pg_catalog.pg_rewrite where oid >= 16384),
  (select string_agg(concat_ws(',', oid, xmin), ';' order by oid) from pg_catalog.pg_proc
    where oid >= 16384 and pronamespace not in (
      select n.oid from pg_catalog.pg_namespace n where n.nspname like 'pg\_temp\_%')),
  (select string_agg(concat_ws(',', oid, xmin), ';' order by oid) from pg_catalog.pg_operator where oid >= 16384),
  (select string_agg(concat_ws(',', t.oid, t.xmin), ';' order by t.oid) from pg_catalog.pg_type t
    where t.oid in (select oid from named where class = 'pg_catalog.pg_type'::pg_catalog.regclass)),
  (select string_agg(concat_ws(',', oid, xmin), ';' order by oid) from pg_catalog.pg_enum),
  (select string_agg(concat_ws(',', rolname, oid, rolsuper, rolinherit, rolbypassrls), ';' order by oid)
     from pg_catalog.pg_roles),
  (select string_agg(m::text, ';' order by m.roleid, m.member) from pg_catalog.pg_auth_members m),
  -- Temporary schemas come and go, and hold nothing that policies name.
  (select string_agg(concat_ws(',', oid, xmin), ';' order by oid) from pg_catalog.pg_namespace
    where nspname not like 'pg\_temp\_%' and nspname not like 'pg\_toast\_temp\_%')
)) as fingerprint
