-- Every type a column may have, with what decoding its values needs; one snapshot, one row a type.
-- The row types of system catalogs are left out, and their arrays: there are hundreds, and no column has them.
select
    t.oid,
    n.nspname::text as schema,
    t.typname::text as name,
    k.kind,
    -- What it is made of: the element of an array, the base of a domain, the subtype of a range.
    case k.kind
        when 'array' then t.typelem
        when 'domain' then t.typbasetype
        when 'range' then r.rngsubtype
    end as part,
    t.typdelim as delimiter,
    -- to_jsonb looks for a cast to json only where it finds no structure, and never for built-in types (those
    -- below 16384). The cast must be a function; castmethod 'i' and 'b' are none.
    t.oid >= 16384 and k.kind in ('base', 'enum', 'range') and exists (
        select from pg_catalog.pg_cast c
        where c.castsource = t.oid and c.casttarget = 'pg_catalog.json'::pg_catalog.regtype
            and c.castmethod = 'f' and c.castfunc <> 0
    ) as json_cast,
    case when k.kind = 'enum' then array(
        select e.enumlabel::text from pg_catalog.pg_enum e where e.enumtypid = t.oid order by e.enumsortorder
    ) end as labels,
    case when k.kind = 'composite' then array(
        select a.attname::text from pg_catalog.pg_attribute a
        where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped order by a.attnum
    ) end as field_names,
    case when k.kind = 'composite' then array(
        select a.atttypid from pg_catalog.pg_attribute a
        where a.attrelid = t.typrelid and a.attnum > 0 and not a.attisdropped order by a.attnum
    ) end as field_types
from pg_catalog.pg_type t
join pg_catalog.pg_namespace n on n.oid = t.typnamespace
left join pg_catalog.pg_type element on element.oid = t.typelem
left join pg_catalog.pg_range r on t.typtype in ('r', 'm') and t.oid in (r.rngtypid, r.rngmultitypid)
cross join lateral (
    select case
        when not t.typisdefined then 'other'
        -- An array to to_jsonb is what subscripts like one. Its text form is that of arrays only if the output
        -- function is: int2vector and oidvector write theirs otherwise, and are known by their identifiers.
        when t.typtype = 'b' and t.typsubscript = 'pg_catalog.array_subscript_handler'::pg_catalog.regproc then case
            when t.typoutput = 'pg_catalog.array_out'::pg_catalog.regproc then 'array'
            when t.oid in ('pg_catalog.int2vector'::pg_catalog.regtype, 'pg_catalog.oidvector'::pg_catalog.regtype)
                then 'base'
            else 'other'
        end
        when t.typtype = 'b' then 'base'
        when t.typtype = 'c' then 'composite'
        when t.typtype = 'd' then 'domain'
        when t.typtype = 'e' then 'enum'
        when t.typtype in ('r', 'm') then 'range'
        else 'other'
    end as kind
) k
where coalesce(element.typtype, t.typtype) <> 'c'
    or n.nspname not in ('pg_catalog', 'information_schema', 'pg_toast')
