//! What a message costs the server by the number of apps' sockets that are open, where those who hear of it stay five.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::account::{Deed, Kind, News};
use super::client::App;
use super::{Crowd, PER_CONVERSATION};
use crate::Effort;
use crate::process::cpu_time;
use crate::report::{Figure, Goal, Reference, Spread};
use crate::server::Server;
use crate::support::{TestDatabase, connect};

const SOCKETS: [usize; 3] = [100, 1_000, 5_000];
/// Of five thousand sockets to a hundred.
const RATIO_MAX: f64 = 1.5;
/// When all deliveries of the last message have been told.
const SETTLED_AFTER: Duration = Duration::from_secs(1);
/// Messages of one round.
const MESSAGES: usize = 1_000;
const METHOD: &str = "sockets of Pitchey, each with all tables of the schema; 1,000 messages with all that follows from them \
                      (deliveries, that of each recipient told to all five), to conversations of the first hundred people; \
                      processor time of the server less that of a time without messages, by message";

/// Measures it on one server, which gets more and more sockets.
pub(super) async fn measure(effort: &Effort, database: &TestDatabase) -> Vec<Figure> {
    let server = Server::start_with(&database.url, &["--adapters", "pitchey"]);
    let writer = connect(&database.url).await;
    let mut crowd = Crowd::empty();
    let mut costs: Vec<Vec<f64>> = Vec::new();
    for sockets in SOCKETS {
        crowd.grow(App::Pitchey, &server, sockets).await;
        // The first round warms everything up.
        let mut rounds = Vec::new();
        for _ in 0..=effort.rounds {
            rounds.push(cost(&server, &writer, &mut crowd, effort.latency_window * 2).await);
        }
        costs.push(rounds.split_off(1));
    }
    let figures = SOCKETS.iter().zip(&costs).map(|(sockets, cost)| Figure {
        name: format!("messaging_cost_{sockets}_sockets"),
        unit: "µs",
        value: Spread::of(cost),
        reference: (*sockets > SOCKETS[0]).then(|| Reference::of("with 100", cost, &costs[0])),
        goal: (*sockets == SOCKETS[2]).then_some(Goal::RatioAtMost(RATIO_MAX)),
        method: METHOD,
    });
    figures.collect()
}

/// Processor time of a message, in microseconds.
async fn cost(server: &Server, writer: &Client, crowd: &mut Crowd, window: Duration) -> f64 {
    let used = || (cpu_time(server.pid()).as_secs_f64(), Instant::now());
    let before = used();
    tokio::time::sleep(window).await;
    let after = used();
    let idle = (after.0 - before.0) / (after.1 - before.1).as_secs_f64();
    let before = used();
    let write = format!(
        "do $$ begin
             for number in 1..{MESSAGES} loop
                 insert into public.messages (conversation_id, sender_id, content)
                 select p.conversation_id, p.user_id, 'message ' || number
                   from public.conversation_participants p
                  where p.user_id = ('00000000-0000-4000-8000-' || lpad((number * 37 % {first})::text, 12, '0'))::uuid;
                 commit;
             end loop;
         end $$",
        first = SOCKETS[0],
    );
    let heard = async {
        for _ in 0..MESSAGES * PER_CONVERSATION {
            let news = crowd.news.recv().await;
            assert!(matches!(news, Some(News::Heard { deed: Deed(Kind::Message, _), .. })), "something else");
        }
    };
    let (written, ()) = tokio::join!(writer.batch_execute(&write), heard);
    written.expect("messages");
    tokio::time::sleep(SETTLED_AFTER).await;
    let after = used();
    let passed = (after.1 - before.1).as_secs_f64();
    (after.0 - before.0 - idle * passed) * 1e6 / MESSAGES as f64
}
