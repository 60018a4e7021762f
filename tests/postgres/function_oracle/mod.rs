//! Every function that policies are compiled with, judged by the server itself.
//!
//! For each function and each combination of values there are two answers: the server's, and the one in memory. They
//! must be equal, or memory must be in doubt; where the server raises an error, memory must be. Doubts about what the
//! server answers are counted, and bounded for each function.

mod samples;

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rowcast::change::{Oid, TypeKind, Types};
use rowcast::policy::function::{Collation, Known, Moment, find, known};
use rowcast::policy::value::{Decoder, Value, constant};
use rowcast::postgres::types::load_types;
use rowcast::wal::sql::literal;
use tokio_postgres::Client;

use crate::support::{TestDatabase, majors};
use samples::texts_of;

/// At least so many comparisons a major version.
const COMPARISON_COUNT_MIN: usize = 100_000;

/// How many values of each type stand in for an argument, by how many arguments there are.
const SAMPLES_MAX: [usize; 4] = [0, 400, 36, 13];

/// The functions that know the fewest of their arguments: those that depend on a language, a zone or a form.
const DOUBTFUL: &[&str] = &[
    "lower",
    "upper",
    "texticlike",
    "texticnlike",
    "textregexeq",
    "textregexne",
    "timestamptz_zone",
    "timestamp_zone",
    "text to timestamptz",
    "text to timestamp",
    "text to date",
    "text to jsonb",
    "text to json",
    "json to jsonb",
    "text to numeric",
    "timestamp_mi",
    "interval_pl",
    "interval_mi",
];

/// Arrays that stand in for `anyarray`, with their elements.
const ARRAYS: [(&str, &str); 7] = [
    ("_text", "text"),
    ("_int4", "int4"),
    ("_uuid", "uuid"),
    ("_numeric", "numeric"),
    ("_mood", "mood"),
    ("_varchar", "varchar"),
    ("_timestamptz", "timestamptz"),
];

/// A function with the types that it is called with.
struct Subject {
    known: &'static Known,
    arguments: Vec<Oid>,
    result: Oid,
}

/// The values of one type: the server's text of each, and what memory reads from it.
struct Samples {
    decoded: Vec<Option<Value>>,
}

#[derive(Default)]
struct Tally {
    compared: usize,
    decided: usize,
    doubted: usize,
    raised: usize,
    wrong: Vec<String>,
}

#[tokio::test]
async fn functions_agree_with_the_server() {
    for major in majors() {
        let database = TestDatabase::create(major).await;
        let client = &database.client;
        prepare(client).await;
        let types = load_types(client).await.unwrap();
        let mut random = StdRng::seed_from_u64(20_260_101);
        let mut samples = HashMap::new();
        let mut all = Tally::default();
        let mut findings = Vec::new();
        for subject in subjects(&types) {
            for oid in subject.arguments.iter().copied() {
                if let Entry::Vacant(entry) = samples.entry(oid) {
                    entry.insert(load(client, &types, oid, &mut random).await);
                }
            }
            let tally = judge(client, &types, &subject, &samples, &mut random).await;
            let name = format!("{} {:?} on {major}", subject.known.symbol, subject.arguments);
            findings.extend(tally.wrong.iter().take(4).map(|wrong| format!("{name}: {wrong}")));
            if tally.raised > 0 && !subject.known.raises {
                findings.push(format!("{name}: raises, though it is said not to"));
            }
            if tally.raised == 0
                && subject.known.raises
                && !NEVER_SEEN_TO_RAISE.contains(&subject.known.symbol)
            {
                findings.push(format!("{name}: never raised"));
            }
            let answered = tally.decided + tally.doubted;
            let label = subject.known.function().symbol;
            let share_max = if DOUBTFUL.contains(&label) { 95 } else { 40 };
            if tally.decided == 0 || tally.doubted * 100 > answered * share_max {
                findings.push(format!("{name}: {} doubts about {answered} answers", tally.doubted));
            }
            all.compared += tally.compared;
            all.decided += tally.decided;
            all.doubted += tally.doubted;
            all.raised += tally.raised;
        }
        println!(
            "{major}: {} compared, {} decided, {} doubted, {} raised",
            all.compared, all.decided, all.doubted, all.raised
        );
        assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
        assert!(all.compared >= COMPARISON_COUNT_MIN, "{}", all.compared);
    }
}

/// Those that raise errors only for arguments that no sample has.
const NEVER_SEEN_TO_RAISE: &[&str] = &[
    "timestamp_timestamptz",
    "timestamptz_timestamp",
    "timestamp_date",
    "timestamptz_date",
    "numeric_add",
    "numeric_sub",
    "numeric_mul",
];

async fn prepare(client: &Client) {
    client
        .batch_execute(
            "set datestyle = 'ISO'; set intervalstyle = 'postgres'; set timezone = 'UTC'; set bytea_output = 'hex';
             create type mood as enum ('sad', 'ok', 'happy', 'Über froh', 'a,b');
             alter type mood add value 'middle' before 'happy';
             create domain short as varchar(20);",
        )
        .await
        .unwrap();
}

fn by_name(types: &Types, name: &str) -> Oid {
    types.iter().find(|r#type| &*r#type.name == name).unwrap_or_else(|| panic!("{name}")).oid
}

/// Each function with its types; a polymorphic one once for each type that stands in.
fn subjects(types: &Types) -> Vec<Subject> {
    const ANYELEMENT: Oid = 2283;
    const ANYARRAY: Oid = 2277;
    const ANYENUM: Oid = 3500;
    const ANYCOMPATIBLE: Oid = 5077;
    const ANYCOMPATIBLEARRAY: Oid = 5078;
    let mut subjects = Vec::new();
    for known in known() {
        let polymorphic = |oid: &Oid| [ANYARRAY, ANYCOMPATIBLEARRAY].contains(oid);
        let stand_ins = if known.arguments.iter().any(polymorphic) { &ARRAYS[..] } else { &ARRAYS[..1] };
        for (array, element) in stand_ins {
            let concrete = |oid: Oid| match oid {
                ANYARRAY | ANYCOMPATIBLEARRAY => by_name(types, array),
                ANYELEMENT | ANYCOMPATIBLE => by_name(types, element),
                ANYENUM => by_name(types, "mood"),
                _ => oid,
            };
            let arguments: Vec<_> = known.arguments.iter().copied().map(concrete).collect();
            let result = concrete(known.result);
            let found = find(known.symbol, &arguments, result, Collation::C);
            assert!(found.is_some(), "{} is not found by its own types", known.symbol);
            subjects.push(Subject { known, arguments, result });
        }
    }
    subjects
}

/// Puts the values of a type into a table, and reads them as the stream would bring them.
async fn load(client: &Client, types: &Types, oid: Oid, random: &mut StdRng) -> Samples {
    let r#type = types.get(oid).unwrap();
    let (name, table) = (r#type.sql_name(), format!("samples_{oid}"));
    let element = match r#type.kind {
        TypeKind::Array { element } => types.get(element).map(|element| &*element.name),
        _ => None,
    };
    let texts: Vec<String> = texts_of(&r#type.name, element, random)
        .iter()
        .map(|text| format!("select {}", literal(text)))
        .collect();
    client
        .batch_execute(&format!(
            "create table {table} (i int generated always as identity, v {name});
             do $do$ declare t text; begin
                 for t in {} loop
                     begin
                         execute format('insert into {table} (v) values (%L)', t);
                     exception when others then null;
                     end;
                 end loop;
             end $do$;
             insert into {table} (v) values (null);",
            texts.join(" union all ")
        ))
        .await
        .unwrap();
    let rows = client
        .query(&format!("select format('%s', v), v is null from {table} order by i"), &[])
        .await
        .unwrap();
    let decoder = Decoder::new(oid, types).unwrap_or_else(|| panic!("{name} is read"));
    let decoded: Vec<_> = rows
        .iter()
        .map(|row| if row.get(1) { Some(Value::Null) } else { decoder.decode(row.get(0)) })
        .collect();
    let read = decoded.iter().flatten().count();
    assert!(
        read * 10 >= decoded.len() * 8 && read > 2,
        "only {read} of {} values of {name} are read",
        decoded.len()
    );
    Samples { decoded }
}

/// The expression that calls the function with `a`, `b`, `c`; and whether `pg_proc` has it strict.
async fn expression(client: &Client, types: &Types, subject: &Subject) -> Option<(String, bool)> {
    let known = subject.known;
    if ["coerce_via_io", "array_coerce"].contains(&known.symbol) {
        return Some((format!("a::{}", types.get(subject.result).unwrap().sql_name()), true));
    }
    let rows = client
        .query(
            "select proname::text, proisstrict, provariadic <> 0 from pg_proc p join pg_language l on l.oid = prolang
             where prosrc = $1 and lanname = 'internal' and prorettype = $2
             and (select array_agg(t order by n) from unnest(proargtypes::oid[]) with ordinality u(t, n)) = $3
             and pronamespace = 'pg_catalog'::regnamespace
             order by p.oid",
            &[&known.symbol, &known.result, &known.arguments],
        )
        .await
        .unwrap();
    let row = rows.first()?;
    let mut arguments: Vec<_> =
        ["a", "b", "c"][..known.arguments.len()].iter().map(|it| (*it).to_owned()).collect();
    if row.get(2) {
        let last = arguments.pop().unwrap();
        arguments.push(format!("variadic {last}"));
    }
    let call = format!("pg_catalog.\"{}\"({})", row.get::<_, &str>(0), arguments.join(", "));
    Some((call, row.get(1)))
}

/// Compares one function over all combinations.
async fn judge(
    client: &Client,
    types: &Types,
    subject: &Subject,
    samples: &HashMap<Oid, Samples>,
    random: &mut StdRng,
) -> Tally {
    let known = subject.known;
    let Some((expression, strict)) = expression(client, types, subject).await else {
        return Tally { wrong: vec!["no such function".to_owned()], ..Tally::default() };
    };
    assert_eq!(strict, known.strict, "{}", known.symbol);
    let count = subject.arguments.len();
    let name = |oid: Oid| types.get(oid).unwrap().sql_name();
    let letters = &["a", "b", "c"][..count];
    let declared: Vec<_> = letters
        .iter()
        .zip(&subject.arguments)
        .map(|(letter, oid)| format!("{letter} {}", name(*oid)))
        .collect();
    client
        .batch_execute(&format!(
            "create or replace function pg_temp.judged({}) returns text language plpgsql as $do$
             declare r {}; begin
                 r := {expression};
                 return case when r is null then 'n' else 'v' || format('%s', r) end;
             exception when others then return 'e' || sqlerrm;
             end $do$",
            declared.join(", "),
            name(subject.result)
        ))
        .await
        .unwrap();
    let places: Vec<Vec<usize>> = subject
        .arguments
        .iter()
        .map(|oid| chosen(&samples[oid], SAMPLES_MAX[count], strict, random))
        .collect();
    let mut places = places;
    if ["bpchar", "varchar"].contains(&known.symbol) {
        // A type modifier is no larger, and Postgres would make text of that length.
        let short = |value: &Option<Value>| !matches!(value, Some(Value::Int(100_000..)));
        places[1].retain(|place| short(&samples[&subject.arguments[1]].decoded[*place]));
    }
    let from: Vec<_> = letters
        .iter()
        .zip(subject.arguments.iter().zip(&places))
        .map(|(letter, (oid, places))| {
            let numbers: Vec<_> = places.iter().map(|place| (place + 1).to_string()).collect();
            format!("(select * from samples_{oid} where i in ({})) {letter}", numbers.join(","))
        })
        .collect();
    let columns =
        |suffix: &str| letters.iter().map(|it| format!("{it}.{suffix}")).collect::<Vec<_>>().join(", ");
    let sql = format!(
        "select array_agg(pg_temp.judged({}) order by {}) from {}",
        columns("v"),
        columns("i"),
        from.join(", ")
    );
    let row = client.query_one(&sql, &[]).await.unwrap();
    let answers: Vec<String> = row.get(0);
    let _ = client.batch_execute("drop function pg_temp.judged").await;
    compare(types, subject, samples, &places, &answers)
}

/// Texts without which some functions never answer, or never raise an error.
const ALWAYS: [&str; 4] = ["utc", "ab", "a\\", "{\"b\":\"\\ud800\",\"a\":1}"];

/// Some of the values, in their order; NULL only for functions that are called with it.
fn chosen(samples: &Samples, max: usize, strict: bool, random: &mut StdRng) -> Vec<usize> {
    let null = samples.decoded.len() - 1;
    let mut places = rand::seq::index::sample(random, null, max.min(null)).into_vec();
    let told = |value: &Value| match value {
        Value::Text(text) => ALWAYS.contains(&&**text),
        Value::Array(array) => array.dimensions().len() > 1,
        _ => false,
    };
    places.extend((0..null).filter(|place| samples.decoded[*place].as_ref().is_some_and(told)));
    places.sort_unstable();
    places.dedup();
    places.extend((!strict).then_some(null));
    places
}

fn compare(
    types: &Types,
    subject: &Subject,
    samples: &HashMap<Oid, Samples>,
    places: &[Vec<usize>],
    answers: &[String],
) -> Tally {
    let function = subject.known.function();
    let decoder = Decoder::new(subject.result, types).unwrap();
    let moment = Moment { now_micros: 0 };
    let mut tally = Tally::default();
    let total: usize = places.iter().map(Vec::len).product();
    assert_eq!(total, answers.len());
    for (index, answer) in answers.iter().enumerate() {
        let mut rest = index;
        let mut arguments = Vec::new();
        for (oid, places) in subject.arguments.iter().zip(places).rev() {
            arguments.push(samples[oid].decoded[places[rest % places.len()]].clone());
            rest /= places.len();
        }
        arguments.reverse();
        tally.compared += 1;
        let found =
            arguments.into_iter().collect::<Option<Vec<_>>>().map(|it| ((function.call)(&moment, &it), it));
        let expected = match answer.split_at(1) {
            ("n", _) => Some(Value::Null),
            ("v", text) => Some(decoder.decode(text).unwrap_or_else(|| Value::text("not read"))),
            _ => None,
        };
        match (found, expected) {
            (Some((Ok(found), arguments)), Some(expected)) => {
                tally.decided += 1;
                if found != expected {
                    tally.wrong.push(format!("{answer} {:?}", printed(subject, samples, places, index)));
                }
                if function.is_hash_equality && (arguments[0] == arguments[1]) != (found == Value::Bool(true))
                {
                    tally
                        .wrong
                        .push(format!("no hash equality: {:?}", printed(subject, samples, places, index)));
                }
            }
            (Some((Ok(_), _)), None) => {
                tally.raised += 1;
                tally.wrong.push(format!("{answer} {:?}", printed(subject, samples, places, index)));
            }
            (_, None) => tally.raised += 1,
            (_, Some(_)) => tally.doubted += 1,
        }
    }
    tally
}

/// The numbers of the samples that a finding is about, as `select` would find them.
fn printed(
    subject: &Subject,
    samples: &HashMap<Oid, Samples>,
    places: &[Vec<usize>],
    index: usize,
) -> Vec<String> {
    let mut rest = index;
    let mut found = Vec::new();
    for (oid, places) in subject.arguments.iter().zip(places).rev() {
        let place = places[rest % places.len()];
        found.push(format!(
            "samples_{oid} {} {}",
            place + 1,
            samples::shown(samples[oid].decoded[place].as_ref())
        ));
        rest /= places.len();
    }
    found.reverse();
    found
}

#[tokio::test]
async fn constants_are_what_the_server_prints() {
    for major in majors() {
        let database = TestDatabase::create(major).await;
        let client = &database.client;
        prepare(client).await;
        let types = load_types(client).await.unwrap();
        let mut random = StdRng::seed_from_u64(7);
        let rows = client
            .query(
                "select oid, (row_number() over (partition by enumtypid order by enumsortorder) - 1)::int4 from pg_enum",
                &[],
            )
            .await
            .unwrap();
        let labels: HashMap<Oid, u32> =
            rows.iter().map(|row| (row.get(0), u32::try_from(row.get::<_, i32>(1)).unwrap())).collect();
        let (mut count, mut findings) = (0, Vec::new());
        for name in samples::TYPES {
            let oid = by_name(&types, name);
            let samples = load(client, &types, oid, &mut random).await;
            let texts = client
                .query(
                    &format!("select format('%s', v) from samples_{oid} where v is not null order by i"),
                    &[],
                )
                .await
                .unwrap();
            let columns: Vec<_> = texts
                .iter()
                .enumerate()
                .map(|(place, row)| {
                    let type_name = types.get(oid).unwrap().sql_name();
                    format!("c{place} {type_name} default {}::{type_name}", literal(row.get(0)))
                })
                .collect();
            client
                .batch_execute(&format!("create table constants_{oid} ({})", columns.join(", ")))
                .await
                .unwrap();
            let trees = client
                .query(
                    &format!(
                        "select adnum::int4, adbin::text from pg_attrdef where adrelid = 'constants_{oid}'::regclass order by adnum"
                    ),
                    &[],
                )
                .await
                .unwrap();
            let mut read = 0;
            for tree in &trees {
                let place = usize::try_from(tree.get::<_, i32>(0) - 1).unwrap();
                let Some(found) = read_constant(tree.get(1), &types, &labels) else { continue };
                read += 1;
                let expected = samples.decoded[place].as_ref();
                if expected.is_some_and(|expected| *expected != found) {
                    let text: &str = texts[place].get(0);
                    findings.push(format!("{name} on {major}: {text} {}", samples::shown(Some(&found))));
                }
            }
            if read * 10 < trees.len() * 8 || read < 2 {
                findings.push(format!("{name} on {major}: {read} of {} constants", trees.len()));
            }
            count += read;
        }
        assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), findings.join("\n"));
        assert!(count > 500, "{count} constants on {major}");
    }
}

/// A tree that is a constant alone.
fn read_constant(tree: &str, types: &Types, labels: &HashMap<Oid, u32>) -> Option<Value> {
    let field = |name: &str| {
        let rest = tree.split_once(&format!(":{name} ")).unwrap_or_else(|| panic!("{tree}")).1;
        rest.split([' ', '}']).next().unwrap().to_owned()
    };
    assert!(tree.starts_with("{CONST"), "{tree}");
    let bytes = tree.split_once('[').unwrap().1.split_once(']').unwrap().0;
    let byte = |text: &str| text.parse::<i16>().unwrap().to_le_bytes()[0];
    let bytes: Vec<u8> = bytes.split_whitespace().map(byte).collect();
    constant(
        field("consttype").parse().unwrap(),
        types,
        field("constlen").parse().unwrap(),
        field("constbyval") == "true",
        &bytes,
        labels,
    )
}
