//! What it costs that people are connected and do nothing: their presence is renewed all the time.

use std::time::Duration;

use tokio_postgres::Client;

use super::client::App;
use super::{Crowd, EVERYBODY, PEOPLE, person_id};
use crate::Effort;
use crate::process::{cpu_time, process_time};
use crate::report::{Figure, Goal, Spread};
use crate::server::Server;
use crate::support::{TestDatabase, connect};

/// Of a second's processor time, the server's with a thousand people who do nothing.
const IDLE_CPU_MAX: f64 = 1.0;
/// Each of them is told to five, once a minute.
const TOLD_MAX: f64 = 100.0;
const RENEWED: &str = "one renewal of so many people, which there is every 5 seconds: processor time of the session that writes \
                       it, and what it adds to the log, by person";
const IDLE: &str = "1,000 people with a socket each that follows who is present, all of them idle";

/// Measures the renewals themselves, and a server with idle people.
pub(super) async fn measure(effort: &Effort, database: &TestDatabase) -> Vec<Figure> {
    let session = connect(&database.url).await;
    let mut figures = Vec::new();
    for people in [PEOPLE, EVERYBODY] {
        // The first round makes the rows.
        renew(&session, people).await;
        let (mut times, mut bytes) = (Vec::new(), Vec::new());
        for _ in 0..=effort.rounds {
            let (time, written) = renew(&session, people).await;
            times.push(time);
            bytes.push(written);
        }
        let figure = |name: &str, unit, values: &[f64]| Figure {
            name: format!("messaging_renewal_{people}_{name}"),
            unit,
            value: Spread::of(&values[1..]),
            reference: None,
            goal: None,
            method: RENEWED,
        };
        figures.push(figure("cpu", "µs", &times));
        figures.push(figure("wal", "bytes", &bytes));
    }
    figures.extend(idle(effort, database).await);
    figures
}

/// Processor time in microseconds, and bytes of the log, by person.
async fn renew(session: &Client, people: usize) -> (f64, f64) {
    let pid: i32 = session.query_one("select pg_backend_pid()", &[]).await.expect("a session").get(0);
    let pid = u32::try_from(pid).expect("a process id");
    let written = async || -> i64 {
        let sql = "select (pg_current_wal_insert_lsn() - '0/0')::bigint";
        session.query_one(sql, &[]).await.expect("a position").get(0)
    };
    let ids: Vec<String> = (0..people).map(person_id).collect();
    let touch = format!(
        "select rowcast.touch_presence('{{{}}}', array_fill(null::uuid, array[{people}]), array_fill(now(), array[{people}]), 15)",
        ids.join(",")
    );
    let (time, bytes) = (process_time(pid), written().await);
    session.batch_execute(&touch).await.expect("a renewal");
    let (time, bytes) = (process_time(pid) - time, written().await - bytes);
    (time.as_secs_f64() * 1e6 / people as f64, bytes as f64 / people as f64)
}

/// What the server does for people who do nothing.
async fn idle(effort: &Effort, database: &TestDatabase) -> Vec<Figure> {
    let server = Server::start_with(&database.url, &["--messaging", "true"]);
    let mut crowd = Crowd::empty();
    crowd.grow(App::Supabase, &server, PEOPLE).await;
    let (mut cpu, mut told) = (Vec::new(), Vec::new());
    let used =
        || (cpu_time(server.pid()).as_secs_f64(), server.counted_all("rowcast_changes_delivered_total"));
    // Whole periods of renewals, and together about as long as it takes until everybody is told of once; those who have
    // just come are news in the first one.
    let window = Duration::from_secs(15);
    for round in 0..=effort.rounds {
        let before = used();
        tokio::time::sleep(window).await;
        let after = used();
        if round > 0 {
            cpu.push((after.0 - before.0) / window.as_secs_f64() * 100.0);
            told.push((after.1 - before.1) / window.as_secs_f64());
        }
    }
    let figure = |name: &str, unit, values: &[f64], most| Figure {
        name: format!("messaging_idle_{name}"),
        unit,
        value: Spread::of(values),
        reference: None,
        goal: Some(Goal::ValueAtMost(most)),
        method: IDLE,
    };
    vec![figure("cpu", "%", &cpu, IDLE_CPU_MAX), figure("told_per_second", "/s", &told, TOLD_MAX)]
}
