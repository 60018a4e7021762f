-- rowcast.messaging_settings: the limits, which an operator may change. rowcast.messaging_rates: what people have used of
-- them.
-- Re-runnable; leaves values that somebody has changed as they are.
--
-- Rates are unlogged: after a crash everybody begins anew. There is one row for each person, kind and scope.

do $do$
begin
    if to_regclass('rowcast.messaging_settings') is null then
        create table rowcast.messaging_settings (
            name text not null constraint messaging_settings_pkey primary key,
            value integer not null constraint messaging_settings_value_check check (value >= 0),
            description text not null
        );
        comment on table rowcast.messaging_settings is 'Limits of the messaging functions; 0 is unlimited. Made by Rowcast.';
        alter table rowcast.messaging_settings enable row level security;
    end if;

    if to_regclass('rowcast.messaging_rates') is null then
        create unlogged table rowcast.messaging_rates (
            kind text not null,
            person_id uuid not null,
            scope uuid not null,
            started_at timestamptz not null,
            used integer not null,
            constraint messaging_rates_pkey primary key (person_id, kind, scope)
        );
        comment on table rowcast.messaging_rates is 'What each person has used of a limit in the minute that began at started_at. Made by Rowcast.';
        create index messaging_rates_started_at_idx on rowcast.messaging_rates (started_at);
        alter table rowcast.messaging_rates enable row level security;
    end if;
end
$do$;

insert into rowcast.messaging_settings (name, value, description) values
    ('messages_per_minute', 120, 'Messages of one person.'),
    ('typing_per_minute', 10, 'Typing starts of one person in one conversation.'),
    ('presence_per_minute', 6, 'Presence updates of one person.'),
    ('receipts_per_minute', 60, 'Calls of one person that make read receipts.'),
    ('changes_per_minute', 120, 'Edits, reactions and new conversations of one person.'),
    ('typing_expiry_seconds_max', 60, 'How long a typing indicator may last without a word.')
on conflict do nothing;
