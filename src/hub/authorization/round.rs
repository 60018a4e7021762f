//! One round of questions on one session: by conditions where that is proven to be right, else by rows.
//!
//! Each round looks at the catalog's fingerprint on its way. If that is another than that of the reading which the
//! conditions came from, what was found counts for nothing, and the round begins anew with a new reading: an answer is
//! made of the policies and rights as they are when it is asked for.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future;
use tokio::time::Instant;
use tokio_postgres::error::SqlState;
use tokio_postgres::{Client, Error, Statement};

use super::expression::Needs;
use super::judge::{self, Finding};
use super::probe::{self, Outcome, denial};
use super::reading::{Judgement, Reading, Role};
use super::replay::replay;
use crate::hub::RecentCommits;
use crate::postgres::snapshot::are_visible;
use crate::telemetry::code::Code;
use crate::telemetry::log::chain;
use crate::telemetry::report::report;

use super::{Answer, Asked, AuthorizationError, Counters, Question, Rights, Stored};

const FINGERPRINT: &str = include_str!("../../../sql/queries/authorization_fingerprint.sql");

/// Looks names up in `pg_catalog` alone.
const OWN_PATH: &str = "set search_path = ''";

/// Looks names up as policies' functions expect it.
const USUAL_PATH: &str = "reset search_path";

/// How often a round begins anew because policies have changed under it; then it is done by rows.
const READINGS_MAX: u32 = 3;

/// How many rows are tried in one round; the rest waits for the next, so that one round does not take too long.
const PROBES_MAX: usize = 32;

/// After how long, and how many bytes, a round replays nothing further; the rest waits for the next.
const REPLAYING_MAX: Duration = Duration::from_millis(500);
const REPLAYED_BYTES_MAX: usize = 16 << 20;

/// How many questions may run out of time in one round before the rest waits for the next.
const CANCELED_MAX: u32 = 2;

/// What a session knows from round to round. It ends with the session.
#[derive(Default)]
pub(super) struct Memory {
    known: Option<Known>,
}

/// A reading, and what the session has made of it.
struct Known {
    fingerprint: String,
    /// Compares the fingerprint, and says whether there is a partition for now.
    comparison: Statement,
    /// `None` if there is no table.
    reading: Option<Reading>,
    /// The functions that were made, by role.
    judges: HashMap<Arc<str>, Judge>,
}

#[derive(Clone, Copy)]
enum Judge {
    /// Its texts are analysed when they are first used.
    Own(usize),
    /// It is made anew in each round.
    Analysed(usize),
    /// It cannot be made.
    None,
}

/// What a round has found.
pub(super) struct Round {
    /// To each question in order; `None` if there was no time to ask it.
    pub(super) outcomes: Vec<Option<Outcome>>,
    /// What each answer was made of if it is good for longer than this round.
    pub(super) needs: Vec<Option<Needs>>,
    /// The catalog's fingerprint when the questions were asked.
    pub(super) fingerprint: String,
    /// When that was compared, or a moment before.
    pub(super) compared_at: Instant,
}

/// What a round needs besides its questions.
pub(super) struct Means<'a> {
    pub(super) client: &'a mut Client,
    pub(super) counters: &'a Counters,
    pub(super) commits: &'a RecentCommits,
    pub(super) payload_bytes_max: usize,
}

impl Means<'_> {
    /// Counts statements that are sent together.
    fn sends(&self, statements: usize) {
        self.counters.statements.add_length(statements);
        self.counters.round_trips.add(1);
    }
}

impl Memory {
    /// Puts questions; none at all is a comparison of the fingerprint.
    pub(super) async fn round(&mut self, means: &mut Means<'_>, questions: &[Asked]) -> Result<Round, Error> {
        let mut readings = 0;
        loop {
            let compared_at = Instant::now();
            if !self.knows(questions) {
                readings += 1;
                self.read(means, questions).await?;
            }
            let Some(known) = &mut self.known else { continue };
            let mut asking = Asking::new(questions);
            known.make_judges(means, questions).await?;
            let (fingerprint, has_partition) = asking.by_conditions(means, known).await?;
            let is_current = fingerprint == known.fingerprint;
            if !is_current && readings < READINGS_MAX {
                self.known = None;
                continue;
            }
            if !is_current || !has_partition {
                asking.forget();
            }
            asking.by_rows(means).await?;
            let Asking { outcomes, needs, .. } = asking;
            return Ok(Round { outcomes, needs, fingerprint, compared_at });
        }
    }

    /// Whether there is a reading that knows the roles of these questions.
    fn knows(&self, questions: &[Asked]) -> bool {
        let Some(known) = &self.known else { return false };
        let Some(reading) = &known.reading else { return true };
        questions.iter().all(|asked| reading.role(&asked.subject.claims.role).is_some())
    }

    async fn read(&mut self, means: &mut Means<'_>, questions: &[Asked]) -> Result<(), Error> {
        let previous = self.known.take().and_then(|known| known.reading);
        let mut roles: HashSet<Arc<str>> =
            questions.iter().map(|asked| Arc::clone(&asked.subject.claims.role)).collect();
        roles.extend(previous.iter().flat_map(Reading::role_names));
        // So many statements follow, one after another.
        (0..10).for_each(|_| means.sends(1));
        // The server's own queries find nothing that somebody has put where names are looked up.
        means.client.batch_execute(OWN_PATH).await?;
        // Taken first: what changes during the reading is found by the next comparison.
        let fingerprint: String = means.client.query_one(FINGERPRINT, &[]).await?.try_get(0)?;
        means.client.batch_execute(USUAL_PATH).await?;
        let reading = Reading::read(means.client, roles).await?;
        means.client.batch_execute(OWN_PATH).await?;
        let partition = reading.as_ref().map_or("false", |reading| &reading.partition);
        let comparison = format!(
            "select ({FINGERPRINT}), (select {partition} from \
             (select pg_catalog.timezone('UTC', pg_catalog.now()) as inserted_at) as now)"
        );
        let comparison = means.client.prepare(&comparison).await?;
        means.client.batch_execute(USUAL_PATH).await?;
        self.known = Some(Known { fingerprint, comparison, reading, judges: HashMap::new() });
        Ok(())
    }
}

impl Known {
    fn role(&self, asked: &Asked) -> Option<&Arc<Role>> {
        self.reading.as_ref()?.role(&asked.subject.claims.role)?
    }

    /// Makes the functions that these questions need and the session has not.
    async fn make_judges(&mut self, means: &Means<'_>, questions: &[Asked]) -> Result<(), Error> {
        let Some(reading) = &self.reading else { return Ok(()) };
        for asked in questions {
            let Some(role) = self.role(asked).cloned() else { continue };
            if self.judges.contains_key(&role.name) {
                continue;
            }
            let number = self.judges.len();
            let judge = if role.is_hindered {
                Judge::Analysed(number)
            } else {
                means.sends(1);
                match means.client.batch_execute(&judge::create(reading, &role, number, false)).await {
                    Ok(()) => Judge::Own(number),
                    Err(error) if error.code().is_some() => {
                        report!(
                            warn,
                            Code::RlsPolicyError,
                            error = chain(&error),
                            remedy = "grant temporary on the database to the server's role",
                            "policies are asked by rows that are rolled back"
                        );
                        Judge::None
                    }
                    Err(error) => return Err(error),
                }
            };
            self.judges.insert(Arc::clone(&role.name), judge);
        }
        Ok(())
    }
}

/// The questions of a round, and what was found so far.
struct Asking<'q> {
    questions: &'q [Asked],
    outcomes: Vec<Option<Outcome>>,
    needs: Vec<Option<Needs>>,
    /// What is left to be asked by rows.
    rows: Vec<usize>,
}

impl<'q> Asking<'q> {
    fn new(questions: &'q [Asked]) -> Self {
        let count = questions.len();
        let outcomes = std::iter::repeat_with(|| None).take(count).collect();
        Self { questions, outcomes, needs: vec![None; count], rows: Vec::new() }
    }

    /// Leaves everything to rows.
    fn forget(&mut self) {
        *self = Self::new(self.questions);
        self.rows = (0..self.questions.len()).collect();
    }

    /// Asks what can be asked without rows, and compares the fingerprint on the same way.
    async fn by_conditions(&mut self, means: &Means<'_>, known: &Known) -> Result<(String, bool), Error> {
        let mut own: HashMap<usize, Vec<usize>> = HashMap::new();
        let mut analysed: HashMap<usize, Vec<usize>> = HashMap::new();
        for (place, asked) in self.questions.iter().enumerate() {
            match self.way(known, asked) {
                Way::Known(outcome) => self.outcomes[place] = Some(outcome),
                Way::Rows => self.rows.push(place),
                Way::Judge(Judge::Own(number)) => own.entry(number).or_default().push(place),
                Way::Judge(Judge::Analysed(number)) => analysed.entry(number).or_default().push(place),
                Way::Judge(Judge::None) => self.rows.push(place),
                Way::Later => {}
            }
        }
        means.sends(3 + own.len());
        let own: Vec<(usize, Vec<usize>)> = own.into_iter().collect();
        let puts = own.iter().map(|(number, places)| self.put(means.client, *number, places));
        let comparison = means.client.query_one(&known.comparison, &[]);
        // Sent in this order, without waiting for each other.
        let (own_path, comparison, usual_path, found) = future::join4(
            means.client.batch_execute(OWN_PATH),
            comparison,
            means.client.batch_execute(USUAL_PATH),
            future::join_all(puts),
        )
        .await;
        own_path?;
        usual_path?;
        let comparison = comparison?;
        for ((number, places), found) in own.iter().zip(found) {
            self.take(means, known, *number, places, found).await?;
        }
        for (number, places) in analysed {
            let Some(role) = places.first().and_then(|place| known.role(&self.questions[*place])) else {
                continue;
            };
            let Some(reading) = &known.reading else { continue };
            means.sends(3);
            let begin = format!(
                "begin; set local search_path = ''; {}; set local search_path to default",
                judge::create(reading, role, number, true)
            );
            let (begun, found, ended) = future::join3(
                means.client.batch_execute(&begin),
                self.put(means.client, number, &places),
                means.client.batch_execute("rollback"),
            )
            .await;
            ended?;
            match begun {
                Err(error) if error.code().is_none() => return Err(error),
                Err(_) => self.rows.extend(places),
                // Put again as they are, they would run out of time again.
                Ok(()) if was_canceled(&found) && places.len() > 1 => self.rows.extend(places),
                Ok(()) => self.take_or_leave(known, &places, found)?,
            }
        }
        Ok((comparison.try_get(0)?, comparison.try_get::<_, Option<bool>>(1)?.unwrap_or(false)))
    }

    fn way(&self, known: &Known, asked: &Asked) -> Way {
        let Some(reading) = &known.reading else {
            return Way::Known(Err(AuthorizationError::MissingPartition));
        };
        let Some(role) = known.role(asked) else {
            let code = SqlState::INVALID_PARAMETER_VALUE.code();
            return Way::Known(Err(AuthorizationError::Policy(code.into())));
        };
        let judgement = match asked.question {
            Question::Read => &role.read,
            Question::Write => &role.write,
            Question::Replay { .. } => return Way::Later,
        };
        let judge = known.judges.get(&role.name).copied().unwrap_or(Judge::None);
        match judgement {
            Judgement::Probe => Way::Rows,
            _ if !reading.takes_topic(&asked.subject.topic) => Way::Rows,
            Judgement::Condition(_) | Judgement::Refused => Way::Judge(judge),
        }
    }

    async fn put(&self, client: &Client, number: usize, places: &[usize]) -> Result<Vec<Finding>, Error> {
        let questions: Vec<&Asked> = places.iter().map(|place| &self.questions[*place]).collect();
        judge::put(client, number, &questions).await
    }

    /// Takes what was found; questions of which one took too long are put again one by one.
    async fn take(
        &mut self,
        means: &Means<'_>,
        known: &Known,
        number: usize,
        places: &[usize],
        found: Result<Vec<Finding>, Error>,
    ) -> Result<(), Error> {
        if !was_canceled(&found) || places.len() == 1 {
            return self.take_or_leave(known, places, found);
        }
        let mut patience = CANCELED_MAX;
        for place in places {
            if patience == 0 {
                break;
            }
            means.sends(1);
            let found = self.put(means.client, number, &[*place]).await;
            self.take_or_leave(known, &[*place], found)?;
            if self.outcomes[*place] == Some(Err(AuthorizationError::Canceled)) {
                patience -= 1;
            }
        }
        Ok(())
    }

    /// Takes what was found. What raised an error is left to rows: which error is told depends on the order in which
    /// Postgres tries policies, and on nothing else that matters.
    fn take_or_leave(
        &mut self,
        known: &Known,
        places: &[usize],
        found: Result<Vec<Finding>, Error>,
    ) -> Result<(), Error> {
        let findings = match found {
            Ok(findings) => findings,
            Err(error) => {
                let Some(cause) = error.as_db_error() else { return Err(error) };
                match denial(cause) {
                    AuthorizationError::Canceled if places.len() == 1 => {
                        self.outcomes[places[0]] = Some(Err(AuthorizationError::Canceled));
                    }
                    AuthorizationError::Canceled => {}
                    _ => self.rows.extend(places),
                }
                return Ok(());
            }
        };
        for (place, finding) in places.iter().zip(findings) {
            let asked = &self.questions[*place];
            let Some(role) = known.role(asked) else { continue };
            match finding {
                Finding::Rights([broadcast, presence]) => {
                    self.outcomes[*place] = Some(Ok(Answer::Rights(Rights { broadcast, presence })));
                    self.needs[*place] = role.needs[usize::from(asked.question == Question::Write)];
                }
                Finding::Raised(code)
                    if asked.question == Question::Read && role.read == Judgement::Refused =>
                {
                    self.outcomes[*place] = Some(Err(AuthorizationError::Policy(code.into())));
                }
                Finding::Raised(_) => self.rows.push(*place),
            }
        }
        Ok(())
    }

    /// Asks the rest.
    async fn by_rows(&mut self, means: &Means<'_>) -> Result<(), Error> {
        self.rows.truncate(PROBES_MAX);
        let rows = std::mem::take(&mut self.rows);
        if !rows.is_empty() {
            means.counters.probes.add_length(rows.len());
            means.sends(2 + 2 * rows.len());
            let questions: Vec<Asked> = rows.iter().map(|place| self.questions[*place].clone()).collect();
            let outcomes = probe::answer(means.client, &questions).await.map_err(|lost| lost.0)?;
            for (place, outcome) in rows.into_iter().zip(outcomes) {
                self.outcomes[place] = Some(outcome);
            }
        }
        self.by_replays(means).await
    }

    /// Reads stored broadcasts for those who missed them, until that has taken its share of the round.
    ///
    /// What has been streamed is waited for, so that nothing is missed between the replay and the stream.
    async fn by_replays(&mut self, means: &Means<'_>) -> Result<(), Error> {
        if !self.questions.iter().any(|asked| matches!(asked.question, Question::Replay { .. })) {
            return Ok(());
        }
        let begun = Instant::now();
        let commits = means.commits.all(begun);
        let mut is_visible = true;
        if !commits.is_empty() {
            means.sends(1);
            is_visible = are_visible(means.client, &commits, REPLAYING_MAX).await?;
            if is_visible {
                means.commits.forget(&commits);
            }
        }
        let mut bytes = 0;
        for (place, asked) in self.questions.iter().enumerate() {
            let Question::Replay { since_unix_ms, limit } = asked.question else { continue };
            if !is_visible {
                self.outcomes[place] = Some(Err(AuthorizationError::Canceled));
                continue;
            }
            if begun.elapsed() > REPLAYING_MAX || bytes > REPLAYED_BYTES_MAX {
                break;
            }
            means.sends(1);
            let topic = &asked.subject.topic;
            let stored = replay(means.client, topic, since_unix_ms, limit, means.payload_bytes_max).await;
            bytes += stored.iter().flat_map(|stored| stored.rows.iter()).map(Stored::bytes).sum::<usize>();
            self.outcomes[place] = Some(stored.map(Answer::Stored));
        }
        Ok(())
    }
}

fn was_canceled(found: &Result<Vec<Finding>, Error>) -> bool {
    found.as_ref().is_err_and(|error| error.code() == Some(&SqlState::QUERY_CANCELED))
}

/// How a question is answered.
enum Way {
    Known(Outcome),
    Judge(Judge),
    Rows,
    /// It is none about rights.
    Later,
}
