-- realtime.subscription: where the stock server keeps who is subscribed to which table.
-- Re-runnable; leaves a table of that name alone.
--
-- Rowcast keeps subscriptions in memory and writes nothing here; the table is for SQL and dashboards that name it, and
-- for those who fill it by hand.
--
-- Row level security is on and there is no policy. Rows hold the claims of whole tokens, and the grants are those that
-- existing SQL counts on: without it every client could read everybody's claims.

do $do$
begin
    if to_regclass('realtime.subscription') is not null or to_regclass('realtime.schema_migrations') is not null then
        return;
    end if;
    create table realtime.subscription (
        id bigint generated always as identity constraint pk_subscription primary key,
        subscription_id uuid not null,
        entity regclass not null,
        filters realtime.user_defined_filter[] not null default '{}',
        claims jsonb not null,
        claims_role regrole not null generated always as (realtime.to_regrole(claims ->> 'role')) stored,
        created_at timestamp not null default timezone('utc', now()),
        action_filter text default '*'
            constraint subscription_action_filter_check check (action_filter in ('*', 'INSERT', 'UPDATE', 'DELETE')),
        selected_columns text[]
    );
    comment on table realtime.subscription is 'Who is subscribed to which table, on the stock server; Rowcast writes nothing here. Made by Rowcast.';
    create index ix_realtime_subscription_entity on realtime.subscription (entity);
    create unique index subscription_subscription_id_entity_filters_action_filter_selec
        on realtime.subscription (subscription_id, entity, filters, action_filter, coalesce(selected_columns, '{}'));
    create trigger tr_check_filters
        before insert or update on realtime.subscription
        for each row execute function realtime.subscription_check_filters();
    alter table realtime.subscription enable row level security;
end
$do$;
