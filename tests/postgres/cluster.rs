//! The private cluster itself.

use crate::support::{TestDatabase, binaries, majors, scratch};
use rowcast::postgres::cluster::Cluster;

#[tokio::test]
async fn serves_logical_replication_on_every_major() {
    for major in majors() {
        let database = TestDatabase::create(major).await;
        let row = database.client.query_one("show wal_level", &[]).await.unwrap();
        assert_eq!(row.get::<_, &str>(0), "logical", "on {major}");
    }
}

#[test]
fn starts_again_over_a_crash() {
    let directory = scratch("crash");
    let mut cluster = Cluster::start(binaries(15), &directory, false).unwrap();
    cluster.crash().unwrap();
    drop(cluster);
    let mut cluster = Cluster::start(binaries(15), &directory, false).unwrap();
    cluster.stop().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}

/// Ends the server of `cluster` as `kill -9` does.
fn kill(cluster: &Cluster) {
    use nix::sys::signal::{Signal, kill};
    let note = std::fs::read_to_string(cluster.data().join("postmaster.pid")).unwrap();
    let pid = note.lines().next().unwrap().parse().unwrap();
    kill(nix::unistd::Pid::from_raw(pid), Signal::SIGKILL).unwrap();
}

#[test]
fn server_killed_with_its_program_starts_again() {
    for major in majors() {
        let directory = scratch("killed");
        let cluster = Cluster::start(binaries(major), &directory, false).unwrap();
        kill(&cluster);
        std::mem::forget(cluster);
        let mut cluster = Cluster::start(binaries(major), &directory, false).unwrap();
        cluster.stop().unwrap();
        std::fs::remove_dir_all(&directory).unwrap();
    }
}

#[test]
fn server_that_outlived_its_program_is_replaced() {
    let directory = scratch("orphan");
    let orphan = Cluster::start(binaries(15), &directory, false).unwrap();
    let port = orphan.port;
    std::mem::forget(orphan);
    let mut cluster = Cluster::start(binaries(15), &directory, false).unwrap();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "the orphan still runs");
    cluster.stop().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}

#[tokio::test]
async fn note_of_another_program_is_no_reason_to_kill_it() {
    let directory = scratch("recycled");
    let mut cluster = Cluster::start(binaries(15), &directory, false).unwrap();
    let note = cluster.data().join("postmaster.pid");
    let text = std::fs::read_to_string(&note).unwrap();
    cluster.stop().unwrap();
    // As after a crash of the machine, with the id given to somebody else since: this very program.
    let (_, rest) = text.split_once('\n').unwrap();
    std::fs::write(&note, format!("{}\n{rest}", std::process::id())).unwrap();
    let result = Cluster::start(binaries(15), &directory, false);
    // Whether Postgres starts depends on whose process it is; that this test goes on is the point.
    drop(result);
    std::fs::remove_dir_all(&directory).unwrap();
}
