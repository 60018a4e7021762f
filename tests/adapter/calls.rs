//! Settings of a server that its calls are held to.

use serde_json::json;

use crate::support::majors;
use crate::whole::{ANN, Stage, token};

const OBJECTS: &str = "create function public.numbers(up_to int) returns setof int language sql stable
    as 'select generate_series(1, up_to)'";

#[tokio::test(flavor = "multi_thread")]
async fn a_set_is_cut_off_after_so_many_rows() {
    let major = *majors().last().unwrap();
    let bounded = Stage::set_with(major, &[("rpc_max_rows", "2")]).await;
    bounded.database.execute(OBJECTS).await;
    let ann = token(ANN);
    let numbers = async |stage: &Stage, query: &str, up_to: i32| {
        let target = format!("/rest/v1/rpc/numbers{query}");
        let answer = stage.post(&target, &ann, &json!({ "up_to": up_to })).await;
        (answer.status, answer.header("content-range").unwrap_or_default().to_owned(), answer.body)
    };
    let found = |range: &str, rows| (200, range.to_owned(), rows);
    assert_eq!(numbers(&bounded, "", 1).await, found("0-0/*", json!([1])));
    assert_eq!(numbers(&bounded, "", 5).await, found("0-1/*", json!([1, 2])));
    assert_eq!(numbers(&bounded, "?limit=1&offset=3", 5).await, found("3-3/*", json!([4])));
    assert_eq!(numbers(&bounded, "?limit=4&offset=3", 9).await, found("3-4/*", json!([4, 5])));
    // Whether there is one row is asked of all of them.
    let headers = format!("authorization: Bearer {ann}\r\naccept: application/vnd.pgrst.object+json\r\n");
    let single = async |up_to: i32| {
        let body = json!({ "up_to": up_to }).to_string();
        bounded.ask_raw("POST", "/rest/v1/rpc/numbers", &headers, body.as_bytes()).await
    };
    assert_eq!((single(1).await.body, single(3).await.status), (json!(1), 406));

    let unbounded = Stage::set(major).await;
    unbounded.database.execute(OBJECTS).await;
    assert_eq!(numbers(&unbounded, "", 3).await, found("0-2/*", json!([1, 2, 3])));
}
