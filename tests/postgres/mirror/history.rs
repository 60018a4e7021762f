//! Random histories, commit by commit and all at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rowcast::policy::mirror::{State, Unusable};

use super::{TestMirror, on_each_major, stored};
use crate::support::connect;

const SCHEMA: &str = "
    create table by_key (a int, b uuid, c text, d text, primary key (a, b));
    create table whole (a int, b uuid, c text, d text);
    alter table whole replica identity full;
    create table by_index (a int not null, b uuid, c text, d text, id serial);
    create unique index by_index_a on by_index (a);
    alter table by_index replica identity using index by_index_a;
    alter table by_key alter c set storage external;
    alter table whole alter c set storage external;";

const TABLES: [(&str, &[&str]); 3] =
    [("by_key", &["*a", "*b", "c"]), ("whole", &["*a", "*b", "c"]), ("by_index", &["*b", "c"])];

/// A statement that may fail for a unique index, as an application's may.
fn statement(random: &mut StdRng) -> String {
    let table = *["by_key", "whole", "by_index"].choose(random).unwrap();
    let a = random.random_range(0..8);
    let b = format!("'00000000-0000-0000-0000-00000000000{}'", random.random_range(0..4));
    let b = if table != "by_key" && random.random_bool(0.2) { "null".to_owned() } else { b };
    let c = match random.random_range(0..5) {
        0 => "null".to_owned(),
        // Kept apart from the row: updates that leave it alone do not log it.
        1 => format!("repeat('x', {})", random.random_range(3000..3003)),
        2 => "E'tab\\t line\\n back\\\\slash'".to_owned(),
        _ => format!("'{}'", random.random_range(0..3)),
    };
    match random.random_range(0..20) {
        0..8 => format!("insert into {table} values ({a}, {b}, {c}, 'd') on conflict do nothing"),
        8..10 => format!("update {table} set c = {c} where b = {b}"),
        10..12 => format!("update {table} set d = d || '.' where a < {a}"),
        12..14 => format!("update {table} set a = a + 8 where a = {a}"),
        14 => format!("update {table} set a = a - 8 where a >= 8 and b = {b}"),
        15..18 => format!("delete from {table} where a = {a}"),
        18 => format!(
            "insert into {table} select n, {b}, {c} from generate_series(20, 30) n on conflict do nothing"
        ),
        _ if random.random_bool(0.2) => format!("truncate {table}"),
        _ => format!("delete from {table} where a >= 20"),
    }
}

/// A block with savepoints, some of it undone.
fn transaction(random: &mut StdRng) -> Vec<String> {
    let mut statements = vec!["begin".to_owned()];
    for number in 0..random.random_range(1..6) {
        if random.random_bool(0.3) {
            statements.push(format!("savepoint s{number}"));
            statements.push(statement(random));
            let end = if random.random_bool(0.5) { "rollback to" } else { "release" };
            statements.push(format!("{end} s{number}"));
        } else {
            statements.push(statement(random));
        }
    }
    statements.push(if random.random_bool(0.2) { "rollback" } else { "commit" }.to_owned());
    statements
}

/// Runs a transaction; one that a unique index refuses is undone. Whether it has committed.
async fn run(client: &tokio_postgres::Client, statements: &[String]) -> bool {
    for statement in statements {
        if let Err(error) = client.batch_execute(statement).await {
            let error = error.as_db_error().expect("an error of the server");
            // A conflict of keys, or a deadlock: both are an application's daily bread.
            assert!(["23505", "23502", "40P01"].contains(&error.code().code()), "{statement}: {error:?}");
            client.batch_execute("rollback").await.unwrap();
            return false;
        }
    }
    statements.last().is_some_and(|last| last == "commit")
}

#[tokio::test]
async fn each_commit_is_held_as_the_tables_hold_it_and_so_is_the_one_before() {
    on_each_major(async |major| {
        let mirror = TestMirror::start(major, SCHEMA, &TABLES).await;
        for (table, _) in TABLES {
            mirror.ready(table).await;
        }
        let mut compared = 0;
        for seed in 0..80 {
            let mut random = StdRng::seed_from_u64(seed);
            let mut before = Vec::new();
            for (table, _) in TABLES {
                before.push(mirror.stored(table).await);
            }
            let mut statements = transaction(&mut random);
            // Whatever else it does, it is in the stream.
            statements.insert(1, format!("insert into by_key values ({}, gen_random_uuid())", 100 + seed));
            let loads = mirror.counters.mirror.loads.get();
            let has_committed = run(&mirror.database.client, &statements).await;
            // A table that was emptied is loaded again.
            let is_truncated = statements.iter().any(|sql| sql.contains("truncate"));
            mirror.settle().await;
            for ((table, _), before) in TABLES.iter().zip(before) {
                mirror.check(table).await;
                // What is loaded after a commit does not know the state before it.
                if has_committed && !is_truncated && mirror.counters.mirror.loads.get() == loads {
                    assert_eq!(mirror.mirrored(table, State::Before).await, before, "{table}, seed {seed}");
                    compared += 1;
                }
            }
        }
        assert!(compared > 90, "{compared} states before");
    })
    .await;
}

#[tokio::test]
async fn a_load_fits_into_what_is_written_meanwhile() {
    on_each_major(async |major| {
        let mirror = TestMirror::start(major, SCHEMA, &TABLES).await;
        for round in 0..4_u64 {
            let is_over = Arc::new(AtomicBool::new(false));
            let writers = (0..4).map(|writer| {
                let (url, is_over) = (mirror.database.url.clone(), Arc::clone(&is_over));
                tokio::spawn(async move {
                    let client = connect(&url).await;
                    let mut random = StdRng::seed_from_u64(round * 100 + writer);
                    while !is_over.load(Ordering::Relaxed) {
                        let mut statements = transaction(&mut random);
                        statements.retain(|sql| !sql.contains("truncate"));
                        run(&client, &statements).await;
                    }
                })
            });
            let writers: Vec<_> = writers.collect();
            // They are loaded anew while all of that is written.
            for (table, _) in TABLES {
                mirror.ready(table).await;
                let id = mirror.id(table).await;
                mirror.engine.write().mirror.give_up(id, Unusable::Absent);
            }
            for (table, _) in TABLES {
                mirror.ready(table).await;
            }
            is_over.store(true, Ordering::Relaxed);
            for writer in writers {
                writer.await.unwrap();
            }
            mirror.settle().await;
            for (table, _) in TABLES {
                assert!(mirror.is_readable(table).await, "{table}: the log fits what was loaded");
                mirror.check(table).await;
            }
        }
        assert_eq!(mirror.counters.mirror.loads.get(), 3 * 5);
    })
    .await;
}

#[tokio::test]
async fn a_mirror_can_be_filled_without_a_stream() {
    on_each_major(async |major| {
        let database = crate::support::TestDatabase::create(major).await;
        database.execute(SCHEMA).await;
        let mut random = StdRng::seed_from_u64(1);
        for _ in 0..50 {
            run(&database.client, &transaction(&mut random)).await;
        }
        let mut catalog = rowcast::policy::Catalog::default();
        for (table, columns) in TABLES {
            let needed = super::needed(&database.client, table, columns).await;
            catalog.needed.insert(needed.table.id, needed.into());
        }
        let mirror = rowcast::hub::mirror::fill(&database.client, &catalog, 1 << 20).await.unwrap();
        for needed in catalog.needed.values() {
            let expected = stored(&database.client, &needed.table.name, needed).await;
            assert_eq!(super::bag(mirror.view(State::After), needed, None), expected);
        }
    })
    .await;
}
