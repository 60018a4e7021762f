//! The judge of the judge: engines that are wrong in one way each, and all of them are found out.
//!
//! Nothing of this is in the engine: what it was compiled from, what came of it, or what it reads is bent from outside.

pub(super) mod rewrite;

use std::collections::{BTreeMap, BTreeSet};

use rowcast::policy::expression::Expr;
use rowcast::policy::source::Source;
use rowcast::policy::value::Value;

use crate::support::majors;

use super::DECIDES;
use super::callers::{fill, usual};
use super::court::Court;
use super::engine::{Mutation, Word};
use super::generator::world::ROLES;
use super::generator::{Dice, Generator, SETS_A_WORLD};
use rewrite::{Rules, every};

/// How many sets of policies a mutant may survive.
const SETS: usize = 156;

/// What chance rarely makes: helpers whose owner is bound, or sees less than others, and strict ones.
const RARE: &str = "
    create table people (room int, who uuid, hidden bool, n serial primary key);
    insert into people (room, who, hidden) values (1, '{1}', false), (2, '{1}', true), (2, '{2}', false), (3, '{2}', null);
    create table forced (like people including all); insert into forced select * from people;
    alter table people owner to gen_keeper; alter table forced owner to gen_keeper;
    grant usage on schema public, auth to gen_keeper, gen_stranger; grant select on people to gen_stranger;
    alter table people enable row level security;
    alter table forced enable row level security, force row level security;
    create policy p on people to gen_stranger using (not hidden); create policy p on forced using (not hidden);
    create function of_owner(int) returns bool language sql stable security definer set search_path = public
        as $$ select exists (select from people where room = $1 and who = auth.uid()) $$;
    create function of_forced(int) returns bool language sql stable security definer set search_path = public
        as $$ select exists (select from forced where room = $1 and who = auth.uid()) $$;
    create function of_stranger(int) returns bool language sql stable security definer set search_path = public
        as $$ select exists (select from people where room = $1 and who = auth.uid()) $$;
    create function strictly(a int, b int) returns bool language sql immutable strict as $$ select a is null or b = 1 $$;
    alter function of_owner(int) owner to gen_keeper; alter function of_forced(int) owner to gen_keeper;
    alter function of_stranger(int) owner to gen_stranger;
    do $$ declare name text; condition text; begin
        for name, condition in values ('a', 'of_owner(room)'), ('b', 'of_forced(room)'), ('c', 'of_stranger(room)'),
            ('d', 'strictly(room, id)'), ('e', 'not strictly(room, id)')
        loop
            execute format('create table %I (id int primary key, room int)', name);
            execute format('insert into %I values (1, 1), (2, 2), (3, 3), (4, null)', name);
            execute format('create policy p on %I using (%s)', name, condition);
            execute format('alter table %I enable row level security', name);
            execute format('select publish(%L)', name);
        end loop;
    end $$;";

/// What is wrong, and how.
type Mutant = (&'static str, Mutation);

/// With these rules rewritten.
fn rules(name: &'static str, rewrite: fn(&mut Rules)) -> Mutant {
    (name, Mutation { rules: Some(rewrite), ..Mutation::default() })
}

/// Compiled from something else.
fn source(name: &'static str, rewrite: fn(&mut Source)) -> Mutant {
    (name, Mutation { source: Some(rewrite), ..Mutation::default() })
}

fn is_true(expr: Expr) -> Expr {
    Expr::Is(Box::new(expr), Some(true))
}

/// Those that are wrong even where everything is asked.
fn blunt() -> Vec<Mutant> {
    let mutation = Mutation::default();
    vec![
        ("shows what it does not know", Mutation { instead_of_asking: Some(Word::Shows), ..mutation }),
        ("hides what it does not know", Mutation { instead_of_asking: Some(Word::Hides), ..mutation }),
        ("ignores row level security", Mutation { ignores_row_security: true, ..mutation }),
    ]
}

/// Those that are wrong where something is decided.
fn subtle() -> Vec<Mutant> {
    let mutation = Mutation::default();
    vec![
        ("a doubt about a rule denies it", Mutation { doubt_denies_a_rule: true, ..mutation }),
        ("a row of another table is missed", Mutation { misses_a_row: true, ..mutation }),
        ("a candidate is dropped", Mutation { drops_a_candidate: true, ..mutation }),
        rules("not null is true", |rules| {
            every(rules, &|expr| match expr {
                Expr::Not(inner) => Expr::Not(Box::new(is_true(*inner))),
                other => other,
            });
        }),
        rules("null elements are ignored", |rules| {
            every(rules, &|expr| match expr {
                Expr::Elements { all: false, .. } => is_true(expr),
                other => other,
            });
        }),
        rules("null rows are ignored", |rules| {
            every(rules, &|expr| match expr {
                Expr::Quantified { all: false, .. } => is_true(expr),
                other => other,
            });
        }),
        rules("null permits", |rules| {
            for rule in &mut rules.0 {
                let permits = |expr| Expr::Not(Box::new(Expr::Is(Box::new(expr), Some(false))));
                rule.condition = rule.condition.clone().map(permits);
            }
        }),
        rules("restrictive policies are ignored", |rules| rules.1.clear()),
        rules("restrictive policies permit", |rules| {
            let restrictive = std::mem::take(&mut rules.1);
            rules.0.extend(restrictive);
        }),
        rules("only the first permissive policy counts", |rules| rules.0.truncate(1)),
        rules("or is and", |rules| {
            every(rules, &|expr| if let Expr::Or(list) = expr { Expr::And(list) } else { expr });
        }),
        rules("and is or", |rules| {
            every(rules, &|expr| if let Expr::And(list) = expr { Expr::Or(list) } else { expr });
        }),
        rules("distinct is unequal", |rules| {
            every(rules, &|expr| match expr {
                Expr::Distinct(function, both) => Expr::Not(Box::new(Expr::Call(function, both))),
                other => other,
            });
        }),
        rules("nullif is its first argument", |rules| {
            every(rules, &|expr| match expr {
                Expr::NullIf(_, both) => {
                    let [first, _] = *both;
                    first
                }
                other => other,
            });
        }),
        rules("coalesce is its first argument", |rules| {
            every(rules, &|expr| match expr {
                Expr::Coalesce(mut list) if !list.is_empty() => std::mem::replace(&mut list[0], Expr::Now),
                other => other,
            });
        }),
        rules("a case has no default", |rules| {
            every(rules, &|expr| match expr {
                Expr::Case(arms, _) => Expr::Case(arms, Box::new(Expr::Const(Value::Null))),
                other => other,
            });
        }),
        rules("is null is never true", |rules| {
            every(rules, &|expr| match expr {
                Expr::IsNull(_) => Expr::Const(Value::Bool(false)),
                other => other,
            });
        }),
        rules("time stands still", |rules| {
            every(rules, &|expr| if expr == Expr::Now { Expr::Const(Value::Timestamp(0)) } else { expr });
        }),
        rules("queries have no condition", |rules| {
            every(rules, &|expr| match expr {
                Expr::Exists(mut query) => {
                    query.condition = Expr::Const(Value::Bool(true));
                    Expr::Exists(query)
                }
                other => other,
            });
        }),
        source("functions run with their callers' rights", |source| {
            source.functions.values_mut().for_each(|function| function.security_definer = false);
        }),
        source("owners of functions are bound by nothing", |source| {
            let owners: BTreeSet<_> = source.functions.values().map(|function| function.owner).collect();
            let owners = source.roles.iter_mut().filter(|(id, _)| owners.contains(id));
            owners.for_each(|(_, role)| role.bypasses = true);
        }),
        source("owners are bound", |source| {
            source.relations.values_mut().for_each(|relation| relation.row_security_forced = true);
        }),
        source("owners are never bound", |source| {
            source.relations.values_mut().for_each(|relation| relation.row_security_forced = false);
        }),
        source("other tables have no policies", |source| {
            let others = source.relations.values_mut().filter(|relation| &*relation.name != "doc");
            others.for_each(|relation| relation.row_security = false);
        }),
        source("strict functions are called with null", |source| {
            let own = source.functions.iter_mut().filter(|(id, _)| **id >= 16_384);
            own.for_each(|(_, function)| function.strict = false);
        }),
        source("roles inherit nothing", |source| {
            for (id, role) in &mut source.roles {
                role.has_rights_of = [*id].into();
            }
        }),
        source("policies bind everybody", |source| {
            let policies = source.relations.values_mut().flat_map(|relation| &mut relation.policies);
            policies.for_each(|policy| policy.roles = vec![0]);
        }),
        source("policies for all commands are ignored", |source| {
            for relation in source.relations.values_mut() {
                relation.policies.retain(|policy| policy.command != '*');
            }
        }),
        source("policies for other commands count", |source| {
            let policies = source.relations.values_mut().flat_map(|relation| &mut relation.policies);
            policies.for_each(|policy| policy.command = '*');
        }),
        source("restrictive policies are permissive", |source| {
            let policies = source.relations.values_mut().flat_map(|relation| &mut relation.policies);
            policies.for_each(|policy| policy.permissive = true);
        }),
        source("everybody may read every column", |source| {
            let relations = source.relations.iter().map(|(id, relation)| {
                (*id, relation.columns.iter().map(|column| column.number).collect::<Vec<i16>>())
            });
            let columns: std::collections::HashMap<_, _> = relations.collect();
            for ((_, relation), selectable) in &mut source.selectable {
                *selectable = columns.get(relation).cloned().unwrap_or_default().into();
            }
        }),
        source("everybody may call every function", |source| {
            let pairs = source.roles.keys().flat_map(|role| source.functions.keys().map(|id| (*role, *id)));
            source.executable = pairs.collect();
        }),
    ]
}

#[tokio::test]
async fn engines_that_are_wrong_are_found_out() {
    let major = *majors().last().expect("a major version");
    let mut court = Court::open(major).await;
    let mut mutants = blunt();
    if DECIDES {
        mutants.extend(subtle());
    }
    let mut caught: BTreeMap<&str, u64> = mutants.iter().map(|(name, _)| (*name, 0)).collect();
    let mut generator = Generator::new(7);
    for number in 0..SETS {
        let callers = if number == 0 {
            court.execute(ROLES).await;
            court.execute(&fill(RARE)).await;
            usual()
        } else {
            // The first set of a world makes it.
            generator.prepare(&court, number + SETS_A_WORLD - 1).await
        };
        let alive: Vec<&Mutant> = mutants.iter().filter(|(name, _)| caught[name] < 3).collect();
        if alive.is_empty() {
            break;
        }
        let catalog = court.read(&callers).await;
        let mutations: Vec<Mutation> = alive.iter().map(|(_, mutation)| *mutation).collect();
        let tallies = court.hear_with(&catalog, &callers, &mutations).await;
        for ((name, _), tally) in alive.iter().zip(tallies) {
            *caught.entry(name).or_default() += u64::from(tally.wrong + tally.missed > 0);
        }
    }
    println!("{caught:#?}");
    let survivors: Vec<&str> =
        caught.iter().filter(|(_, count)| **count == 0).map(|(name, _)| *name).collect();
    assert!(survivors.is_empty(), "nobody noticed: {survivors:?}");
}

#[tokio::test]
async fn chance_is_the_same_in_every_run() {
    let drawn = || {
        let mut dice = Dice::of(5);
        (super::generator::world::world(&mut dice), super::generator::policies::policies(&mut dice, 1_000))
    };
    assert_eq!(drawn(), drawn());
}
