//! The value oracle: for values of every type, our JSON must be what `to_jsonb` makes of them on a live server.
//!
//! The server judges meaning, not layout: object keys may stand in any order, but numbers are compared by their
//! spelling, digit for digit.

mod literal;

use std::collections::{BTreeMap, HashMap};

use rand::SeedableRng;
use rand::rngs::StdRng;
use rowcast::change::value::{Error, renders_in_memory, write_json};
use rowcast::change::{Oid, TypeKind, Types};
use rowcast::postgres::types::load_types;
use serde_json::value::RawValue;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::support::{TestDatabase, majors};
use literal::Literals;

/// How many values are made of each type; the input function turns some of them away.
const VALUES_EACH: usize = 160;

/// Fewer of one type, or of all, and the test proves too little.
const VALUES_EACH_MIN: usize = 12;
const VALUES_MIN: usize = 20_000;

const BYTEA: Oid = 17;

/// The settings of the replication stream.
const SETTINGS: &str = "
    set datestyle = 'ISO, MDY'; set intervalstyle = 'postgres'; set timezone = 'UTC';
    set bytea_output = 'hex'; set client_min_messages = 'error';
";

/// Types of every make, to stand beside the built-in ones.
const MADE: &str = r#"
    create type mood as enum ('sad', 'so so', '', 'NULL', 'qu"ote', 'back\slash', 'com,ma', '(paren)', 'ünï');
    create domain score as int check (value between -1000 and 1000);
    create domain grade as score;
    create domain label as varchar(9);
    create domain tags as text[];
    create domain blob as bytea;
    create domain document as jsonb;
    create domain moment as timestamptz;
    create type textrange as range (subtype = text);
    create type floatrange as range (subtype = float8);
    create domain span as textrange;
    create type nothing as ();
    create type single as (sole text);
    create type place as (
        id bigint, "na""me\" text, size numeric, seen timestamptz, day date, hash bytea, data jsonb, mood mood,
        area box, ratio float8, flag boolean, "Ünusual key" char(60)
    );
    create domain home as place;
    create type visit as (
        place place, places place[], tags tags, texts text[], grid int[], areas box[], span textrange, spans nummultirange,
        home home, moments moment[], vector oidvector, single single, nothing nothing
    );
    create table customer (id int, gone text, name text, visits visit[]);
    alter table customer drop column gone;
    create domain grid as visit[];
    -- With a cast to json by a function, which to_jsonb uses for the enum and passes over for the composite.
    create type cast_mood as enum ('low', 'high');
    create function cast_mood_json(cast_mood) returns json immutable language sql as 'select ''{"cast":1}''::json';
    create cast (cast_mood as json) with function cast_mood_json(cast_mood);
    create type cast_place as (id int, mood text);
    create function cast_place_json(cast_place) returns json immutable language sql as 'select ''{"cast":2}''::json';
    create cast (cast_place as json) with function cast_place_json(cast_place);
    create type holds_cast as (id int, moods cast_mood[]);
    create domain cast_domain as cast_mood;
    -- A cast to json without a function changes nothing.
    create type plain_mood as enum ('1', '2');
    create cast (plain_mood as json) with inout;
"#;

/// Columns whose type modifier shapes the text.
const MODIFIED: [(&str, &str); 9] = [
    ("bpchar", "char(5)"),
    ("bpchar", "char(1)"),
    ("varchar", "varchar(3)"),
    ("bit", "bit(5)"),
    ("varbit", "varbit(7)"),
    ("numeric", "numeric(12, 4)"),
    ("numeric", "numeric(5, -2)"),
    ("timestamptz", "timestamptz(3)"),
    ("interval", "interval day to second(2)"),
];

/// Puts in what the input function takes, and passes over the rest.
const TRY_INSERT: &str = "
    create function try_insert(target text, literals text[]) returns void language plpgsql as $$
    declare literal text;
    begin
        foreach literal in array literals loop
            begin
                execute format('insert into %s values (%L)', target, literal);
            exception when others then null;
            end;
        end loop;
    end $$;
";

/// Types that no text can be read as, so that no column holds them; and `xml` where the server was built without.
const WITHOUT_INPUT: [&str; 10] = [
    "ghstore",
    "gtsvector",
    "ltree_gist",
    "pg_brin_bloom_summary",
    "pg_brin_minmax_multi_summary",
    "pg_dependencies",
    "pg_mcv_list",
    "pg_ndistinct",
    "pg_node_tree",
    "xml",
];

#[tokio::test]
async fn values_are_what_the_server_makes_of_them() {
    for major in majors() {
        let database = prepared(major).await;
        let client = &database.client;
        let types = load_types(client).await.expect("the types");
        let mut literals = Literals::new(&types, StdRng::seed_from_u64(0x0072_6f77_6361_7374));
        let mut count = 0;
        for (type_id, name) in column_types(client).await {
            let values = make_values(client, &mut literals, type_id, &name).await;
            let base = name.rsplit('.').next().unwrap_or_default().trim_start_matches('_');
            assert!(
                values.len() >= VALUES_EACH_MIN || WITHOUT_INPUT.contains(&base),
                "too few values of {name} on {major}"
            );
            for (text, expected) in &values {
                compare(&types, type_id, text, expected, &format!("{name} on {major}"));
            }
            count += values.len();
        }
        assert!(count >= VALUES_MIN, "only {count} values on {major}");
    }
}

#[tokio::test]
async fn types_with_a_cast_to_json_ask_postgres() {
    for major in majors() {
        let database = prepared(major).await;
        let types = load_types(&database.client).await.expect("the types");
        let by_name: HashMap<String, Oid> = column_types(&database.client)
            .await
            .into_iter()
            .filter_map(|(oid, name)| Some((name.strip_prefix("public.")?.to_owned(), oid)))
            .collect();
        let asked = ["cast_mood", "_cast_mood", "cast_domain", "holds_cast", "_holds_cast"];
        let rendered = [
            "plain_mood",
            "cast_place",
            "_cast_place",
            "mood",
            "visit",
            "_visit",
            "grid",
            "customer",
            "nothing",
        ];
        let hstore = by_name.contains_key("hstore").then_some(["hstore", "_hstore", "pairs", "holds_hstore"]);
        for name in asked.into_iter().chain(hstore.into_iter().flatten()) {
            assert!(!renders_in_memory(&types, by_name[name]), "{name} on {major}");
        }
        for name in rendered.into_iter().chain(by_name.contains_key("citext").then_some("citext")) {
            assert!(renders_in_memory(&types, by_name[name]), "{name} on {major}");
        }
        let mut out = String::new();
        assert_eq!(write_json(&types, by_name["cast_mood"], "low", &mut out), Err(Error::AskPostgres));
        assert_eq!(write_json(&types, by_name["holds_cast"], "(1,{low})", &mut out), Err(Error::AskPostgres));
        assert_eq!(out, "");
    }
}

#[tokio::test]
async fn the_catalog_tells_what_types_are_made_of() {
    for major in majors() {
        let database = prepared(major).await;
        let types = load_types(&database.client).await.expect("the types");
        let by_name = |name: &str| types.get(find(&types, "public", name)).expect("found by its identifier");
        let int4 = find(&types, "pg_catalog", "int4");
        let text = find(&types, "pg_catalog", "text");

        let TypeKind::Enum { labels } = &by_name("cast_mood").kind else { panic!("an enum") };
        assert_eq!(labels.iter().map(|label| &**label).collect::<Vec<_>>(), ["low", "high"]);
        assert_eq!(by_name("grade").kind, TypeKind::Domain { base: find(&types, "public", "score") });
        assert_eq!(by_name("_mood").kind, TypeKind::Array { element: find(&types, "public", "mood") });
        assert_eq!(by_name("textrange").kind, TypeKind::Range { subtype: text });
        assert_eq!(by_name("textmultirange").kind, TypeKind::Range { subtype: text });
        let TypeKind::Composite { fields } = &by_name("customer").kind else { panic!("a composite") };
        let visits = find(&types, "public", "_visit");
        assert_eq!(**fields, [("id".into(), int4), ("name".into(), text), ("visits".into(), visits)]);
        assert_eq!(by_name("nothing").kind, TypeKind::Composite { fields: Box::default() });

        let of = |name| &types.get(find(&types, "pg_catalog", name)).expect("found by its identifier").kind;
        assert_eq!(of("int2vector"), &TypeKind::Base);
        assert_eq!(of("point"), &TypeKind::Base);
        assert_eq!(of("record"), &TypeKind::Other);
        assert_eq!(types.get(find(&types, "pg_catalog", "box")).map(|found| found.delimiter), Some(b';'));
        assert!(
            types.get(1259).is_none() && types.get(83).is_none(),
            "the row type of pg_class has no place here"
        );
    }
}

fn find(types: &Types, schema: &str, name: &str) -> Oid {
    // Built-in identifiers are below 16384, and made ones above it, as far as other tests of the cluster have come.
    (1..1_000_000)
        .find(|oid| types.get(*oid).is_some_and(|found| &*found.schema == schema && &*found.name == name))
        .unwrap_or_else(|| panic!("no type {schema}.{name}"))
}

/// A database with the made types, and those of the extensions that this server has.
async fn prepared(major: u32) -> TestDatabase {
    let database = TestDatabase::create(major).await;
    for sql in [SETTINGS, MADE, TRY_INSERT] {
        database.execute(sql).await;
    }
    for extension in ["citext", "cube", "hstore", "isn", "ltree", "seg"] {
        let available = "select 1 from pg_available_extensions where name = $1";
        if !database.client.query(available, &[&extension]).await.expect("a list").is_empty() {
            database.execute(&format!("create extension {extension}")).await;
            if extension == "hstore" {
                database.execute("create domain pairs as hstore").await;
                database.execute("create type holds_hstore as (id int, pairs hstore[])").await;
            }
        }
    }
    database
}

/// The types that columns are made of here, each with its qualified name.
async fn column_types(client: &Client) -> Vec<(Oid, String)> {
    let sql = "
        select t.oid, format('%I.%I', n.nspname, t.typname)
        from pg_type t join pg_namespace n on n.oid = t.typnamespace left join pg_type e on e.oid = t.typelem
        where n.nspname = 'public' and t.typtype <> 'p'
            or n.nspname = 'pg_catalog' and t.typtype in ('b', 'r', 'm') and e.typtype is distinct from 'c'
                and e.typtype is distinct from 'p'
        order by t.oid";
    let mut found: Vec<(Oid, String)> =
        client.query(sql, &[]).await.expect("the types").iter().map(|row| (row.get(0), row.get(1))).collect();
    for (name, column) in MODIFIED {
        let qualified = format!("pg_catalog.\"{name}\"");
        let plain = format!("pg_catalog.{name}");
        let type_id =
            found.iter().find(|(_, name)| *name == qualified || *name == plain).expect("a built-in type").0;
        found.push((type_id, column.to_owned()));
    }
    found
}

/// Values of one type as a table gives them back: the text of the output function, and the JSON of `to_jsonb`.
async fn make_values(
    client: &Client,
    literals: &mut Literals<'_>,
    type_id: Oid,
    name: &str,
) -> Vec<(String, String)> {
    let made: Vec<String> = (0..VALUES_EACH).map(|_| literals.of(type_id)).collect();
    client.batch_execute(&format!("create table oracle (value {name})")).await.expect("a table");
    client.query("select try_insert('oracle', $1)", &[&made]).await.expect("values");
    // The simple protocol answers with the text of the output function, as the log carries it.
    let messages = client.simple_query("select value, to_jsonb(value) from oracle").await;
    let messages = messages.unwrap_or_else(|error| panic!("values of {name}: {error:?}"));
    client.batch_execute("drop table oracle").await.expect("no table");
    let column = |row: &tokio_postgres::SimpleQueryRow, index| row.get(index).expect("no NULL").to_owned();
    messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((column(row, 0), column(row, 1))),
            _ => None,
        })
        .collect()
}

fn compare(types: &Types, type_id: Oid, text: &str, expected: &str, context: &str) {
    let mut out = String::new();
    match write_json(types, type_id, text, &mut out) {
        Ok(()) => {}
        Err(Error::AskPostgres) if !renders_in_memory(types, type_id) => return,
        Err(error) => panic!("{context}: {text} gave {error:?}"),
    }
    // The one difference that is meant: a bytea column goes without its prefix.
    let expected = if type_id == BYTEA { expected.replacen("\\\\x", "", 1) } else { expected.to_owned() };
    assert_eq!(Json::parse(&out), Json::parse(&expected), "{context}: {text} gave {out}, not {expected}");
}

/// A JSON value by meaning, but numbers by spelling.
#[derive(Debug, PartialEq)]
enum Json {
    /// A number, or one of the three words.
    Plain(String),
    Text(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    fn parse(text: &str) -> Self {
        let text = text.trim();
        let parsed = match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(text).map(Self::Text),
            Some(b'[') => serde_json::from_str::<Vec<&RawValue>>(text)
                .map(|items| Self::Array(items.into_iter().map(|item| Self::parse(item.get())).collect())),
            Some(b'{') => serde_json::from_str::<BTreeMap<String, &RawValue>>(text).map(|members| {
                Self::Object(
                    members.into_iter().map(|(key, value)| (key, Self::parse(value.get()))).collect(),
                )
            }),
            _ => serde_json::from_str::<&RawValue>(text).map(|plain| Self::Plain(plain.get().to_owned())),
        };
        parsed.unwrap_or_else(|error| panic!("{text} is no JSON: {error}"))
    }
}

#[test]
fn the_comparison_sees_every_digit() {
    assert_eq!(Json::parse(r#"{"a":[1,"\u00e9"],"b":null}"#), Json::parse(r#" {"b": null, "a": [1, "é"]} "#));
    for (left, right) in [
        ("1.0", "1.00"),
        ("1e2", "100"),
        ("\"1\"", "1"),
        ("[]", "{}"),
        ("9007199254740993", "9007199254740992"),
    ] {
        assert_ne!(Json::parse(left), Json::parse(right));
    }
}
