-- What following each table in $1 takes. $2 names the publications that are not ours, $3 ours for such tables.
select c.oid, c.relkind::text as kind, c.relpersistence::text as persistence, c.relreplident::text as replica_identity,
       c.relispartition or exists (select from pg_catalog.pg_inherits h where c.oid in (h.inhrelid, h.inhparent)) as inherits,
       coalesce(pg_catalog.pg_relation_filenode(c.oid), 0) as filenode,
       pg_catalog.row_security_active(c.oid) as is_bound,
       array(select a.attnum from pg_catalog.pg_index i
               join pg_catalog.pg_attribute a on a.attrelid = c.oid
                and a.attnum = any ((i.indkey::int2[])[0:i.indnkeyatts - 1])
              where i.indrelid = c.oid and i.indisvalid and i.indimmediate
                and case c.relreplident when 'd' then i.indisprimary when 'i' then i.indisreplident else false end
              order by a.attnum) as identity,
       others.tables > 0 as is_published, others.every_change, others.every_truncation, others.is_cut,
       ours.oid is not null as is_added, coalesce(ours.is_cut, false) as is_added_cut,
       coalesce((select p.pubinsert and p.pubupdate and p.pubdelete and p.pubtruncate
                   from pg_catalog.pg_publication p where p.pubname = $3), false) as ours_is_whole,
       -- What is taken out and put in again has other rows.
       pg_catalog.concat_ws('|',
         (select string_agg(concat_ws(',', p.oid, p.xmin, r.oid, r.xmin), ';' order by p.oid)
            from pg_catalog.pg_publication p
            left join pg_catalog.pg_publication_rel r on r.prpubid = p.oid and r.prrelid = c.oid
           where (p.pubname = any ($2) or p.pubname = $3) and (p.puballtables or r.oid is not null)),
         -- Publications of whole schemas have rows of this class; before version 15 there are none.
         (select string_agg(concat_ws(',', p.oid, p.xmin, s.objid), ';' order by p.oid)
            from pg_catalog.pg_publication p
            join pg_catalog.pg_depend d on d.classid = 6237
             and d.refclassid = 'pg_catalog.pg_publication'::pg_catalog.regclass and d.refobjid = p.oid
            join pg_catalog.pg_depend s on s.classid = 6237 and s.objid = d.objid
             and s.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass and s.refobjid = c.relnamespace
           where p.pubname = any ($2))) as membership
  from pg_catalog.pg_class c
  join pg_catalog.pg_namespace n on n.oid = c.relnamespace
 cross join lateral (
       select count(*) as tables,
              coalesce(bool_or(p.pubinsert) and bool_or(p.pubupdate) and bool_or(p.pubdelete), false) as every_change,
              coalesce(bool_or(p.pubtruncate), false) as every_truncation,
              -- Row filters and column lists are of PostgreSQL 15.
              coalesce(bool_or(pg_catalog.to_jsonb(r) ->> 'prqual' is not null
                            or pg_catalog.to_jsonb(r) ->> 'prattrs' is not null), false) as is_cut
         from pg_catalog.pg_publication_tables t
         join pg_catalog.pg_publication p using (pubname)
         left join pg_catalog.pg_publication_rel r on r.prpubid = p.oid and r.prrelid = c.oid
        where t.pubname = any ($2) and t.schemaname = n.nspname and t.tablename = c.relname) others
  left join lateral (
       select r.oid, pg_catalog.to_jsonb(r) ->> 'prqual' is not null
                  or pg_catalog.to_jsonb(r) ->> 'prattrs' is not null as is_cut
         from pg_catalog.pg_publication_rel r
         join pg_catalog.pg_publication p on p.oid = r.prpubid
        where p.pubname = $3 and r.prrelid = c.oid) ours on true
 where c.oid = any ($1)
