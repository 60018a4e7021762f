-- Everything that a migration could touch, one line for each thing; partitions aside, which come and go by the day.
-- $1 names the schemas.
with chosen as (
    select oid, nspname, nspowner, nspacl from pg_namespace where nspname = any ($1)
), relations as (
    select c.* from pg_class c join chosen n on n.oid = c.relnamespace
    where not exists (
        select from pg_class p
        where p.relispartition and (p.oid = c.oid or p.oid = (select i.indrelid from pg_index i where i.indexrelid = c.oid))
    )
)
select 'schema ' || concat_ws(' ', nspname, nspowner::regrole, nspacl::text, obj_description(oid, 'pg_namespace')) as line
from chosen
union all
select 'function ' || concat_ws(' ', pg_get_functiondef(p.oid), p.proowner::regrole, p.proacl::text, obj_description(p.oid, 'pg_proc'))
from pg_proc p join chosen n on n.oid = p.pronamespace
union all
select 'relation ' || concat_ws(
    ' ', c.oid::regclass, c.relkind, c.relowner::regrole, c.relrowsecurity, c.relforcerowsecurity, c.relpersistence, c.relreplident,
    c.relacl::text, pg_get_partkeydef(c.oid), obj_description(c.oid, 'pg_class')
)
from relations c
union all
select 'column ' || concat_ws(
    ' ', a.attrelid::regclass, a.attnum, a.attname, format_type(a.atttypid, a.atttypmod), a.attnotnull, a.attidentity,
    a.attgenerated, a.attacl::text, pg_get_expr(d.adbin, d.adrelid), col_description(a.attrelid, a.attnum)
)
from pg_attribute a
join relations c on c.oid = a.attrelid
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attnum > 0
union all
select 'constraint ' || concat_ws(' ', o.conrelid::regclass, o.conname, pg_get_constraintdef(o.oid), o.convalidated)
from pg_constraint o join relations c on c.oid = o.conrelid
union all
select 'index ' || pg_get_indexdef(c.oid) from relations c where c.relkind in ('i', 'I')
union all
select 'trigger ' || pg_get_triggerdef(t.oid) from pg_trigger t join relations c on c.oid = t.tgrelid where not t.tgisinternal
union all
select 'policy ' || concat_ws(
    ' ', p.polrelid::regclass, p.polname, p.polcmd, p.polroles::regrole[]::text, pg_get_expr(p.polqual, p.polrelid),
    pg_get_expr(p.polwithcheck, p.polrelid)
)
from pg_policy p join relations c on c.oid = p.polrelid
union all
select 'event trigger ' || concat_ws(' ', e.evtname, e.evtevent, e.evtenabled, e.evtowner::regrole, p.proname, e.evttags::text)
from pg_event_trigger e join pg_proc p on p.oid = e.evtfoid join chosen n on n.oid = p.pronamespace
union all
select 'type ' || concat_ws(
    ' ', t.oid::regtype, t.typtype, t.typowner::regrole, t.typacl::text, obj_description(t.oid, 'pg_type'),
    (select string_agg(e.enumlabel, ',' order by e.enumsortorder) from pg_enum e where e.enumtypid = t.oid)
)
from pg_type t
join chosen n on n.oid = t.typnamespace
where t.typtype in ('e', 'd') or exists (select from relations c where c.oid = t.typrelid and c.relkind = 'c')
union all
select 'publication ' || concat_ws(
    ' ', p.pubname, p.pubowner::regrole, p.puballtables, p.pubinsert, p.pubupdate, p.pubdelete, p.pubtruncate, p.pubviaroot,
    (select string_agg(r.prrelid::regclass::text, ',' order by r.prrelid::regclass::text) from pg_publication_rel r where r.prpubid = p.oid),
    obj_description(p.oid, 'pg_publication')
)
from pg_publication p
union all
select 'role ' || concat_ws(' ', rolname, rolsuper, rolinherit, rolcanlogin, rolbypassrls, rolreplication, rolconfig::text)
from pg_roles where rolname in ('supabase_realtime_admin', 'anon', 'authenticated', 'service_role')
order by 1
