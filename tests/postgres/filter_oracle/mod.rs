//! Every filter operator on every kind of column, judged by the server itself.
//!
//! For each value of a column and each filter on it there are three answers: the server's, from a condition
//! written here on the typed column; the verdict in memory, from the value's text; and the server's to the
//! question that the predicate would ask about that text. All three must agree, but that memory may pass.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use rowcast::change::{Datum, RelationId, ReplicaIdentity, Table, TableColumn, Types};
use rowcast::postgres::types::load_types;
use rowcast::subscription::{Binding, Verdict, check};
use rowcast::wal::sql::literal;
use serde_json::{Map, Value};
use tokio_postgres::Client;

use crate::support::{TestDatabase, majors};

use subject::{Memory, Subject, all_subjects, generated, written};

mod subject;

/// At least so many agreements per major version.
const COMPARISON_COUNT_MIN: usize = 50_000;

/// How many filters one query evaluates.
const BATCH: usize = 40;

/// How many lists are drawn for `in`, a column.
const LIST_COUNT: usize = 30;

/// How many values are drawn for a column, and patterns for one of text.
const GENERATED_COUNT: usize = 12;

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
        let types = load_types(client).await.expect("the types");
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
