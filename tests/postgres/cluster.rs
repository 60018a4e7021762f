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
