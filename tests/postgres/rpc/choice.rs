//! Which function is called, and that the catalog is never behind for long.

use rowcast::postgres::rpc::{Arguments, Error, Form, Function, Page};
use serde_json::json;

use super::{Desk, ann, on_each_major};

const OVERLOADS: &str = r#"
create function pick() returns text language sql as $$ select 'none' $$;
create function pick(a int) returns text language sql as $$ select 'a' $$;
create function pick(a int, b int default 1) returns text language sql as $$ select 'a and b' $$;
create function pick(c text) returns text language sql as $$ select 'c' $$;
create function pick(json) returns text language sql as $$ select 'body ' || ($1->>'x') $$;
create function twice(a int) returns int language sql as 'select 1';
create function twice(a text) returns int language sql as 'select 2';
create function strange(int) returns int language sql as 'select 1';
create function many(variadic all_of int[]) returns int language sql as 'select cardinality(all_of)';
create function typed(a int[], b jsonb, c timestamptz) returns json language sql
  as $$ select json_build_array(a, b, extract(year from c at time zone 'UTC')) $$;
create procedure no_function() language sql as 'select';
create function a_trigger() returns trigger language plpgsql as 'begin return new; end';
"#;

fn arguments(form: Form, json: &str, names: &[&str]) -> Arguments {
    Arguments { names: names.iter().map(|name| (*name).to_owned()).collect(), json: json.to_owned(), form }
}

#[tokio::test]
async fn overloads_are_told_apart_by_the_names_of_arguments() {
    on_each_major(async |major| {
        let desk = Desk::with(major, OVERLOADS).await;
        assert_eq!(desk.json(&ann(), "pick", json!({})).await, "none");
        assert_eq!(desk.json(&ann(), "pick", json!({ "c": 1 })).await, "c");
        assert_eq!(desk.json(&ann(), "pick", json!({ "b": 1, "a": 2 })).await, "a and b");
        assert_eq!(desk.refusal(&ann(), "pick", json!({ "a": 1 })).await, (300, "PGRST203".to_owned()));
        assert_eq!(desk.refusal(&ann(), "twice", json!({ "a": 1 })).await, (300, "PGRST203".to_owned()));
        let body = arguments(Form::Body, r#"{"x": "taken"}"#, &["x"]);
        let whole =
            desk.rpc.call_page(&ann(), Function::public("pick"), body, Page::default()).await.unwrap();
        assert_eq!(whole.json, r#""body taken""#);
        // Arguments by name never become a body.
        assert_eq!(desk.refusal(&ann(), "pick", json!({ "x": 1 })).await, (404, "PGRST202".to_owned()));
    })
    .await;
}

#[tokio::test]
async fn what_is_no_function_of_named_arguments_is_not_found() {
    on_each_major(async |major| {
        let desk = Desk::with(major, OVERLOADS).await;
        for name in ["strange", "no_function", "a_trigger", "absent", "PICK", "pick ", "now"] {
            assert_eq!(desk.refusal(&ann(), name, json!({})).await.1, "PGRST202", "{name}");
        }
        let error = desk.call(&ann(), "pik", json!({ "z": 1, "y": 2 })).await.unwrap_err();
        let body = error.body();
        assert_eq!(body["message"], "Could not find the function public.pik(y, z) in the schema cache");
        assert_eq!(body["hint"], "Perhaps you meant to call the function public.pick");
        let absent = Function { schema: "absent", name: "pick" };
        let error = desk.rpc.call(&ann(), absent, &serde_json::Map::new()).await.unwrap_err();
        assert!(matches!(error, Error::NotFound { .. }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn texts_are_read_as_their_type_reads_them() {
    on_each_major(async |major| {
        let desk = Desk::with(major, OVERLOADS).await;
        let call = async |name, json, names: &[&str]| {
            let texts = arguments(Form::Texts, json, names);
            desk.rpc.call_page(&ann(), Function::public(name), texts, Page::default()).await
        };
        let typed = r#"{"a": ["{1,2}"], "b": ["{\"x\":1}"], "c": ["2020-01-01", "2021-06-01T00:00:00Z"]}"#;
        let found = call("typed", typed, &["a", "b", "c"]).await.unwrap();
        let found: serde_json::Value = serde_json::from_str(&found.json).unwrap();
        assert_eq!(found, json!([[1, 2], { "x": 1 }, 2021]));
        assert_eq!(call("many", r#"{"all_of": ["1", "2", "3"]}"#, &["all_of"]).await.unwrap().json, "3");
        let error = call("many", r#"{"all_of": ["x"]}"#, &["all_of"]).await.unwrap_err();
        assert_eq!((error.status(), error.code()), (400, "22P02"));
    })
    .await;
}

#[tokio::test]
async fn a_function_that_changes_is_called_as_it_is() {
    on_each_major(async |major| {
        let desk = Desk::with(major, "create function f(a int) returns int language sql as 'select a'").await;
        assert_eq!(desk.json(&ann(), "f", json!({ "a": 1 })).await, 1);
        // Another body, another result, another signature, each found by the next call.
        desk.database.execute("create or replace function f(a int) returns int language sql as 'select a + 1'").await;
        assert_eq!(desk.json(&ann(), "f", json!({ "a": 1 })).await, 2);
        for (sql, arguments, expected) in [
            ("drop function f(int); create function f(a int) returns text language sql as 'select a::text'", json!({ "a": 1 }), json!("1")),
            ("drop function f(int); create function f(a int) returns setof int language sql as 'select a'", json!({ "a": 1 }), json!([1])),
            ("create table t (x int); grant select on t to public; insert into t values (1); drop function f(int); create function f(a int) returns setof t language sql as 'select * from t'", json!({ "a": 1 }), json!([{ "x": 1 }])),
            ("alter table t add y int default 2", json!({ "a": 1 }), json!([{ "x": 1, "y": 2 }])),
            ("alter table t rename y to z", json!({ "a": 1 }), json!([{ "x": 1, "z": 2 }])),
        ] {
            desk.database.execute(sql).await;
            assert_eq!(desk.json(&ann(), "f", arguments).await, expected, "{sql}");
        }
        desk.database.execute("drop function f(int)").await;
        assert_eq!(desk.refusal(&ann(), "f", json!({ "a": 1 })).await.0, 404);
        // What is missing is looked up again after a while.
        desk.database.execute("create function f(a int) returns int language sql as 'select 9'").await;
        let found = async {
            loop {
                if let Ok(returned) = desk.call(&ann(), "f", json!({ "a": 1 })).await {
                    return returned.json;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        };
        assert_eq!(tokio::time::timeout(super::WITHIN, found).await.unwrap(), "9");
    })
    .await;
}

#[tokio::test]
async fn a_part_of_the_rows_can_be_asked_for() {
    use rowcast::postgres::rpc::Order;
    on_each_major(async |major| {
        let sql = "create table letters (id int, letter text); grant select on letters to authenticated;
            insert into letters select n, chr(96 + n) from generate_series(1, 5) n; insert into letters values (6, null);
            create function letters_all() returns setof letters language sql stable as 'select * from letters';
            create table made (n int); grant all on made to authenticated;
            create function make(n int) returns setof made language sql as 'insert into made select g from generate_series(1, n) g returning *';";
        let desk = Desk::with(major, sql).await;
        let ask = async |name, arguments: serde_json::Value, page| {
            let arguments = (&super::object(arguments)).into();
            desk.rpc.call_page(&ann(), Function::public(name), arguments, page).await
        };
        let order = |column: &str, is_descending, nulls_first| Order { column: column.to_owned(), is_descending, nulls_first };
        let page = Page {
            columns: vec![("letter".to_owned(), None), ("id".to_owned(), Some("the \"id\"".to_owned()))],
            order: vec![order("letter", true, Some(false)), order("id", false, None)],
            limit: Some(2),
            offset: 1,
            is_counted: true,
            is_single: false,
        };
        let found = ask("letters_all", json!({}), page.clone()).await.unwrap();
        let rows: serde_json::Value = serde_json::from_str(&found.json).unwrap();
        assert_eq!(rows, json!([{ "letter": "d", "the \"id\"": 4 }, { "letter": "c", "the \"id\"": 3 }]));
        assert_eq!((found.rows, found.total), (2, Some(6)));
        let absent = Page { order: vec![order("x; drop table letters", false, None)], ..page.clone() };
        assert_eq!(ask("letters_all", json!({}), absent).await.unwrap_err().code(), "42703");

        let single = Page { is_single: true, ..Page::default() };
        assert_eq!(ask("make", json!({ "n": 1 }), single.clone()).await.unwrap().json, r#"{"n":1}"#);
        for (n, rows) in [(0, 0), (2, 2)] {
            let error = ask("make", json!({ "n": n }), single.clone()).await.unwrap_err();
            assert_eq!(error, Error::NotSingle { rows });
            assert_eq!((error.status(), error.code()), (406, "PGRST116"));
        }
        // What was refused has not happened.
        let made: i64 = desk.database.client.query_one("select count(*) from made", &[]).await.unwrap().get(0);
        assert_eq!(made, 1);
    })
    .await;
}
