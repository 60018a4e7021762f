//! On a filled database every question is answered by an index.

use super::{Stage, with_ids};
use crate::support::majors;

/// Thirty thousand messages of two thousand people.
const FILL: &str = "
    set session_replication_role = replica;
    insert into public.users (id) select ('f0000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid from generate_series(1, 2000) i;
    insert into public.conversations (id, kind, last_message_at)
        select ('f1000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid, 'direct', now() from generate_series(1, 3000) i;
    insert into public.conversation_participants (conversation_id, user_id, last_read_at)
        select c.id, ('f0000000-0000-4000-8000-' || lpad((1 + (right(c.id::text, 12)::int * 7 + k * 13) % 2000)::text, 12, '0'))::uuid, now()
        from public.conversations c, generate_series(0, 1) k where c.id::text like 'f1%';
    insert into public.messages (conversation_id, sender_id, sender_type, content, created_at)
        select c.id, ('f0000000-0000-4000-8000-' || lpad((1 + right(c.id::text, 12)::int * 7 % 2000)::text, 12, '0'))::uuid, 'staff',
            'word' || (right(c.id::text, 12)::int * j) % 1000, now() - interval '100 days' + j * interval '1 hour'
        from public.conversations c, generate_series(1, 10) j where c.id::text like 'f1%';
    insert into public.message_delivery_status (message_id, conversation_id, recipient_type, recipient_id, status)
        select m.id, m.conversation_id, 'staff', p.user_id, 'read' from public.messages m
        join public.conversation_participants p on p.conversation_id = m.conversation_id and p.user_id <> m.sender_id
        where m.conversation_id::text like 'f1%';
    insert into public.message_read_receipts (message_id, conversation_id, read_by_user_id)
        select message_id, conversation_id, recipient_id from public.message_delivery_status where conversation_id::text like 'f1%';
    insert into public.user_presence (user_id, status, active_at, expires_at)
        select id, case when row_number() over () % 50 = 0 then 'busy' else 'offline' end, now(), now() + interval '1 hour'
        from public.users where id::text like 'f0%';
    insert into public.message_typing_indicators (conversation_id, user_id, expires_at)
        select conversation_id, user_id, now() + interval '1 hour' from public.conversation_participants where conversation_id::text like 'f1%';
    set session_replication_role = default;
    analyze";

/// The plans of everything that a call runs, within functions too.
async fn plans(stage: &Stage, prologue: &str, sql: &str) -> Vec<String> {
    use rowcast::postgres::connect::Database;
    let heard = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let note = std::sync::Arc::clone(&heard);
    let target = Database::parse(&stage.database.url).unwrap();
    let (client, _) = target
        .connect_with_notices("test", move |text| note.lock().unwrap().push(text.to_owned()))
        .await
        .unwrap();
    client
        .batch_execute(
            "load 'auto_explain'; set auto_explain.log_min_duration = 0; set auto_explain.log_nested_statements = on;
             set auto_explain.log_level = notice; begin",
        )
        .await
        .unwrap();
    client.batch_execute(&with_ids(prologue)).await.unwrap();
    heard.lock().unwrap().clear();
    client.batch_execute(&with_ids(sql)).await.unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
    client.batch_execute("rollback").await.unwrap();
    std::mem::take(&mut *heard.lock().unwrap())
}

#[tokio::test]
async fn no_call_reads_a_whole_table() {
    const USER: &str = "set local role authenticated;
        set local request.jwt.claims = '{\"sub\": \"f0000000-0000-4000-8000-000000000008\"}'";
    const STAFF: &str = "set local role authenticated;
        set local request.jwt.claims = '{\"sub\": \"{sue}\", \"app_metadata\": {\"role\": \"staff\"}}'";
    const SERVER: &str = "set local role service_role";
    const LARGE: [&str; 8] = [
        "on messages",
        "on conversations",
        "on conversation_participants",
        "on message_read_receipts",
        "on message_delivery_status",
        "on message_typing_indicators",
        "on user_presence",
        "on users",
    ];
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.execute(FILL).await;
        let first = "'f1000000-0000-4000-8000-000000000001'";
        let one = format!(
            "(select id from public.messages where conversation_id = {first} order by created_at limit 1)"
        );
        let mut wrong = Vec::new();
        for (prologue, sql) in [
            (USER, "select public.list_conversations()".to_owned()),
            (STAFF, "select public.list_conversations()".to_owned()),
            (USER, format!("select public.get_conversation({first})")),
            (USER, format!("select public.list_messages({first})")),
            (USER, format!("select public.get_message({one})")),
            (USER, "select public.search_messages('word7')".to_owned()),
            (STAFF, "select public.search_messages('word7')".to_owned()),
            (USER, "select public.messages_since(now() - interval '99 days 20 hours')".to_owned()),
            (STAFF, "select public.messages_since(now() - interval '1 day')".to_owned()),
            (USER, format!("select public.messages_since('-infinity', 10, {first})")),
            (USER, "select public.get_unread_message_count()".to_owned()),
            (USER, "select public.get_unread_counts()".to_owned()),
            (USER, format!("select public.send_message({first}, 'x', client_message_id => 'k')")),
            (USER, format!("select public.edit_message({one}, 'x')")),
            (USER, format!("select public.delete_message({one})")),
            (USER, format!("select public.add_message_reaction({one}, 'x')")),
            (USER, format!("select public.remove_message_reaction({one}, 'x')")),
            (STAFF, format!("select public.mark_message_as_read({one})")),
            (STAFF, "select public.mark_messages_as_read(array(select id from public.messages order by created_at desc limit 300))".to_owned()),
            (USER, "select rowcast.catch_up(repeat('00', 32), '-infinity')".to_owned()),
            (USER, "select rowcast.catch_up(repeat('00', 32), now())".to_owned()),
            (USER, format!("select public.mark_conversation_as_read({first})")),
            (USER, format!("select public.mark_messages_as_delivered(array[{one}])")),
            (USER, format!("select public.update_typing_indicator({first})")),
            (USER, "select public.update_user_presence()".to_owned()),
            (USER, "select public.list_presence()".to_owned()),
            (USER, "select public.start_conversation('{{ann}}', first_message => 'x', client_message_id => 'k')".to_owned()),
            (USER, format!("select public.leave_conversation({first})")),
            (USER, format!("select * from public.messages where conversation_id = {first} order by created_at desc limit 50")),
            // Without a filter, too: what may be seen is looked up.
            (USER, "select * from public.messages".to_owned()),
            (USER, "select * from public.messages order by created_at desc limit 50".to_owned()),
            (USER, "select * from public.message_read_receipts".to_owned()),
            (USER, "select * from public.message_delivery_status".to_owned()),
            (USER, "select * from public.message_typing_indicators".to_owned()),
            (USER, "select * from public.conversations".to_owned()),
            (USER, "select * from public.conversation_participants".to_owned()),
            (SERVER, "select rowcast.expire_typing()".to_owned()),
            (SERVER, "select rowcast.next_typing_expiry()".to_owned()),
            (SERVER, "select rowcast.expire_presence(300)".to_owned()),
            (SERVER, "select rowcast.touch_presence('{f0000000-0000-4000-8000-000000000008}', '{null}', array[now()], 30)".to_owned()),
            (SERVER, "select rowcast.leave_presence('{f0000000-0000-4000-8000-000000000008}', '{null}', 30)".to_owned()),
            (SERVER, format!("select rowcast.note_deliveries(array[{one}], '{{f0000000-0000-4000-8000-000000000021}}', '{{null}}')")),
        ] {
            for plan in plans(&stage, prologue, &sql).await {
                let scan = |line: &&str| {
                    line.contains("Seq Scan") && LARGE.iter().any(|table| {
                        line.split(table).nth(1).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '_']) && !rest.starts_with('_'))
                    })
                };
                if plan.lines().any(|line| scan(&line)) {
                    wrong.push(format!("{sql}\n{plan}"));
                }
            }
        }
        assert!(wrong.is_empty(), "on {major}:\n{}", wrong.join("\n\n"));
    }
}
