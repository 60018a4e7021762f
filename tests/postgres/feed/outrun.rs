//! What decides who may see a row changes without a word in the log about the rows that it concerns.

use std::time::Duration;

use super::{TestFeed, brief, on_each_major, user, uuid};

/// Nothing is compared or looked at by itself.
const NEVER: Duration = Duration::from_secs(600);

/// Messages that participants see.
const CHAT: &str = "
    create table people (conversation int, who uuid, primary key (conversation, who));
    create table messages (id int primary key, conversation int);
    alter table messages replica identity full;
    alter table messages enable row level security;
    create function is_in(chat int) returns boolean language sql stable security definer set search_path = '' as
        'select exists (select from public.people p where p.conversation = chat and p.who = auth.uid())';
    create policy theirs on messages for select to authenticated using (is_in(conversation));
    insert into people values (1, '00000000-0000-0000-0000-000000000001');
    select publish('messages');";

/// A feed that has loaded `people`, and looks at nothing by itself from then on.
async fn started(major: u32, schema: &str) -> TestFeed {
    let feed = TestFeed::start_with(major, &format!("{CHAT}{schema}"), |config| {
        config.stream.publications.push("rowcast".to_owned());
        config.catalog_poll = NEVER;
    })
    .await;
    let mut ann = feed.watch(&user(1), "messages").await;
    feed.until_decided(&mut ann, "insert into messages values (0, 1); delete from messages").await;
    feed
}

#[tokio::test]
async fn a_mirrored_table_that_is_rewritten_or_let_go_is_not_read_any_more() {
    on_each_major(async |major| {
        let revoked = format!("update people set who = '{}'", uuid(2));
        let (drop, add) = ("drop table people; commit", "add table people");
        let publish = "select publish('people')";
        for (schema, change, expected) in [
            // The log has no word of rows that are written anew.
            ("", format!("alter table people alter who type uuid using '{}'", uuid(2)), 0),
            // Nor of those of tables that are not followed.
            ("", format!("alter publication rowcast {drop}; {revoked}"), 0),
            (
                "",
                format!(
                    "alter publication rowcast {drop}; {revoked}; commit; alter publication rowcast {add}"
                ),
                0,
            ),
            (publish, format!("alter publication supabase_realtime {drop}; {revoked}"), 0),
            (
                publish,
                format!(
                    "alter publication supabase_realtime {drop}; {revoked}; commit;
                     alter publication supabase_realtime {add}"
                ),
                0,
            ),
            ("", format!("alter publication rowcast set (publish = 'insert'); commit; {revoked}"), 0),
            // Nor of the rows of children.
            (
                "",
                format!(
                    "create table children () inherits (people); commit; {revoked}; commit;
                     insert into children values (1, '{}')",
                    uuid(1)
                ),
                1,
            ),
        ] {
            let feed = started(major, schema).await;
            let mut ann = feed.watch(&user(1), "messages").await;
            feed.execute(&format!("{change}; commit; insert into messages values (1, 1)")).await;
            let seen = ann.until(feed.mark().await).await;
            assert_eq!(seen.len(), expected, "{change} on {major}: {:?}", brief(&seen));
        }
    })
    .await;
}
