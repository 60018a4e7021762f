//! The columns under test, and what is put into them.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

/// What must be decided in memory, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// Equality and order.
    Order,
    /// Equality only.
    Equality,
    /// Nothing.
    Nothing,
}

/// A column under test.
pub(super) struct Subject {
    /// Its type, collation and so on, as in `create table`.
    pub(super) definition: &'static str,
    /// Its type as literals are cast to it: without modifiers.
    pub(super) cast: &'static str,
    /// What memory decides.
    pub(super) memory: Memory,
    /// Whether it has pattern operators.
    pub(super) patterns: bool,
    /// Values, besides NULL, each an operand as well.
    pub(super) values: Vec<String>,
    /// Operands that are written in another way, or that are no values.
    pub(super) operands: &'static [&'static str],
}

const TEXTS: &[&str] = &[
    "", " ", "a", "A", "b", "B", "ab", "a b", "a ", " a", "a,b", "(a)", "\"a\"", "a\\b", "a%b", "a_b",
    "it's", "null", "é", "É", "🙂", "ß", "abcabc", "Z", "z",
];

const MOMENT_OPERANDS: &[&str] = &["epoch", "2024-02-30", "x", "", "infinity ", "J2451545", "20240229"];

pub(super) fn all_subjects() -> Vec<Subject> {
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

/// A value at random, of the types that have many.
pub(super) fn generated(cast: &str, random: &mut StdRng) -> Option<String> {
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
pub(super) fn written(alphabet: &[char], length_max: usize, random: &mut StdRng) -> String {
    let length = random.random_range(0..=length_max);
    (0..length).filter_map(|_| alphabet.choose(random)).collect()
}
