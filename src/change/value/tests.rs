//! Text forms as Postgres writes them, by hand; `tests/postgres/value_oracle.rs` asks Postgres itself.

use proptest::prelude::*;
use serde::de::IgnoredAny;

use super::*;
use crate::change::types::Type;

const INT2: Oid = builtin::INT2;
const INT4: Oid = builtin::INT4;
const TEXT: Oid = builtin::TEXT;
const INT4_ARRAY: Oid = 1007;
const TEXT_ARRAY: Oid = 1009;
const BYTEA_ARRAY: Oid = 1001;
const TIMESTAMPTZ_ARRAY: Oid = 1185;
const BOX: Oid = 603;
const BOX_ARRAY: Oid = 1020;
const INET: Oid = 869;
const INT4RANGE: Oid = 3904;

const MOOD: Oid = 20_001;
const SCORE: Oid = 20_002;
const TAGS: Oid = 20_003;
const TAGS_ARRAY: Oid = 20_004;
const PLACE: Oid = 20_005;
const PLACE_ARRAY: Oid = 20_006;
const VISIT: Oid = 20_007;
const HSTORE: Oid = 20_008;
const HSTORE_ARRAY: Oid = 20_009;
const WITH_HSTORE: Oid = 20_010;
const EMPTY: Oid = 20_011;
const BLOB: Oid = 20_012;
const PSEUDO: Oid = 20_013;
const ENDLESS: Oid = 20_014;
const ORPHANS: Oid = 20_015;
const ODD: Oid = 20_016;
const ODD_ARRAY: Oid = 20_017;
const HOME: Oid = 20_018;
const UNKNOWN: Oid = 29_999;

/// A type of every kind, and some that no catalog should have.
fn types() -> Types {
    let base = || TypeKind::Base;
    let array = |element| TypeKind::Array { element };
    let domain = |base| TypeKind::Domain { base };
    let composite = |fields: &[(&str, Oid)]| TypeKind::Composite {
        fields: fields.iter().map(|(name, field)| ((*name).into(), *field)).collect(),
    };
    [
        (builtin::BOOL, base()),
        (builtin::BYTEA, base()),
        (INT4, base()),
        (TEXT, base()),
        (builtin::FLOAT8, base()),
        (builtin::JSONB, base()),
        (builtin::TIMESTAMPTZ, base()),
        (BOX, base()),
        (INET, base()),
        (INT4_ARRAY, array(INT4)),
        (TEXT_ARRAY, array(TEXT)),
        (BYTEA_ARRAY, array(builtin::BYTEA)),
        (TIMESTAMPTZ_ARRAY, array(builtin::TIMESTAMPTZ)),
        (BOX_ARRAY, array(BOX)),
        (INT4RANGE, TypeKind::Range { subtype: INT4 }),
        (MOOD, TypeKind::Enum { labels: ["sad".into(), "so \"so\"".into()].into() }),
        (SCORE, domain(INT4)),
        (TAGS, domain(TEXT_ARRAY)),
        (TAGS_ARRAY, array(TAGS)),
        (PLACE, composite(&[("id", INT4), ("na\"me", TEXT), ("tags", TEXT_ARRAY)])),
        (PLACE_ARRAY, array(PLACE)),
        (VISIT, composite(&[("places", PLACE_ARRAY), ("last", PLACE), ("blob", builtin::BYTEA)])),
        (HSTORE, base()),
        (HSTORE_ARRAY, array(HSTORE)),
        (WITH_HSTORE, composite(&[("id", INT4), ("pairs", HSTORE_ARRAY)])),
        (EMPTY, composite(&[])),
        (BLOB, domain(builtin::BYTEA)),
        (PSEUDO, TypeKind::Other),
        (ENDLESS, composite(&[("self", ENDLESS), ("again", ENDLESS)])),
        (ORPHANS, array(UNKNOWN)),
        (ODD, base()),
        (ODD_ARRAY, array(ODD)),
        (HOME, domain(PLACE)),
    ]
    .into_iter()
    .map(|(oid, kind)| Type {
        oid,
        schema: "public".into(),
        name: format!("type_{oid}").into(),
        kind,
        delimiter: match oid {
            BOX => b';',
            ODD => 0x80,
            _ => b',',
        },
        json_cast: oid == HSTORE,
    })
    .collect()
}

fn json(type_id: Oid, text: &str) -> Result<String, Error> {
    let mut out = String::from("before ");
    let written = write_json(&types(), type_id, text, &mut out);
    let value = out.strip_prefix("before ").expect("what stood there stays");
    match written {
        Ok(()) => {
            assert!(serde_json::from_str::<IgnoredAny>(value).is_ok(), "{text} became {value}");
            Ok(value.to_owned())
        }
        Err(error) => {
            assert_eq!(value, "", "{text} left something behind");
            Err(error)
        }
    }
}

fn check(type_id: Oid, cases: &[(&str, &str)]) {
    for (text, expected) in cases {
        assert_eq!(json(type_id, text).as_deref(), Ok(*expected), "{text}");
    }
}

fn check_malformed(type_id: Oid, cases: &[&str]) {
    for text in cases {
        assert_eq!(json(type_id, text), Err(Error::Malformed), "{text}");
    }
}

#[test]
fn integers_keep_every_digit() {
    check(INT2, &[("0", "0"), ("-32768", "-32768")]);
    check(
        builtin::INT8,
        &[("9007199254740993", "9007199254740993"), ("-9223372036854775808", "-9223372036854775808")],
    );
    check_malformed(INT4, &["", "-", "+1", "01", "1.0", "1e2", " 1", "1 ", "١", "0x1", "NaN"]);
}

#[test]
fn decimals_keep_their_scale_and_lose_their_exponent() {
    for type_id in [builtin::FLOAT4, builtin::FLOAT8, builtin::NUMERIC] {
        check(
            type_id,
            &[
                ("0", "0"),
                ("-0", "0"),
                ("1.10", "1.10"),
                ("-0.000", "-0.000"),
                ("12345678901234567890.1234500", "12345678901234567890.1234500"),
                ("1e+20", "100000000000000000000"),
                ("1.5e-07", "0.00000015"),
                ("-1.25e+01", "-12.5"),
                ("1.25e+02", "125"),
                ("-12.5e-01", "-1.25"),
                ("12.5e-02", "0.125"),
                ("1e+00", "1"),
                ("1.5e00", "1.5"),
                ("NaN", "\"NaN\""),
                ("Infinity", "\"Infinity\""),
                ("-Infinity", "\"-Infinity\""),
            ],
        );
        check_malformed(
            type_id,
            &[
                "",
                "-",
                ".5",
                "5.",
                "00.5",
                "1.2.3",
                "1e",
                "e5",
                "1e+1001",
                "1e-2147483648",
                "1e99999999999",
                "0.5e3",
                "--1",
                "1e5.5",
                "nan",
                "inf",
                "1é",
                "1.é",
                "1é.5e3",
                "\u{661}",
            ],
        );
    }
    assert_eq!(json(builtin::FLOAT8, "5e-324").unwrap(), format!("0.{}5", "0".repeat(323)));
    assert_eq!(json(builtin::FLOAT8, "1.5e+308").unwrap(), format!("15{}", "0".repeat(307)));
}

#[test]
fn truth_is_spelled_out() {
    check(builtin::BOOL, &[("t", "true"), ("f", "false")]);
    check_malformed(builtin::BOOL, &["", "true", "T", "1"]);
}

#[test]
fn times_are_written_as_iso_8601() {
    check(
        builtin::DATE,
        &[
            ("2024-02-29", "\"2024-02-29\""),
            ("0044-03-15 BC", "\"0044-03-15 BC\""),
            ("infinity", "\"infinity\""),
        ],
    );
    check(
        builtin::TIMESTAMP,
        &[
            ("2024-02-29 12:34:56.789", "\"2024-02-29T12:34:56.789\""),
            ("0044-03-15 12:00:00 BC", "\"0044-03-15T12:00:00 BC\""),
            ("294276-12-31 23:59:59.999999", "\"294276-12-31T23:59:59.999999\""),
            ("-infinity", "\"-infinity\""),
        ],
    );
    check(
        builtin::TIMESTAMPTZ,
        &[
            ("2024-02-29 10:34:56.789123+00", "\"2024-02-29T10:34:56.789123+00:00\""),
            ("2024-02-29 10:34:56-03:30", "\"2024-02-29T10:34:56-03:30\""),
            ("1883-11-18 12:03:57-07:52:58", "\"1883-11-18T12:03:57-07:52:58\""),
            ("4714-11-24 00:00:00+00 BC", "\"4714-11-24T00:00:00+00:00 BC\""),
            ("infinity", "\"infinity\""),
        ],
    );
    for type_id in [builtin::TIMESTAMP, builtin::TIMESTAMPTZ] {
        check_malformed(type_id, &["", "2024-02-29", "Infinity", "2024-02-29 10:00:00\"", "29 Feb 10:00"]);
    }
    check_malformed(builtin::TIMESTAMPTZ, &["2024-02-29 10:34:56", "2024-02-29 10:34:56 BC+00"]);
}

#[test]
fn bytes_lose_their_prefix_as_a_column_only() {
    check(builtin::BYTEA, &[("\\x", "\"\""), ("\\x0102ff", "\"0102ff\"")]);
    check(BYTEA_ARRAY, &[(r#"{"\\x01ff",NULL}"#, r#"["\\x01ff",null]"#)]);
    check(VISIT, &[(r#"(,,"\\x01")"#, r#"{"places":null,"last":null,"blob":"\\x01"}"#)]);
    check(BLOB, &[("\\x01", r#""\\x01""#)]);
    check_malformed(builtin::BYTEA, &["", "0102", "\\x0g", "\\x\"", "\\001"]);
}

#[test]
fn json_is_embedded_on_one_line() {
    check(
        builtin::JSON,
        &[
            ("{\"b\" : 1.0,\r\n\t\"a\": [1e5]}", "{\"b\" : 1.0,  \t\"a\": [1e5]}"),
            ("\n\"a\\nb\"\n", " \"a\\nb\" "),
            ("\"\\ud800\"", "\"\\ud800\""),
        ],
    );
    check(
        builtin::JSONB,
        &[(r#"{"a": null}"#, r#"{"a": null}"#), ("12345678901234567890.10", "12345678901234567890.10")],
    );
    check_malformed(builtin::JSONB, &["", "{", "1 2", "{\"a\":1}}", "nul", "[1,]", "\"a\nb\"", "01"]);
}

#[test]
fn json_may_be_deep_without_using_the_stack() {
    let depth = 1_000_000;
    let text = "[".repeat(depth) + &"]".repeat(depth);
    let mut out = String::new();
    write_json(&types(), builtin::JSON, &text, &mut out).unwrap();
    assert!(out == text);
}

#[test]
fn other_types_are_strings_of_their_text() {
    check(builtin::BPCHAR, &[("ab  ", "\"ab  \"")]);
    check(TEXT, &[("", "\"\""), ("a\"\n\\", r#""a\"\n\\""#), ("NULL", "\"NULL\"")]);
    check(INET, &[("10.0.0.1/24", "\"10.0.0.1/24\"")]);
    check(MOOD, &[("so \"so\"", r#""so \"so\"""#)]);
    check(INT4RANGE, &[("[1,3)", "\"[1,3)\"")]);
}

#[test]
fn domains_are_what_lies_beneath() {
    check(SCORE, &[("5", "5")]);
    check(TAGS, &[("{a,b}", r#"["a","b"]"#)]);
    check(TAGS_ARRAY, &[(r#"{"{a,\"b c\"}",NULL,"{}"}"#, r#"[["a","b c"],null,[]]"#)]);
    check(HOME, &[("(1,,)", r#"{"id":1,"na\"me":null,"tags":null}"#)]);
    check_malformed(SCORE, &["x"]);
}

#[test]
fn arrays_become_arrays() {
    check(
        INT4_ARRAY,
        &[
            ("{}", "[]"),
            ("{1,NULL,3}", "[1,null,3]"),
            ("{{1,2},{3,4}}", "[[1,2],[3,4]]"),
            ("[2:3]={1,2}", "[1,2]"),
            ("[-1:0][2:2]={{1},{NULL}}", "[[1],[null]]"),
            ("{{{{{{1}}}}}}", "[[[[[[1]]]]]]"),
        ],
    );
    check(
        TEXT_ARRAY,
        &[
            (r#"{a,"NULL",NULL,"null",""}"#, r#"["a","NULL",null,"null",""]"#),
            (r#"{"a\"b","c\\d","{e,f}","ü\ü"}"#, r#"["a\"b","c\\d","{e,f}","üü"]"#),
            (r#"{[1:2]=x,(y}"#, r#"["[1:2]=x","(y"]"#),
        ],
    );
    check(BOX_ARRAY, &[("{(1,1),(0,0);(2,2),(1,1);NULL}", r#"["(1,1),(0,0)","(2,2),(1,1)",null]"#)]);
    check(
        TIMESTAMPTZ_ARRAY,
        &[(r#"{"2024-01-01 00:00:00+00",infinity}"#, r#"["2024-01-01T00:00:00+00:00","infinity"]"#)],
    );
    check(builtin::INT2VECTOR, &[("", "[]"), ("1", "[1]"), ("1 -2 3", "[1,-2,3]")]);
    check(builtin::OIDVECTOR, &[("", "[]"), ("23 4294967295", r#"["23","4294967295"]"#)]);
    check_malformed(builtin::INT2VECTOR, &[" ", "1  2", "1 ", "a"]);
    check_malformed(
        INT4_ARRAY,
        &[
            "",
            "1",
            "{",
            "}",
            "{1",
            "{1}}",
            "{1}x",
            "{1,}",
            "{,1}",
            "{,}",
            "{1,{2}}",
            "{{1},2}",
            "{{{{{{{1}}}}}}}",
            "[1:2]",
            "[1:2]{1}",
            "[a]={1}",
            "{a}",
            "{\"1}",
            "{\"1\\",
            "{1;2}",
            "{1\"2\"}",
            "={1}",
            "{ 1}",
            "{[1]}",
        ],
    );
    check_malformed(ODD_ARRAY, &["{\u{80}}", "{é\u{80}a}", "{a\u{80}b}"]);
}

#[test]
fn composites_become_objects() {
    check(
        PLACE,
        &[
            (r#"(1,"a ""b""",)"#, r#"{"id":1,"na\"me":"a \"b\"","tags":null}"#),
            (r#"(,"",{x})"#, r#"{"id":null,"na\"me":"","tags":["x"]}"#),
            (r#"(1,"""\\","{x,""a \\""b\\\\""}")"#, r#"{"id":1,"na\"me":"\"\\","tags":["x","a \"b\\"]}"#),
        ],
    );
    check(
        VISIT,
        &[(
            r#"("{""(1,a,\\""{x,\\""\\""y z\\""\\""}\\"")"",NULL}","(2,,{})",)"#,
            r#"{"places":[{"id":1,"na\"me":"a","tags":["x","y z"]},null],"last":{"id":2,"na\"me":null,"tags":[]},"blob":null}"#,
        )],
    );
    check(EMPTY, &[("()", "{}")]);
    check_malformed(
        PLACE,
        &[
            "",
            "(",
            ")",
            "1,,",
            "(1,,",
            "(1,,)x",
            "(x,,)",
            "(1,\",)",
            "(1,a\"b\",)",
            "(1,\"a\\",
            "(1,\"a\"b,)",
            "(1,a\\b,)",
            "(1)x",
        ],
    );
    check_malformed(EMPTY, &["(", "(a)", ""]);
}

#[test]
fn a_composite_of_another_shape_asks_postgres() {
    for (type_id, text) in [(PLACE, "(1,a)"), (PLACE, "(1,a,{x},2)"), (EMPTY, "(,)")] {
        assert_eq!(json(type_id, text), Err(Error::AskPostgres), "{text}");
    }
}

#[test]
fn what_only_postgres_can_render_asks_postgres() {
    let asked = [
        (HSTORE, r#""a"=>"1""#),
        (HSTORE_ARRAY, r#"{"\"a\"=>\"1\""}"#),
        (WITH_HSTORE, r#"(1,"{""\\""a\\""=>NULL""}")"#),
        (PSEUDO, ""),
        (ORPHANS, "{}"),
        (UNKNOWN, "1"),
    ];
    for (type_id, text) in asked {
        assert_eq!(json(type_id, text), Err(Error::AskPostgres), "{text}");
        assert!(!renders_in_memory(&types(), type_id), "type {type_id}");
    }
    let rendered = [
        builtin::INT8,
        builtin::BYTEA,
        builtin::OIDVECTOR,
        TEXT_ARRAY,
        MOOD,
        TAGS_ARRAY,
        VISIT,
        EMPTY,
        INT4RANGE,
    ];
    for type_id in rendered {
        assert!(renders_in_memory(&types(), type_id), "type {type_id}");
    }
}

#[test]
fn types_without_end_are_refused() {
    assert!(!renders_in_memory(&types(), ENDLESS));
    // Each level quotes the one below, so this is as deep as text can be made by hand.
    check(
        ENDLESS,
        &[
            ("(,)", r#"{"self":null,"again":null}"#),
            ("(\"(,)\",)", r#"{"self":{"self":null,"again":null},"again":null}"#),
        ],
    );
    let types: Types = (0..100)
        .map(|level| Type {
            oid: 30_000 + level,
            schema: "public".into(),
            name: "level".into(),
            kind: TypeKind::Array { element: 30_001 + level },
            delimiter: b',',
            json_cast: false,
        })
        .collect();
    assert!(!renders_in_memory(&types, 30_000));
    assert_eq!(write_json(&types, 30_000, "{x}", &mut String::new()), Err(Error::Malformed));
}

/// Every type there is above, and those with a form of their own.
fn any_type() -> impl Strategy<Value = Oid> {
    let made: Vec<Oid> = (MOOD..=HOME).chain([UNKNOWN]).collect();
    let arrays = [INT4_ARRAY, TEXT_ARRAY, BYTEA_ARRAY, TIMESTAMPTZ_ARRAY, BOX_ARRAY, INT4RANGE];
    let scalars = [
        builtin::BOOL,
        builtin::BYTEA,
        builtin::INT8,
        builtin::INT2VECTOR,
        TEXT,
        builtin::OIDVECTOR,
        builtin::JSON,
        builtin::FLOAT8,
        builtin::DATE,
        builtin::TIMESTAMP,
        builtin::TIMESTAMPTZ,
        builtin::NUMERIC,
        builtin::JSONB,
    ];
    prop::sample::select([&made[..], &arrays, &scalars].concat())
}

/// Text that gets far before it fails: what the grammars are made of, now and then something else.
fn nearly_right() -> impl Strategy<Value = String> {
    let pieces = [
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        "\"",
        "\"\"",
        "\\",
        "\\\\",
        ",",
        ";",
        ":",
        "=",
        "NULL",
        "1",
        "0",
        "-",
        "+",
        ".",
        "e",
        "e+20",
        "t",
        " ",
        "\n",
        "\u{80}",
        "é",
        "🎈",
        "\\x",
        "infinity",
        "2024-01-01 00:00:00+00",
        " BC",
        "{}",
        "(,,)",
        "()",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..24).prop_map(|pieces| pieces.concat())
}

fn array_literal(elements: &[Option<String>]) -> String {
    let quote = |element: &Option<String>| match element {
        Some(text) => format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"")),
        None => "NULL".to_owned(),
    };
    format!("{{{}}}", elements.iter().map(quote).collect::<Vec<_>>().join(","))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_text_gives_valid_json_or_nothing(type_id in any_type(), text in any::<String>()) {
        let _ = json(type_id, &text);
    }

    #[test]
    fn nearly_right_text_gives_valid_json_or_nothing(type_id in any_type(), text in nearly_right()) {
        if let Ok(value) = json(type_id, &text) {
            prop_assert!(!value.contains(['\n', '\r']));
        }
    }

    #[test]
    fn any_list_of_texts_comes_back(elements in prop::collection::vec(any::<Option<String>>(), 0..8)) {
        let value = json(TEXT_ARRAY, &array_literal(&elements)).unwrap();
        prop_assert_eq!(serde_json::from_str::<Vec<Option<String>>>(&value).unwrap(), elements);
    }

    #[test]
    fn any_list_inside_a_composite_comes_back(elements in prop::collection::vec(any::<Option<String>>(), 0..8)) {
        let quoted = array_literal(&elements).replace('\\', "\\\\").replace('"', "\"\"");
        let value = json(PLACE, &format!("(7,,\"{quoted}\")")).unwrap();
        let expected = serde_json::json!({ "id": 7, "na\"me": null, "tags": elements });
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&value).unwrap(), expected);
    }
}
