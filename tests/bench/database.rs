//! The database of the measures, what is written into it, and `pg_recvlogical`: the reference that streams the
//! same changes with Postgres's own client.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rowcast::hub::authorization::{Answer, Asked, Rights, probe};
use tokio_postgres::Client;

use crate::process::Paused;
use crate::server::{SUBJECT, command};
use crate::socket::MARKER;
use crate::support::{TestDatabase, binaries, connect, majors};

/// Postgres as it is by default: the test cluster's shortcuts are undone. A walsender may stand still as long
/// as it takes.
pub(crate) const SETTINGS: &str = "
alter system set fsync = on;
alter system set full_page_writes = on;
alter system set synchronous_commit = on;
alter system set wal_sender_timeout = 0;
select pg_reload_conf();
";

/// Two tables of the same shape. What one may see of the second, a function decides that only Postgres can run.
const TABLES: &str = "
create table bench_open (
    id bigint generated always as identity primary key,
    room integer not null,
    author uuid not null,
    body text not null,
    created_at timestamptz not null default now()
);
grant select on bench_open to authenticated;

create table bench_guarded (like bench_open including all);
grant select on bench_guarded to authenticated;
create function bench_may_read(author uuid) returns boolean language plpgsql stable as
    $$ begin return author = auth.uid(); end $$;
alter table bench_guarded enable row level security;
create policy \"authors read their own rows\" on bench_guarded for select to authenticated
    using (bench_may_read(author));

alter publication supabase_realtime add table bench_open, bench_guarded;
";

/// The table whose rows are broadcasts; here also their topic.
pub(crate) const MESSAGES: &str = "realtime.messages";

/// Fills a row's text up to a usual size.
const PADDING: &str = "the quick brown fox jumps over the lazy dog, and so on for a while";

/// A migrated database with the tables of the measures.
pub(crate) struct Database {
    /// Its URL, as a superuser.
    pub(crate) url: String,
    client: Client,
    programs: std::path::PathBuf,
    /// The number of the next marker.
    next: u64,
}

impl Database {
    /// Makes one on the newest Postgres that tests know.
    pub(crate) async fn create() -> Self {
        let major = majors().into_iter().max().expect("a major version");
        let test = TestDatabase::create(major).await;
        command(&["migrate", "--database-url", &test.url]);
        for statement in SETTINGS.split_terminator(';') {
            test.execute(statement).await;
        }
        test.execute(TABLES).await;
        // A new session has the new settings.
        let client = connect(&test.url).await;
        Self { url: test.url, client, programs: binaries(major).directory, next: 0 }
    }

    /// Inserts one row and returns the number of its marker, and when COMMIT had returned.
    pub(crate) async fn insert(&mut self, table: &str) -> (u64, Instant) {
        let number = self.next;
        self.next += 1;
        let body = format!("{MARKER}{number:08} {PADDING}");
        let row = if table == MESSAGES {
            format!(
                "(topic, extension, event, payload, private) values ('{MESSAGES}', 'broadcast', 'sent', '\"{body}\"', false)"
            )
        } else {
            format!("(room, author, body) values (1, '{SUBJECT}', '{body}')")
        };
        let insert = format!("begin; insert into {table} {row}; commit");
        self.client.batch_execute(&insert).await.expect("an insert");
        (number, Instant::now())
    }

    /// Inserts many rows, `per_transaction` at a time, as fast as Postgres can, and leaves it no work to do later.
    pub(crate) async fn insert_many(&self, rows: usize, per_transaction: usize) {
        let write = format!(
            "do $$ begin
                 for number in 1..{} loop
                     insert into bench_open (room, author, body)
                     select 1, '{SUBJECT}', '{MARKER}' || lpad(place::text, 8, '0') || ' {PADDING}'
                     from generate_series(1, {per_transaction}) place;
                     commit;
                 end loop;
             end $$",
            rows / per_transaction
        );
        for statement in ["set synchronous_commit = off", &write, "reset synchronous_commit", "checkpoint"] {
            self.client.batch_execute(statement).await.expect("a statement");
        }
    }

    /// Runs statements.
    pub(crate) async fn execute(&self, sql: &str) {
        self.client.batch_execute(sql).await.expect("a statement");
    }

    /// Asks by rows that are rolled back, one question after another, for some time: questions a second.
    pub(crate) async fn probe(&self, questions: &[Asked], time: Duration) -> f64 {
        let start = Instant::now();
        let mut count = 0_u32;
        for asked in questions.iter().cycle() {
            let answers = probe::answer(&self.client, std::slice::from_ref(asked)).await.expect("an answer");
            assert!(matches!(answers[..], [Ok(Answer::Rights(Rights { broadcast: true, .. }))]), "a denial");
            count += 1;
            if start.elapsed() >= time {
                break;
            }
        }
        f64::from(count) / start.elapsed().as_secs_f64()
    }

    /// The process that streams to the client with this application name.
    pub(crate) async fn walsender(&self, application: &str) -> Walsender {
        let select =
            "select pid from pg_stat_replication where application_name = $1 and state = 'streaming'";
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(row) = self.client.query_opt(select, &[&application]).await.expect("a query") {
                return Walsender(row.get(0));
            }
            assert!(Instant::now() < deadline, "{application} does not stream");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Starts the reference on a slot of its own; its output goes to `output`.
    pub(crate) fn pg_recvlogical(&self, output: Stdio) -> PgRecvlogical {
        let slot = "bench_reference";
        let run = |action: &str, output: Stdio| {
            Command::new(self.programs.join("pg_recvlogical"))
                .args(["--dbname", &self.url, "--slot", slot, action, "--plugin", "pgoutput", "--no-loop"])
                .args(["-o", "proto_version=1", "-o", "publication_names=supabase_realtime", "--file", "-"])
                .stdin(Stdio::null())
                .stdout(output)
                .spawn()
                .expect("pg_recvlogical")
        };
        let created = run("--create-slot", Stdio::null()).wait().expect("pg_recvlogical");
        assert!(created.success(), "the slot was not created");
        PgRecvlogical { child: run("--start", output) }
    }

    /// Drops the slot of the reference, which must have ended.
    pub(crate) async fn drop_reference_slot(&self) {
        let drop = "select pg_drop_replication_slot(slot_name) from pg_replication_slots
                    where slot_name = 'bench_reference' and not active";
        let deadline = Instant::now() + Duration::from_secs(10);
        while self.client.query(drop, &[]).await.expect("a query").is_empty() {
            assert!(Instant::now() < deadline, "the slot of the reference stays in use");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// The Postgres process behind one stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walsender(i32);

impl Walsender {
    /// Stops the stream until the result is dropped; what is written meanwhile waits in the log.
    pub(crate) fn pause(self) -> Paused {
        Paused::new(self.0)
    }
}

/// A running reference, killed when dropped.
#[derive(Debug)]
pub(crate) struct PgRecvlogical {
    /// Its process.
    pub(crate) child: Child,
}

impl Drop for PgRecvlogical {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
