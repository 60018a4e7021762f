//! Values of each type that tell right from nearly right, and some by chance.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rowcast::policy::value::Value;

/// The types whose constants are read.
pub(super) const TYPES: &[&str] = &[
    "bool",
    "int2",
    "int4",
    "int8",
    "oid",
    "float4",
    "float8",
    "numeric",
    "text",
    "varchar",
    "bpchar",
    "name",
    "char",
    "uuid",
    "date",
    "time",
    "timestamp",
    "timestamptz",
    "interval",
    "json",
    "jsonb",
    "bytea",
    "mood",
    "_text",
    "_int4",
    "_int8",
    "_int2",
    "_uuid",
    "_numeric",
    "_mood",
    "_varchar",
    "_timestamptz",
    "_bool",
    "_jsonb",
    "_interval",
];

/// How many values are drawn by chance.
const DRAWN: usize = 12;

const TEXTS: &[&str] = &[
    "",
    "a",
    "A",
    "b",
    "ab",
    "aB",
    "abc",
    " a",
    "a ",
    "  ",
    "é",
    "É",
    "ü%",
    "%",
    "_",
    "a%",
    "%b",
    "a_c",
    "\\",
    "a\\",
    "\\%",
    "I",
    "i",
    "ß",
    "🎈",
    "a,b",
    "a|b",
    "^a",
    "a$",
    "^ab$|b",
    "a.c",
    ",",
    "null",
    "NULL",
    "utc",
    "UTC",
    "Europe/Berlin",
    "t",
    "true",
    "TRUE ",
    "ye",
    "o",
    "on",
    "of",
    "off",
    "0",
    "1",
    " 42 ",
    "+7",
    "-8",
    "0x1f",
    "1_000",
    "32768",
    "-32768",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "1.50",
    "1e3",
    "-1.5E-2",
    ".5",
    "5.",
    ".",
    "NaN",
    "inf",
    "1e",
    "--1",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
    "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
    "a0eebc999c0b4ef8bb6d6bb9bd380a11",
    "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11-",
    " a0eebc999c0b4ef8bb6d6bb9bd380a11",
    "{a0eebc999c0b4ef8bb6d6bb9bd380a11",
    "a0-eebc999c0b4ef8bb6d6bb9bd380a11",
    "a0eebc999c0b4ef8bb6d6bb9bd380a1",
    "2024-02-29",
    "2023-02-29",
    "2024-02-29T11:04:05Z",
    "2024-02-29T11:04:05.123Z",
    "2024-02-29 11:04:05+05:30",
    "2024-02-29 11:04:05-0330",
    "2024-02-29 11:04:05",
    "0000-01-01",
    "2024-02-29 24:00:00",
    "2024-02-29T11:04:60Z",
    "infinity",
    "now",
    "12:00",
    "9999-12-31T23:59:59.999999-14",
    "0001-01-01",
    "{}",
    "[]",
    "{\"a\":1}",
    "{\"a\": 1, \"a\": 2, \"b\": null}",
    "[1, 2.50, 1e2, \"x\", [\"a\"], {\"a\": {\"b\": \"c\"}}]",
    "\"\\u0000\"",
    "\"\\u00e9\\ud83d\\ude00\"",
    "\"\\ud800\"",
    "{\"a\" : [1 ,2 ], \"bb\":{}, \"c\":\"x\\ty\"}",
    "[1,]",
    "{\"a\":tru}",
    "-0",
    "-0.0",
    "01",
    "\"a\nb\"",
    "1E400",
    "\t1\n",
    "[-1.0e-3]",
    "aaa",
    "aa",
    "abab",
    "ba",
    "(",
    "[a",
    "*a",
    "%\\",
    "_\\",
    "\u{1}x",
    "\u{7f}",
    "xyz12345678901234567890123456789012345678901234567890123456789012345é678901234567890",
];

const DOCUMENTS: &[&str] = &[
    "{}",
    "[]",
    "1",
    "1.0",
    "1.00",
    "-0",
    "0",
    "12.5",
    "1e2",
    "\"a\"",
    "\"\"",
    "true",
    "false",
    "null",
    "[1]",
    "[1.0, 2]",
    "[\"a\", \"b\"]",
    "[[\"a\"], {\"a\": 1}]",
    "{\"a\": 1}",
    "{\"a\": 1.0, \"b\": [1, \"a\"]}",
    "{\"a\": {\"b\": \"c\"}, \"ab\": null, \"A\": \"x\\ny\"}",
    "{\"b\": 2, \"a\": \"1\"}",
    "{\"\": \"a\"}",
    "{\"é\": \"\\u00e9\", \"a\\\"b\": true}",
    "[null]",
    "[[]]",
    "[{}]",
    "\"true\"",
    "32767",
    "32768",
    "2147483647.5",
    "9223372036854775807",
    "9223372036854775808",
    "-1.5",
    "2.5",
    "1e-5",
    "[1, [1, 2], [3]]",
    "[1, 2, 2]",
    "{\"a\": [1, 2, {\"b\": 3}]}",
    "{\"a\": [2]}",
    "{\"0\": \"a\"}",
    "[[1, 2], 1]",
    "123456789012345678901234567890.123400",
    "0.00001",
    "10000",
    "100000000",
    "[\"a\", \"ab\", null, 1]",
];

const PLAIN_JSON: &[&str] = &[
    "{ \"a\" : 1 , \"a\":\"x\" }",
    "{\"a\":1,\"a\":null}",
    "[ 1 ,  2.50 , \"\\u00e9\" ]",
    "\"\\u0000\"",
    "{\"\\u0061\":\"b\\\\\"}",
    "{\"b\":\"\\ud800\",\"a\":1}",
    "1e2",
    "-0.0",
    "[[ ],{ }]",
    " \"a\" ",
    "{\"a\":{\"b\":[ 1, {\"c\" : null} ]}}",
    "[1,[2]]\n",
];

const NUMBERS: &[&str] = &[
    "0",
    "1",
    "-1",
    "2",
    "3",
    "10",
    "100",
    "126",
    "32767",
    "-32768",
    "32768",
    "65536",
    "46341",
    "2147483647",
    "-2147483648",
    "2147483648",
    "4294967295",
    "9223372036854775807",
    "-9223372036854775808",
    "1000000007",
];

const DECIMALS: &[&str] = &[
    "0",
    "0.0",
    "-0",
    "1",
    "1.0",
    "1.00",
    "-1.5",
    "1.5",
    "2.5",
    "0.5",
    "-0.5",
    "0.49999",
    "10000",
    "9999.9999",
    "0.0001",
    "0.00001234",
    "1e20",
    "123456789012345678901234567890.987654321",
    "32767.5",
    "2147483647.4",
    "9223372036854775807.4",
    "9223372036854775807.5",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e-30",
    "99999999",
    "100000000",
    "5e300",
    "-5e-200",
];

const FLOATS: &[&str] = &[
    "0",
    "-0",
    "1",
    "-1",
    "1.5",
    "0.1",
    "0.3",
    "1e10",
    "1e-10",
    "16777217",
    "3.4e38",
    "1.7e308",
    "2.3e-308",
    "5e-324",
    "-1.7e308",
    "NaN",
    "Infinity",
    "-Infinity",
    "1e-200",
    "1e200",
];

const DATES: &[&str] = &[
    "2000-01-01",
    "1999-12-31",
    "2024-02-29",
    "2023-02-28",
    "1900-03-01",
    "0001-01-01",
    "0001-12-31 BC",
    "4714-11-24 BC",
    "5874897-12-31",
    "294276-12-31",
    "294277-01-01",
    "infinity",
    "-infinity",
    "2024-01-31",
    "2024-12-31",
    "1582-10-15",
    "0100-02-28",
    "12024-05-06",
];

const CLOCKS: &[&str] =
    &["00:00:00", "23:59:59.999999", "12:34:56", "24:00:00", "00:00:00.000001", "06:00:00.5", "12:34:56.1"];

const INTERVALS: &[&str] = &[
    "0",
    "1 day",
    "24 hours",
    "1 month",
    "30 days",
    "-1 month",
    "1 year",
    "12 months",
    "-1 day +24 hours",
    "1 year -2 mons +3 days -04:05:06.7",
    "00:00:00.000001",
    "-00:00:00.000001",
    "15 minutes",
    "-178000000 years",
    "178000000 years",
    "2147483647 days",
    "1000000 hours",
    "-1 mon -1 day",
    "100 years",
    "-13 mons",
    "1 mon -30 days",
    "-2147483648 days",
    "2562047788 hours",
];

const UUIDS: &[&str] = &[
    "00000000-0000-0000-0000-000000000000",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
    "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A12",
    "7fffffff-0000-0000-0000-000000000000",
    "80000000-0000-0000-0000-000000000000",
];

const MOODS: &[&str] = &["sad", "ok", "happy", "Über froh", "a,b", "middle"];

/// Texts of values of a type, which may be more than the type takes.
pub(super) fn texts_of(name: &str, element: Option<&str>, random: &mut StdRng) -> Vec<String> {
    if let Some(element) = element {
        return arrays(&texts_of(element, None, random), random);
    }
    let owned = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let mut texts = match name {
        "bool" => owned(&["t", "f"]),
        "int2" | "int4" | "int8" | "oid" => {
            let small = ["4", "5", "6", "7", "8", "-4", "0", "-3"];
            [owned(&small), owned(NUMBERS)].concat()
        }
        "numeric" => owned(DECIMALS),
        "float4" | "float8" => owned(FLOATS),
        "date" => owned(DATES),
        "time" => owned(CLOCKS),
        "timestamp" | "timestamptz" => {
            let mut all =
                owned(&["infinity", "-infinity", "294276-12-31 23:59:59.999999", "4714-11-24 00:00:00 BC"]);
            for date in DATES {
                let clock = CLOCKS.choose(random).unwrap();
                all.push(match date.strip_suffix(" BC") {
                    Some(date) => format!("{date} {clock} BC"),
                    None => format!("{date} {clock}"),
                });
                all.push((*date).to_owned());
            }
            all
        }
        "interval" => owned(INTERVALS),
        "uuid" => owned(UUIDS),
        "mood" => owned(MOODS),
        "jsonb" => owned(DOCUMENTS),
        "json" => [owned(DOCUMENTS), owned(PLAIN_JSON)].concat(),
        "char" => owned(&["", "a", "A", "b", " ", "~", "0"]),
        "bytea" => owned(&["\\x", "\\x00", "\\xff", "\\x00ff", "\\x61", "\\x80", "\\x6100", "\\x7f", "a"]),
        _ => owned(TEXTS),
    };
    let count = if ["text", "varchar"].contains(&name) { 60 } else { DRAWN };
    texts.extend((0..count).map(|_| drawn(name, random)));
    texts
}

fn drawn(name: &str, random: &mut StdRng) -> String {
    match name {
        "int2" => random.random::<i16>().to_string(),
        "int4" => (random.random::<i32>() >> random.random_range(0..31)).to_string(),
        "int8" => (random.random::<i64>() >> random.random_range(0..63)).to_string(),
        "oid" => random.random::<u32>().to_string(),
        "numeric" => format!(
            "{}e{}",
            random.random::<i64>() >> random.random_range(0..63),
            random.random_range(-25..25)
        ),
        "float4" => f32::from_bits(random.random()).to_string(),
        "float8" => f64::from_bits(random.random()).to_string(),
        "date" | "timestamp" | "timestamptz" => {
            let clock =
                if name == "date" { String::new() } else { format!(" {}", CLOCKS.choose(random).unwrap()) };
            format!(
                "{:04}-{:02}-{:02}{clock}",
                random.random_range(1..3000),
                random.random_range(1..13),
                random.random_range(1..32)
            )
        }
        "time" => format!(
            "{:02}:{:02}:{:02}.{}",
            random.random_range(0..24),
            random.random_range(0..60),
            random.random_range(0..60),
            random.random_range(0..999_999)
        ),
        "interval" => format!(
            "{} mons {} days {} us",
            random.random_range(-30..30),
            random.random_range(-99..99),
            random.random::<i64>() >> random.random_range(9..63)
        ),
        "uuid" => format!("{:032x}", random.random::<u128>()),
        "bool" | "mood" => (*MOODS.choose(random).unwrap()).to_owned(),
        "json" | "jsonb" => document(3, random),
        "bytea" => format!("\\x{:04x}", random.random::<u16>()),
        "char" => char::from(random.random_range(b'!'..=b'~')).to_string(),
        _ => (0..random.random_range(0..6))
            .map(|_| *['a', 'b', 'A', 'é', '%', '_', ' ', ','].choose(random).unwrap())
            .collect(),
    }
}

fn document(depth: usize, random: &mut StdRng) -> String {
    match random.random_range(0..if depth == 0 { 4 } else { 8 }) {
        0 => ["null", "true", "1", "1.0", "-2.50e1", "\"a\\u0062\""]
            .choose(random)
            .map_or(String::new(), |it| (*it).to_owned()),
        1 => random.random_range(-5..5).to_string(),
        2 | 3 => format!("\"{}\"", ["a", "b", "ab", "é"].choose(random).unwrap()),
        4 | 5 => {
            let count = random.random_range(0..4);
            format!("[{}]", (0..count).map(|_| document(depth - 1, random)).collect::<Vec<_>>().join(","))
        }
        _ => {
            let count = random.random_range(0..4);
            let field = |random: &mut StdRng| {
                format!(
                    "\"{}\":{}",
                    ["a", "b", "ab", ""].choose(random).unwrap(),
                    document(depth - 1, random)
                )
            };
            format!("{{{}}}", (0..count).map(|_| field(random)).collect::<Vec<_>>().join(", "))
        }
    }
}

/// Arrays of such elements; of few different ones, so that they meet.
fn arrays(elements: &[String], random: &mut StdRng) -> Vec<String> {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    let few: Vec<_> = elements
        .iter()
        .take(5)
        .map(|it| quoted(it))
        .chain(["NULL".to_owned(), quoted("0"), quoted("a"), quoted("-1")])
        .collect();
    let first = &few[0];
    let mut arrays = vec!["{}".to_owned(), "{NULL}".to_owned(), format!("{{{{{first}}},{{{first}}}}}")];
    for count in 1..30 {
        let list = |random: &mut StdRng, count: usize| {
            (0..count).map(|_| few.choose(random).unwrap().clone()).collect::<Vec<_>>().join(",")
        };
        let list_of = list(random, 1 + count % 4);
        arrays.push(match count % 6 {
            0 => format!("[0:{}]={{{list_of}}}", count % 4),
            1 => format!("{{{{{list_of}}},{{{}}}}}", list(random, 1 + count % 4)),
            _ => format!("{{{list_of}}}"),
        });
    }
    arrays.extend(elements.iter().take(14).map(|it| format!("{{{}}}", quoted(it))));
    arrays
}

/// A value for people who mend a test: samples hold nothing of anybody's.
pub(super) fn shown(value: Option<&Value>) -> String {
    match value {
        None => "not read".to_owned(),
        Some(Value::Text(text) | Value::Json(text)) => format!("{text:?}"),
        Some(Value::Int(number) | Value::Timestamp(number) | Value::Time(number)) => number.to_string(),
        Some(Value::Date(number)) => number.to_string(),
        Some(Value::Interval(interval)) => format!("{interval:?}"),
        Some(Value::Bool(truth)) => truth.to_string(),
        Some(Value::Enum(place)) => place.to_string(),
        Some(Value::Array(array)) => {
            format!("{:?}", array.elements().iter().map(|element| shown(Some(element))).collect::<Vec<_>>())
        }
        Some(other) => format!("{other:?}"),
    }
}
