-- What an INSERT into realtime.messages does: nothing but put the row into the partition for now, if "plain" is true.
-- "partition" is a condition on inserted_at that holds where there is a partition for it; "bounds" are those of the
-- partitions, NULL of a table without.
with messages as (
  -- By its name, as whoever may not use the schema may not look it up there.
  select c.* from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
   where n.nspname = 'realtime' and c.relname = 'messages'
), partitions as (
  select c.* from pg_catalog.pg_inherits i join messages m on m.oid = i.inhparent
    join pg_catalog.pg_class c on c.oid = i.inhrelid
), tables as (
  select oid from messages union all select oid from partitions
), known(name, type, default_value) as (
  values ('topic', 'text', null), ('extension', 'text', null), ('payload', 'jsonb', null), ('event', 'text', null),
         ('private', 'boolean', 'false'), ('updated_at', 'timestamp without time zone', 'now()'),
         ('inserted_at', 'timestamp without time zone', 'now()'), ('id', 'uuid', 'gen_random_uuid()'),
         ('binary_payload', 'bytea', null)
), columns as (
  select a.attname::text as name, pg_catalog.format_type(a.atttypid, a.atttypmod) as type, k.name is not null as is_known,
         not a.attnotnull or k.name not in ('payload', 'event', 'private', 'binary_payload') as may_be_null,
         pg_catalog.pg_get_expr(d.adbin, d.adrelid) is not distinct from k.default_value as has_its_default,
         a.attcollation in (0, 100) and a.attgenerated = '' and a.attidentity = ''
           and pg_catalog.format_type(a.atttypid, a.atttypmod) is not distinct from k.type as is_of_its_type,
         a.attnum
    from messages m
    join pg_catalog.pg_attribute a on a.attrelid = m.oid and a.attnum > 0 and not a.attisdropped
    left join pg_catalog.pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
    left join known k on k.name = a.attname
)
select array(select name from columns order by attnum) as columns,
       array(select type from columns order by attnum) as types,
       array(select attnum from columns where name in ('id', 'inserted_at', 'updated_at')) as unsteady,
       (select bool_and(is_known and may_be_null and has_its_default and is_of_its_type)
               and count(*) filter (where name in ('topic', 'extension', 'inserted_at', 'updated_at', 'id')) = 5
          from columns)
       and not exists (select from messages where relkind not in ('r', 'p'))
       and not exists (select from partitions where relkind <> 'r')
       and (select relkind = 'r' or pg_catalog.pg_get_partkeydef(oid) = 'RANGE (inserted_at)' from messages)
       and not exists (select from pg_catalog.pg_trigger where tgrelid in (select oid from tables))
       and not exists (select from pg_catalog.pg_rewrite where ev_class in (select oid from tables))
       and not exists (select from pg_catalog.pg_constraint c where c.conrelid in (select oid from tables)
           and c.contype not in ('p', 'n')
           and (c.contype <> 'c' or pg_catalog.pg_get_constraintdef(c.oid)
                not like 'CHECK (((payload IS NULL) OR (binary_payload IS NULL)))%'))
       and not exists (select from pg_catalog.pg_index i where i.indrelid in (select oid from tables)
           and (i.indexprs is not null or i.indisexclusion or i.indisunique and not (i.indisprimary
                and (select attnum from columns where name = 'id') = any (i.indkey))
             or i.indpred is not null and pg_catalog.pg_get_expr(i.indpred, i.indrelid)
                <> '((extension = ''broadcast''::text) AND (private IS TRUE))')) as plain,
       exists (select from pg_catalog.pg_index i where i.indrelid in (select oid from tables)
           and not i.indisprimary and i.indpred is null) as indexed,
       (select case when relkind = 'r' then 'true' else coalesce((
           select string_agg('(' || pg_catalog.pg_get_partition_constraintdef(p.oid) || ')', ' or ') from partitions p),
           'false') end from messages) as partition,
       (select case when relkind = 'p' then array(select pg_catalog.pg_get_expr(p.relpartbound, p.oid) from partitions p)
          end from messages) as bounds
  from messages
