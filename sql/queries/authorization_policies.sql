-- The policies on realtime.messages, those that are asked last first: Postgres tries permissive ones in this order.
select p.oid, p.polname::text as name, p.polcmd::text as command, p.polpermissive as permissive,
       pg_catalog.pg_get_expr(p.polqual, p.polrelid) as using_text, p.polqual::text as using_tree,
       pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) as check_text, p.polwithcheck::text as check_tree
  from pg_catalog.pg_policy p
 where p.polrelid = pg_catalog.to_regclass('realtime.messages') and p.polcmd in ('r', 'a', '*')
 order by p.polname desc
