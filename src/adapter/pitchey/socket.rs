//! Pitchey's socket: what its frames ask for, and what it is told.
//!
//! **History.** Whoever joins a conversation is sent its latest messages, and live ones before and after. While they are
//! read, events of that conversation are held; then comes the history, and what was held follows. The times of a
//! conversation's messages grow in the order of their commits, so one that was sent no later than the newest that the
//! client has is no news: it stands in the history or before it, however late the feed tells it. And a history that
//! lacks what was told already is read again: a commit may reach the feed before it can be seen.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tokio::time::sleep;
use uuid::Uuid;

use super::convert::{self, Call, Sending, What};
use super::model::{Frame, INTERRUPTED, ListedMessage, Message};
use crate::adapter::conversation::{Event, Table, is_online};
use crate::adapter::socket::{Frames, Job, Limits, Opening, Protocol, SocketApp, call, who_is_there};
use crate::adapter::{Asker, Error, Services};
use crate::policy::value::calendar::read_moment;
use crate::postgres::messaging::Person;
use crate::protocol::code::CLOSE_BEHIND;

/// How many messages a history has.
pub(super) const HISTORY_MESSAGES: usize = 50;

/// How often a history is read again that lacks what its client was told of. The message may be gone for good.
pub(super) const READ_AGAIN_MAX: u32 = 4;

/// How long a commit that the feed has told is given to be seen by others.
const READ_AGAIN_AFTER: Duration = Duration::from_millis(25);

/// How many events are held while a history is read; one that needs more is begun anew by a new socket.
const HELD_MAX: usize = 2000;

/// Of how many conversations it is known which messages are news; beyond that one may come again.
const CONVERSATIONS_MAX: usize = 10_000;

/// Of how many people it is known whether they are online; beyond that it is found out anew.
const PEOPLE_MAX: usize = 10_000;

/// What Pitchey's sockets are.
pub(super) static APP: SocketApp = SocketApp {
    name: "pitchey",
    tables: &[
        Table::Messages,
        Table::Reactions,
        Table::Receipts,
        Table::Typing,
        Table::Presence,
        Table::Deliveries,
    ],
    limits: Limits::DEFAULT,
};

/// One socket.
pub(super) struct Socket {
    services: Arc<Services>,
    asker: Asker,
    state: State,
}

/// What one socket knows.
pub(super) struct State {
    person: Person,
    joining: Option<Joining>,
    /// When the newest message was sent that the client has of a conversation, in microseconds.
    newest: HashMap<Uuid, i64>,
    /// Those conversations whose newest message was deleted since: histories need not have it.
    shortened: HashSet<Uuid>,
    online: HashMap<Person, bool>,
}

/// A conversation whose history is being read.
struct Joining {
    conversation_id: Uuid,
    /// Its events since.
    held: Vec<Arc<Event>>,
    /// How often it was read again.
    again: u32,
}

/// What a call has given.
pub(super) struct Done {
    pub(super) request: &'static str,
    pub(super) client_message_id: Option<String>,
    pub(super) result: Result<Given, Error>,
}

/// What a call that went well has given.
pub(super) enum Given {
    /// There is an event.
    Nothing,
    Sent(Box<Message>),
    History(Uuid, Vec<ListedMessage>),
    /// Who was there when the socket opened.
    Present(Vec<Event>),
}

impl Socket {
    pub(super) fn new(services: &Arc<Services>, opening: &Opening) -> Self {
        let asker = opening.asker.clone();
        let state = State::new(asker.person);
        Self { services: Arc::clone(services), asker, state }
    }
}

impl Protocol for Socket {
    type Done = Done;

    fn opened(&mut self, out: &mut Frames) -> Option<Job<Done>> {
        out.send(&Frame::Connected { user_id: self.asker.person.id() });
        Some(who_is_there(&self.services, &self.asker.caller, &APP, |present| {
            let result = Ok(Given::Present(present));
            Done { request: "list_presence", client_message_id: None, result }
        }))
    }

    fn frame(&mut self, kind: &str, fields: Map<String, Value>, out: &mut Frames) -> Option<Job<Done>> {
        if kind == "ping" {
            out.send(&Frame::Pong);
            return None;
        }
        match convert::call(kind, &fields) {
            Ok(call) => Some(self.begin(call)),
            Err(error) => {
                out.send(&convert::unread(kind, &fields, &error));
                None
            }
        }
    }

    fn done(&mut self, done: Done, out: &mut Frames) -> Option<Job<Done>> {
        if let Some(conversation_id) = self.state.is_behind(&done) {
            let history = self.history(conversation_id);
            return Some(Box::pin(async move {
                sleep(READ_AGAIN_AFTER).await;
                history.await
            }));
        }
        self.state.done(done, out);
        None
    }

    fn event(&mut self, event: &Arc<Event>, out: &mut Frames) {
        self.state.event(event, out);
    }

    fn error(&mut self, error: &Error, out: &mut Frames) {
        out.send(&convert::refused(error, None, None));
    }

    fn interrupted(&mut self, out: &mut Frames) {
        let message = INTERRUPTED.to_owned();
        out.send(&Frame::Error { message, retry_after: None, request: None, client_message_id: None });
    }
}

impl Socket {
    fn begin(&mut self, asked: Call) -> Job<Done> {
        let Call { request, client_message_id, what } = asked;
        let done = move |result| Done { request, client_message_id, result };
        match what {
            What::Function(name, arguments) => {
                call(&self.services, &self.asker.caller, name, arguments, |result| {
                    done(result.map(|_| Given::Nothing))
                })
            }
            What::Join(conversation_id) => {
                self.state.join(conversation_id);
                self.history(conversation_id)
            }
            What::Send(sending) => {
                let (services, asker) = (Arc::clone(&self.services), self.asker.clone());
                Box::pin(async move {
                    done(send(&services, &asker, sending).await.map(|sent| Given::Sent(Box::new(sent))))
                })
            }
        }
    }

    /// Reads the latest messages of a conversation.
    fn history(&self, conversation_id: Uuid) -> Job<Done> {
        let arguments = json!({ "conversation_id": conversation_id, "page_limit": HISTORY_MESSAGES + 1 });
        call(&self.services, &self.asker.caller, "list_messages", arguments, move |result| {
            let messages = result.and_then(convert::messages);
            let result = messages.map(|messages| Given::History(conversation_id, messages));
            Done { request: "join_conversation", client_message_id: None, result }
        })
    }
}

/// Sends a message; without a conversation, in the direct one with its recipient, which may be new.
pub(super) async fn send(services: &Services, asker: &Asker, sending: Sending) -> Result<Message, Error> {
    let conversation_id = match sending.conversation_id {
        Some(conversation_id) => conversation_id,
        None => {
            let arguments = json!({ "participant_ids": [sending.recipient_id], "kind": "direct" });
            let started = services.call(&asker.caller, "start_conversation", arguments).await?;
            convert::conversation_id(&started)?
        }
    };
    convert::sent(services.call(&asker.caller, "send_message", sending.to(conversation_id)).await?)
}

impl State {
    pub(super) fn new(person: Person) -> Self {
        Self {
            person,
            joining: None,
            newest: HashMap::new(),
            shortened: HashSet::new(),
            online: HashMap::new(),
        }
    }

    /// The conversation whose history is to be read again, because it lacks a message that the client was told of.
    pub(super) fn is_behind(&mut self, done: &Done) -> Option<Uuid> {
        let Ok(Given::History(conversation_id, messages)) = &done.result else { return None };
        let joining = self.joining.as_mut().filter(|_| !self.shortened.contains(conversation_id))?;
        let has = messages.last().and_then(|newest| moment(&newest.message.created_at));
        if has >= self.newest.get(conversation_id).copied() || joining.again >= READ_AGAIN_MAX {
            return None;
        }
        joining.again += 1;
        Some(*conversation_id)
    }

    pub(super) fn done(&mut self, done: Done, out: &mut Frames) {
        let Done { request, client_message_id, result } = done;
        let held = self.joining.take().map_or_else(Vec::new, |joining| joining.held);
        match result {
            Ok(Given::Nothing) => {}
            Ok(Given::Sent(message)) => out.send(&Frame::MessageSent {
                message_id: message.message_id,
                conversation_id: message.conversation_id,
                client_message_id: message.client_message_id,
                created_at: message.created_at,
            }),
            Ok(Given::History(conversation_id, messages)) => self.history(conversation_id, messages, out),
            Ok(Given::Present(present)) => self.present(&present, out),
            Err(error) => out.send(&convert::refused(&error, Some(request), client_message_id)),
        }
        for event in held {
            self.tell(&event, out);
        }
    }

    /// Tells who is there already; what was told of somebody since is newer.
    fn present(&mut self, present: &[Event], out: &mut Frames) {
        for event in present {
            let Event::Presence { person, .. } = event else { continue };
            if !self.online.contains_key(person) {
                self.tell(event, out);
            }
        }
    }

    /// Its history is being read from here on.
    pub(super) fn join(&mut self, conversation_id: Uuid) {
        self.joining = Some(Joining { conversation_id, held: Vec::new(), again: 0 });
    }

    fn history(&mut self, conversation_id: Uuid, mut messages: Vec<ListedMessage>, out: &mut Frames) {
        let has_more = messages.len() > HISTORY_MESSAGES;
        // The oldest is there to tell that there are more.
        messages.drain(..messages.len().saturating_sub(HISTORY_MESSAGES));
        for ListedMessage { message, .. } in &messages {
            self.is_new(conversation_id, &message.created_at);
            if message.sender_id != Some(self.person.id()) {
                out.delivered(message.message_id);
            }
        }
        out.send(&Frame::ConversationHistory { conversation_id, messages, has_more });
    }

    pub(super) fn event(&mut self, event: &Arc<Event>, out: &mut Frames) {
        match &mut self.joining {
            Some(joining) if event.conversation_id() == Some(joining.conversation_id) => {
                if joining.held.len() < HELD_MAX {
                    joining.held.push(Arc::clone(event));
                } else {
                    out.close(CLOSE_BEHIND);
                }
            }
            _ => self.tell(event, out),
        }
    }

    fn tell(&mut self, event: &Event, out: &mut Frames) {
        if let Event::Deleted(message) = event {
            self.deleted(message.conversation_id, &message.created_at);
        }
        let is_news = match event {
            Event::Sent(message) => self.is_new(message.conversation_id, &message.created_at),
            Event::Presence { person, status, .. } => self.has_come_or_gone(*person, is_online(status)),
            _ => true,
        };
        if !is_news || convert::of_no_news_to(event) == Some(self.person) {
            return;
        }
        let Some(frame) = convert::frame(event) else { return };
        out.send(&frame);
        if let Event::Sent(message) = event
            && message.sender() != Some(self.person)
        {
            out.delivered(message.id);
        }
    }

    /// Whether a message of this time is newer than all that the client has of the conversation; it has it from here on.
    fn is_new(&mut self, conversation_id: Uuid, created_at: &str) -> bool {
        // What has no time that can be read is told rather than lost.
        let Some(sent_at) = moment(created_at) else { return true };
        if self.newest.len() >= CONVERSATIONS_MAX && !self.newest.contains_key(&conversation_id) {
            self.newest.clear();
            self.shortened.clear();
        }
        let newest = self.newest.entry(conversation_id).or_insert(i64::MIN);
        let is_new = sent_at > *newest;
        if is_new {
            self.shortened.remove(&conversation_id);
        }
        *newest = sent_at.max(*newest);
        is_new
    }

    fn deleted(&mut self, conversation_id: Uuid, created_at: &str) {
        let newest = self.newest.get(&conversation_id).copied();
        if newest.is_some() && moment(created_at) >= newest {
            self.shortened.insert(conversation_id);
        }
    }

    /// A heartbeat writes a presence as well, and is no news.
    fn has_come_or_gone(&mut self, person: Person, is_online: bool) -> bool {
        if self.online.len() >= PEOPLE_MAX {
            self.online.clear();
        }
        self.online.insert(person, is_online) != Some(is_online)
    }
}

/// A time as Postgres writes it in JSON, in any zone, in microseconds.
fn moment(text: &str) -> Option<i64> {
    read_moment(text, true)
}
