-- Whom `rowcast dev --with messaging` starts with. Re-runnable: what stands is left as it is.

insert into public.users (id, full_name, username, role) values
    ('a0000000-0000-4000-8000-000000000001', 'Ann', 'ann', null),
    ('b0000000-0000-4000-8000-000000000001', 'Bob', 'bob', null),
    ('50000000-0000-4000-8000-000000000001', 'Sam', 'sam', 'staff')
on conflict do nothing;

insert into public.customers (id, full_name) values ('d0000000-0000-4000-8000-000000000001', 'Cleo')
on conflict do nothing;
