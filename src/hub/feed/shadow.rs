//! The shadow check: a share of what compiled policies decide in memory is put to Postgres as well, and compared.
//!
//! Deliveries do not wait for it: it has one session and a queue of its own, and what does not fit is dropped. Both
//! judge the same row, but Postgres reads other tables as they are by then. So a contradiction is looked into: it counts
//! if what memory says stays the same, commit for commit, from its decision until the stream has passed a second answer
//! of Postgres that contradicts it too, and the catalog has not changed. Then programs of that table are not used any
//! more: Postgres is asked, until what the role may see of it changes, or the server starts anew.

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::{Config, Feed, Report, moment};
use crate::hub::Sink;
use crate::hub::ask::{self, Batch, Group, Outcome};
use crate::hub::catalogs::open_session;
use crate::hub::fanout::Sample;
use crate::telemetry::code::Code;
use crate::telemetry::report::report;
use crate::wal::Lsn;

/// How many decisions wait to be put to Postgres; more are dropped.
const QUEUE_MAX: usize = 1_000;

/// How many decisions are put at a time.
const BATCH_MAX: usize = 32;

/// How many contradictions are looked into at a time; more are dropped.
const SUSPECTS_MAX: usize = 32;

/// How long Postgres may take over a batch before its session is given up.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// The pause after a batch that could not be asked.
const FAILURE_PAUSE: Duration = Duration::from_secs(5);

/// The queue of the shadow check.
pub(super) struct Shadow {
    checker: mpsc::Sender<Batch>,
    is_idle: bool,
    queue: VecDeque<Sample>,
    suspects: Vec<Suspect>,
    /// What Postgres is asked about now, by lane.
    asked: Vec<Asked>,
    last_id: u64,
    /// The last transaction that was fanned out.
    last_xid: Option<u32>,
}

/// What a question is about.
enum Asked {
    Decision(Sample),
    Suspect(u64),
}

/// A decision that Postgres has contradicted.
struct Suspect {
    id: u64,
    sample: Sample,
    stage: Stage,
}

/// How far it is looked into.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The stream has yet to pass Postgres's answer.
    Settling(Lsn),
    /// To be asked again.
    Due,
    /// It is being asked.
    Asking,
    /// Postgres has contradicted it again; the stream has yet to pass that answer.
    Contradicted(Lsn),
    /// The catalog is compared.
    Comparing,
}

impl Shadow {
    /// Of which nothing is asked yet. Decisions go to the receiver's owner, [`check_on_demand`].
    pub(super) fn new() -> (Self, mpsc::Receiver<Batch>) {
        let (checker, queue) = mpsc::channel(1);
        let shadow = Self {
            checker,
            is_idle: true,
            queue: VecDeque::new(),
            suspects: Vec::new(),
            asked: Vec::new(),
            last_id: 0,
            last_xid: None,
        };
        (shadow, queue)
    }

    /// The next questions to put.
    fn take_questions(&mut self) -> Vec<Group> {
        let mut groups = Vec::new();
        let mut put = |asked: &mut Vec<Asked>, sample: &Sample, what: Asked| {
            groups.push(Group {
                lane: asked.len(),
                claims: Arc::clone(&sample.claims),
                items: vec![sample.item()],
            });
            asked.push(what);
        };
        for suspect in self.suspects.iter_mut().filter(|suspect| suspect.stage == Stage::Due) {
            suspect.stage = Stage::Asking;
            put(&mut self.asked, &suspect.sample, Asked::Suspect(suspect.id));
        }
        while self.asked.len() < BATCH_MAX
            && let Some(sample) = self.queue.pop_front()
        {
            put(&mut self.asked, &sample.clone(), Asked::Decision(sample));
        }
        groups
    }
}

impl<S: Sink> Feed<S> {
    /// Queues what the fan-out has drawn.
    pub(super) fn take_samples(&mut self) {
        for sample in self.fanout.take_samples() {
            if self.shadow.queue.len() < QUEUE_MAX {
                self.shadow.queue.push_back(sample);
            } else {
                self.config.counters.shadow.dropped.add(1);
            }
        }
        self.put_samples();
    }

    fn put_samples(&mut self) {
        let shadow = &mut self.shadow;
        if !shadow.is_idle {
            return;
        }
        let groups = shadow.take_questions();
        if groups.is_empty() {
            return;
        }
        let types = Arc::clone(&self.catalog.types);
        // An idle checker's queue is empty, so there is room.
        shadow.is_idle = shadow
            .checker
            .try_send(Batch {
                types,
                is_ambiguous: self.catalog.is_ambiguous,
                groups,
                after: shadow.last_xid,
            })
            .is_err();
    }

    /// Takes Postgres's answers, and how far the log was then; nothing if it could not be asked.
    pub(super) fn checked(&mut self, answered: Option<(Vec<Outcome>, Lsn)>) {
        let counters = Arc::clone(&self.config.counters);
        self.shadow.is_idle = true;
        let mut asked: Vec<Option<Asked>> =
            std::mem::take(&mut self.shadow.asked).into_iter().map(Some).collect();
        let (outcomes, lsn) = answered.unwrap_or_default();
        for outcome in outcomes {
            let says = says(&outcome.result);
            let (Some(what), Some(is_visible)) = (asked.get_mut(outcome.lane).and_then(Option::take), says)
            else {
                continue;
            };
            match what {
                Asked::Decision(sample) if sample.is_permitted == is_visible => counters.shadow.agreed.add(1),
                Asked::Decision(sample) if !self.profiles.audiences().trusts(sample.change.table.id) => {
                    counters.shadow.moot.add(1);
                }
                Asked::Decision(sample) if self.shadow.suspects.len() < SUSPECTS_MAX => {
                    self.shadow.last_id += 1;
                    let suspect = Suspect { id: self.shadow.last_id, sample, stage: Stage::Settling(lsn) };
                    self.shadow.suspects.push(suspect);
                }
                Asked::Decision(_) => counters.shadow.dropped.add(1),
                Asked::Suspect(id) => {
                    let place = self.shadow.suspects.iter().position(|suspect| suspect.id == id);
                    let Some(place) = place else { continue };
                    let suspect = &mut self.shadow.suspects[place];
                    if suspect.sample.is_permitted == is_visible {
                        self.shadow.suspects.swap_remove(place);
                        counters.shadow.moot.add(1);
                    } else {
                        suspect.stage = Stage::Contradicted(lsn);
                    }
                }
            }
        }
        for left in asked.into_iter().flatten() {
            if let Asked::Suspect(id) = left {
                self.shadow.suspects.retain(|suspect| suspect.id != id);
            }
            counters.shadow.failed.add(1);
        }
        self.put_samples();
    }

    /// The stream has come this far: what is looked into is judged again, after every commit.
    pub(super) fn shadow_passed(&mut self, lsn: Lsn, xid: Option<u32>) {
        self.shadow.last_xid = xid.or(self.shadow.last_xid);
        if self.shadow.suspects.is_empty() {
            return;
        }
        let (knowledge, now) = (self.links.engine.read(), moment());
        let catalog = &self.catalog;
        let counters = &self.config.counters;
        self.shadow.suspects.retain_mut(|suspect| {
            let sample = &suspect.sample;
            let is_same = catalog.access(&sample.claims.role, sample.change.table.id) == Some(&sample.access);
            let is_firm =
                is_same && sample.judge(&knowledge, &catalog.types, now) == Some(sample.is_permitted);
            if !is_firm {
                counters.shadow.moot.add(1);
                return false;
            }
            match suspect.stage {
                Stage::Settling(answered) if lsn >= answered => suspect.stage = Stage::Due,
                Stage::Contradicted(answered) if lsn >= answered => {
                    suspect.stage = Stage::Comparing;
                    let (catalogs, report, id) = (Rc::clone(&self.catalogs), self.report.clone(), suspect.id);
                    self.tasks.spawn_local(async move {
                        let compared = catalogs.read_if_changed().await;
                        let is_compared = compared.is_ok();
                        if let Ok(Some(catalog)) = compared {
                            let _ = report.send(Report::CatalogChanged(catalog)).await;
                        }
                        let _ = report.send(Report::Compared(id, is_compared)).await;
                    });
                }
                _ => {}
            }
            true
        });
        drop(knowledge);
        self.put_samples();
    }

    /// The catalog has been compared for the sake of a suspect, unless that failed.
    pub(super) fn compared(&mut self, id: u64, is_compared: bool) {
        let Some(place) = self.shadow.suspects.iter().position(|suspect| suspect.id == id) else { return };
        let Suspect { sample, .. } = self.shadow.suspects.swap_remove(place);
        let (relation, role) = (sample.change.table.id, &sample.claims.role);
        let current = self.catalogs.current();
        if !is_compared || current.access(role, relation) != Some(&sample.access) {
            self.config.counters.shadow.moot.add(1);
            return;
        }
        self.config.counters.shadow.disagreements.add(1);
        let rules = sample.program.permissive.iter().chain(&sample.program.restrictive);
        let policies: Vec<&str> = rules.map(|rule| &*rule.policy).collect();
        report!(
            error,
            Code::PolicyDisagreement,
            schema = &*sample.change.table.schema,
            table = &*sample.change.table.name,
            role = &**role,
            policies = policies.join(", "),
            permitted = sample.is_permitted,
            "Postgres contradicts a compiled policy: it is asked about this table from now on"
        );
        self.profiles.audiences_mut().distrust(relation, role, &sample.access);
        // One is enough to end the use of its programs.
        self.shadow.suspects.retain(|suspect| suspect.sample.change.table.id != relation);
        self.shadow.queue.retain(|sample| sample.change.table.id != relation);
        self.count_distrusted();
    }

    /// Notes how many tables' programs are not used.
    pub(super) fn count_distrusted(&self) {
        let count = self.profiles.audiences().distrusted_count();
        self.config.counters.shadow.distrusted.set_length(count);
    }

    /// Lets go of all that is looked into: without the stream, nothing that memory says is current.
    pub(super) fn end_shadow(&mut self) {
        let count = self.shadow.suspects.len() + self.shadow.queue.len();
        self.config.counters.shadow.moot.add(u64::try_from(count).unwrap_or(u64::MAX));
        self.shadow.suspects.clear();
        self.shadow.queue.clear();
    }
}

/// Whether Postgres shows the row; `None` if that is not what it answered.
fn says(result: &Result<(crate::policy::Answer, Vec<bool>), SqlState>) -> Option<bool> {
    match result {
        Ok((answer, _)) => Some(answer.new),
        // Lost, refused or ended for reasons of the server's, not of the policy's.
        Err(code)
            if ["08", "40", "53", "55", "57", "58", "XX"]
                .iter()
                .any(|class| code.code().starts_with(class)) =>
        {
            None
        }
        // A policy that raises an error shows nothing.
        Err(_) => Some(false),
    }
}

/// Puts batches to Postgres, one after another. What cannot be asked is not asked again.
pub(super) async fn check_on_demand(
    config: Rc<Config>,
    mut queue: mpsc::Receiver<Batch>,
    report: mpsc::Sender<Report>,
) {
    let mut session: Option<Client> = None;
    while let Some(batch) = queue.recv().await {
        let answered = tokio::time::timeout(ANSWER_WITHIN, check(&config, &mut session, &batch)).await;
        let answered = answered.ok().flatten();
        if answered.is_none() {
            session = None;
            tokio::time::sleep(FAILURE_PAUSE).await;
        }
        if report.send(Report::Checked(answered)).await.is_err() {
            return;
        }
    }
}

async fn check(config: &Config, session: &mut Option<Client>, batch: &Batch) -> Option<(Vec<Outcome>, Lsn)> {
    let client = match session.take().filter(|client| !client.is_closed()) {
        Some(client) => client,
        None => open_session(config, "rowcast_shadow").await.ok()?,
    };
    let outcomes = ask::answer(&client, batch).await.ok()?;
    // All that the answers are made of was in the log by then.
    let row = client.query_one("select pg_catalog.pg_current_wal_insert_lsn()::text", &[]).await.ok()?;
    let lsn = row.try_get::<_, &str>(0).ok()?.parse().ok()?;
    *session = Some(client);
    Some((outcomes, lsn))
}
