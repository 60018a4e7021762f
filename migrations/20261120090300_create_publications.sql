-- why:   the publication supabase_realtime lists the tables that clients may subscribe to; it starts empty, so
--        nothing is sent until its owner adds a table. The publication rowcast is for the server's own tables.
-- locks: nothing that exists.
-- undo:  drop publication rowcast; drop publication supabase_realtime; (the latter only where no client uses it)

do $do$
begin
    if not exists (select from pg_catalog.pg_publication where pubname = 'supabase_realtime') then
        create publication supabase_realtime;
        comment on publication supabase_realtime is 'The tables that realtime clients may subscribe to.';
    end if;
    if not exists (select from pg_catalog.pg_publication where pubname = 'rowcast') then
        create publication rowcast;
        comment on publication rowcast is 'Tables that Rowcast itself follows.';
    end if;
end
$do$;
