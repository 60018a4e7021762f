//! Who may join and speak on the private channels of conversations, and who is told who types.

use rowcast::policy::compile::{Command, compile};

use super::{Case, Stage};
use crate::policy::reading;
use crate::support::majors;

/// Whether a caller may read from a channel, as the server asks it of the policies.
fn reads(topic: &str) -> String {
    asks(topic, "select count(*) from realtime.messages where extension = 'presence'")
}

/// Whether a caller may write to a channel.
fn writes(topic: &str) -> String {
    let insert = "insert into realtime.messages (topic, extension) values (realtime.topic(), 'broadcast')";
    asks(topic, &format!("{insert} returning extension"))
}

fn asks(topic: &str, sql: &str) -> String {
    format!("set local realtime.topic = '{topic}'; {sql}")
}

#[tokio::test]
async fn channels_of_conversations_are_for_those_who_take_part_and_staff() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.execute("insert into realtime.messages (topic, extension) values ('stored', 'presence')").await;
        stage.check(&channels()).await;
    }
}

/// Private channels: what is heard needs a row in `realtime.messages`.
pub(super) fn channels() -> Vec<Case> {
    const NO: &str = "0";
    const YES: &str = "1";
    const DENIED: &str = "42501";
    let all = |topic: &str| (reads(topic), writes(topic));
    let chat = all("chat:{direct}");
    let presence = all("chat:{direct}:presence");
    let group = all("presence:{group}");
    let support = all("conversation:{support}");
    let customer = all("customer:{cus}:messages");
    let staff = all("staff:{sue}:messages");
    let others =
        ["room:{direct}", "{direct}", "chat", "chat:", "", "chat:nothing", "staff:{ann}:messages"].map(reads);
    let spoken = "broadcast";
    //        Ann  Bob  Carl Dan  Cus  Kim  Sue  Anon  Service
    let mut cases = vec![
        (chat.0, [YES, YES, NO, NO, NO, NO, YES, NO, YES]),
        (chat.1, [spoken, spoken, DENIED, DENIED, DENIED, DENIED, spoken, DENIED, spoken]),
        (presence.0, [YES, YES, NO, NO, NO, NO, YES, NO, YES]),
        (presence.1, [spoken, spoken, DENIED, DENIED, DENIED, DENIED, spoken, DENIED, spoken]),
        // Carl has left it.
        (group.0, [YES, YES, NO, NO, NO, NO, YES, NO, YES]),
        (support.0, [NO, NO, NO, NO, YES, NO, YES, NO, YES]),
        (support.1, [DENIED, DENIED, DENIED, DENIED, spoken, DENIED, spoken, DENIED, spoken]),
        (customer.0, [NO, NO, NO, NO, YES, NO, YES, NO, YES]),
        (customer.1, [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, spoken]),
        (staff.0, [NO, NO, NO, NO, NO, NO, YES, NO, YES]),
    ];
    // Staff see what begins like a conversation's; nobody else sees what is none of theirs.
    let begins = |sql: &str| sql.contains("'chat");
    cases.extend(others.map(|sql| {
        let sue = if begins(&sql) { YES } else { NO };
        (sql, [NO, NO, NO, NO, NO, NO, sue, NO, YES])
    }));
    cases
}

#[tokio::test]
async fn policies_of_channels_are_decided_in_memory() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.execute("begin").await;
        let source = reading::read(&stage.database.client, major).await;
        stage.execute("rollback").await;
        let (role, _) = source.roles.iter().find(|(_, role)| &*role.name == "authenticated").unwrap();
        let is_it = |schema: &str, table: &str| schema == "realtime" && table == "messages";
        let (id, _) = source.relations.iter().find(|(_, found)| is_it(&found.schema, &found.name)).unwrap();
        for command in [Command::Select, Command::Insert] {
            let program = compile(&source, *id, *role, command);
            assert_eq!(program.permissive.len(), 1, "{command:?} on {major}");
            let condition = &program.permissive[0].condition;
            assert!(condition.is_ok(), "{command:?} on {major}: {condition:?}");
        }
    }
}

#[tokio::test]
async fn who_types_is_told_to_those_who_take_part_and_staff() {
    for major in majors() {
        let stage = Stage::create(major).await;
        // What is over is over before anybody has removed it.
        stage
            .execute(
                "update public.message_typing_indicators set expires_at = now() + interval '1 hour';
                 insert into public.message_typing_indicators (conversation_id, user_id, expires_at)
                 values ('{direct}', '{ann}', now() - interval '1 second')",
            )
            .await;
        let typing = |id: &str| {
            format!("select coalesce(user_id, customer_id) from public.list_typing_indicators('{id}')")
        };
        let (direct, support) = (typing("{direct}"), typing("{support}"));
        const DENIED: &str = "42501";
        stage
            .check(&[
                //         Ann      Bob     Carl Dan Cus Kim Sue     Anon    Service
                (&direct, ["{bob}", "{bob}", "", "", "", "", "{bob}", DENIED, "{bob}"]),
                (&support, ["", "", "", "", "{cus}", "", "{cus}", DENIED, "{cus}"]),
            ])
            .await;
    }
}
