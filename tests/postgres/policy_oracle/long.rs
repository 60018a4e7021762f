//! The long run: the same comparison over as many decisions as one has time for, on all major versions.

use crate::support::majors;

use super::DECIDES;
use super::court::{Court, Tally};
use super::generator::Generator;

/// How many decisions are compared, over all major versions, unless `ROWCAST_ORACLE_DECISIONS` says otherwise.
const DECISIONS: u64 = 5_000_000;

/// The seed of the first major version, unless `ROWCAST_ORACLE_SEED` says otherwise.
const SEED: u64 = 1_000;

/// Sets of one seed; each seed tries every atom by itself first.
const SETS_A_SEED: usize = 240;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[tokio::test]
#[ignore = "takes as long as it is told to: make oracle"]
async fn millions_of_decisions_are_those_of_postgres() {
    let majors = majors();
    let share = setting("ROWCAST_ORACLE_DECISIONS", DECISIONS) / majors.len() as u64;
    let first = setting("ROWCAST_ORACLE_SEED", SEED);
    let tried = majors.into_iter().map(async |major| {
        let mut court = Court::open(major).await;
        let mut total = Tally::default();
        let started = std::time::Instant::now();
        for seed in first.. {
            let mut generator = Generator::new(seed.wrapping_mul(1_000) + u64::from(major));
            for number in 0..SETS_A_SEED {
                total.add(generator.try_set(&mut court, number).await);
            }
            println!("PostgreSQL {major}, seed {seed}, {} s: {total}", started.elapsed().as_secs());
            if total.compared() >= share {
                break;
            }
        }
        (major, total)
    });
    let tallies = futures_util::future::join_all(tried).await;
    let (mut wrong, mut missed) = (0, 0);
    for (major, tally) in &tallies {
        println!("PostgreSQL {major}: {tally}");
        wrong += tally.wrong;
        missed += tally.missed;
        assert!(tally.decided * 2 > tally.compared() || !DECIDES, "most is decided: {tally}");
    }
    assert_eq!((wrong, missed), (0, 0), "of {tallies:#?}");
}
