//! Which sockets of this server continue which checks.
//!
//! A check must know what sockets have brought, and so must the socket after a socket. Both ask here first: a socket
//! that has ended a moment ago, or will in a moment, may have brought more than the database knows.

use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;
use uuid::Uuid;

use super::catch_up::{self, TokenHash};
use super::ledger::Ledger;
use super::model::{Checked, Resumed};
use crate::adapter::{Asker, Error, Services};
use crate::postgres::messaging::Person;
use crate::postgres::rpc::Caller;
use crate::postgres::snapshot::Snapshot;

/// How long whoever asks waits for the pong of a socket. One that is gone without a word gives none, and what it has
/// not confirmed counts as missed.
const SETTLED_WITHIN: Duration = Duration::from_secs(1);

/// How many messages are noted at once.
const NOTED_AT_ONCE: usize = 5_000;

/// Every socket of the school app on this server, by person.
pub(super) static SESSIONS: Sessions = Sessions(Mutex::new(BTreeMap::new()));

/// Sockets, by person.
pub(super) struct Sessions(Mutex<BTreeMap<Person, Place>>);

/// One person's.
#[derive(Default)]
struct Place {
    sockets: Vec<Weak<Session>>,
    /// Held by a check, and by a socket that looks for what it continues: one has ended before the other begins.
    turn: Arc<tokio::sync::Mutex<()>>,
}

/// What is known of one socket.
pub(super) struct Session {
    person: Person,
    caller: Caller,
    token: TokenHash,
    state: Mutex<State>,
    /// Whether its client has asked for silence over HTTP.
    is_silenced: AtomicBool,
    /// Something was confirmed, or the socket is over.
    changed: Notify,
    /// Held by who notes, so that whoever waits for it finds all noted.
    noting: tokio::sync::Mutex<()>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) ledger: Ledger,
    /// The check that it continues.
    since: Option<String>,
    /// The one that its client asked by for that. It asks by this again if it has not got the answer.
    since_before: Option<String>,
    /// Nothing more will be confirmed.
    is_over: bool,
}

impl Sessions {
    /// A new socket.
    pub(super) fn open(&self, person: Person, caller: Caller, token: TokenHash) -> Arc<Session> {
        let session = Arc::new(Session {
            person,
            caller,
            token,
            state: Mutex::default(),
            is_silenced: AtomicBool::new(false),
            changed: Notify::new(),
            noting: tokio::sync::Mutex::new(()),
        });
        self.lock().entry(person).or_default().sockets.push(Arc::downgrade(&session));
        session
    }

    /// What a new socket has to bring first, and which check it continues: the last one of its token, or the one that
    /// its client names. What earlier sockets have brought is noted before.
    pub(super) async fn resume(
        &self,
        services: &Services,
        session: &Session,
        since: Option<&str>,
    ) -> Result<Option<Resumed>, Error> {
        let turn = self.turn(session.person);
        let _turn = turn.lock().await;
        self.settle(services, session.person, &session.token, since).await?;
        let resumed = catch_up::resume(services, &session.caller, &session.token, since).await?;
        if let Some(resumed) = &resumed {
            let seen = Snapshot::parse(&resumed.seen).ok_or(Error::NotSetUp)?;
            let mut state = session.lock();
            state.since = Some(resumed.last_check_time.clone());
            state.ledger.continues(seen);
            state.ledger.found(resumed.messages.iter().map(|message| message.id));
            state.ledger.found(resumed.remaining.iter().chain(&resumed.sent).copied());
        }
        Ok(resumed)
    }

    /// Notes what those sockets of a person have brought that continue a check by this name, or have this token.
    async fn settle(
        &self,
        services: &Services,
        person: Person,
        token: &TokenHash,
        since: Option<&str>,
    ) -> Result<(), Error> {
        let concerned = |session: &Arc<Session>| {
            let state = session.lock();
            state.is_continuing()
                && (session.token == *token || since.is_some_and(|since| state.has_continued(since)))
        };
        for session in self.of(person).into_iter().filter(concerned) {
            // A socket without an answer keeps nobody waiting for longer.
            let _ = timeout(SETTLED_WITHIN, session.settled()).await;
            session.note(services).await?;
        }
        Ok(())
    }

    /// What was missed since a check. Sockets that continue it are its client's own: what they have brought is left out,
    /// and they continue the new check, so that they bring nothing that it gives.
    pub(super) async fn check(
        &self,
        services: &Services,
        asker: &Asker,
        token: &TokenHash,
        since: &str,
    ) -> Result<Checked, Error> {
        // Even if its client does not wait for the answer.
        let _visit = Visit(self, asker.person);
        let turn = self.turn(asker.person);
        let _turn = turn.lock().await;
        self.check_in_turn(services, asker, token, since).await
    }

    async fn check_in_turn(
        &self,
        services: &Services,
        asker: &Asker,
        token: &TokenHash,
        since: &str,
    ) -> Result<Checked, Error> {
        self.settle(services, asker.person, token, Some(since)).await?;
        let mut own = self.of(asker.person);
        own.retain(|session| session.lock().has_continued(since));
        let mut turns = Vec::with_capacity(own.len());
        for session in &own {
            // What is noted is noted before the check, or with the new one.
            let turn = session.noting.lock().await;
            session.note_all(services).await?;
            turns.push(turn);
        }
        let mut checked = catch_up::check(services, &asker.caller, token, since).await?;
        let seen = Snapshot::parse(&checked.seen).ok_or(Error::NotSetUp)?;
        let mut sent = Vec::new();
        for session in &own {
            sent.push((session, session.continue_later(since, &checked, seen.clone())));
        }
        drop(turns);
        // What they have sent meanwhile, and what has arrived of that, is not given again.
        for (session, ids) in sent {
            if !ids.is_empty() {
                let _ = timeout(SETTLED_WITHIN, session.settled()).await;
                let state = session.lock();
                checked
                    .messages
                    .retain(|message| !ids.contains(&message.id) || state.ledger.awaits(message.id));
            }
        }
        Ok(checked)
    }

    /// Silences the sockets of a token, or has them speak again.
    pub(super) fn silence(&self, person: Person, token: &TokenHash, is_silenced: bool) {
        for session in self.of(person).iter().filter(|session| session.token == *token) {
            session.is_silenced.store(is_silenced, Ordering::Relaxed);
        }
    }

    fn of(&self, person: Person) -> Vec<Arc<Session>> {
        let places = self.lock();
        places.get(&person).into_iter().flat_map(|place| &place.sockets).filter_map(Weak::upgrade).collect()
    }

    fn turn(&self, person: Person) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.lock().entry(person).or_default().turn)
    }

    /// Gives a person's place back, unless there are sockets, or somebody has or waits for a turn.
    fn forget(&self, person: Person) {
        let mut places = self.lock();
        if let Some(place) = places.get_mut(&person) {
            place.sockets.retain(|session| session.strong_count() > 0);
            if place.sockets.is_empty() && Arc::strong_count(&place.turn) == 1 {
                places.remove(&person);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Person, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Session {
    /// What it has brought.
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether it is to say nothing of what happens.
    pub(super) fn is_silenced(&self) -> bool {
        self.is_silenced.load(Ordering::Relaxed)
    }

    /// A pong has come.
    pub(super) fn pong(&self, ping: u64) {
        self.lock().ledger.pong(ping);
        self.changed.notify_waiters();
    }

    /// The socket has ended.
    pub(super) fn close(&self) {
        self.lock().is_over = true;
        self.changed.notify_waiters();
    }

    /// Waits until what it has sent so far has arrived, or nothing more will.
    async fn settled(&self) {
        let Some(ping) = self.lock().ledger.last_ping() else { return };
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // From here on nothing is missed between the look and the wait.
            changed.as_mut().enable();
            {
                let state = self.lock();
                if state.is_over || state.ledger.has_arrived(ping) {
                    return;
                }
            }
            changed.await;
        }
    }

    /// Continues a check that its client has made meanwhile. Answers what both give.
    fn continue_later(&self, since: &str, checked: &Checked, seen: Snapshot) -> HashSet<Uuid> {
        let mut state = self.lock();
        let ids = || checked.messages.iter().map(|message| message.id);
        let sent = ids().filter(|id| state.ledger.has_sent(*id)).collect();
        state.ledger.continues_later(seen, ids());
        state.since = Some(checked.last_check_time.clone());
        state.since_before = Some(since.to_owned());
        sent
    }

    /// Notes all that has arrived. What cannot be noted now is tried again by whoever comes next.
    pub(super) async fn note(&self, services: &Services) -> Result<(), Error> {
        let _turn = self.noting.lock().await;
        self.note_all(services).await
    }

    async fn note_all(&self, services: &Services) -> Result<(), Error> {
        loop {
            let (checks, mut noting) = {
                let mut state = self.lock();
                let checks: Vec<_> =
                    [&state.since, &state.since_before].into_iter().flatten().cloned().collect();
                if checks.is_empty() {
                    return Ok(());
                }
                (checks, Noting { session: self, ids: state.ledger.take(NOTED_AT_ONCE) })
            };
            if noting.ids.is_empty() {
                return Ok(());
            }
            for since in checks {
                catch_up::note(services, &self.caller, &since, &noting.ids).await?;
            }
            noting.ids.clear();
        }
    }
}

/// A check under way, whose person's place is given back after it.
struct Visit<'a>(&'a Sessions, Person);

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        self.0.forget(self.1);
    }
}

/// What is being noted. Unless all of it has been, whoever comes next tries again.
struct Noting<'a> {
    session: &'a Session,
    ids: Vec<Uuid>,
}

impl Drop for Noting<'_> {
    fn drop(&mut self) {
        let ids = std::mem::take(&mut self.ids);
        if !ids.is_empty() {
            self.session.lock().ledger.put_back(ids);
        }
    }
}

impl State {
    /// Whether it continues a check, and so has something to note.
    pub(super) fn is_continuing(&self) -> bool {
        self.since.is_some()
    }

    fn has_continued(&self, since: &str) -> bool {
        [&self.since, &self.since_before].into_iter().any(|own| own.as_deref() == Some(since))
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        SESSIONS.forget(self.person);
    }
}
