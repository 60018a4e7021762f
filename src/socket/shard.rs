//! One shard: a thread that owns connections and the handler that serves them.
//!
//! In: streams from the upgrade, commands from other threads, bytes from clients. The thread runs a tokio
//! current-thread runtime; a task per connection waits for bytes and reads them into the shard's one buffer;
//! the *pump* takes commands, and writes what they and the messages left on the [`Outbox`].
//!
//! A long fan-out is sliced: after [`SLICE_WRITES_MAX`] writes the pump yields, so that the shard reads,
//! accepts and answers heartbeats in between. It takes new commands once every connection that the last
//! commands touched has had its turn; frames of one connection keep their order throughout.
//!
//! **Invariant:** nothing is borrowed across an await: each turn of the shard is one synchronous function.

use std::cell::RefCell;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::sync::{Notify, OwnedSemaphorePermit, oneshot};
use tokio::task::{LocalSet, spawn_local, yield_now};
use tokio::time::{sleep_until, timeout};

use super::Handler;
use super::connection::{Outbox, Place};
use super::frame::{Decoder, Event, Violation};
use super::metrics::{CloseReason, ShardMetrics};
use super::options::{ShardConfig, set_stream_options};
use crate::hub::ConnectionId;
use crate::protocol::code::CLOSE_INTERNAL;
use crate::protocol::frame::pong_frame;

/// How many writes are made before the shard looks at its streams and streams-to-be again.
pub const SLICE_WRITES_MAX: usize = 512;
/// How many commands are taken at once; their frames for one connection leave in one write.
pub const BATCH_COMMANDS_MAX: usize = 256;
/// The buffer that all connections of a shard read into.
const READ_BYTES_MAX: usize = 64 * 1024;
/// How many streams may wait to be taken over; [`ShardHandle::accept`] then waits.
const HANDOVERS_MAX: usize = 1024;
/// How long a new stream may take to become writable, which it is at once unless something is broken.
const FIRST_READINESS_MAX: Duration = Duration::from_secs(5);

/// A shard does not take a command now. The command comes back.
#[derive(Debug, thiserror::Error)]
pub enum Refused<C> {
    /// There is no room in the shard's inbox.
    #[error("the shard takes no command now")]
    Full(C),
    /// The shard has ended.
    #[error("the shard has ended")]
    Gone(C),
}

/// The shard has ended. What was sent is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the shard has ended")]
pub struct Gone;

/// The way to a shard from other threads.
pub struct ShardHandle<H: Handler> {
    index: u16,
    metrics: Arc<ShardMetrics>,
    inbox: mpsc::Sender<H::Command>,
    control: mpsc::Sender<Control<H::Session>>,
}

impl<H: Handler> Clone for ShardHandle<H> {
    fn clone(&self) -> Self {
        Self {
            index: self.index,
            metrics: Arc::clone(&self.metrics),
            inbox: self.inbox.clone(),
            control: self.control.clone(),
        }
    }
}

impl<H: Handler> fmt::Debug for ShardHandle<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ShardHandle").field("index", &self.index).finish_non_exhaustive()
    }
}

/// What goes to the shard itself rather than to its handler.
enum Control<S> {
    Accept(Handover<S>),
    Drain(Drain),
}

/// A stream that has been upgraded.
struct Handover<S> {
    stream: std::net::TcpStream,
    /// Bytes the client sent right behind its request.
    read_buf: Vec<u8>,
    session: S,
    place: Place,
}

struct Drain {
    code: u16,
    reason: String,
    until: Instant,
    done: oneshot::Sender<u64>,
}

impl<H: Handler> ShardHandle<H> {
    /// Which shard this is.
    pub fn index(&self) -> u16 {
        self.index
    }

    /// The counters of the shard.
    pub fn metrics(&self) -> &Arc<ShardMetrics> {
        &self.metrics
    }

    /// Gives a command to the handler; waits while the inbox is full.
    pub async fn send(&self, command: H::Command) -> Result<(), Gone> {
        self.inbox.send(command).await.map_err(|_| Gone)
    }

    /// Gives a command to the handler unless the inbox is full, which is counted.
    pub fn try_send(&self, command: H::Command) -> Result<(), Refused<H::Command>> {
        self.inbox.try_send(command).map_err(|error| match error {
            TrySendError::Full(command) => {
                self.metrics.commands_refused.add(1);
                Refused::Full(command)
            }
            TrySendError::Closed(command) => Refused::Gone(command),
        })
    }

    /// How many commands wait.
    pub fn depth(&self) -> usize {
        self.inbox.max_capacity() - self.inbox.capacity()
    }

    /// How many connections the shard has or is about to have.
    pub fn connection_count(&self) -> u64 {
        self.metrics.connections.get()
    }

    /// Takes a place for a connection that will be handed over; `permit` lives as long as the connection.
    pub fn reserve(&self, permit: Option<OwnedSemaphorePermit>) -> Place {
        Place::new(Arc::clone(&self.metrics), permit)
    }

    /// Hands over an upgraded stream and the bytes that were read behind the request.
    pub async fn accept(
        &self,
        stream: std::net::TcpStream,
        read_buf: Vec<u8>,
        session: H::Session,
    ) -> Result<(), Gone> {
        self.accept_at(self.reserve(None), stream, read_buf, session).await
    }

    /// [`Self::accept`] at a place reserved before.
    pub async fn accept_at(
        &self,
        place: Place,
        stream: std::net::TcpStream,
        read_buf: Vec<u8>,
        session: H::Session,
    ) -> Result<(), Gone> {
        let handover = Handover { stream, read_buf, session, place };
        self.control.send(Control::Accept(handover)).await.map_err(|_| Gone)
    }

    /// Closes every connection, and those still handed over, with this code and reason, then ends the shard:
    /// when all are gone, places included, or after `within`. Returns how many had to be cut off.
    ///
    /// Commands are handled until then. When this returns, the shard takes none any more.
    pub async fn drain(&self, code: u16, reason: &str, within: Duration) -> u64 {
        let (done, finished) = oneshot::channel();
        let drain = Drain { code, reason: reason.to_owned(), until: Instant::now() + within, done };
        if self.control.send(Control::Drain(drain)).await.is_err() {
            return 0;
        }
        finished.await.unwrap_or(0)
    }
}

/// Starts a shard. `make` builds its handler on the shard's own thread.
///
/// The shard ends when it has drained, or when every handle is dropped, which drains it with 1001.
pub fn spawn<H: Handler>(
    index: u16,
    config: ShardConfig,
    make: impl FnOnce() -> H + Send + 'static,
) -> io::Result<(ShardHandle<H>, JoinHandle<()>)> {
    let (inbox, commands) = mpsc::channel(config.inbox_commands_max);
    let (control, controls) = mpsc::channel(HANDOVERS_MAX);
    let metrics = Arc::new(ShardMetrics::default());
    let handle = ShardHandle { index, metrics: Arc::clone(&metrics), inbox, control };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let thread = std::thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
        let now = Instant::now();
        let shard = Rc::new(Shard {
            tick: config.tick,
            sweep_interval: config.sweep_interval(),
            close_timeout: config.close_timeout,
            message_bytes_max: config.message_bytes_max,
            core: RefCell::new(Core { handler: make(), out: Outbox::new(config, metrics, now) }),
            read_buffer: RefCell::new(vec![0; READ_BYTES_MAX].into_boxed_slice()),
            wake: Notify::new(),
            draining: RefCell::new(None),
        });
        LocalSet::new().block_on(&runtime, Pump::new(shard, commands, controls, now).run());
    })?;
    Ok((handle, thread))
}

/// What the tasks of one shard share. They all run on its thread.
struct Shard<H: Handler> {
    tick: Duration,
    sweep_interval: Duration,
    close_timeout: Duration,
    message_bytes_max: usize,
    core: RefCell<Core<H>>,
    read_buffer: RefCell<Box<[u8]>>,
    /// Wakes the pump: there is something to write, or a connection came or went.
    wake: Notify,
    /// Code and reason, once the shard drains.
    draining: RefCell<Option<(u16, String)>>,
}

struct Core<H> {
    handler: H,
    out: Outbox,
}

/// What a connection's task does next.
enum Next {
    /// Wait for more bytes.
    Wait,
    /// Let others go first; there is more to read.
    Yield,
    /// End.
    End,
}

impl<H: Handler> Shard<H> {
    /// One turn: runs `act`, tells the handler of ended connections, and sees to what has to be written.
    fn turn<R>(self: &Rc<Self>, act: impl FnOnce(&mut H, &mut Outbox) -> R) -> R {
        let mut core = self.core.borrow_mut();
        let Core { handler, out } = &mut *core;
        out.set_now(Instant::now());
        let connection_count = out.connection_count();
        let result = act(handler, out);
        while let Some(connection) = out.next_ended() {
            // It is gone already; there is nothing more to end.
            let _ = guard(out, |out| handler.closed(out, connection));
        }
        for connection in out.take_blocked() {
            if let Some(stream) = out.stream(connection) {
                spawn_local(flush(Rc::clone(self), connection, Rc::clone(stream)));
            }
        }
        if out.dirty_count() > 0 || out.connection_count() != connection_count {
            self.wake.notify_one();
        }
        result
    }

    /// Opens a connection whose stream is ready.
    fn open(self: &Rc<Self>, stream: &Rc<TcpStream>, place: Place, session: H::Session) -> ConnectionId {
        self.turn(|handler, out| {
            let connection = out.open(Rc::clone(stream), place);
            if let Err(Panicked) = guard(out, |out| handler.opened(out, connection, session)) {
                out.close_as(
                    connection,
                    Some(CLOSE_INTERNAL.code),
                    CLOSE_INTERNAL.reason,
                    CloseReason::Panic,
                );
            }
            if let Some((code, reason)) = &*self.draining.borrow() {
                out.close_as(connection, Some(*code), reason, CloseReason::Drain);
            }
            connection
        })
    }

    /// Reads once and handles what came.
    fn read(self: &Rc<Self>, connection: ConnectionId, stream: &TcpStream, decoder: &mut Decoder) -> Next {
        let mut buffer = self.read_buffer.borrow_mut();
        match stream.try_read(&mut buffer) {
            Ok(0) => {}
            Ok(length) => {
                let full = length == buffer.len();
                let here = self.receive(connection, decoder, &mut buffer[..length]);
                return match (here, full) {
                    (false, _) => Next::End,
                    (true, true) => Next::Yield,
                    (true, false) => Next::Wait,
                };
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Next::Wait,
            Err(_) => {}
        }
        self.turn(|_, out| out.lost(connection));
        Next::End
    }

    /// Handles bytes from a client; returns whether the connection is still here.
    fn receive(self: &Rc<Self>, connection: ConnectionId, decoder: &mut Decoder, bytes: &mut [u8]) -> bool {
        self.turn(|handler, out| {
            out.heard(connection, bytes.len());
            let result = decoder.decode(bytes, |event| serve(handler, out, connection, event));
            if let Err(violation) = result {
                let why = match violation {
                    Violation::Protocol(_) => CloseReason::Protocol,
                    Violation::InvalidUtf8 => CloseReason::InvalidUtf8,
                    Violation::TooLarge => CloseReason::TooLarge,
                };
                let close = violation.close();
                out.close_as(connection, Some(close.code), close.reason, why);
            }
            // An answer to the sender alone, the usual case, leaves at once.
            if out.dirty_count() == 1 {
                out.flush(1);
            }
            out.stream(connection).is_some()
        })
    }
}

/// Handles one event of a connection that is here.
fn serve<H: Handler>(handler: &mut H, out: &mut Outbox, connection: ConnectionId, event: Event<'_>) {
    match event {
        Event::Close(code) => out.client_closed(connection, code),
        // It is closing already, perhaps since the event before this one.
        _ if !out.is_open(connection) => {}
        Event::Message(message) => {
            out.metrics().messages_in.add(1);
            let now = out.now();
            let call = |out: &mut Outbox| handler.message(out, connection, message, now);
            if let Err(Panicked) = guard(out, call) {
                out.close_as(
                    connection,
                    Some(CLOSE_INTERNAL.code),
                    CLOSE_INTERNAL.reason,
                    CloseReason::Panic,
                );
            }
        }
        Event::Ping(payload) => out.send(connection, pong_frame(payload)),
        Event::Pong(_) => {}
    }
}

/// The handler panicked; it is counted, and the panic hook has reported it.
struct Panicked;

/// Calls the handler and contains its panic.
fn guard(out: &mut Outbox, call: impl FnOnce(&mut Outbox)) -> Result<(), Panicked> {
    catch_unwind(AssertUnwindSafe(|| call(out))).map_err(|_| {
        out.metrics().panics.add(1);
        Panicked
    })
}

/// The life of one connection.
async fn connection<H: Handler>(shard: Rc<Shard<H>>, handover: Box<Handover<H::Session>>) {
    // Opening is boxed, so that a connection's task is as small as its reading needs.
    let Some((connection, stream, mut decoder)) = Box::pin(open(&shard, handover)).await else { return };
    loop {
        // An error here shows in the read as well.
        let _ = stream.readable().await;
        match shard.read(connection, &stream, &mut decoder) {
            Next::Wait => {}
            Next::Yield => yield_now().await,
            Next::End => return,
        }
    }
}

/// Takes a stream over and handles the bytes that came with it. `None`: it ended before it began.
async fn open<H: Handler>(
    shard: &Rc<Shard<H>>,
    handover: Box<Handover<H::Session>>,
) -> Option<(ConnectionId, Rc<TcpStream>, Decoder)> {
    let Handover { stream, mut read_buf, session, place } = *handover;
    stream.set_nonblocking(true).ok()?;
    let stream = Rc::new(TcpStream::from_std(stream).ok()?);
    set_stream_options(&stream).ok()?;
    // A stream new to this runtime says "would block" until the runtime has asked the kernel once. Waiting
    // for that keeps the first write from looking like a slow client.
    timeout(FIRST_READINESS_MAX, stream.writable()).await.ok()?.ok()?;
    let connection = shard.open(&stream, place, session);
    let mut decoder = Decoder::new(shard.message_bytes_max);
    if !read_buf.is_empty() && !shard.receive(connection, &mut decoder, &mut read_buf) {
        return None;
    }
    Some((connection, stream, decoder))
}

/// Writes a backlog as the kernel makes room; lives only while there is one.
async fn flush<H: Handler>(shard: Rc<Shard<H>>, connection: ConnectionId, stream: Rc<TcpStream>) {
    loop {
        // An error here shows in the write as well.
        let _ = stream.writable().await;
        if !shard.turn(|_, out| out.resume(connection)) {
            return;
        }
    }
}

/// Takes commands, keeps time, and writes.
struct Pump<H: Handler> {
    shard: Rc<Shard<H>>,
    commands: mpsc::Receiver<H::Command>,
    controls: mpsc::Receiver<Control<H::Session>>,
    /// Whether anybody can still send.
    handles_left: bool,
    batch: Vec<H::Command>,
    /// How many connections that the last commands touched have not had their turn.
    unserved: usize,
    tick_next: Instant,
    sweep_next: Instant,
    drain: Option<Drain>,
}

impl<H: Handler> Pump<H> {
    fn new(
        shard: Rc<Shard<H>>,
        commands: mpsc::Receiver<H::Command>,
        controls: mpsc::Receiver<Control<H::Session>>,
        now: Instant,
    ) -> Self {
        let batch = Vec::with_capacity(BATCH_COMMANDS_MAX);
        Self {
            shard,
            commands,
            controls,
            handles_left: true,
            batch,
            unserved: 0,
            tick_next: now,
            sweep_next: now,
            drain: None,
        }
    }

    /// Runs until the shard has drained.
    async fn run(mut self) {
        loop {
            let (dirty, backlog_bytes) = {
                let out = &self.shard.core.borrow().out;
                (out.dirty_count(), out.backlog_bytes_total())
            };
            // Waiting does not let go of the thread while commands keep coming. Clients that are behind get the
            // chance to catch up first.
            if dirty > 0 || backlog_bytes > 0 {
                yield_now().await;
            }
            if dirty == 0 {
                self.unserved = 0;
                self.wait().await;
            }
            self.take_controls();
            if self.unserved == 0 {
                self.take_commands();
            }
            let served = self.shard.turn(|_, out| out.flush(SLICE_WRITES_MAX));
            self.unserved = self.unserved.saturating_sub(served);
            self.keep_time();
            if self.drained() {
                return;
            }
        }
    }

    /// Waits until there is something to do.
    async fn wait(&mut self) {
        let until = self.tick_next.min(self.sweep_next);
        tokio::select! {
            biased;
            control = self.controls.recv(), if self.handles_left => self.control(control),
            _ = self.commands.recv_many(&mut self.batch, BATCH_COMMANDS_MAX), if self.handles_left => {}
            () = self.shard.wake.notified() => {}
            () = sleep_until(until.into()) => {}
        }
    }

    fn take_controls(&mut self) {
        for _ in 0..HANDOVERS_MAX {
            let Ok(control) = self.controls.try_recv() else { break };
            self.control(Some(control));
        }
    }

    fn control(&mut self, control: Option<Control<H::Session>>) {
        match control {
            Some(Control::Accept(handover)) => {
                spawn_local(connection(Rc::clone(&self.shard), Box::new(handover)));
            }
            Some(Control::Drain(drain)) => self.begin_drain(drain),
            None => {
                self.handles_left = false;
                if self.drain.is_none() {
                    let until = Instant::now() + self.shard.close_timeout;
                    // Every handle is gone, so nobody waits for the answer.
                    let (done, _) = oneshot::channel();
                    self.begin_drain(Drain { code: 1001, reason: String::new(), until, done });
                }
            }
        }
    }

    fn begin_drain(&mut self, drain: Drain) {
        // What was sent before it is handled before it, farewells above all. There is no more than the inbox holds.
        for _ in 0..=self.commands.max_capacity() / BATCH_COMMANDS_MAX {
            self.take_commands();
        }
        self.shard.turn(|_, out| out.close_all_as(drain.code, &drain.reason, CloseReason::Drain));
        *self.shard.draining.borrow_mut() = Some((drain.code, drain.reason.clone()));
        // A second drain takes the place of the first, whose caller is told "none cut off" at once.
        self.drain = Some(drain);
    }

    fn take_commands(&mut self) {
        while self.batch.len() < BATCH_COMMANDS_MAX {
            let Ok(command) = self.commands.try_recv() else { break };
            self.batch.push(command);
        }
        if self.batch.is_empty() {
            return;
        }
        let batch = &mut self.batch;
        self.unserved = self.shard.turn(|handler, out| {
            let now = out.now();
            for command in batch.drain(..) {
                if let Err(Panicked) = guard(out, |out| handler.command(out, command, now)) {
                    out.close_all_as(CLOSE_INTERNAL.code, CLOSE_INTERNAL.reason, CloseReason::Panic);
                }
            }
            out.dirty_count()
        });
    }

    fn keep_time(&mut self) {
        let now = Instant::now();
        if now >= self.sweep_next {
            self.sweep_next = now + self.shard.sweep_interval;
            self.shard.turn(|_, out| out.sweep());
        }
        if now >= self.tick_next {
            self.tick_next = now + self.shard.tick;
            self.shard.turn(|handler, out| {
                if let Err(Panicked) = guard(out, |out| handler.tick(out, now)) {
                    out.close_all_as(CLOSE_INTERNAL.code, CLOSE_INTERNAL.reason, CloseReason::Panic);
                }
            });
        }
    }

    /// Whether the shard has drained, or has to be taken as drained.
    fn drained(&mut self) -> bool {
        let Some(drain) = &self.drain else { return false };
        let left = self.shard.core.borrow().out.metrics().connections.get();
        if left > 0 && Instant::now() < drain.until {
            return false;
        }
        self.shard.turn(|_, out| out.remove_all());
        self.commands.close();
        self.controls.close();
        if let Some(drain) = self.drain.take() {
            // The caller may have stopped waiting.
            let _ = drain.done.send(left);
        }
        true
    }
}
