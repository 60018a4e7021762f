//! Situations that were thought of, by number: each is a table `t` with policies and rows, and those who ask.
//!
//! A test says what of it is seen, so that no situation is empty by mistake, and whether the engine decides it in memory.

mod claims;
mod functions;
mod rules;
mod shapes;
mod unused;
mod values;

use crate::support::majors;

use super::DECIDES;
use super::callers::{Caller, fill, usual};
use super::court::{Court, Tally};

/// What the callers see, all together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// Some rows, by some.
    Some,
    /// Nothing, by anybody but those whom row level security does not bind.
    Nothing,
    /// Everything, by everybody who may read the table.
    All,
}

/// Who decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    /// The engine, most of it at least: a doubt about some rows or callers may be left to Postgres.
    Memory,
    /// Postgres, at least for some.
    Asking,
    /// Either: it is enough that nothing is wrong.
    Anyone,
}

/// Row level security on `t`, and `t` published.
const GUARDED: &str = "alter table t enable row level security; select publish('t');";

/// Tries a situation with those whom most are tried with.
async fn case(seen: Seen, by: By, schema: &str) {
    Session::open().await.case(seen, by, schema).await;
}

/// Tries a situation with these callers, on every major version; `schema` publishes its tables itself.
async fn case_for(callers: Vec<Caller>, seen: Seen, by: By, schema: &str) {
    Session::open().await.case_for(&callers, seen, by, schema).await;
}

/// A court on each major version, for one situation after another.
struct Session(Vec<Court>);

impl Session {
    async fn open() -> Self {
        let mut courts = Vec::new();
        for major in majors() {
            courts.push(Court::open(major).await);
        }
        Self(courts)
    }

    /// See [`case`].
    async fn case(&mut self, seen: Seen, by: By, schema: &str) {
        self.case_for(&usual(), seen, by, &format!("{schema}; {GUARDED}")).await;
    }

    /// Tries each policy by itself on a table of these columns and rows.
    async fn each(&mut self, by: By, table: &str, policies: &[&str]) {
        for policy in policies {
            self.case(Seen::Some, by, &format!("{table}; create policy p on t using ({policy})")).await;
        }
    }

    /// See [`case_for`].
    async fn case_for(&mut self, callers: &[Caller], seen: Seen, by: By, schema: &str) {
        let schema = fill(schema);
        for court in &mut self.0 {
            // Views read with their owner's rights alone before.
            let schema = match court.database.major {
                14 => schema.replace("security_invoker", "security_barrier"),
                _ => schema.clone(),
            };
            court.clear().await;
            court.execute(&schema).await;
            let tally = court.hear(callers).await;
            check(&tally, callers, (seen, by), &format!("PostgreSQL {}: {schema}", court.database.major));
        }
    }
}

fn check(tally: &Tally, callers: &[Caller], (seen, by): (Seen, By), situation: &str) {
    assert_eq!((tally.wrong, tally.missed), (0, 0), "{:#?}\n{situation}", tally.told);
    assert!(tally.compared() > 0, "nothing was compared on {situation}");
    // Those whom nothing binds see everything, whatever it is.
    let bypassing = callers.iter().filter(|caller| &*caller.role == "service_role").count() as u64;
    let free = tally.compared() / callers.len() as u64 * bypassing;
    let (found, all) = (tally.found.saturating_sub(free), tally.compared() - free);
    match seen {
        Seen::Some => assert!(0 < found && found < all, "{found} of {all} are seen on {situation}"),
        Seen::Nothing => assert_eq!(found, 0, "of {all} on {situation}"),
        Seen::All => assert_eq!(found, all, "on {situation}"),
    }
    if DECIDES {
        match by {
            By::Memory => {
                assert!(tally.asked * 2 <= all, "left to Postgres: {tally}\n{:?}\n{situation}", tally.reasons)
            }
            By::Asking => assert!(tally.asked > 0, "decided in memory: {tally}\n{situation}"),
            By::Anyone => {}
        }
    }
}
