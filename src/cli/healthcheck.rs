//! `rowcast healthcheck`: asks a server on this machine how it is, for container runtimes and scripts.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

use super::flags::{LISTEN, SettingFlags};
use super::{Error, print};

/// Ask the server on this machine whether changes flow
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Arguments {
    #[command(flatten)]
    flags: SettingFlags<LISTEN>,
}

const EXAMPLES: &str = "\
Examples:
  rowcast healthcheck
  rowcast healthcheck --listen 127.0.0.1:4100

It finds the server by the same settings that tell it where to listen. Exit code 0 means that changes flow.";

/// For each of connecting, writing and reading.
const WITHIN: Duration = Duration::from_secs(5);

/// More than any answer has; what comes after it is not read.
const ANSWER_BYTES_MAX: u64 = 16_384;

pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let address = reachable(arguments.flags.resolve()?.listen()?);
    let failed = |error: io::Error| {
        let text = format!("could not ask the server at {address}: {error}");
        Error::failed(&io::Error::new(error.kind(), text))
    };
    let (status, body) = ask(address).map_err(failed)?;
    if status != 200 {
        return Err(failed(io::Error::other(format!("it answered {status}: {body}"))));
    }
    print(body);
    Ok(())
}

/// A server that listens on every address is on this one.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

/// The status and the body of `GET /healthcheck`.
fn ask(address: SocketAddr) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, WITHIN)?;
    stream.set_read_timeout(Some(WITHIN))?;
    stream.set_write_timeout(Some(WITHIN))?;
    write!(stream, "GET /healthcheck HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
    parse(&answer).ok_or_else(|| io::Error::other("what answered is no HTTP server"))
}

fn parse(answer: &str) -> Option<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    Some((status, body.trim().to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_address_includes_this_one() {
        for (listen, asked) in
            [("0.0.0.0:4000", "127.0.0.1:4000"), ("[::]:4000", "[::1]:4000"), ("10.0.0.7:80", "10.0.0.7:80")]
        {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), asked);
        }
    }

    #[test]
    fn answers_are_read_and_others_are_not() {
        let parsed = |answer| parse(answer);
        assert_eq!(parsed("HTTP/1.1 200 OK\r\na: b\r\n\r\nok"), Some((200, "ok".to_owned())));
        assert_eq!(parsed("HTTP/1.1 503 No\r\n\r\n"), Some((503, String::new())));
        for other in ["", "SSH-2.0-x\r\n\r\n", "HTTP/1.1 2\r\n\r\n", "HTTP/1.1 200 OK\r\n"] {
            assert_eq!(parsed(other), None, "{other}");
        }
    }
}
