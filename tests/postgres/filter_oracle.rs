//! Every filter operator on every kind of column, judged by the server itself.
//!
//! For each value of a column and each filter on it there are three answers: the server's, from a condition
//! written here on the typed column; the verdict in memory, from the value's text; and the server's to the
//! question that the predicate would ask about that text. All three must agree, but that memory may pass.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rowcast::change::{Datum, Oid, RelationId, ReplicaIdentity, Table, TableColumn, Type, TypeKind, Types};
use rowcast::subscription::{Binding, Verdict, check};
use serde_json::{Map, Value};
use tokio_postgres::Client;

use crate::support::{TestDatabase, majors};

/// At least so many agreements per major version.
const COMPARISON_COUNT_MIN: usize = 50_000;

/// How many filters one query evaluates.
const BATCH: usize = 40;

/// How many lists are drawn for `in`, a column.
const LIST_COUNT: usize = 30;

/// How many values are drawn for a column, and patterns for one of text.
const GENERATED_COUNT: usize = 12;

/// What must be decided in memory, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Memory {
    /// Equality and order.
    Order,
    /// Equality only.
    Equality,
    /// Nothing.
    Nothing,
}

/// A column under test.
struct Subject {
    /// Its type, collation and so on, as in `create table`.
    definition: &'static str,
    /// Its type as literals are cast to it: without modifiers.
    cast: &'static str,
    /// What memory decides.
    memory: Memory,
    /// Whether it has pattern operators.
    patterns: bool,
    /// Values, besides NULL, each an operand as well.
    values: Vec<String>,
    /// Operands that are written in another way, or that are no values.
    operands: &'static [&'static str],
}

const TEXTS: &[&str] = &[
    "", " ", "a", "A", "b", "B", "ab", "a b", "a ", " a", "a,b", "(a)", "\"a\"", "a\\b", "a%b", "a_b",
    "it's", "null", "é", "É", "🙂", "ß", "abcabc", "Z", "z",
];

const MOMENT_OPERANDS: &[&str] = &["epoch", "2024-02-30", "x", "", "infinity ", "J2451545", "20240229"];

fn all_subjects() -> Vec<Subject> {
    use Memory::{Equality, Nothing, Order};
    let owned = |values: &[&str]| values.iter().map(|value| (*value).to_owned()).collect();
    let subject = |definition, cast, memory, values: &[&str], operands| Subject {
        definition,
        cast,
        memory,
        patterns: false,
        values: owned(values),
        operands,
    };
    let text = |definition, cast, memory| Subject {
        definition,
        cast,
        memory,
        patterns: true,
        values: owned(TEXTS),
        operands: &[],
    };
    const INTEGERS: &[&str] = &["-32768", "-10", "-9", "-1", "0", "1", "9", "10", "99", "100", "32767"];
    const INTEGER_OPERANDS: &[&str] = &[
        "+5",
        "05",
        " 9 ",
        "-0",
        "1.0",
        "1e1",
        "x",
        "",
        "32768",
        "2147483648",
        "9223372036854775808",
        "0x10",
        "1_0",
    ];
    const DECIMALS: &[&str] = &[
        "-Infinity",
        "-1000",
        "-1.5",
        "-0",
        "0",
        "0.1",
        "0.10",
        "1",
        "1.0",
        "9.99",
        "10",
        "1e10",
        "1e-5",
        "Infinity",
        "NaN",
    ];
    vec![
        subject("int2", "int2", Order, INTEGERS, INTEGER_OPERANDS),
        subject("int4", "int4", Order, INTEGERS, INTEGER_OPERANDS),
        subject(
            "int8",
            "int8",
            Order,
            &["-9223372036854775808", "-1", "0", "5", "9223372036854775807"],
            INTEGER_OPERANDS,
        ),
        subject("oid", "oid", Order, &["0", "5", "42", "4294967295"], &["-1", "x", " 7"]),
        subject(
            "float4",
            "float4",
            Order,
            DECIMALS,
            &["0.10000000149011612", "1e39", "nan", "inf", "x", "16777217", ".5", "5."],
        ),
        subject(
            "float8",
            "float8",
            Order,
            DECIMALS,
            &["1e309", "4.9e-324", "nan", "inf", "x", "9007199254740993", ".5", "5."],
        ),
        subject(
            "numeric",
            "numeric",
            Order,
            &[
                "-Infinity",
                "-100000000000000000000.5",
                "-1.50",
                "-0.0",
                "0",
                "0.00001",
                "0.1",
                "1",
                "1.000",
                "1.5",
                "9.99",
                "10",
                "123456789012345678901234567890.123456789",
                "1e30",
                "Infinity",
                "NaN",
            ],
            &["00.10", "1.5e0", ".5", "5.", "x", "", "inf", "+1"],
        ),
        subject(
            "numeric(10,2)",
            "numeric",
            Order,
            &["-1.50", "0", "1", "1.5", "1.51", "99999999.99"],
            &["1.500", "1.505"],
        ),
        subject("bool", "bool", Order, &["true", "false"], &["t", "f", "yes", "off", "1", "TRUE", "x", ""]),
        subject(
            "uuid",
            "uuid",
            Order,
            &[
                "00000000-0000-0000-0000-000000000000",
                "0a000000-0000-0000-0000-000000000001",
                "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
                "ffffffff-ffff-ffff-ffff-ffffffffffff",
            ],
            &["A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "{a0eebc999c0b4ef8bb6d6bb9bd380a11}", "x", ""],
        ),
        subject(
            "date",
            "date",
            Order,
            &[
                "-infinity",
                "4713-01-01 BC",
                "0002-12-31 BC",
                "0001-01-01 BC",
                "0001-01-01",
                "1999-12-31",
                "2024-02-29",
                "2024-03-01",
                "5874897-12-31",
                "infinity",
            ],
            MOMENT_OPERANDS,
        ),
        subject(
            "time",
            "time",
            Order,
            &[
                "00:00:00",
                "00:00:00.000001",
                "01:02:03.5",
                "12:34:56",
                "12:34:56.789",
                "23:59:59.999999",
                "24:00:00",
            ],
            &["12:34", "1:2:3 PM", "allballs", "x", "25:00:00"],
        ),
        subject(
            "timetz",
            "timetz",
            Order,
            &[
                "00:00:00+00",
                "12:00:00+00",
                "12:00:00+02",
                "14:00:00+02",
                "12:00:00-05:30",
                "12:00:00+05:30:15",
                "23:59:59.999999-15:59",
                "24:00:00+15:59",
            ],
            &["12:00", "2:00 PM+2", "x"],
        ),
        subject(
            "timestamp",
            "timestamp",
            Order,
            &[
                "-infinity",
                "4713-01-01 00:00:00 BC",
                "0001-12-31 23:59:59 BC",
                "0001-01-01 00:00:00",
                "1999-12-31 23:59:59.9",
                "2024-02-29 12:34:56.789123",
                "2024-02-29 12:34:56",
                "294276-12-31 23:59:59.999999",
                "infinity",
            ],
            MOMENT_OPERANDS,
        ),
        subject(
            "timestamptz",
            "timestamptz",
            Order,
            &[
                "-infinity",
                "0044-03-15 12:00:00+00 BC",
                "1999-12-31 23:59:59.9+00",
                "2024-02-29 12:34:56.789123+00",
                "2024-02-29 12:34:56+02",
                "2024-02-29 10:34:56+00",
                "294276-12-31 23:59:59.999999+00",
                "infinity",
            ],
            &[
                "2024-02-29T12:34:56.789Z",
                "2024-02-29 05:34:56 America/New_York",
                "2024-02-29",
                "epoch",
                "x",
                "",
            ],
        ),
        subject(
            "timestamptz(3)",
            "timestamptz",
            Order,
            &["2024-02-29 12:34:56.789123+00", "2024-02-29 12:34:56.789+00"],
            &[],
        ),
        subject(
            "bytea",
            "bytea",
            Order,
            &[r"\x", r"\x00", r"\x0000", r"\x01ff", r"\xff", r"\x6162"],
            &["ab", r"\000", r"\xF", r"\xFF", "\\"],
        ),
        subject(
            "bit(3)",
            "\"bit\"",
            Order,
            &["000", "001", "010", "101", "111"],
            &["1", "10100000001", "x", "B101", "X5"],
        ),
        subject("varbit", "varbit", Order, &["", "0", "1", "10", "100000001", "11", "0000000000"], &["x"]),
        subject(
            "macaddr",
            "macaddr",
            Order,
            &["00:00:00:00:00:00", "08:00:2b:01:02:03", "ff:ff:ff:ff:ff:ff"],
            &["08002B010203", "x"],
        ),
        subject(
            "macaddr8",
            "macaddr8",
            Order,
            &["00:00:00:00:00:00:00:00", "08:00:2b:01:02:03:04:05", "ff:ff:ff:ff:ff:ff:ff:ff"],
            &["08002B0102030405", "x"],
        ),
        subject(
            "public.mood",
            "public.mood",
            Order,
            &["sad", "ok", "happy", "Über froh", "a,b"],
            &["angry", "", "OK"],
        ),
        subject("public.age", "public.age", Order, &["0", "1", "10", "150"], &["-1", "151", "x"]),
        text("text", "text", Order),
        text("varchar(20)", "varchar", Order),
        text("char(8)", "bpchar", Order),
        text("name", "name", Order),
        text("public.short", "public.short", Order),
        text("text collate \"C\"", "text", Order),
        text("text collate \"POSIX\"", "text", Order),
        text("public.citext", "public.citext", Nothing),
        text("text collate \"en-x-icu\"", "text", Equality),
        text("text collate public.insensitive", "text", Nothing),
        text("varchar collate public.insensitive", "varchar", Nothing),
        text("text collate pg_c_utf8", "text", Order),
        subject(
            "interval",
            "interval",
            Nothing,
            &["-1 day", "0", "24:00:00", "1 day", "1 mon", "30 days", "1 year 2 days 03:04:05.6"],
            &["P1D", "x"],
        ),
        subject("money", "money", Nothing, &["-1.50", "0", "12.50"], &["$12.50", "x"]),
        subject(
            "inet",
            "inet",
            Nothing,
            &["10.0.0.1", "10.0.0.1/24", "::1", "192.168.0.0/16"],
            &["10.0.0.1/32", "x"],
        ),
        subject("cidr", "cidr", Nothing, &["10.0.0.0/8", "::/0"], &["10/8", "10.0.0.1/8"]),
        subject(
            "jsonb",
            "jsonb",
            Nothing,
            &["1", "\"a\"", "{\"a\": 1.0}", "[1, null]", "null"],
            &["{\"a\":1.0}", "x", "{"],
        ),
        subject("json", "json", Nothing, &["1", "{}"], &[]),
        subject("xml", "xml", Nothing, &["<a/>"], &[]),
        subject("point", "point", Nothing, &["(1,2)"], &[]),
        subject("box", "box", Nothing, &["(1,1),(0,0)", "(2,2),(1,1)"], &["x"]),
        subject(
            "int4[]",
            "int4[]",
            Nothing,
            &["{}", "{1}", "{1,2}", "{NULL}", "{{1,2},{3,4}}"],
            &["{1, 2}", "{1", "[0:0]={1}"],
        ),
        subject("text[]", "text[]", Nothing, &["{}", "{a,\"b c\"}", "{NULL,\"null\"}"], &["a"]),
        subject("public.pair", "public.pair", Nothing, &["(1,a)", "(,)", "(2,\"b c\")"], &["(1)", "(x,y)"]),
        subject("int4range", "int4range", Nothing, &["empty", "[1,2)", "[1,10)", "(,5)"], &["[1,1]", "x"]),
        subject("tsvector", "tsvector", Nothing, &["'a' 'b'", ""], &["b a"]),
        subject("pg_lsn", "pg_lsn", Nothing, &["0/0", "16/B374D848"], &["x"]),
        subject("regclass", "regclass", Nothing, &["pg_class", "pg_type"], &["nope"]),
        subject("\"char\"", "\"char\"", Nothing, &["a", "b", ""], &["abc"]),
    ]
}

const PATTERNS: &[&str] = &[
    "", "%", "_", "a%", "%a", "%b%", "a_b", r"a\%b", r"a\_b", r"%\\%", "__", "%_%", "A%", "%é", "a%b%c%",
    "(a)", "%'%", " %", "% ", "null",
];

const EXPRESSIONS: &[&str] = &["a", "^a", "b$", "A|é", "", "[a-c]+", "a.b", r"\\", "("];

#[tokio::test]
async fn filters_agree_with_the_server() {
    for major in majors() {
        let database = TestDatabase::create(major).await;
        let client = &database.client;
        let mut random = StdRng::seed_from_u64(20_240_229);
        let subjects = create(client, &mut random).await;
        let types = types(client).await;
        let table = table(client).await;
        let rows = rows(client, &table).await;
        let mut oracle =
            Oracle { client, table: &table, types: &types, rows: &rows, compared: 0, decided: 0, refused: 0 };
        for (index, subject) in subjects.iter().enumerate() {
            for filters in filters(index, subject, &mut random).chunks(BATCH) {
                oracle.compare(subject, filters).await;
            }
        }
        let decided = oracle.decided;
        println!(
            "{major}: {} comparisons of {} columns, {decided} decided in memory, {} filters refused",
            oracle.compared,
            subjects.len(),
            oracle.refused
        );
        assert!(oracle.compared >= COMPARISON_COUNT_MIN, "{} on {major}", oracle.compared);
        assert!(decided * 2 > oracle.compared, "{decided} of {} decided in memory", oracle.compared);
    }
}

/// A value at random, of the types that have many.
fn generated(cast: &str, random: &mut StdRng) -> Option<String> {
    let digits = |count: usize, random: &mut StdRng| -> String {
        (0..count).map(|_| char::from(b'0' + random.random_range(0..10))).collect()
    };
    let sign = if random.random() { "-" } else { "" };
    Some(match cast {
        "int2" => random.random::<i16>().to_string(),
        "int4" => random.random::<i32>().to_string(),
        "int8" => random.random::<i64>().to_string(),
        "oid" => random.random::<u32>().to_string(),
        "float4" => f32::from_bits(random.random()).to_string(),
        "float8" => f64::from_bits(random.random()).to_string(),
        // Few digits, so that many share their beginnings.
        "numeric" => format!(
            "{sign}{}.{}",
            digits(random.random_range(1..4), random),
            digits(random.random_range(1..3), random)
        ),
        "date" => format!(
            "{:04}-{:02}-{:02}{}",
            random.random_range(1..3000),
            random.random_range(1..13),
            random.random_range(1..29),
            if random.random_ratio(1, 4) { " BC" } else { "" }
        ),
        "timestamp" | "timestamptz" => {
            format!("{} {}", generated("date", random)?.replace(" BC", ""), generated("time", random)?)
        }
        "time" => format!(
            "{:02}:{:02}:{:02}.{}",
            random.random_range(0..24),
            random.random_range(0..60),
            random.random_range(0..60),
            digits(random.random_range(1..7), random)
        ),
        "timetz" => format!(
            "{}{}{:02}:{:02}",
            generated("time", random)?,
            if sign.is_empty() { "+" } else { sign },
            random.random_range(0..15),
            random.random_range(0..60)
        ),
        "uuid" => format!("{:032x}", random.random::<u128>()),
        "bytea" => format!("\\x{:x}", random.random::<u16>() | 0x1000),
        "varbit" => format!("{:b}", random.random::<u8>()),
        "text" | "varchar" | "bpchar" | "name" | "public.short" | "public.citext" => {
            written(&['a', 'A', 'b', ' ', '%', '_', '\\', 'é'], 5, random)
        }
        _ => return None,
    })
}

/// Up to so many of these characters.
fn written(alphabet: &[char], length_max: usize, random: &mut StdRng) -> String {
    let length = random.random_range(0..=length_max);
    (0..length).filter_map(|_| alphabet.choose(random)).collect()
}

/// The table with a column a subject, and a row a value. What this server lacks is left out.
async fn create(client: &Client, random: &mut StdRng) -> Vec<Subject> {
    client
        .batch_execute(
            "set datestyle = 'ISO'; set intervalstyle = 'postgres'; set timezone = 'UTC'; set bytea_output = 'hex';
             create type public.mood as enum ('sad', 'ok', 'happy', 'Über froh', 'a,b');
             create domain public.age as int4 check (value between 0 and 150);
             create domain public.short as varchar(20);
             create type public.pair as (x int4, y text);",
        )
        .await
        .expect("settings and types");
    for optional in [
        "create extension citext",
        "create collation public.insensitive (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
    ] {
        let _ = client.batch_execute(optional).await;
    }
    client.batch_execute("create table public.subject (id int4 primary key)").await.expect("a table");
    let mut subjects = Vec::new();
    for mut subject in all_subjects() {
        let generated = (0..GENERATED_COUNT).filter_map(|_| generated(subject.cast, random));
        subject.values.extend(generated);
        let column = format!(
            "alter table public.subject add column c{} {}; select {}::{}",
            subjects.len(),
            subject.definition,
            literal(&subject.values[0]),
            subject.cast
        );
        match client.batch_execute(&column).await {
            Ok(()) => subjects.push(subject),
            // Extensions, ICU, newer collations and XML may be absent; nothing else may.
            Err(error) => assert!(
                ["citext", "icu", "insensitive", "pg_c_utf8", "xml"]
                    .iter()
                    .any(|it| subject.definition.contains(it)),
                "{}: {error:?}",
                subject.definition
            ),
        }
    }
    let row_count = subjects.iter().map(|subject| subject.values.len()).max().expect("a subject") + 1;
    for row in 0..row_count {
        let values: Vec<_> = subjects
            .iter()
            .map(|subject| {
                // The last row is NULL throughout.
                let value = &subject.values[row % subject.values.len()];
                if row + 1 == row_count {
                    "null".to_owned()
                } else {
                    format!("{}::{}", literal(value), subject.cast)
                }
            })
            .collect();
        let insert = format!("insert into public.subject values ({row}, {})", values.join(", "));
        client.batch_execute(&insert).await.unwrap_or_else(|error| panic!("{insert}: {error:?}"));
    }
    subjects
}

/// All types of the database, as the server would read them.
async fn types(client: &Client) -> Types {
    let sql = "select t.oid, n.nspname::text, t.typname::text, t.typtype::text, t.typelem, t.typbasetype,
            t.typdelim::text, coalesce((select array_agg(e.enumlabel::text order by e.enumsortorder)
              from pg_enum e where e.enumtypid = t.oid), '{}')
        from pg_type t join pg_namespace n on n.oid = t.typnamespace";
    let rows = client.query(sql, &[]).await.expect("the types");
    rows.iter()
        .map(|row| {
            let name: String = row.get(2);
            let kind = match (row.get::<_, &str>(3), row.get::<_, Oid>(4)) {
                ("d", _) => TypeKind::Domain { base: row.get(5) },
                ("e", _) => TypeKind::Enum {
                    labels: row.get::<_, Vec<String>>(7).into_iter().map(String::into).collect(),
                },
                ("c", _) => TypeKind::Composite { fields: Box::new([]) },
                ("r" | "m", _) => TypeKind::Range { subtype: 0 },
                ("b", element) if element != 0 && name.starts_with('_') => TypeKind::Array { element },
                ("b", _) => TypeKind::Base,
                _ => TypeKind::Other,
            };
            Type {
                oid: row.get(0),
                schema: row.get::<_, String>(1).into(),
                name: name.into(),
                kind,
                delimiter: row.get::<_, &str>(6).as_bytes()[0],
                json_cast: false,
            }
        })
        .collect()
}

async fn table(client: &Client) -> Table {
    let sql = "select a.attname::text, a.atttypid, a.attnum, a.attcollation,
            coalesce(l.collisdeterministic, true),
            coalesce(l.oid in (950, 951) or l.collname = 'pg_c_utf8'
              or (l.oid = 100 and (select datcollate in ('C', 'POSIX') from pg_database where datname = current_database())),
              false)
        from pg_attribute a left join pg_collation l on l.oid = a.attcollation
        where a.attrelid = 'public.subject'::regclass and a.attnum > 1 order by a.attnum";
    let columns = client
        .query(sql, &[])
        .await
        .expect("the columns")
        .iter()
        .map(|row| TableColumn {
            name: row.get::<_, String>(0).into(),
            type_id: row.get(1),
            number: row.get(2),
            primary_key: false,
            generated: None,
            collation: row.get(3),
            deterministic_collation: row.get(4),
            c_collation: row.get(5),
        })
        .collect();
    Table {
        id: RelationId(1),
        schema: "public".into(),
        name: "subject".into(),
        columns,
        replica_identity: ReplicaIdentity::Default,
        row_security: false,
        row_security_forced: false,
        owner: 10,
    }
}

/// The text form of each column, by its output function.
fn texts(table: &Table) -> String {
    let columns: Vec<_> = table
        .columns
        .iter()
        .map(|column| {
            let name = &column.name;
            // A composite of NULLs `is null` too, but has a text.
            format!(
                "case when num_nulls({name}) = 0 then format('%s', {name}) end collate \"default\" as {name}"
            )
        })
        .collect();
    format!("select id, {} from public.subject", columns.join(", "))
}

async fn rows(client: &Client, table: &Table) -> Vec<Vec<Datum>> {
    let rows = client.query(&format!("{} order by id", texts(table)), &[]).await.expect("the rows");
    rows.iter()
        .map(|row| {
            (1..row.len())
                .map(|at| match row.get::<_, Option<String>>(at) {
                    Some(text) => Datum::Text(text.into()),
                    None => Datum::Null,
                })
                .collect()
        })
        .collect()
}

/// One filter, and the server's own words for it.
struct Case {
    filter: String,
    operator: &'static str,
    condition: String,
}

/// Every operator, plain and negated, with every operand.
fn filters(index: usize, subject: &Subject, random: &mut StdRng) -> Vec<Case> {
    let column = format!("c{index}");
    let typed = format!("o.{column}");
    let cast = subject.cast;
    let mut cases = Vec::new();
    let mut push = |operator: &'static str, value: &str, condition: String| {
        for (not, sql_not) in [("", ""), ("not.", "not ")] {
            cases.push(Case {
                filter: format!("{column}={not}{operator}.{value}"),
                operator,
                condition: match operator {
                    "is" => format!("{typed} is {sql_not}{value}"),
                    _ => format!("coalesce({sql_not}({condition}), false)"),
                },
            });
        }
    };
    let operands: Vec<_> =
        subject.values.iter().map(String::as_str).chain(subject.operands.iter().copied()).collect();
    for operand in &operands {
        let (quoted, literal) = (quoted(operand), literal(operand));
        for (operator, symbol) in [
            ("eq", "="),
            ("neq", "<>"),
            ("lt", "<"),
            ("lte", "<="),
            ("gt", ">"),
            ("gte", ">="),
            ("isdistinct", "is distinct from"),
        ] {
            push(operator, &quoted, format!("{typed} {symbol} {literal}::{cast}"));
        }
    }
    for _ in 0..LIST_COUNT {
        let count = random.random_range(0..5);
        let mut written = Vec::new();
        let mut literals = Vec::new();
        for _ in 0..count {
            if random.random_ratio(1, 8) {
                written.push("null".to_owned());
                literals.push(format!("null::{cast}"));
            } else {
                let operand = operands.choose(random).expect("an operand");
                written.push(quoted(operand));
                literals.push(format!("{}::{cast}", literal(operand)));
            }
        }
        let condition = if cast.ends_with(']') {
            // Not lists of arrays, but arrays: nothing that an array could be compared with.
            format!("{typed} = any ('{{}}'::{cast})")
        } else {
            format!("{typed} = any (array[{}]::{cast}[])", literals.join(", "))
        };
        push("in", &format!("({})", written.join(if cast == "box" { ";" } else { "," })), condition);
    }
    push("is", "null", String::new());
    if cast == "bool" {
        for word in ["true", "false", "unknown"] {
            push("is", word, String::new());
        }
    }
    if subject.patterns {
        // Not every collation has patterns; filters use the database's.
        let typed = if subject.definition.contains("collate") {
            format!("{typed} collate \"default\"")
        } else {
            typed.clone()
        };
        let generated: Vec<_> =
            (0..GENERATED_COUNT).map(|_| written(&['a', 'b', '%', '_', 'é'], 6, random)).collect();
        for pattern in PATTERNS.iter().copied().chain(generated.iter().map(String::as_str)) {
            push("like", &quoted(pattern), format!("{typed} like {}", literal(pattern)));
            push("ilike", &quoted(pattern), format!("{typed} ilike {}", literal(pattern)));
        }
        for expression in EXPRESSIONS {
            push("match", &quoted(expression), format!("{typed} ~ {}", literal(expression)));
            push("imatch", &quoted(expression), format!("{typed} ~* {}", literal(expression)));
        }
    }
    cases
}

/// As stock clients quote values.
fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

fn literal(value: &str) -> String {
    format!("'{}'", value.replace('\'', "''"))
}

struct Oracle<'a> {
    client: &'a Client,
    table: &'a Table,
    types: &'a Types,
    rows: &'a [Vec<Datum>],
    /// Agreements.
    compared: usize,
    /// Those of them that memory decided.
    decided: usize,
    /// Filters that the server does not take either.
    refused: usize,
}

impl Oracle<'_> {
    async fn compare(&mut self, subject: &Subject, cases: &[Case]) {
        let mut accepted = Vec::new();
        for case in cases {
            match self.compile(&case.filter).await {
                Some(predicate) => accepted.push((case, predicate)),
                None => {
                    self.refused += 1;
                    let sql = format!("select {} from public.subject o", case.condition);
                    assert!(
                        self.client.batch_execute(&sql).await.is_err(),
                        "{} is refused, but {sql}",
                        case.filter
                    );
                }
            }
        }
        if accepted.is_empty() {
            return;
        }
        let column = |index: usize| format!("r.{}", self.table.columns[index].name);
        let conditions: Vec<_> = accepted
            .iter()
            .flat_map(|(case, predicate)| [case.condition.clone(), predicate.sql(&column, self.types)])
            .collect();
        let sql = format!(
            "select {} from ({}) r join public.subject o using (id) order by id",
            conditions.join(", "),
            texts(self.table)
        );
        let answers = self.client.query(&sql, &[]).await.unwrap_or_else(|error| panic!("{sql}\n{error:?}"));
        assert_eq!(answers.len(), self.rows.len());
        for (row, answer) in self.rows.iter().zip(&answers) {
            for (at, (case, predicate)) in accepted.iter().enumerate() {
                let expected: bool = answer.get(2 * at);
                let question: bool = answer.get(2 * at + 1);
                let verdict = predicate.test(|index| &row[index]);
                let shown = || {
                    let index = predicate.columns().next().expect("a condition");
                    format!("{}: {} on {:?}", subject.definition, case.filter, row[index].text())
                };
                assert_eq!(question, expected, "the question, {}", shown());
                match verdict {
                    Verdict::Ask => {}
                    Verdict::Matches => assert!(expected, "matches in memory only, {}", shown()),
                    Verdict::Differs => assert!(!expected, "differs in memory only, {}", shown()),
                }
                if let Some((index, texts)) = predicate.equality()
                    && expected
                {
                    let text = row[index].text().expect("a value that equals another");
                    assert!(texts.iter().any(|known| &**known == text), "not in the index, {}", shown());
                }
                let known = match case.operator {
                    // NULL fields make a NULL of a composite.
                    "is" => subject.cast != "public.pair",
                    "like" => subject.patterns,
                    "ilike" | "match" | "imatch" => false,
                    "eq" | "neq" | "in" | "isdistinct" => subject.memory != Memory::Nothing,
                    _ => subject.memory == Memory::Order,
                };
                let pattern_of_opaque = case.operator == "like" && subject.memory == Memory::Nothing;
                assert!(!known || pattern_of_opaque || verdict != Verdict::Ask, "not in memory, {}", shown());
                self.decided += usize::from(verdict != Verdict::Ask);
                self.compared += 1;
            }
        }
    }

    /// What the feed does at subscribe time; `None` when the filter is refused there.
    async fn compile(&self, filter: &str) -> Option<rowcast::subscription::Predicate> {
        let mut element: Map<String, Value> = Binding::legacy("public:subject");
        element.insert("filter".to_owned(), filter.into());
        let binding = Binding::parse(&element).expect("a binding");
        let checked = check(&binding, self.table, self.types, &|_| true).ok()?;
        let mut canonical = Vec::new();
        for cast in checked.casts() {
            let query = cast.query(self.types).expect("a known type");
            canonical.push(self.client.query_one(&query, &[&cast.text]).await.ok()?.get(0));
        }
        Some(checked.compile(canonical))
    }
}
