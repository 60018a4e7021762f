//! Nothing is forgotten: the catalog says which functions and policies there are, and each of them is asked about as
//! everybody; and a check that is weakened in any of them changes an answer.

use std::fmt::Write as _;

use super::{Anon, Case, EVERYBODY, Stage, conversations, direct, functions, rows, topics};
use crate::support::majors;

mod asking;
mod mutants;

/// What tables of expectations need besides the people: something that was said on a channel, and records of catching up.
const RECORDS: &str = "
    insert into realtime.messages (topic, extension) values ('stored', 'presence');
    insert into rowcast.catch_ups (user_id, customer_id, token_hash, last_check_time, cluster, seen)
        select user_id, customer_id, sha256('x'), '2020-01-01', rowcast.this_cluster(), '1:1:'
        from public.conversation_participants where conversation_id in ('{group}', '{support}') and left_at is null order by user_id";

/// What all who have a token may call, and is the same for all of them.
const OPEN: [(&str, &str); 4] = [
    ("rowcast.page_size", "reads nothing"),
    ("rowcast.are_attachments", "reads nothing"),
    ("rowcast.make_profile", "makes the caller's own profile, and a token that names nobody has none"),
    ("public.cleanup_expired_typing_indicators", "removes what is over for everybody"),
];

/// All tables of expectations.
fn everything() -> Vec<Case> {
    [
        rows::seeing(),
        direct::writing(),
        functions::writing(),
        functions::reading(),
        functions::being_there(),
        functions::finding(),
        conversations::joining(),
        topics::channels(),
        asking::asking(),
    ]
    .concat()
}

#[tokio::test]
async fn every_function_that_a_token_may_call_is_asked_for_as_everybody() {
    const CALLABLE: &str = "select p.pronamespace::regnamespace || '.' || p.proname
        from pg_proc p
        where p.prorettype not in ('trigger'::regtype, 'event_trigger'::regtype)
            and obj_description(p.oid, 'pg_proc') like '%Made by Rowcast.'
            and (p.pronamespace = 'public'::regnamespace or p.pronamespace = 'rowcast'::regnamespace
                and (has_function_privilege('authenticated', p.oid, 'execute')
                    or has_function_privilege('anon', p.oid, 'execute')))
        order by 1";
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.execute(RECORDS).await;
        stage.check(&asking::asking()).await;
        let callable = stage.value(CALLABLE).await;
        let mut wrong = String::new();
        for function in callable.split(',') {
            let cases: Vec<Case> =
                everything().into_iter().filter(|(sql, _)| sql.contains(&format!("{function}("))).collect();
            let anon = EVERYBODY.iter().position(|caller| *caller == Anon).unwrap();
            let is_closed = cases.iter().all(|(_, answers)| answers[anon] == "42501");
            let tells_apart = cases.iter().any(|(_, answers)| {
                let mut tokens = answers.iter().enumerate().filter(|(place, _)| *place != anon);
                let (_, first) = tokens.next().unwrap();
                tokens.any(|(_, answer)| answer != first)
            });
            let is_open = OPEN.iter().any(|(name, _)| *name == function);
            if cases.is_empty() || !is_closed || tells_apart == is_open {
                let _ = writeln!(wrong, "{function}: {} cases, open {is_open}", cases.len());
            }
        }
        assert!(wrong.is_empty(), "on {major}, without an allowed and a denied caller:\n{wrong}");
        assert!(OPEN.iter().all(|(name, _)| callable.split(',').any(|function| function == *name)));
    }
}
