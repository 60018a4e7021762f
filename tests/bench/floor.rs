//! The least that a fan-out can cost: one thread, one finished frame, one `write` for each receiver.
//!
//! It runs as a child of the bench, so that its processor time is its own. It checks nothing, parses nothing and
//! is no server for anybody else: whoever sends a marker is the sender, everyone else receives. What has come
//! from the sender at once leaves as one write, as in any server that joins frames.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use memchr::memmem;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use crate::server::free_address;
use crate::socket::{Scratch, Tail, marker};

/// The hidden argument that makes the bench this server; the size of a frame follows, the address comes as the
/// first line of its input.
pub(crate) const ARGUMENT: &str = "--floor";
/// More frames than that are not in flight.
const JOINED_MAX: usize = 64;

/// A running floor, killed when dropped.
#[derive(Debug)]
pub(crate) struct Floor {
    child: Child,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl Floor {
    /// Starts one that sends frames of this many bytes.
    pub(crate) fn start(frame_bytes: usize) -> Self {
        let address = free_address();
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([ARGUMENT, &frame_bytes.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the floor");
        writeln!(child.stdin.as_ref().expect("its input"), "{address}").expect("its address");
        let mut ready = [0];
        child.stdout.as_mut().expect("its output").read_exact(&mut ready).expect("a word from the floor");
        Self { child, address }
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves until the first client leaves.
pub(crate) fn serve(frame_bytes: usize) {
    let mut address = String::new();
    std::io::stdin().read_line(&mut address).expect("an address");
    let listener = TcpListener::bind(address.trim()).expect("a free address");
    print!("!");
    std::io::stdout().flush().expect("somebody who waits");
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).expect("epoll");
    let readable = |token: u64| EpollEvent::new(EpollFlags::EPOLLIN, token);
    epoll.add(&listener, readable(u64::MAX)).expect("epoll");
    let frames = frame(frame_bytes).repeat(JOINED_MAX);
    let mut clients: Vec<(TcpStream, Tail)> = Vec::new();
    let mut scratch = Scratch::new();
    let mut events = [EpollEvent::empty(); 64];
    loop {
        let count = epoll.wait(&mut events, EpollTimeout::NONE).unwrap_or(0);
        for event in &events[..count] {
            let token = usize::try_from(event.data()).unwrap_or(usize::MAX);
            let Some((stream, tail)) = clients.get_mut(token) else {
                let (stream, _) = listener.accept().expect("a client");
                greet(&stream).expect("a handshake and a join");
                epoll.add(&stream, readable(clients.len() as u64)).expect("epoll");
                clients.push((stream, Tail::default()));
                continue;
            };
            let sent = match scratch.read(&*stream, tail, |_| ()) {
                Ok(sent) => usize::try_from(sent).expect("a few markers"),
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                // The bench is done.
                Err(_) => return,
            };
            if sent > 0 {
                let receivers = clients.iter().enumerate().filter(|(receiver, _)| *receiver != token);
                write_each(receivers.map(|(_, (stream, _))| stream), &frames[..sent * frame_bytes]);
            }
        }
    }
}

fn write_each<'a>(receivers: impl Iterator<Item = &'a TcpStream>, bytes: &[u8]) {
    for mut receiver in receivers {
        let written = receiver.write(bytes).expect("room in the receiver's buffer");
        assert_eq!(written, bytes.len(), "room in the receiver's buffer");
    }
}

/// Accepts whatever a client asks for; it asks one thing at a time and waits.
fn greet(mut stream: &TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut buffer = [0; 4096];
    while memmem::find(&request, b"\r\n\r\n").is_none() {
        let read = stream.read(&mut buffer)?;
        request.extend_from_slice(&buffer[..read]);
    }
    stream.write_all(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    )?;
    let _join = stream.read(&mut buffer)?;
    stream.write_all(b"\x81\x0F\"status\":\"ok\"")?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)
}

/// A text frame with a marker, of this many bytes with its header.
fn frame(bytes: usize) -> Vec<u8> {
    const HEADER_BYTES: usize = 4;
    let payload =
        bytes.checked_sub(HEADER_BYTES).filter(|payload| *payload >= 126).expect("a frame of usual size");
    let mut frame = vec![0x81, 126];
    frame.extend(u16::try_from(payload).expect("a frame of usual size").to_be_bytes());
    frame.extend_from_slice(marker(0).as_bytes());
    frame.resize(bytes, b'x');
    frame
}
