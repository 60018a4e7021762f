//! What is not there: the schema, or the right to use it.

use rowcast::postgres::connect::Database;
use rowcast::postgres::messaging::{Error, Retry};

use super::{ANN, Node, config, create, populate, until, until_is, user};
use crate::feed::on_each_major;
use crate::support::TestDatabase;

#[tokio::test]
async fn a_schema_that_is_missing_is_found_once_it_is_there() {
    on_each_major(async |major| {
        let database = TestDatabase::create(major).await;
        let node = Node::start(config(&database));
        let _seat = node.messaging.people.enter(user(ANN));
        let counters = &node.messaging.counters;
        until("second look", async || counters.failures.get() > 1).await;
        assert!(!node.leads(), "on {major}");
        populate(&database).await;
        until("leader", async || node.leads()).await;
        until_is(&database, ANN, "status = 'online'").await;
    })
    .await;
}

#[tokio::test]
async fn a_role_without_rights_waits_for_the_operator() {
    on_each_major(async |major| {
        let database = create(major).await;
        let name = format!("upkeep_{}", uuid::Uuid::new_v4().simple());
        database.execute(&format!("create role {name} login password 'secret'")).await;
        let role = database.url.replacen("postgres://", "", 1);
        let (_, host) = role.split_once('@').unwrap();
        let url = format!("postgres://{name}:secret@{host}");
        let mut config = config(&database);
        config.database = Database::parse(&url).unwrap();
        let node = Node::start(config);
        until("second look", async || node.messaging.counters.failures.get() > 1).await;
        assert!(!node.leads(), "on {major}");
        database
            .execute(&format!(
                "grant usage on schema rowcast to {name}; grant execute on all functions in schema rowcast to {name}"
            ))
            .await;
        until("leader", async || node.leads()).await;
        let _seat = node.messaging.people.enter(user(ANN));
        until_is(&database, ANN, "status = 'online'").await;
        node.end().await;
        database.execute(&format!("drop owned by {name}; drop role {name}")).await;
    })
    .await;
}

#[test]
fn every_failure_has_a_remedy() {
    assert!(Error::Missing.remedy().contains("rowcast migrate --with messaging"));
    assert_eq!(Error::Missing.retry(), Retry::AfterOperator);
    let timeout = Error::Timeout { what: "end typing that has expired" };
    assert_eq!(timeout.retry(), Retry::WithBackoff);
    assert!(timeout.remedy().contains("locks"));
}
