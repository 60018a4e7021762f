//! Every check of a policy or a function, taken away or turned round: some answer must be another one then.

use std::fmt::Write as _;

use tokio_postgres::{Client, Row};

use super::{RECORDS, everything};
use crate::messaging::{Caller, EVERYBODY, Stage, answer, with_ids};
use crate::support::majors;

/// What mutants call in place of a check.
const HELPERS: &str = "
    create function public.yes(uuid) returns boolean language sql as 'select true';
    create function public.yes(uuid, uuid) returns boolean language sql as 'select true';
    create function public.yes(text) returns boolean language sql as 'select true';
    create function public.no(uuid) returns boolean language sql as 'select false';
    create function public.no(uuid, uuid) returns boolean language sql as 'select false';
    create function public.no(text) returns boolean language sql as 'select false';
    create function public.nothing(uuid, boolean) returns void language sql as '';
    create function public.all_ids() returns setof uuid language sql security definer
        as 'select id from public.conversations';
    create function public.no_ids() returns setof uuid language sql as 'select null::uuid where false';";

/// Checks as they stand in the text of policies and functions, and what mutants have in their place.
const WEAKENED: [(&str, &[&str]); 14] = [
    ("rowcast.takes_part(", &["public.yes(", "public.no("]),
    ("rowcast.shares_conversation(", &["public.yes(", "public.no("]),
    ("rowcast.may_use_topic(", &["public.yes(", "public.no("]),
    ("rowcast.may_hear_topic(", &["public.yes(", "public.no("]),
    ("rowcast.may_see(", &["public.yes(", "public.no("]),
    ("rowcast.require_conversation(", &["public.nothing("]),
    ("rowcast.own_conversation_ids()", &["public.all_ids()", "public.no_ids()"]),
    ("rowcast.caller_is_staff()", &["true", "false"]),
    ("rowcast.caller_is_service()", &["true", "false"]),
    ("rowcast.staff_from()", &["null::uuid"]),
    ("left_at IS NULL", &["left_at IS DISTINCT FROM '-infinity'::timestamptz"]),
    ("left_at is null", &["left_at is distinct from '-infinity'::timestamptz"]),
    ("deleted_at IS NULL", &["true"]),
    ("c.kind = 'support'::text", &["true"]),
];

/// Who the row is compared with, in policies.
const MISTAKEN: [(&str, &[&str]); 2] = [
    ("rowcast.caller_user_id()", &["auth.uid()", "null::uuid"]),
    ("rowcast.caller_customer_id()", &["null::uuid"]),
];

/// Every way to weaken one check of a text.
fn mutants(text: &str, checks: &[(&str, &[&str])]) -> Vec<String> {
    let mut found = Vec::new();
    for (check, others) in checks {
        for (place, _) in text.match_indices(check) {
            let (before, after) = (&text[..place], &text[place + check.len()..]);
            found.extend(others.iter().map(|other| format!("{before}{other}{after}")));
        }
    }
    found
}

/// What is written to each table, whosever it is and wherever.
fn writes() -> Vec<String> {
    let people = [
        ("user", "ann"),
        ("user", "bob"),
        ("user", "carl"),
        ("user", "sue"),
        ("customer", "cus"),
        ("customer", "kim"),
    ];
    let messages = [("direct", "d2"), ("group", "g2"), ("support", "s1"), ("other", "o1")];
    let mut found = Vec::new();
    for ((conversation, message), (kind, person)) in
        messages.iter().flat_map(|place| people.iter().map(move |person| (place, person)))
    {
        let (sender, other_sender, sender_type) = match *kind {
            "user" => ("sender_id", "sender_customer_id", "staff"),
            _ => ("sender_customer_id", "sender_id", "customer"),
        };
        found.extend([
            format!(
                "insert into public.messages (conversation_id, {sender}, sender_type, content)
                 values ('{{{conversation}}}', '{{{person}}}', '{sender_type}', 'x') returning 1"
            ),
            format!(
                "insert into public.message_reactions (message_id, conversation_id, {kind}_id, emoji)
                 values ('{{{message}}}', '{{{conversation}}}', '{{{person}}}', 'x') returning 1"
            ),
            format!(
                "insert into public.message_read_receipts (message_id, conversation_id, read_by_{kind}_id)
                 values ('{{{message}}}', '{{{conversation}}}', '{{{person}}}') returning 1"
            ),
            format!(
                "update public.messages set {other_sender} = null, {sender} = '{{{person}}}',
                 sender_type = '{sender_type}', conversation_id = '{{{conversation}}}'
                 where id in ('{{d1}}', '{{s1}}') returning 1"
            ),
            format!("delete from public.message_reactions where {kind}_id = '{{{person}}}' and conversation_id = '{{{conversation}}}' returning 1"),
            format!("update public.conversation_participants set left_at = now() where {kind}_id = '{{{person}}}' and conversation_id = '{{{conversation}}}' returning 1"),
            format!("update public.conversation_participants set role = 'x' where {kind}_id = '{{{person}}}' and conversation_id = '{{{conversation}}}' returning 1"),
            format!("update public.messages set content = 'x' where conversation_id = '{{{conversation}}}' and {sender} = '{{{person}}}' returning 1"),
            format!("update public.conversations set kind = 'group' where id = '{{{conversation}}}' returning 1"),
        ]);
    }
    for conversation in ["direct", "group", "support"] {
        found.push(format!(
            "update public.conversations set id = gen_random_uuid() where id = '{{{conversation}}}' returning 1"
        ));
    }
    for (kind, person) in people {
        let other = if kind == "user" { "customer_id" } else { "user_id" };
        found.push(format!(
            "update public.conversation_participants set {other} = null, {kind}_id = '{{{person}}}'
             where conversation_id = '{{group}}' and user_id = '{{ann}}' or customer_id = '{{cus}}' returning 1"
        ));
        found
            .push(format!("update public.{kind}s set full_name = 'x' where id = '{{{person}}}' returning 1"));
        found.push(format!(
            "update public.{kind}s set id = gen_random_uuid() where id = '{{{person}}}' returning 1"
        ));
        found.push(format!(
            "insert into public.notification_preferences (user_id) values ('{{{person}}}') returning 1"
        ));
        found.push(format!("update public.notification_preferences set user_id = '{{{person}}}' where user_id = '{{ann}}' returning 1"));
        found.push(format!("update public.notification_preferences set push = false where user_id = '{{{person}}}' returning 1"));
    }
    found
}

/// Relations between people of whom the tables of expectations have none: what tells one check from another.
const MORE: &str = "
    insert into public.conversations (id, kind) values ('c0000000-0000-4000-8000-000000000009', 'support');
    insert into public.conversation_participants (conversation_id, user_id, customer_id, left_at) values
        ('c0000000-0000-4000-8000-000000000009', '{dan}', null, null),
        ('c0000000-0000-4000-8000-000000000009', null, '{cus}', null),
        ('c0000000-0000-4000-8000-000000000009', null, '{kim}', now());
    insert into public.messages (conversation_id, sender_id, content)
        values ('c0000000-0000-4000-8000-000000000009', '{dan}', 'x');
    insert into public.user_presence (customer_id) values ('{kim}');
    insert into public.message_reactions (message_id, user_id, emoji)
        values ('{s1}', '{sue}', 'x'), ('{s1}', '{ann}', 'x'), ('{d2}', '{ann}', 'x');
    insert into public.message_reactions (message_id, customer_id, emoji) values ('{s1}', '{cus}', 'x');
    insert into public.messages (conversation_id, sender_id, content)
        values ('{support}', '{sue}', 'x'), ('{support}', '{ann}', 'x'), ('{direct}', '{ann}', 'gone');
    update public.messages set deleted_at = now() where content = 'gone'";

/// A case, and what everybody is answered as things are.
type Known = (String, Vec<String>);

/// What everybody is answered with this change of the schema, which is taken back.
async fn known(stage: &Stage, change: &str, asked: Vec<String>) -> Vec<Known> {
    let client = &stage.database.client;
    client.batch_execute(&format!("begin; {change}")).await.unwrap();
    let mut known = Vec::new();
    for sql in asked {
        let mut answers = Vec::new();
        for caller in EVERYBODY {
            answers.push(ask(client, caller, &sql).await);
        }
        known.push((sql, answers));
    }
    client.batch_execute("rollback").await.unwrap();
    known
}

async fn ask(client: &Client, caller: Caller, sql: &str) -> String {
    let asked = format!("savepoint before; {} {}", caller.prologue(), with_ids(sql));
    let found = answer(client, &asked).await.unwrap_or_else(|code| code);
    client.batch_execute("rollback to before").await.unwrap();
    found
}

/// Whether somebody is answered something else with this change.
async fn is_noticed(stage: &Stage, change: &str, known: &[Known]) -> bool {
    let client = &stage.database.client;
    let begun = client.batch_execute(&format!("begin; {HELPERS} {change}")).await;
    begun.unwrap_or_else(|error| panic!("{change}: {error:?}"));
    let mut noticed = false;
    'cases: for (sql, answers) in known {
        for (caller, expected) in EVERYBODY.into_iter().zip(answers) {
            if ask(client, caller, sql).await != *expected {
                noticed = true;
                break 'cases;
            }
        }
    }
    client.batch_execute("rollback").await.unwrap();
    noticed
}

/// The rows of a query, each of text.
async fn texts<const N: usize>(stage: &Stage, sql: &str) -> Vec<[String; N]> {
    let rows = stage.database.client.query(sql, &[]).await.unwrap();
    let text = |row: &Row, place| row.get::<_, Option<String>>(place).unwrap_or_default();
    rows.iter().map(|row| std::array::from_fn(|place| text(row, place))).collect()
}

/// What else refuses a write is silent while a policy is weakened: triggers, rights on columns, and the policies for
/// reading, which are asked about each row that is to be changed.
#[tokio::test]
async fn policy_that_is_weakened_changes_an_answer() {
    const POLICIES: &str =
        "select format('%I.%I', schemaname, tablename), policyname::text, cmd, qual, with_check
        from pg_policies where schemaname in ('public', 'realtime') order by 1, 2";
    const SILENCE: &str =
        "select string_agg(format('alter table %s disable trigger user;', oid::regclass), ' ')
        from pg_class where relnamespace = 'public'::regnamespace and relkind = 'r'";
    const OPEN: &str = "select string_agg(format('alter policy %I on %I.%I using (true);', policyname, schemaname, tablename), ' ')
        from pg_policies where schemaname = 'public' and cmd = 'SELECT'";
    const GRANT: &str = "grant all on all tables in schema public to authenticated;";
    let major = *majors().last().unwrap();
    let stage = Stage::create(major).await;
    stage.execute(RECORDS).await;
    stage.execute(MORE).await;
    let open = format!("{} {} {GRANT}", stage.value(SILENCE).await, stage.value(OPEN).await);
    let mut reading = known(&stage, "", everything().into_iter().map(|(sql, _)| sql).collect()).await;
    let mut writing = known(&stage, &open, writes()).await;
    let mut alive = String::new();
    let mut count = 0;
    for [table, policy, command, using, check] in texts(&stage, POLICIES).await {
        let is_read = command == "SELECT" || table.starts_with("realtime");
        let (prologue, known) = if is_read { ("", &mut reading) } else { (&*open, &mut writing) };
        known.sort_by_key(|(sql, _)| !sql.contains(&table));
        for (kind, text) in [("using", using), ("with check", check)] {
            if text.is_empty() {
                continue;
            }
            for weakened in mutants(&text, &[&WEAKENED[..], &MISTAKEN].concat())
                .into_iter()
                .chain(["true".to_owned(), "false".to_owned()])
            {
                let change = format!("{prologue} alter policy \"{policy}\" on {table} {kind} ({weakened})");
                count += 1;
                if !is_noticed(&stage, &change, known).await && !is_same(&policy, &weakened) {
                    let _ = writeln!(alive, "{table}, {policy}: {kind} ({weakened})");
                }
            }
        }
    }
    assert!(alive.is_empty(), "of {count} mutants on {major} nobody notices:\n{alive}");
}

#[tokio::test]
async fn function_that_is_weakened_changes_an_answer() {
    const FUNCTIONS: &str = "select p.oid::regprocedure::text, pg_get_functiondef(p.oid)
        from pg_proc p
        where p.pronamespace in ('public'::regnamespace, 'rowcast'::regnamespace)
            and obj_description(p.oid, 'pg_proc') like '%Made by Rowcast.' order by 1";
    let major = *majors().last().unwrap();
    let stage = Stage::create(major).await;
    stage.execute(RECORDS).await;
    stage.execute(MORE).await;
    let mut known = known(&stage, "", everything().into_iter().map(|(sql, _)| sql).collect()).await;
    let mut alive = String::new();
    let mut count = 0;
    for [function, definition] in texts(&stage, FUNCTIONS).await {
        let name = function.split('(').next().unwrap();
        known.sort_by_key(|(sql, _)| !sql.contains(&format!("{name}(")));
        let start = ["\nAS $", "\nBEGIN ATOMIC", "\nRETURN "].iter().find_map(|start| definition.find(start));
        let (head, body) = definition.split_at(start.unwrap_or_else(|| panic!("{definition}")));
        for weakened in mutants(body, &WEAKENED) {
            count += 1;
            if !is_noticed(&stage, &format!("{head}{weakened};"), &known).await && !is_same(name, &weakened) {
                let _ = writeln!(alive, "{function}: {weakened}");
            }
        }
    }
    assert!(alive.is_empty(), "of {count} mutants on {major} nobody notices:\n{alive}");
}

/// Mutants that answer nobody otherwise: of what, what they hold, and why.
const SAME: [(&str, &str, &str); 13] = [
    ("", "( SELECT true AS caller_is_staff) AND", "between the bounds for staff is nothing for others"),
    ("users change their own", "auth.uid()", "a row that is not their own does not come so far"),
    ("rowcast.unread_counts", "and true", "support_reader() is nobody for others, and this saves asking it"),
    ("archive_conversation", LEFT, "who has left is refused before, and staff change their own row alone"),
    ("leave_conversation", LEFT, "who has left is refused before, and nobody can leave twice"),
    ("list_conversations", LEFT, "only staff come here, and it is their own archive"),
    ("mark_conversation_as_read", LEFT, "says only from where on receipts are looked for"),
    ("rowcast.conversation_json", LEFT, "only staff who have left come here, and it is their own count"),
    ("rowcast.keep_participants", LEFT, "the column participants is compared in direct.rs"),
    ("mark_messages_as_read", "rowcast.caller_is_staff() or false", "a trusted server names nobody here"),
    ("rowcast.make_profile", "u.role = 'staff'", "roles are compared in profiles.rs"),
    ("rowcast.stamp_message", "public.nothing(new.conversation_id, true)", "asked before and after waiting"),
    ("send_message", "public.nothing(", "asked again for the row"),
];

/// Whoever has left takes part as well.
const LEFT: &str = "is distinct from '-infinity'::timestamptz";

fn is_same(about: &str, weakened: &str) -> bool {
    SAME.iter().any(|(start, part, _)| about.starts_with(start) && weakened.contains(part))
}
