-- What `alter role … set` says of the role $1, for transactions that are made as that role: `version` changes with any of
-- it, `timeout_ms` is its statement_timeout, and `settings` has all else that everybody may set, by name.
--
-- What stands for one database wins over what stands for all of them. Left out is what would make a session another
-- one, and what only a superuser may set, or only a session's start takes.
with given as (
  select s.setdatabase = 0 as is_general, s.xmin::text::bigint as version, s.setconfig
  from pg_catalog.pg_db_role_setting as s
  join pg_catalog.pg_roles as r on r.oid = s.setrole
  where r.rolname::text = $1::text
    and s.setdatabase in (0, (select d.oid from pg_catalog.pg_database as d where d.datname = pg_catalog.current_database()))
),
named as (
  select distinct on (lower(split_part(c.setting, '=', 1)))
    lower(split_part(c.setting, '=', 1)) as name,
    substr(c.setting, strpos(c.setting, '=') + 1) as value
  from given
  cross join lateral unnest(given.setconfig) as c (setting)
  order by lower(split_part(c.setting, '=', 1)), given.is_general
)
select
  coalesce((select sum(given.version)::text from given), '') as version,
  (
    select (extract(epoch from set_config('statement_timeout', named.value, true)::interval) * 1000)::bigint
    from named
    where named.name = 'statement_timeout'
  ) as timeout_ms,
  (
    select coalesce(json_object_agg(named.name, named.value order by named.name), '{}')::text
    from named
    left join pg_catalog.pg_settings as p on lower(p.name) = named.name
    where named.name not in ('statement_timeout', 'role', 'session_authorization', 'client_encoding')
      and named.name not like 'transaction\_%'
      and named.name not like 'rowcast.%'
      and (p.context = 'user' or p.context is null and strpos(named.name, '.') > 0)
  ) as settings
