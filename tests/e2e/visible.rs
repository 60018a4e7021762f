//! What one fetches after being told "subscribed", and what comes live from then on: together they are everything.

use rowcast::postgres::cluster::Cluster;
use serde_json::json;

use crate::stage::server::{migrate, token};
use crate::stage::{ANN, BOB, RawClient, TestServer, Vsn, major};
use crate::support::{binaries, connect, scratch};

const NOTES: &str = "
    create table notes (id int primary key);
    grant select on notes to authenticated;
    alter publication supabase_realtime add table notes;";

const TOPIC: &str = "realtime:notes";

#[tokio::test]
async fn nobody_is_subscribed_before_they_can_read_what_was_streamed_before_they_joined() {
    let directory = scratch("visible");
    let mut cluster = Cluster::start(binaries(major()), &directory, false).unwrap();
    let url = cluster.url("postgres");
    migrate(&url);
    let database = connect(&url).await;
    database.batch_execute(NOTES).await.unwrap();
    // From here on commits wait for a standby that does not come: they are in the log, and nobody sees them.
    database.batch_execute("alter system set synchronous_standby_names = 'nobody'").await.unwrap();
    cluster.restart().unwrap();
    let server = TestServer::start(&url).await;
    let changes = json!([{ "event": "INSERT", "schema": "public", "table": "notes" }]);
    let mut ann = RawClient::connect(&server, Vsn::V2, &token("authenticated", Some(ANN))).await;
    ann.subscribed("1", TOPIC, changes.clone()).await;
    let database = connect(&url).await;
    // The stream learns of the table from a commit that can be read.
    database.batch_execute("set synchronous_commit = local").await.unwrap();
    database.batch_execute("insert into notes values (0)").await.unwrap();
    assert_eq!(ann.next().await[4]["data"]["record"]["id"], 0);
    let writer = connect(&url).await;
    let writing = tokio::spawn(async move {
        writer.batch_execute("set synchronous_commit = on").await?;
        writer.batch_execute("insert into notes values (1)").await
    });
    assert_eq!(ann.next().await[4]["data"]["record"]["id"], 1);

    let mut bob = RawClient::connect(&server, Vsn::V2, &token("authenticated", Some(BOB))).await;
    bob.joined("1", TOPIC, json!({ "postgres_changes": changes })).await;
    database.batch_execute("insert into notes values (2)").await.unwrap();
    assert_eq!(bob.next().await[4]["data"]["record"]["id"], 2, "and he is not told that he is subscribed");
    let first = async || database.query("select from notes where id = 1", &[]).await.unwrap().len();
    assert_eq!(first().await, 0);

    database.batch_execute("alter system reset synchronous_standby_names").await.unwrap();
    database.batch_execute("select pg_reload_conf()").await.unwrap();
    assert_eq!(bob.next().await[4]["message"], "Subscribed to PostgreSQL");
    assert_eq!(first().await, 1);
    writing.await.unwrap().unwrap();
    drop(server);
    cluster.stop().unwrap();
    std::fs::remove_dir_all(&directory).unwrap();
}
