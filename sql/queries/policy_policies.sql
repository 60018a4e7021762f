-- The policies on the relations in $1.
select p.polrelid as relation, p.polname::text as name, p.polcmd::text as command, p.polpermissive as permissive,
       p.polroles as roles,
       p.polqual::text as using_tree, pg_catalog.pg_get_expr(p.polqual, p.polrelid) as using_text,
       p.polwithcheck::text as check_tree, pg_catalog.pg_get_expr(p.polwithcheck, p.polrelid) as check_text
  from pg_catalog.pg_policy p
 where p.polrelid = any ($1)
 order by p.polrelid, p.polname
