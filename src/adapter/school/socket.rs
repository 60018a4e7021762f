//! A socket of the school app: first what was missed since the check that it continues, then what happens.
//!
//! What happens while the missed messages are looked for and sent waits, and is told after them; of both, each message
//! once. By default a socket hears of every thread that row level security shows its person; a thread that it has
//! unsubscribed from is silent on it alone.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::catch_up::{self, TokenHash};
use super::convert;
use super::model::{ClientFrame, Page, Resumed, ServerFrame};
use super::sessions::{SESSIONS, Session};
use crate::adapter::conversation::{self, Event, Table};
use crate::adapter::socket::{Frames, Job, Limits, Opening, Protocol, SocketApp, call, who_is_there};
use crate::adapter::{Error, Services};
use crate::postgres::messaging::Person;
use crate::postgres::rpc::Caller;
use crate::protocol::change::timestamp;
use crate::protocol::code::{CLOSE_BEHIND, CLOSE_INTERRUPTED};
use crate::telemetry::clock::unix_time;

/// What the app's sockets are.
pub(super) static APP: SocketApp = SocketApp {
    name: "school",
    tables: &[Table::Messages, Table::Reactions, Table::Receipts, Table::Typing, Table::Presence],
    limits: Limits::DEFAULT,
};

/// How many events may wait behind the missed messages. Beyond that the socket ends, and its client comes back.
const WAITING_MAX: usize = 10_000;

/// How many bytes of them may.
const WAITING_BYTES_MAX: usize = 16 << 20;

/// Of how many people it is known which status the client knows; beyond that it is told anew.
const PEOPLE_MAX: usize = 10_000;

/// How many threads one socket may silence.
const MUTED_MAX: usize = 10_000;

/// How many messages that have arrived wait to be noted while the socket is open.
const UNNOTED_MAX: usize = 1_000;

/// One socket.
pub(super) struct Conversation {
    services: Arc<Services>,
    caller: Caller,
    me: Person,
    /// The check that the client has named.
    since: Option<String>,
    session: Arc<Session>,
    /// What has happened while missed messages are looked for; `None` once all of them are sent.
    waiting: Option<Vec<Arc<Event>>>,
    waiting_bytes: usize,
    /// Missed messages that are not sent yet.
    missed: Vec<Uuid>,
    muted: HashSet<Uuid>,
    /// Which status of whom it has told.
    statuses: HashMap<Person, String>,
}

/// What a job has given.
pub(super) enum Done {
    Resumed(Result<Option<Resumed>, Error>),
    Missed(Result<Page, Error>),
    Thread(Uuid, Result<Value, Error>),
    Called(Result<Value, Error>),
    /// Who was there when it had gone live.
    Present(Vec<Event>),
    Noted,
}

impl Conversation {
    pub(super) fn new(services: &Arc<Services>, opening: &Opening, since: Option<String>) -> Self {
        let (caller, me) = (opening.asker.caller.clone(), opening.asker.person);
        let session = SESSIONS.open(me, caller.clone(), TokenHash::of(&opening.token));
        Self {
            services: Arc::clone(services),
            caller,
            me,
            since,
            session,
            waiting: Some(Vec::new()),
            waiting_bytes: 0,
            missed: Vec::new(),
            muted: HashSet::new(),
            statuses: HashMap::new(),
        }
    }

    /// Looks for what was missed.
    fn resume(&self) -> Job<Done> {
        let (services, session) = (Arc::clone(&self.services), Arc::clone(&self.session));
        let since = self.since.clone();
        Box::pin(async move { Done::Resumed(SESSIONS.resume(&services, &session, since.as_deref()).await) })
    }

    fn resumed(&mut self, resumed: Option<Resumed>, out: &mut Frames) -> Option<Job<Done>> {
        let Some(resumed) = resumed else { return self.go_live(out) };
        self.missed = resumed.remaining;
        self.bring(resumed.messages, out)
    }

    /// Sends missed messages, and looks for the next ones.
    fn bring(&mut self, messages: Vec<conversation::Message>, out: &mut Frames) -> Option<Job<Done>> {
        for message in messages {
            let is_due = self.session.lock().ledger.is_due(message.id);
            if is_due {
                self.deliver(message, out);
            }
        }
        self.ask_for_pong(out);
        if self.missed.is_empty() {
            return self.go_live(out);
        }
        let (services, caller) = (Arc::clone(&self.services), self.caller.clone());
        // A page takes no more of them.
        let next: Vec<Uuid> = self.missed.iter().take(500).copied().collect();
        Some(Box::pin(async move { Done::Missed(catch_up::page(&services, &caller, &next).await) }))
    }

    /// All that was missed is sent: tells what has happened meanwhile, goes on with what happens, and looks who is there.
    fn go_live(&mut self, out: &mut Frames) -> Option<Job<Done>> {
        self.session.lock().ledger.is_live();
        for event in self.waiting.take().unwrap_or_default() {
            self.tell(&event, out);
        }
        self.ask_for_pong(out);
        Some(who_is_there(&self.services, &self.caller, &APP, Done::Present))
    }

    /// Tells who is there already; what was told of somebody since is newer.
    fn present(&mut self, present: &[Event], out: &mut Frames) {
        for event in present {
            let Event::Presence { person, .. } = event else { continue };
            if !self.statuses.contains_key(person) {
                self.tell(event, out);
            }
        }
    }

    fn tell(&mut self, event: &Event, out: &mut Frames) {
        let is_muted = event.conversation_id().is_some_and(|thread| self.muted.contains(&thread));
        if is_muted || self.session.is_silenced() {
            return;
        }
        match event {
            Event::Sent(message) => {
                let inserted_in = convert::inserted_in(message);
                if self.session.lock().ledger.is_new(message.id, inserted_in) {
                    self.deliver(message.clone(), out);
                }
            }
            // To stay connected writes a presence every few seconds, and is no news.
            Event::Presence { person, status, .. } if !self.is_other_status(*person, status) => {}
            event => {
                if let Some(frame) = convert::frame(event, self.me) {
                    out.send(&frame);
                }
            }
        }
    }

    fn is_other_status(&mut self, person: Person, status: &str) -> bool {
        if self.statuses.get(&person).is_some_and(|known| known == status) {
            return false;
        }
        if self.statuses.len() >= PEOPLE_MAX {
            self.statuses.clear();
        }
        self.statuses.insert(person, status.to_owned());
        true
    }

    fn deliver(&mut self, message: conversation::Message, out: &mut Frames) {
        let id = message.id;
        if message.sender() != Some(self.me) {
            out.delivered(id);
        }
        out.send(&ServerFrame::NewMessage { data: convert::message(message) });
        let mut state = self.session.lock();
        // What continues no check is noted nowhere.
        if state.is_continuing() {
            state.ledger.sent(id);
        }
    }

    fn ask_for_pong(&self, out: &mut Frames) {
        if let Some(ping) = self.session.lock().ledger.ping() {
            out.ping(&ping.to_be_bytes());
        }
    }

    /// What was missed cannot be found out: the client had better come back.
    fn broken(&mut self, out: &mut Frames) -> Option<Job<Done>> {
        out.send(&ServerFrame::broken());
        out.close(CLOSE_INTERRUPTED);
        None
    }

    fn call(
        &self,
        name: &'static str,
        arguments: Value,
        done: fn(Result<Value, Error>) -> Done,
    ) -> Option<Job<Done>> {
        Some(call(&self.services, &self.caller, name, arguments, done))
    }

    fn refuse(error: &Error, out: &mut Frames) {
        out.send(&ServerFrame::refusal(error));
    }

    fn mute(&mut self, thread_id: Uuid, out: &mut Frames) {
        if self.muted.len() >= MUTED_MAX && !self.muted.contains(&thread_id) {
            return Self::refuse(&Error::Invalid("Too many threads are unsubscribed".to_owned()), out);
        }
        self.muted.insert(thread_id);
        out.send(&ServerFrame::ThreadUnsubscribed { thread_id });
    }

    /// A job that asks whether the caller may see a thread.
    fn look(&self, thread_id: Uuid) -> Option<Job<Done>> {
        let arguments = json!({ "conversation_id": thread_id });
        Some(call(&self.services, &self.caller, "get_conversation", arguments, move |found| {
            Done::Thread(thread_id, found)
        }))
    }
}

impl Protocol for Conversation {
    type Done = Done;

    fn opened(&mut self, out: &mut Frames) -> Option<Job<Done>> {
        out.send(&ServerFrame::ConnectionEstablished { user_id: self.me.id(), timestamp: now() });
        Some(self.resume())
    }

    fn frame(&mut self, kind: &str, fields: Map<String, Value>, out: &mut Frames) -> Option<Job<Done>> {
        match ClientFrame::read(kind, &fields) {
            Ok(ClientFrame::SubscribeThread(thread_id)) => self.look(thread_id),
            Ok(ClientFrame::UnsubscribeThread(thread_id)) => {
                self.mute(thread_id, out);
                None
            }
            Ok(ClientFrame::Ping) => {
                out.send(&ServerFrame::Pong);
                None
            }
            Ok(ClientFrame::TypingStart(thread_id)) => {
                let arguments = json!({ "conversation_id": thread_id, "is_typing": true });
                self.call("update_typing_indicator", arguments, Done::Called)
            }
            Ok(ClientFrame::TypingStop(thread_id)) => {
                let arguments = json!({ "conversation_id": thread_id, "is_typing": false });
                self.call("update_typing_indicator", arguments, Done::Called)
            }
            Ok(ClientFrame::MarkRead(message_id)) => {
                self.call("mark_message_as_read", json!({ "message_id": message_id }), Done::Called)
            }
            Err(error) => {
                Self::refuse(&error, out);
                None
            }
        }
    }

    fn done(&mut self, done: Done, out: &mut Frames) -> Option<Job<Done>> {
        match done {
            Done::Resumed(Ok(resumed)) => self.resumed(resumed, out),
            Done::Missed(Ok(page)) => {
                // What a page does not take is for the next one; each takes one at least.
                let taken = page.taken.clamp(1, self.missed.len());
                self.missed.drain(..taken);
                self.bring(page.messages, out)
            }
            Done::Resumed(Err(_)) | Done::Missed(Err(_)) => self.broken(out),
            Done::Thread(thread_id, Ok(_)) => {
                self.muted.remove(&thread_id);
                out.send(&ServerFrame::ThreadSubscribed { thread_id });
                None
            }
            Done::Thread(_, Err(error)) | Done::Called(Err(error)) => {
                Self::refuse(&error, out);
                None
            }
            Done::Present(present) => {
                self.present(&present, out);
                None
            }
            Done::Called(Ok(_)) | Done::Noted => None,
        }
    }

    fn event(&mut self, event: &Arc<Event>, out: &mut Frames) {
        match &mut self.waiting {
            Some(waiting) => {
                self.waiting_bytes += event.bytes();
                if waiting.len() >= WAITING_MAX || self.waiting_bytes > WAITING_BYTES_MAX {
                    out.close(CLOSE_BEHIND);
                } else {
                    waiting.push(Arc::clone(event));
                }
            }
            None => {
                self.tell(event, out);
                self.ask_for_pong(out);
            }
        }
    }

    fn pong(&mut self, payload: &[u8], out: &mut Frames) -> Option<Job<Done>> {
        let ping = u64::from_be_bytes(payload.try_into().ok()?);
        self.session.pong(ping);
        self.ask_for_pong(out);
        if self.session.lock().ledger.unnoted() < UNNOTED_MAX {
            return None;
        }
        let (session, services) = (Arc::clone(&self.session), Arc::clone(&self.services));
        Some(Box::pin(async move {
            // What could not be noted is tried again with the next, and at the end.
            let _ = session.note(&services).await;
            Done::Noted
        }))
    }

    fn heartbeat(&self) -> Vec<u8> {
        let awaited = self.session.lock().ledger.awaited();
        awaited.map_or_else(Vec::new, |ping| ping.to_be_bytes().to_vec())
    }

    fn error(&mut self, error: &Error, out: &mut Frames) {
        Self::refuse(error, out);
    }

    fn interrupted(&mut self, out: &mut Frames) {
        out.send(&ServerFrame::broken());
    }

    fn closed(&mut self) -> Option<Job<()>> {
        self.session.close();
        let (session, services) = (Arc::clone(&self.session), Arc::clone(&self.services));
        Some(Box::pin(async move {
            // What could not be noted counts as missed.
            let _ = session.note(&services).await;
        }))
    }
}

/// The time, as the app writes it.
fn now() -> String {
    timestamp(i64::try_from(unix_time().as_micros()).unwrap_or(i64::MAX))
}
