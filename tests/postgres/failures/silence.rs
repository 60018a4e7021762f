//! A server that hangs: it closes nothing, and says nothing.

use std::time::Duration;

use nix::sys::signal::{Signal, kill};

use super::harness::Heard::{Change, Interrupted, Subscribed};
use super::harness::{Feed, Options, Server, durable};
use rowcast::wal::Slot;

const SILENCE: Duration = Duration::from_millis(1500);

#[tokio::test]
async fn hung_walsender_is_given_up() {
    let server = Server::start(18, "").await;
    let options = Options { silence: SILENCE, ..Options::on(Slot::Temporary) };
    let mut feed = Feed::start_on(&server.cluster.url("postgres"), options);
    let ann = feed.subscribe("ann", "messages").await;
    feed.hears(ann, [Subscribed]).await;
    let process = server.process("rowcast_stream").await;
    kill(process, Signal::SIGSTOP).unwrap();
    let heard = [feed.next(ann).await, feed.next(ann).await];
    server.write([1]).await;
    let change = feed.next(ann).await;
    kill(process, Signal::SIGCONT).unwrap();
    assert_eq!(heard, [Interrupted, Subscribed]);
    assert_eq!(change, Change(1));
    feed.stop().await;
}

#[tokio::test]
async fn hung_walsender_holds_a_durable_slot_until_it_goes() {
    let server = Server::start(18, "").await;
    let options = Options { silence: SILENCE, ..Options::on(durable()) };
    let mut feed = Feed::start_on(&server.cluster.url("postgres"), options);
    let ann = feed.subscribe("ann", "messages").await;
    feed.hears(ann, [Subscribed]).await;
    let process = server.process("rowcast_stream").await;
    kill(process, Signal::SIGSTOP).unwrap();
    let heard = feed.next(ann).await;
    feed.down("another server streams from this slot").await;
    server.write([1]).await;
    kill(process, Signal::SIGCONT).unwrap();
    assert_eq!(heard, Interrupted);
    feed.hears(ann, [Subscribed, Change(1)]).await;
    feed.stop().await;
}

#[tokio::test]
async fn idle_stream_is_not_taken_for_a_hung_one() {
    let server = Server::start(15, "").await;
    let options = Options { silence: SILENCE, ..Options::on(Slot::Temporary) };
    let mut feed = Feed::start_on(&server.cluster.url("postgres"), options);
    let ann = feed.subscribe("ann", "messages").await;
    feed.hears(ann, [Subscribed]).await;
    tokio::time::sleep(3 * SILENCE).await;
    server.write([1]).await;
    feed.hears(ann, [Change(1)]).await;
    feed.stop().await;
}
