//! Situations that were thought of, by number: each is a table `t` with policies and rows, and those who ask.
//!
//! A test says what of it is seen, so that no situation is empty by mistake, and whether the engine decides it in memory.

mod claims;
mod functions;
mod rules;
mod shapes;
mod values;

use crate::support::majors;

use super::callers::{Caller, usual, uuid};
use super::{Court, DECIDES};

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
    case_for(usual(), seen, by, &format!("{schema}; {GUARDED}")).await;
}

/// Tries a situation with these callers, on every major version; `schema` publishes its tables itself.
async fn case_for(callers: Vec<Caller>, seen: Seen, by: By, schema: &str) {
    let schema = (1..=9).fold(schema.to_owned(), |sql, number| {
        sql.replace(&format!("{{{number}}}"), &uuid(number))
    });
    for major in majors() {
        let mut court = Court::open(major).await;
        court.execute(&schema).await;
        let tally = court.hear(&callers).await;
        println!("{major}: {tally}");
        assert_eq!((tally.wrong, tally.missed), (0, 0), "on {major}: {:#?}\n{schema}", tally.told);
        assert!(tally.compared() > 0, "nothing was compared on {major}: {schema}");
        // Those whom nothing binds see everything, whatever it is.
        let bypassing = callers.iter().filter(|caller| &*caller.role == "service_role").count() as u64;
        let free = tally.compared() / callers.len() as u64 * bypassing;
        let (found, all) = (tally.found.saturating_sub(free), tally.compared() - free);
        match seen {
            Seen::Some => assert!(0 < found && found < all, "{found} of {all} are seen on {major}: {schema}"),
            Seen::Nothing => assert_eq!(found, 0, "of {all} on {major}: {schema}"),
            Seen::All => assert_eq!(found, all, "on {major}: {schema}"),
        }
        if DECIDES {
            let asked = tally.asked * 2 > all;
            match by {
                By::Memory => assert!(!asked, "left to Postgres on {major}: {tally}\n{schema}"),
                By::Asking => assert!(tally.asked > 0, "decided in memory on {major}: {tally}\n{schema}"),
                By::Anyone => {}
            }
        }
    }
}
