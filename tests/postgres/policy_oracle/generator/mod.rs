//! Situations that nobody thought of: worlds, policies and callers made by chance, the same in every run of one seed.

mod dice;
pub(super) mod policies;
pub(super) mod world;

use std::collections::BTreeSet;

use crate::support::majors;

use super::DECIDES;
use super::callers::Caller;
use super::court::{Court, Tally};

pub(super) use dice::Dice;

/// How many sets of policies are tried in one world.
pub(super) const SETS_A_WORLD: usize = 12;

/// How many sets of policies are tried on each major version.
const SETS: usize = 156;

/// How many decisions are compared at least, on each major version.
const COMPARED_MIN: u64 = 100_000;

/// The largest share of decisions that may be left to Postgres, in percent: what is asked for on purpose included.
const ASKED_MAX_PERCENT: u64 = 25;

/// Sets of policies and what they are tried in, one after another.
pub(super) struct Generator {
    seed: u64,
    /// Which atoms were tried.
    pub(super) used: BTreeSet<usize>,
}

impl Generator {
    pub(super) fn new(seed: u64) -> Self {
        Self { seed, used: BTreeSet::new() }
    }

    /// Makes the set with this number in `court`, and those who ask. Each first set of a world makes that world.
    pub(super) async fn prepare(&mut self, court: &Court, number: usize) -> Vec<Caller> {
        if number.is_multiple_of(SETS_A_WORLD) {
            court.clear().await;
            court.execute(&self.world(number)).await;
        }
        let (mut dice, policies) = self.policies(number);
        court.execute(&policies).await;
        world::callers(&mut dice)
    }

    fn world(&self, number: usize) -> String {
        world::world(&mut Dice::of(self.seed.wrapping_add((number / SETS_A_WORLD) as u64)))
    }

    fn policies(&mut self, number: usize) -> (Dice, String) {
        let mut dice = Dice::of(self.seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
        let (policies, used) = policies::policies(&mut dice, number);
        self.used.extend(used);
        (dice, policies)
    }

    /// Tries the set with this number; says all there is to say where something is wrong.
    pub(super) async fn try_set(&mut self, court: &mut Court, number: usize) -> Tally {
        let callers = self.prepare(court, number).await;
        let tally = court.hear(&callers).await;
        if tally.wrong + tally.missed > 0 {
            let policies = self.policies(number).1;
            eprintln!(
                "PostgreSQL {}, seed {}, set {number}: {tally}\n{:#?}\n{}\n{}",
                court.database.major,
                self.seed,
                tally.told,
                policies,
                self.world(number)
            );
        }
        tally
    }
}

#[tokio::test]
async fn generated_policies_are_decided_as_postgres_decides_them() {
    let tried = majors().into_iter().map(async |major| {
        let mut court = Court::open(major).await;
        let mut generator = Generator::new(u64::from(major));
        let mut total = Tally::default();
        let started = std::time::Instant::now();
        for number in 0..SETS {
            total.add(generator.try_set(&mut court, number).await);
        }
        println!("PostgreSQL {major}: {total}, {} s", started.elapsed().as_secs());
        println!("{:#?}", total.reasons);
        assert_eq!((total.wrong, total.missed), (0, 0), "on PostgreSQL {major}");
        assert!(total.compared() >= COMPARED_MIN, "{total}");
        let found = total.found * 100 / total.compared();
        assert!((20..=60).contains(&found), "{found} % are found: {total}");
        assert_eq!(generator.used.len(), policies::ATOMS.len(), "every atom is tried");
        if DECIDES {
            let asked = total.asked * 100 / total.compared();
            assert!(asked <= ASKED_MAX_PERCENT, "{total}");
        }
    });
    futures_util::future::join_all(tried).await;
}
