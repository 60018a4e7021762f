-- The functions of the schema $1 that can be called by arguments in JSON, with what is needed for that.
--
-- `version` changes whenever the function does, its rights included, and `row_type_version` when a column of the row
-- that it returns does.
-- The session's search_path is to be empty, so that every type but those of pg_catalog is named with its schema.
with recursive base (type_id, base_id) as (
  select t.oid, t.oid from pg_catalog.pg_type as t where t.typtype <> 'd'
  union all
  select t.oid, base.base_id
  from pg_catalog.pg_type as t
  join base on base.type_id = t.typbasetype
  where t.typtype = 'd'
)
select
  p.oid as id,
  p.xmin::text as version,
  returned.typrelid as row_type_id,
  coalesce(row_type.version, '') as row_type_version,
  p.pronamespace as schema_id,
  p.proname::text as name,
  p.proretset as is_set,
  p.provolatile = 'v' as is_volatile,
  case
    when p.prorettype = 'pg_catalog.void'::pg_catalog.regtype then 'void'
    when coalesce(p.proargmodes::text[] && '{t,b,o}', false)
      or returned.typtype = 'c'
      or returned.oid = 'pg_catalog.record'::pg_catalog.regtype then 'composite'
    else 'scalar'
  end as returns,
  coalesce(given.names, '{}') as argument_names,
  coalesce(given.types, '{}') as argument_types,
  p.provariadic <> 0 as is_variadic,
  p.pronargdefaults as default_count,
  -- Postgres starts the clock of a statement before the function sets its own, so the caller has to.
  (
    select (extract(epoch from set_config('statement_timeout', substr(c.setting, 19), true)::interval) * 1000)::bigint
    from unnest(p.proconfig) as c (setting)
    where c.setting like 'statement\_timeout=%'
  ) as timeout_ms
from pg_catalog.pg_proc as p
join pg_catalog.pg_namespace as n on n.oid = p.pronamespace
join base on base.type_id = p.prorettype
join pg_catalog.pg_type as returned on returned.oid = base.base_id
left join lateral (
  select
    array_agg(coalesce(p.proargnames[a.place], '') order by a.place) as names,
    array_agg(pg_catalog.format_type(a.type_id, null) order by a.place) as types
  from unnest(coalesce(p.proallargtypes, p.proargtypes::oid[])) with ordinality as a (type_id, place)
  where coalesce(p.proargmodes[a.place], 'i') in ('i', 'b', 'v')
) as given on true
left join lateral (
  select sum(a.xmin::text::bigint)::text as version
  from pg_catalog.pg_attribute as a
  where a.attrelid = returned.typrelid and a.attnum > 0
) as row_type on true
where n.nspname = $1
  and p.prokind = 'f'
  and p.prorettype not in ('pg_catalog.trigger'::pg_catalog.regtype, 'pg_catalog.event_trigger'::pg_catalog.regtype)
order by p.proname, p.oid
