//! Histories made by chance: rows, rights and policies change, and after each commit everybody gets what Postgres says.

use crate::feed::on_each_major;

use super::super::DECIDES;
use super::super::callers::Caller;
use super::super::generator::{Dice, policies::condition_of, world};
use super::super::truth::Truth;
use super::Stage;

/// How many worlds are tried on each major version, and how many commits in each.
const WORLDS: u64 = 2;
const COMMITS: usize = 24;

/// Commits of a world: what policies read changes, or they themselves do, in one of the ways that applications have.
fn commit(dice: &mut Dice) -> String {
    let user = |dice: &mut Dice| format!("{{{}}}", 1 + dice.below(4));
    let (one, other) = (user(dice), user(dice));
    let (conv, another) = (1 + dice.below(4), 1 + dice.below(4));
    match dice.below(24) {
        0..=2 => format!("insert into people (conv, who, role) values ({conv}, '{one}', 'x')"),
        3 | 4 => format!("delete from people where ctid = (select ctid from people where who = '{one}' limit 1)"),
        5 => format!("update people set left_at = case when left_at is null then now() end where who = '{one}'"),
        6 => format!("update people set conv = {another} where conv = {conv} and who = '{one}'"),
        7 => format!("update convs set hidden = not hidden, u1 = '{one}' where id = {conv}"),
        8 => format!("update convs set u2 = '{other}', org = '{{7}}' where id = {conv}"),
        9 => format!("update profiles set duty = 'agent', org = '{{8}}' where id = '{one}'"),
        10 => format!("delete from profiles where id = '{one}'"),
        11 => format!("insert into profiles (id, duty, org) values ('{one}', 'admin', '{{7}}') on conflict do nothing"),
        12 => "truncate people".to_owned(),
        13 => format!("insert into people (conv, who) select {conv}, who from people where who is not null limit 3"),
        14 => format!(
            "savepoint s; insert into people (conv, who) values ({conv}, '{one}'); rollback to s;
             update people set who = '{other}' where who = '{one}'"
        ),
        15 => format!(
            "savepoint s; insert into people (conv, who) values ({conv}, '{one}'); release s;
             delete from people where who = '{other}'"
        ),
        16 => "update convs set id = id + 10 where id = 4; update convs set id = 4 where id = 14".to_owned(),
        17 => format!("drop policy if exists later on people; create policy later on people using (who = '{one}')"),
        18 => "drop policy if exists later on people; alter table people no force row level security".to_owned(),
        19 => "alter table people enable row level security, force row level security".to_owned(),
        20 => "alter table convs disable row level security".to_owned(),
        21 => "alter table people owner to gen_keeper".to_owned(),
        22 => format!("drop policy if exists more on t; create policy more on t using ({})", condition_of(dice)),
        _ => "drop policy if exists fence on t; create policy fence on t as restrictive using (kind is distinct from 'admin')"
            .to_owned(),
    }
}

fn everybody(dice: &mut Dice) -> Vec<Caller> {
    let mut callers = world::callers(dice);
    // A token's body is always an object, and subscribers' roles exist.
    callers.retain(|caller| caller.claims.starts_with('{') && &*caller.role != "nobody_at_all");
    callers.retain(|caller| serde_json::from_str::<serde_json::Value>(&caller.claims).is_ok());
    callers.dedup();
    callers
}

#[tokio::test]
async fn after_each_commit_of_a_history_everybody_gets_what_postgres_says() {
    on_each_major(async |major| {
        let (mut decided, mut seen, mut raised, mut in_memory) = (0, 0, 0, 0);
        for number in 0..WORLDS {
            let mut dice = Dice::of(4_000 + number);
            // The judged table has another name here, and a column that may be touched.
            let world = world::world(&mut dice).replace(" doc ", " t ").replace("'doc'", "'t'");
            let (first, second) = (condition_of(&mut dice), condition_of(&mut dice));
            let schema = format!(
                "{world} grant select on marks to public; alter table t add column body text;
                 create policy first on t using ({first}); create policy second on t for select using ({second})"
            );
            let callers = everybody(&mut dice);
            let mut stage = Stage::open(major, &schema, &callers).await;
            let before = stage.decided();
            for _ in 0..COMMITS {
                let commit = format!("begin; {}; update t set body = body; commit", commit(&mut dice));
                let step = stage.run(&[&commit]).await;
                let truth = stage.truth("public.t", &step.all).await;
                for ((caller, _), (got, truth)) in stage.watchers.iter().zip(step.ids().iter().zip(&truth)) {
                    // Where a policy raises an error and another holds, a row that is asked about as it was logged may
                    // show, as Postgres plans it: it is permitted. Otherwise an error hides.
                    let is_certain = |id: &&u64| !truth.contains(&(**id, Truth::Raised));
                    let certain: Vec<u64> = got.iter().filter(is_certain).copied().collect();
                    let found = truth.iter().filter(|(_, truth)| *truth == Truth::Found);
                    let expected: Vec<u64> = found.map(|(id, _)| *id).collect();
                    assert_eq!(certain, expected, "PostgreSQL {major}, world {number}: {caller:?} after {commit}\n{schema}");
                    decided += truth.len();
                    raised += got.len() - certain.len();
                    seen += got.len();
                }
            }
            in_memory += stage.decided() - before;
        }
        println!("PostgreSQL {major}: {decided} decisions, {seen} seen, {raised} beside an error, {in_memory} in memory");
        assert!(seen * 10 > decided && seen < decided, "{seen} of {decided}");
        assert!(in_memory > 0 || !DECIDES, "all of it is asked");
        assert!(raised * 50 <= decided, "{raised} of {decided}");
    })
    .await;
}
