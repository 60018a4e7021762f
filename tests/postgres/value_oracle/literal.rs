//! Literals of any type: nasty ones picked by hand, and random ones.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rowcast::change::{Oid, TypeKind, Types};

/// Makes literals from a seed.
pub(super) struct Literals<'t> {
    types: &'t Types,
    random: StdRng,
}

impl<'t> Literals<'t> {
    pub(super) fn new(types: &'t Types, random: StdRng) -> Self {
        Self { types, random }
    }

    /// A literal of this type; its input function may still refuse it.
    pub(super) fn of(&mut self, type_id: Oid) -> String {
        let types = self.types;
        let found = types.get(type_id).unwrap_or_else(|| panic!("type {type_id} was not loaded"));
        match &found.kind {
            TypeKind::Domain { base } => self.of(*base),
            TypeKind::Enum { labels } => labels.choose(&mut self.random).expect("a label").to_string(),
            TypeKind::Array { element } => self.array(*element),
            TypeKind::Composite { fields } => {
                let fields: Vec<String> = fields.iter().map(|(_, field)| self.field(*field)).collect();
                format!("({})", fields.join(","))
            }
            TypeKind::Range { subtype } if found.name.contains("multirange") => {
                let count = self.random.random_range(0..3);
                let ranges: Vec<String> = (0..count).map(|_| self.range(*subtype)).collect();
                format!("{{{}}}", ranges.join(","))
            }
            TypeKind::Range { subtype } => self.range(*subtype),
            TypeKind::Base => self.base(&found.name),
            TypeKind::Other => panic!("{} has no values", found.name),
        }
    }

    /// A literal of up to three dimensions, now and then with explicit bounds.
    fn array(&mut self, element: Oid) -> String {
        if self.random.random_ratio(1, 12) {
            return "{}".to_owned();
        }
        let count = if self.random.random_ratio(2, 3) { 1 } else { self.random.random_range(2..=3) };
        let lengths: Vec<usize> = (0..count).map(|_| self.random.random_range(1..=3)).collect();
        let mut literal = String::new();
        if self.random.random_ratio(1, 4) {
            for length in &lengths {
                let lower = self.random.random_range(-2..3_i64);
                let upper = lower + i64::try_from(*length).expect("at most three") - 1;
                literal.push_str(&format!("[{lower}:{upper}]"));
            }
            literal.push('=');
        }
        self.dimension(element, &lengths, &mut literal);
        literal
    }

    fn dimension(&mut self, element: Oid, lengths: &[usize], literal: &mut String) {
        let Some((length, inner)) = lengths.split_first() else {
            if self.random.random_ratio(1, 6) {
                literal.push_str("NULL");
            } else {
                let value = self.of(element);
                literal.push_str(&format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"")));
            }
            return;
        };
        let delimiter = self.types.get(element).expect("a type").delimiter;
        literal.push('{');
        for index in 0..*length {
            if index > 0 {
                literal.push(char::from(delimiter));
            }
            self.dimension(element, inner, literal);
        }
        literal.push('}');
    }

    fn field(&mut self, type_id: Oid) -> String {
        if self.random.random_ratio(1, 6) {
            return String::new();
        }
        format!("\"{}\"", self.of(type_id).replace('\\', "\\\\").replace('"', "\"\""))
    }

    fn range(&mut self, subtype: Oid) -> String {
        if self.random.random_ratio(1, 10) {
            return "empty".to_owned();
        }
        let bound = |literals: &mut Self| match literals.random.random_ratio(1, 4) {
            true => String::new(),
            false => format!("\"{}\"", literals.of(subtype).replace('\\', "\\\\").replace('"', "\\\"")),
        };
        let (open, close) = (self.pick(&["[", "("]), self.pick(&["]", ")"]));
        format!("{open}{},{}{close}", bound(self), bound(self))
    }

    fn base(&mut self, name: &str) -> String {
        match name {
            "bool" => self.pick(&["t", "f"]),
            "int2" => self.integer(i16::MIN.into(), i16::MAX.into()),
            "int4" => self.integer(i32::MIN.into(), i32::MAX.into()),
            "int8" => self.integer(i64::MIN, i64::MAX),
            "oid" | "xid" | "cid" => self.integer(0, u32::MAX.into()),
            "xid8" => self.random.random::<u64>().to_string(),
            "float4" => {
                self.float(|random| f32::from_bits(random.random()).to_string(), "3.4028235e38", "1e-45")
            }
            "float8" => self.float(
                |random| format!("{:e}", f64::from_bits(random.random())),
                "1.7976931348623157e308",
                "5e-324",
            ),
            "numeric" => self.numeric(),
            "money" => format!(
                "{}.{:02}",
                self.integer(-90_000_000_000_000_000, 90_000_000_000_000_000),
                self.number(99)
            ),
            "bytea" => self.bytes(),
            "date" => self.date_or_infinity(),
            "time" => self.time(),
            "timetz" => {
                format!("{}{}", self.time(), self.pick(&["+00", "+02", "-03:30", "+05:45:10", "-15:59"]))
            }
            "timestamp" | "timestamptz" => self.timestamp(),
            "interval" => self.interval(),
            "uuid" => format!("{:032x}", self.random.random::<u128>()),
            "json" | "jsonb" => self.json(3),
            "bit" | "varbit" => {
                let length = self.random.random_range(0..9);
                (0..length).map(|_| self.pick(&["0", "1"])).collect()
            }
            "int2vector" => self.vector(|literals| literals.integer(i16::MIN.into(), i16::MAX.into())),
            "oidvector" => self.vector(|literals| literals.integer(0, u32::MAX.into())),
            "inet" => self.address(),
            "macaddr" => self.hex_groups(6),
            "macaddr8" => self.hex_groups(8),
            "pg_lsn" => format!("{:X}/{:X}", self.random.random::<u32>(), self.random.random::<u32>()),
            "tid" => format!("({},{})", self.random.random::<u32>(), self.random.random::<u16>()),
            "point" => self.point(),
            "lseg" | "box" | "path" => format!("({},{})", self.point(), self.point()),
            "polygon" => format!("({},{},{})", self.point(), self.point(), self.point()),
            "circle" => format!("<{},{}>", self.point(), self.number(1000)),
            "line" => format!("{{{},{},1}}", self.number(100), self.number(100)),
            "hstore" => self.hstore(),
            _ => match picked(name) {
                [] => self.text(),
                choices => self.pick(choices),
            },
        }
    }

    fn pick(&mut self, choices: &[&str]) -> String {
        (*choices.choose(&mut self.random).expect("a choice")).to_owned()
    }

    fn number(&mut self, max: u32) -> u32 {
        self.random.random_range(0..=max)
    }

    fn integer(&mut self, min: i64, max: i64) -> String {
        match self.number(7) {
            0 => min.to_string(),
            1 => max.to_string(),
            2 => 0.to_string(),
            3 => self.random.random_range(0..=9).to_string(),
            _ => self.random.random_range(min..=max).to_string(),
        }
    }

    fn float(&mut self, any_bits: fn(&mut StdRng) -> String, largest: &str, smallest: &str) -> String {
        match self.number(7) {
            0 => self.pick(&[
                "NaN",
                "Infinity",
                "-Infinity",
                "0",
                "-0",
                "1",
                "-1",
                "0.1",
                "1e15",
                "1e16",
                "1e-4",
                "1e-5",
            ]),
            1 => {
                self.pick(&[largest, smallest, "123456.7", "1234567", "100000000000000000000", "0.00001234"])
            }
            2 => format!("{}e{}", self.integer(-9999, 9999), self.random.random_range(-30..30)),
            3 => format!("{}.{}", self.integer(-99, 99), self.number(99_999)),
            _ => any_bits(&mut self.random),
        }
    }

    fn numeric(&mut self) -> String {
        match self.number(5) {
            0 => self.pick(&[
                "NaN",
                "Infinity",
                "-Infinity",
                "0",
                "0.00",
                "-0.0",
                "1e-20",
                "1e50",
                "1.10",
                "-1e-3",
            ]),
            1 => self.integer(i64::MIN, i64::MAX),
            _ => {
                let (whole, fraction) = (self.random.random_range(1..40), self.random.random_range(1..60));
                let sign = self.pick(&["", "-"]);
                format!("{sign}{}.{}", self.digits(whole), self.digits(fraction))
            }
        }
    }

    fn digits(&mut self, count: usize) -> String {
        (0..count).map(|_| char::from(b'0' + self.random.random_range(0..10_u8))).collect()
    }

    fn bytes(&mut self) -> String {
        let length = self.random.random_range(0..12);
        let digits: String = (0..length).map(|_| format!("{:02x}", self.random.random::<u8>())).collect();
        format!("\\x{digits}")
    }

    fn date(&mut self, year_max: u32) -> String {
        let year = match self.number(2) {
            0 => self.random.random_range(1..=year_max),
            _ => self.random.random_range(1900..2100),
        };
        format!("{year:04}-{:02}-{:02}", self.random.random_range(1..=12), self.random.random_range(1..=28))
    }

    fn date_or_infinity(&mut self) -> String {
        match self.number(5) {
            0 => self.pick(&[
                "infinity",
                "-infinity",
                "4714-11-24 BC",
                "5874897-12-31",
                "0001-01-01",
                "10000-01-01",
            ]),
            1 => format!("{} BC", self.date(4713)),
            _ => self.date(5_874_897),
        }
    }

    fn time(&mut self) -> String {
        let (hour, minute, second) = (self.number(23), self.number(59), self.number(59));
        let fraction = match self.number(3) {
            0 => String::new(),
            1 => format!(".{:06}", self.number(999_999)),
            2 => format!(".{:03}", self.number(999)),
            _ => self.pick(&[".1", ".000001", ".999999", ".100", ".0"]),
        };
        format!("{hour:02}:{minute:02}:{second:02}{fraction}")
    }

    fn timestamp(&mut self) -> String {
        match self.number(6) {
            0 => self.pick(&[
                "infinity",
                "-infinity",
                "4714-11-24 00:00:00 BC",
                "294276-12-31 23:59:59.999999",
                "0001-12-31 23:59:59.5 BC",
                "1970-01-01 00:00:00",
                "2000-01-01 24:00:00",
                "9999-12-31 23:59:59.999999",
                "10000-01-01 00:00:00",
            ]),
            1 => format!("{} {} BC", self.date(4713), self.time()),
            _ => format!("{} {}", self.date(294_276), self.time()),
        }
    }

    fn interval(&mut self) -> String {
        let units = ["year", "mon", "day", "hour", "min", "sec", "microseconds", "decades"];
        let count = self.random.random_range(1..5);
        let parts: Vec<String> = (0..count)
            .map(|_| format!("{} {}", self.random.random_range(-40..40), self.pick(&units)))
            .collect();
        parts.join(" ")
    }

    /// Numbers have no exponent here: `json` keeps it, which means the same and is spelled otherwise.
    fn json(&mut self, depth: u32) -> String {
        let space = self.pick(&["", "", " ", "\n", "\r\n\t"]);
        let count = self.random.random_range(0..4);
        match self.number(if depth == 0 { 4 } else { 7 }) {
            0 => self.pick(&["null", "true", "false", "0", "1.0", "-1.10", "\"\"", "[]", "{}"]),
            1 => self.integer(i64::MIN, i64::MAX),
            2 => format!("{}.{}", self.integer(1, 99), self.digits(25)),
            3 | 4 => serde_json::to_string(&self.text()).expect("a string"),
            5 => {
                let items: Vec<String> = (0..count).map(|_| self.json(depth - 1)).collect();
                format!("[{space}{}{space}]", items.join(&format!(",{space}")))
            }
            _ => {
                let mut members: Vec<String> = Vec::new();
                for _ in 0..count {
                    let key = serde_json::to_string(&self.text()).expect("a string");
                    members.push(format!("{key}{space}:{space}{}", self.json(depth - 1)));
                }
                format!("{{{space}{}{space}}}", members.join(&format!("{space},")))
            }
        }
    }

    fn vector(&mut self, element: fn(&mut Self) -> String) -> String {
        let count = self.random.random_range(0..4);
        (0..count).map(|_| element(self)).collect::<Vec<_>>().join(" ")
    }

    fn address(&mut self) -> String {
        match self.number(2) {
            0 => self.pick(&[
                "::1",
                "::ffff:1.2.3.4/128",
                "2001:db8::/32",
                "fe80::1/10",
                "0.0.0.0/0",
                "10.0.0.1/32",
            ]),
            _ => format!(
                "{}.{}.{}.{}/{}",
                self.number(255),
                self.number(255),
                self.number(255),
                self.number(255),
                self.number(32)
            ),
        }
    }

    fn hex_groups(&mut self, count: usize) -> String {
        (0..count).map(|_| format!("{:02x}", self.random.random::<u8>())).collect::<Vec<_>>().join(":")
    }

    fn point(&mut self) -> String {
        let coordinate = |literals: &mut Self| match literals.number(3) {
            0 => literals.pick(&["NaN", "Infinity", "-0", "1e300", "1e-300"]),
            _ => format!("{}.{}", literals.integer(-999, 999), literals.number(9999)),
        };
        format!("({},{})", coordinate(self), coordinate(self))
    }

    fn hstore(&mut self) -> String {
        let quoted = |text: String| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let count = self.random.random_range(0..3);
        (0..count)
            .map(|_| format!("{}=>{}", quoted(self.text()), quoted(self.text())))
            .collect::<Vec<_>>()
            .join(",")
    }

    /// Everything that any of the text forms must quote or escape.
    fn text(&mut self) -> String {
        let pieces = [
            "\"",
            "\"\"",
            "\\",
            "\\\\",
            "'",
            "{",
            "}",
            "(",
            ")",
            "[",
            "]",
            ",",
            ";",
            ":",
            "=",
            "/",
            " ",
            "  ",
            "\t",
            "\n",
            "\r",
            "\u{b}",
            "\u{1}",
            "\u{1f}",
            "\u{7f}",
            "\u{85}",
            "\u{a0}",
            "\u{2028}",
            "\u{feff}",
            "é",
            "ß",
            "🎈",
            "日本",
            "NULL",
            "null",
            "\\x00",
            "[1:2]=",
            "a",
            "b",
            "Z",
            "0",
            "1",
            "-",
            "\\u0000",
            "</script>",
            "%",
            "$1",
        ];
        let count = self.random.random_range(0..8);
        (0..count).map(|_| self.pick(&pieces)).collect()
    }
}

/// Literals of types too odd to make at random; empty for those that take any text.
fn picked(name: &str) -> &'static [&'static str] {
    match name {
        "cidr" => &["10.0.0.0/8", "192.168.1.0/24", "2001:db8::/32", "::/0", "1.2.3.4"],
        "xml" => &["<a b=\"c\">d &amp; e</a>", "<a/>", "text, (with) {all} \"of\" \\it", ""],
        "aclitem" => &["=r/postgres", "postgres=arwdDxt/postgres", "pg_monitor=r*/postgres"],
        "jsonpath" => &["$", "$.a[*].\"b c\"", "strict $.x ? (@ > 1.5)", "$.\"qu\\\"ote\""],
        "tsvector" => &["a:1A,2 'b c':3", "'it''s' 'back\\\\slash'", "", "plain words here"],
        "tsquery" => &["a & b", "!'b c' | d:*A", "a <-> b", ""],
        "pg_snapshot" | "txid_snapshot" => &["10:20:10,14,15", "1:1:", "100:150:120"],
        "regproc" => &["now", "-", "42"],
        "regprocedure" => &["abs(integer)", "lower(text)", "-", "concat(variadic \"any\")"],
        "regoper" => &["||/", "-", "!~~*"],
        "regoperator" => &["+(integer,integer)", "~~(text,text)", "-(none,integer)"],
        "regclass" => &["pg_class", "pg_catalog.pg_type", "-", "customer", "99999"],
        "regcollation" => &["\"C\"", "\"default\"", "\"POSIX\""],
        "regtype" => &["int4", "timestamp with time zone", "text[]", "-", "visit"],
        "regrole" => &["postgres", "pg_monitor", "-"],
        "regnamespace" => &["pg_catalog", "public", "-"],
        "regconfig" => &["english", "simple", "german"],
        "regdictionary" => &["simple", "english_stem"],
        "regdatabase" => &["postgres", "template1", "-"],
        "cube" => &["(1,2),(3,4)", "0", "(1.5e10,-2)"],
        "seg" => &["1.5", "1 .. 2", "<3", "~4.50", "1(+-)0.5"],
        "ltree" => &["a.b.c", "", "Top.Science_1"],
        "lquery" => &["a.*.b", "*{1,2}.foo@*|bar%"],
        "ltxtquery" => &["a & b*", "Europe & !(x | y)"],
        "ean13" => &["9780306406157", "9771436452000"],
        "isbn" | "isbn13" => &["9780306406157", "0306406152"],
        "ismn" | "ismn13" => &["9790060115615", "M060115615"],
        "issn" | "issn13" => &["9771436452000", "1436-4522"],
        "upc" => &["220356483481"],
        _ => &[],
    }
}
