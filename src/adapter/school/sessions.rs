//! Which sockets of this server continue which checks.
//!
//! A check must know what sockets have brought, and so must the socket after a socket. Both ask here first: a socket
//! that has ended a moment ago, or will in a moment, may have brought more than the database knows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

use super::catch_up::{self, TokenHash};
use super::ledger::Ledger;
use crate::adapter::{Error, Services};
use crate::postgres::messaging::Person;
use crate::postgres::rpc::Caller;

/// How long whoever asks waits for the pong of a socket. One that is gone without a word gives none, and what it has
/// not confirmed counts as missed.
const SETTLED_WITHIN: Duration = Duration::from_secs(1);

/// How many messages are noted at once.
const NOTED_AT_ONCE: usize = 5_000;

/// Every socket of the school app on this server, by person.
pub(super) static SESSIONS: Sessions = Sessions(Mutex::new(BTreeMap::new()));

/// Sockets, by person.
pub(super) struct Sessions(Mutex<BTreeMap<Person, Vec<Weak<Session>>>>);

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
    pub(super) since: Option<String>,
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
        self.lock().entry(person).or_default().push(Arc::downgrade(&session));
        session
    }

    /// Notes what those sockets of a person have brought that continue a check by this name, or have this token.
    pub(super) async fn settle(
        &self,
        services: &Services,
        person: Person,
        token: &TokenHash,
        since: Option<&str>,
    ) -> Result<(), Error> {
        let concerned = |session: &Arc<Session>| {
            let state = session.lock();
            state.since.is_some() && (session.token == *token || state.since.as_deref() == since)
        };
        for session in self.of(person).into_iter().filter(concerned) {
            // A socket without an answer keeps nobody waiting for longer.
            let _ = timeout(SETTLED_WITHIN, session.settled()).await;
            session.note(services).await?;
        }
        Ok(())
    }

    /// Silences the sockets of a token, or has them speak again.
    pub(super) fn silence(&self, person: Person, token: &TokenHash, is_silenced: bool) {
        for session in self.of(person).iter().filter(|session| session.token == *token) {
            session.is_silenced.store(is_silenced, Ordering::Relaxed);
        }
    }

    fn of(&self, person: Person) -> Vec<Arc<Session>> {
        let sessions = self.lock();
        sessions.get(&person).into_iter().flatten().filter_map(Weak::upgrade).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Person, Vec<Weak<Session>>>> {
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

    async fn settled(&self) {
        loop {
            let changed = self.changed.notified();
            let mut changed = std::pin::pin!(changed);
            // From here on nothing is missed between the look and the wait.
            changed.as_mut().enable();
            {
                let state = self.lock();
                if state.is_over || state.ledger.is_settled() {
                    return;
                }
            }
            changed.await;
        }
    }

    /// Notes all that has arrived. What cannot be noted now is tried again by whoever comes next.
    pub(super) async fn note(&self, services: &Services) -> Result<(), Error> {
        let _turn = self.noting.lock().await;
        loop {
            let (since, ids) = {
                let mut state = self.lock();
                let Some(since) = state.since.clone() else { return Ok(()) };
                (since, state.ledger.take(NOTED_AT_ONCE))
            };
            if ids.is_empty() {
                return Ok(());
            }
            if let Err(error) = catch_up::note(services, &self.caller, &since, &ids).await {
                self.lock().ledger.put_back(ids);
                return Err(error);
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut sessions = SESSIONS.lock();
        if let Some(own) = sessions.get_mut(&self.person) {
            own.retain(|session| session.strong_count() > 0);
            if own.is_empty() {
                sessions.remove(&self.person);
            }
        }
    }
}
