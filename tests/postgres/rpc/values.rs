//! Arguments on their way there, results on their way back.

use axum::http::Method;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use rowcast::postgres::rpc::Shape;
use serde_json::{Value, json};

use super::{Desk, ann, on_each_major};

const SHAPES: &str = r#"
create table notes (id int primary key, text text, tags text[]);
insert into notes values (1, 'one', '{a,b}'), (2, 'two', null);
grant select on notes to authenticated;
create function nothing() returns void language sql as 'select';
create function add(a int, b int) returns int language sql as 'select a + b';
create function no_number() returns int language sql as 'select null::int';
create function note(wanted int) returns notes language sql as 'select * from notes where id = wanted';
create function notes_all() returns setof notes language sql as 'select * from notes order by id';
create function notes_none() returns setof notes language sql as 'select * from notes where false';
create function numbers(up_to int) returns setof int language sql as 'select * from generate_series(1, up_to)';
create function pairs() returns table (a int, b text) language sql as $$ values (1, 'x'), (2, null) $$;
create function confusing() returns table (r int, s int, t int, a int, v int, all_rows int) language sql as 'values (1, 2, 3, 4, 5, 6)';
create function one_out(out x int) language sql as 'select 7';
create function two_out(in a int, out x int, out y int) language sql as 'select a, a + 1';
create function in_and_out(inout x int) language sql as 'select x + 1';
create function as_json(value json) returns json language sql as 'select value';
create function texts() returns text[] language sql as $$ select '{a,NULL}'::text[] $$;
create function whole(jsonb) returns jsonb language sql as 'select $1';
create domain note_domain as notes;
create function from_domain() returns note_domain language sql as $$ select row(1, 'd', null)::notes::note_domain $$;
create function many(a int, variadic rest int[]) returns int[] language sql as 'select a || rest';
create function greet(name text, greeting text default 'hello', mark text default '!') returns text
  language sql as $$ select greeting || ' ' || name || mark $$;
create function "Odd Name"("An argument" text, "select" int) returns text language sql as $$ select $1 || $2 $$;
create function said() returns json language sql stable as $$
  select json_build_object('method', current_setting('request.method'), 'path', current_setting('request.path'),
    'headers', current_setting('request.headers')::json, 'sub', current_setting('request.jwt.claims')::json->>'sub',
    'role', current_user, 'read_only', current_setting('transaction_read_only'), 'path_of', current_setting('search_path')) $$;
"#;

#[tokio::test]
async fn every_shape_comes_back_as_postgrest_writes_it() {
    on_each_major(async |major| {
        let desk = Desk::with(major, SHAPES).await;
        let first = json!({ "id": 1, "text": "one", "tags": ["a", "b"] });
        let second = json!({ "id": 2, "text": "two", "tags": null });
        for (name, arguments, shape, expected) in [
            ("add", json!({ "a": 1, "b": 2 }), Shape::Single, json!(3)),
            ("no_number", json!({}), Shape::Single, Value::Null),
            ("note", json!({ "wanted": 1 }), Shape::Single, first.clone()),
            (
                "note",
                json!({ "wanted": 9 }),
                Shape::Single,
                json!({ "id": null, "text": null, "tags": null }),
            ),
            ("notes_all", json!({}), Shape::Set, json!([first, second])),
            ("notes_none", json!({}), Shape::Set, json!([])),
            ("numbers", json!({ "up_to": 3 }), Shape::Set, json!([1, 2, 3])),
            ("pairs", json!({}), Shape::Set, json!([{ "a": 1, "b": "x" }, { "a": 2, "b": null }])),
            (
                "confusing",
                json!({}),
                Shape::Set,
                json!([{ "r": 1, "s": 2, "t": 3, "a": 4, "v": 5, "all_rows": 6 }]),
            ),
            ("one_out", json!({}), Shape::Single, json!({ "x": 7 })),
            ("two_out", json!({ "a": 1 }), Shape::Single, json!({ "x": 1, "y": 2 })),
            ("in_and_out", json!({ "x": 1 }), Shape::Single, json!({ "x": 2 })),
            ("as_json", json!({ "value": { "a": [1] } }), Shape::Single, json!({ "a": [1] })),
            ("texts", json!({}), Shape::Single, json!(["a", null])),
            ("from_domain", json!({}), Shape::Single, json!({ "id": 1, "text": "d", "tags": null })),
            ("many", json!({ "a": 1, "rest": [2, 3] }), Shape::Single, json!([1, 2, 3])),
            ("greet", json!({ "name": "ann" }), Shape::Single, json!("hello ann!")),
            ("greet", json!({ "name": "ann", "mark": "?" }), Shape::Single, json!("hello ann?")),
            ("Odd Name", json!({ "An argument": "x", "select": 1 }), Shape::Single, json!("x1")),
        ] {
            let returned = desk
                .call(&ann(), name, arguments)
                .await
                .unwrap_or_else(|error| panic!("{name}: {}", error.body()));
            let found: Value = serde_json::from_str(&returned.json).unwrap();
            assert_eq!((found, returned.shape), (expected, shape), "{name}");
        }
        let returned = desk.call(&ann(), "nothing", json!({})).await.unwrap();
        assert_eq!((returned.json.as_str(), returned.shape), ("", Shape::Void));
        assert_eq!(desk.call(&ann(), "numbers", json!({ "up_to": 4 })).await.unwrap().rows, 4);
    })
    .await;
}

#[tokio::test]
async fn a_function_sees_its_caller() {
    on_each_major(async |major| {
        let desk = Desk::with(major, SHAPES).await;
        let mut caller = ann();
        caller.path = "/rpc/said".into();
        caller.headers = r#"{"x-app":"a\"b"}"#.into();
        let said = desk.json(&caller, "said", json!({})).await;
        let expected = json!({
            "method": "POST", "path": "/rpc/said", "headers": { "x-app": "a\"b" },
            "sub": "11111111-1111-1111-1111-111111111111", "role": "authenticated", "read_only": "on",
            "path_of": "\"public\", public, extensions",
        });
        assert_eq!(said, expected);
        caller.method = Method::GET;
        assert_eq!(desk.json(&caller, "said", json!({})).await["method"], "GET");
    })
    .await;
}

/// The types that values are sent there and back as, with a strategy for their JSON.
fn generated() -> Vec<(&'static str, proptest::strategy::BoxedStrategy<Value>)> {
    use proptest::prelude::*;
    let text = || {
        prop::collection::vec(any::<char>().prop_filter("no text of Postgres has it", |c| *c != '\0'), 0..20)
            .prop_map(|letters| json!(letters.into_iter().collect::<String>()))
    };
    let array = prop::collection::vec(prop_oneof![Just(Value::Null), text()], 0..6).prop_map(Value::Array);
    let tree = text().boxed().prop_recursive(3, 20, 4, move |inner| {
        prop::collection::vec((".{1,5}", inner), 0..4).prop_map(|fields| {
            Value::Object(fields.into_iter().filter(|(name, _)| !name.contains('\0')).collect())
        })
    });
    vec![
        ("int4", any::<i32>().prop_map(|number| json!(number)).boxed()),
        ("int8", any::<i64>().prop_map(|number| json!(number)).boxed()),
        // With few digits: what reads JSON here may miss the last one.
        ("float8", any::<i32>().prop_map(|number| json!(f64::from(number) / 64.0)).boxed()),
        ("boolean", any::<bool>().prop_map(|truth| json!(truth)).boxed()),
        ("text", text().boxed()),
        ("text[]", array.boxed()),
        ("jsonb", tree.boxed()),
        (
            "uuid",
            any::<[u8; 16]>().prop_map(|bytes| json!(uuid::Uuid::from_bytes(bytes).to_string())).boxed(),
        ),
        (
            "bytea",
            any::<Vec<u8>>()
                .prop_map(|bytes| {
                    json!(format!(
                        "\\x{}",
                        bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()
                    ))
                })
                .boxed(),
        ),
        ("int4range", (0..9i32, 10..20i32).prop_map(|(from, to)| json!(format!("[{from},{to})"))).boxed()),
        (
            "date",
            (1..=9999i32, 1..=12u32, 1..=28u32)
                .prop_map(|(y, m, d)| json!(format!("{y:04}-{m:02}-{d:02}")))
                .boxed(),
        ),
        ("mood", prop_oneof![Just(json!("happy")), Just(json!("so so"))].boxed()),
        ("spot", (any::<i32>(), text()).prop_map(|(x, name)| json!({ "x": x, "name": name })).boxed()),
        (
            "spot[]",
            prop::collection::vec(any::<i32>(), 0..4)
                .prop_map(|all| all.into_iter().map(|x| json!({ "x": x, "name": null })).collect())
                .boxed(),
        ),
    ]
}

#[tokio::test]
async fn generated_values_come_back_as_they_went() {
    on_each_major(async |major| {
        let mut sql = "create type mood as enum ('happy', 'so so'); create type spot as (x int, name text);".to_owned();
        for (place, (sql_type, _)) in generated().iter().enumerate() {
            sql += &format!("create function echo_{place}(value {sql_type}) returns {sql_type} language sql as 'select value';");
        }
        let desk = Desk::with(major, &sql).await;
        let mut runner = TestRunner::deterministic();
        for (place, (sql_type, strategy)) in generated().into_iter().enumerate() {
            for case in 0..40 {
                // Null goes there and back, too.
                let value = if case == 0 && sql_type != "spot" { Value::Null } else { strategy.new_tree(&mut runner).unwrap().current() };
                let found = desk.json(&ann(), &format!("echo_{place}"), json!({ "value": value })).await;
                assert_eq!(found, value, "{sql_type}");
            }
        }
    })
    .await;
}
