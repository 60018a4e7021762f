//! Who sees which row, by the database's own policies and grants. A refusal is proved by a later row that both see.

use serde_json::{Value, json};

use crate::stage::{ANN, BOB, Stage, server};

const NOTES: &str = "
    create table notes (id int primary key, owner uuid, shared boolean not null default false, body text);
    alter table notes enable row level security;
    alter table notes replica identity full;
    grant select on notes to anon, authenticated;
    create policy \"people see their own and what is shared\" on notes for select to authenticated
        using (shared or owner = (select auth.uid()));
    alter publication supabase_realtime add table notes;";

fn all(table: &str) -> Value {
    json!([{ "event": "*", "schema": "public", "table": table }])
}

async fn ann_and_bob(stage: &Stage, topic: &str, table: &str) {
    for (who, sub) in [("ann", ANN), ("bob", BOB)] {
        stage.connect(who, sub).await;
        stage.subscribe(who, topic, all(table)).await;
    }
}

#[tokio::test]
async fn row_of_ann_is_not_bobs_and_the_reverse() {
    let stage = Stage::set(NOTES).await;
    ann_and_bob(&stage, "notes", "notes").await;
    stage
        .database
        .execute(&format!(
            "insert into notes values (1, '{ANN}', false, 'hers'), (2, '{BOB}', false, 'his'), (3, null, false, 'nobody''s');
             insert into notes values (99, null, true, 'of both')"
        ))
        .await;
    for client in &stage.clients {
        assert_eq!(client.ids_up_to("ann", "notes", 99).await, [1, 99], "{:?}", client.stock);
        assert_eq!(client.ids_up_to("bob", "notes", 99).await, [2, 99], "{:?}", client.stock);
    }
}

#[tokio::test]
async fn update_and_delete_are_seen_by_those_who_may() {
    let stage = Stage::set(NOTES).await;
    stage
        .database
        .execute(&format!("insert into notes values (1, '{ANN}', false, 'x'), (2, '{BOB}', false, 'x')"))
        .await;
    ann_and_bob(&stage, "notes", "notes").await;
    stage
        .commit(&[
            "update notes set body = 'y'",
            "delete from notes",
            "insert into notes values (99, null, true, 'of both')",
        ])
        .await;
    for client in &stage.clients {
        for (who, id) in [("ann", 1), ("bob", 2)] {
            client.ids_up_to(who, "notes", 99).await;
            let expected =
                [("UPDATE", id), ("DELETE", id), ("INSERT", 99)].map(|(kind, id)| (kind.to_owned(), id));
            assert_eq!(client.changes(who, "notes"), expected, "{who} of {:?}", client.stock);
        }
    }
}

#[tokio::test]
async fn row_given_away_is_seen_by_its_new_owner_without_its_past() {
    let stage = Stage::set(NOTES).await;
    stage.database.execute(&format!("insert into notes values (1, '{ANN}', false, 'ann''s secret')")).await;
    ann_and_bob(&stage, "notes", "notes").await;
    stage
        .database
        .execute(&format!(
            "update notes set owner = '{BOB}', body = 'for bob'; insert into notes values (99, null, true, '')"
        ))
        .await;
    for client in &stage.clients {
        client.ids_up_to("ann", "notes", 99).await;
        client.ids_up_to("bob", "notes", 99).await;
        let of_ann = client.seen(&json!({ "as": "ann", "kind": "change", "new": { "id": 1 } }));
        assert_eq!(of_ann, [] as [Value; 0], "{:?}", client.stock);
        let of_bob = client.seen(&json!({ "as": "bob", "kind": "change", "new": { "id": 1 } }));
        assert_eq!(of_bob.len(), 1, "{:?}", client.stock);
        assert_eq!(of_bob[0]["new"]["body"], "for bob");
        assert!(!of_bob[0].to_string().contains("secret"), "{:?} {of_bob:?}", client.stock);
    }
}

const ROOMS: &str = "
    create table members (room int, person uuid, primary key (room, person));
    create table messages (id int primary key, room int);
    alter table messages enable row level security;
    alter table members enable row level security;
    grant select on members, messages to authenticated;
    create policy \"people see their own membership\" on members for select to authenticated
        using (person = (select auth.uid()));
    create policy \"members read messages\" on messages for select to authenticated using (
        exists (select from members m where m.room = messages.room and m.person = (select auth.uid())));
    alter publication supabase_realtime add table messages;";

#[tokio::test]
async fn membership_gives_and_takes_the_right_to_read() {
    let stage = Stage::set(ROOMS).await;
    let (ann, bob) = (format!("(1, '{ANN}')"), format!("(1, '{BOB}')"));
    // Room 2 is where both are, and its messages say that those before have been decided.
    let both = format!("insert into members values (2, '{ANN}'), (2, '{BOB}')");
    stage.database.execute(&both).await;
    ann_and_bob(&stage, "room", "messages").await;
    let steps = [
        (format!("insert into members values {ann}; insert into messages values (1, 1)"), 101),
        ("insert into messages values (2, 1)".to_owned(), 102),
        (
            format!("delete from members where (room, person) = {ann}; insert into messages values (3, 1)"),
            103,
        ),
        (format!("insert into members values {bob}; insert into messages values (4, 1)"), 104),
    ];
    for (step, sentinel) in steps {
        stage.commit(&[&step, &format!("insert into messages values ({sentinel}, 2)")]).await;
        for client in &stage.clients {
            client.ids_up_to("ann", "room", sentinel).await;
            client.ids_up_to("bob", "room", sentinel).await;
        }
    }
    for client in &stage.clients {
        let ids = |who| client.changes(who, "room").into_iter().map(|(_, id)| id).collect::<Vec<_>>();
        assert_eq!(ids("ann"), [1, 101, 2, 102, 103, 104], "{:?}", client.stock);
        assert_eq!(ids("bob"), [101, 102, 103, 4, 104], "{:?}", client.stock);
    }
}

#[tokio::test]
async fn policy_that_memory_cannot_decide_is_asked_of_postgres() {
    let stage = Stage::set(
        "create table notes (id int primary key, owner uuid);
         create function may_see(who uuid) returns boolean language plpgsql stable as
             $$ begin return who is null or who = auth.uid(); end $$;
         alter table notes enable row level security;
         grant select on notes to authenticated;
         create policy \"as the function says\" on notes for select to authenticated using (may_see(owner));
         alter publication supabase_realtime add table notes",
    )
    .await;
    ann_and_bob(&stage, "notes", "notes").await;
    stage.database.execute(&format!("insert into notes values (1, '{ANN}'), (2, '{BOB}'), (99, null)")).await;
    for client in &stage.clients {
        assert_eq!(client.ids_up_to("ann", "notes", 99).await, [1, 99], "{:?}", client.stock);
        assert_eq!(client.ids_up_to("bob", "notes", 99).await, [2, 99], "{:?}", client.stock);
    }
}

#[tokio::test]
async fn ungranted_column_is_left_out() {
    let stage = Stage::set(
        "create table people (id int primary key, name text, salary int);
         grant select (id, name) on people to authenticated;
         grant select on people to service_role;
         alter publication supabase_realtime add table people",
    )
    .await;
    stage.connect("ann", ANN).await;
    stage.subscribe("ann", "people", all("people")).await;
    let token = server::token("service_role", None);
    for client in &stage.clients {
        client.connect("boss", &stage.server.url(), Some(&token)).await;
        client.subscribe("boss", "people", all("people")).await;
        client.expect_subscribed("boss", "people").await;
    }
    stage.database.execute("insert into people values (1, 'Cy', 100)").await;
    for client in &stage.clients {
        let of = |who: &str| json!({ "as": who, "kind": "change" });
        let masked = client.expect(of("ann")).await;
        assert_eq!(masked["new"], json!({ "id": 1, "name": "Cy" }), "{:?}", client.stock);
        let whole = client.expect(of("boss")).await;
        assert_eq!(whole["new"], json!({ "id": 1, "name": "Cy", "salary": 100 }), "{:?}", client.stock);
    }
}

#[tokio::test]
async fn anonymous_user_sees_nothing_without_a_policy() {
    let stage = Stage::set(&format!(
        "{NOTES}
         create table public_notes (id int primary key);
         grant select on public_notes to anon;
         alter publication supabase_realtime add table public_notes;"
    ))
    .await;
    for client in &stage.clients {
        // No token but the anonymous key.
        client.connect("anon", &stage.server.url(), None).await;
        let bindings = json!([
            { "event": "*", "schema": "public", "table": "notes" },
            { "event": "*", "schema": "public", "table": "public_notes" },
        ]);
        client.subscribe("anon", "notes", bindings).await;
        client.expect_subscribed("anon", "notes").await;
    }
    stage
        .database
        .execute("insert into notes values (1, null, true, 'shared'); insert into public_notes values (99)")
        .await;
    for client in &stage.clients {
        assert_eq!(client.ids_up_to("anon", "notes", 99).await, [99], "{:?}", client.stock);
    }
}

#[tokio::test]
async fn policy_changed_at_run_time_holds_for_open_subscriptions() {
    let stage = Stage::set(NOTES).await;
    ann_and_bob(&stage, "notes", "notes").await;
    stage.commit(&[&format!("insert into notes values (1, '{ANN}', false, '')")]).await;
    for client in &stage.clients {
        client.ids_up_to("ann", "notes", 1).await;
    }
    stage
        .commit(&[
            "drop policy \"people see their own and what is shared\" on notes;
             create policy \"people see what is shared\" on notes for select to authenticated using (shared)",
        ])
        .await;
    // The catalog is looked at in intervals; a subscription made after the change has seen it.
    stage.subscribe("ann", "later", all("notes")).await;
    stage
        .database
        .execute(&format!("insert into notes values (2, '{ANN}', false, ''), (99, null, true, '')"))
        .await;
    for client in &stage.clients {
        assert_eq!(client.ids_up_to("ann", "notes", 99).await, [1, 99], "{:?}", client.stock);
        assert_eq!(client.ids_up_to("ann", "later", 99).await, [99], "{:?}", client.stock);
        assert_eq!(client.ids_up_to("bob", "notes", 99).await, [99], "{:?}", client.stock);
    }
}
