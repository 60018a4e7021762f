-- Changes whenever anything that the catalog reading, or the mirror, depends on may have changed.
-- Rows of the catalog are compared by the transactions that wrote them, in sums that no order matters to. That finds
-- what policies name, too, which can be renamed without a trace in them. Passwords are not among it, nor is what is
-- temporary: both come and go, and nothing here depends on them.
with passing as (
  select oid from pg_catalog.pg_namespace where nspname like 'pg\_temp\_%' or nspname like 'pg\_toast\_temp\_%'
), relation as (
  select c.oid, c.xmin from pg_catalog.pg_class c
   where c.oid >= 16384 and c.relkind in ('r', 'p', 'v', 'm', 'f') and c.relpersistence <> 't'
), root as (
  -- By its name, as whoever may not use the schema may not look it up there.
  select c.oid from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
   where n.nspname = 'realtime' and c.relname = 'messages'
), messages as (
  select oid from root union all
  select i.inhrelid from pg_catalog.pg_inherits i where i.inhparent in (select oid from root)
)
select pg_catalog.md5(pg_catalog.concat_ws('|',
  (select sum(hashint8extended(xmin::text::int8, oid::int8)) from relation),
  (select sum(hashint8extended(a.xmin::text::int8, (a.attrelid::int8 << 16) + a.attnum)) from pg_catalog.pg_attribute a
    where a.attrelid >= 16384 and a.attnum > 0 and a.attrelid in (select oid from relation)),
  (select sum(hashint8extended(i.xmin::text::int8, i.indexrelid::int8)) from pg_catalog.pg_index i
    where i.indexrelid >= 16384 and (i.indisprimary or i.indisreplident) and i.indrelid in (select oid from relation)),
  (select sum(hashint8extended(d.xmin::text::int8, d.oid::int8)) from pg_catalog.pg_attrdef d
     join pg_catalog.pg_attribute a on a.attrelid = d.adrelid and a.attnum = d.adnum and a.attgenerated <> ''),
  (select sum(hashint8extended(xmin::text::int8, oid::int8)) from pg_catalog.pg_policy),
  -- What inserting a row into realtime.messages does.
  (select sum(hashint8extended(xmin::text::int8, inhrelid::int8)) from pg_catalog.pg_inherits
    where inhrelid in (select oid from messages)),
  (select sum(hashint8extended(xmin::text::int8, oid::int8)) from pg_catalog.pg_attrdef
    where adrelid in (select oid from messages)),
  (select sum(hashint8extended(xmin::text::int8, oid::int8)) from pg_catalog.pg_constraint
    where conrelid in (select oid from messages)),
  (select sum(hashint8extended(xmin::text::int8, oid::int8)) from pg_catalog.pg_trigger
    where tgrelid in (select oid from messages)),
  (select sum(hashint8extended(xmin::text::int8, indexrelid::int8)) from pg_catalog.pg_index
    where indrelid in (select oid from messages)),
  (select sum(hashint8extended(xmin::text::int8, oid::int8)) from pg_catalog.pg_rewrite
    where oid >= 16384 and ev_class in (select oid from relation)),
  (select sum(hashint8extended(xmin::text::int8, oid::int8)) from pg_catalog.pg_proc
    where (oid >= 16384 or proacl is not null) and pronamespace not in (select oid from passing)),
  (select sum(hashint8extended(xmin::text::int8, oid::int8)) from pg_catalog.pg_operator where oid >= 16384),
  (select sum(hashint8extended(xmin::text::int8, oid::int8)) from pg_catalog.pg_collation where oid >= 16384),
  (select sum(hashint8extended(xmin::text::int8, oid::int8)) from pg_catalog.pg_cast where oid >= 16384),
  (select sum(hashint8extended(xmin::text::int8, oid::int8)) from pg_catalog.pg_type
    where oid >= 16384 and typnamespace not in (select oid from passing)),
  (select sum(hashint8extended(xmin::text::int8, oid::int8)) from pg_catalog.pg_enum),
  (select sum(hashint8extended(xmin::text::int8, oid::int8)) from pg_catalog.pg_namespace
    where oid not in (select oid from passing)),
  (select string_agg(concat_ws(',', oid, xmin), ';' order by oid) from pg_catalog.pg_publication),
  (select sum(hashint8extended(xmin::text::int8, oid::int8)) from pg_catalog.pg_publication_rel),
  -- Publications of whole schemas have rows of this class; before version 15 there are none.
  (select sum(hashint8extended(d.objid::int8, d.refobjid::int8)) from pg_catalog.pg_depend d where d.classid = 6237),
  (select string_agg(concat_ws(',', rolname, oid, rolsuper, rolinherit, rolbypassrls), ';' order by oid) from pg_catalog.pg_roles),
  (select string_agg(m::text, ';' order by m.roleid, m.member) from pg_catalog.pg_auth_members m),
  (select string_agg(concat_ws(',', setdatabase, setrole, setconfig), ';' order by setdatabase, setrole)
     from pg_catalog.pg_db_role_setting
    -- Those for other databases are not ours.
    where setdatabase in (0, (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database()))),
  -- Search paths of sessions, which texts of functions are read by, may stand in files.
  pg_catalog.pg_conf_load_time(),
  (select concat_ws(',', d.oid, d.datdba, d.datacl) from pg_catalog.pg_database d where d.datname = pg_catalog.current_database())
)) as fingerprint, pg_catalog.pg_current_snapshot()::text as snapshot
