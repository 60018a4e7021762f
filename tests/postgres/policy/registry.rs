//! Built-in functions by name alone, and compiled expressions in short.

use std::collections::BTreeSet;
use std::sync::Mutex;

use rowcast::change::Oid;
use rowcast::policy::expression::{Expr, Query};
use rowcast::policy::function::{Collation, Doubt, Function};
use rowcast::policy::value::Value;

/// What is known, and whether it raises errors.
const KNOWN: [(&str, bool); 26] = [
    ("name_text", false),
    ("textcat", false),
    ("uuid_eq", false),
    ("texteq", false),
    ("textne", false),
    ("text_lt", false),
    ("int4eq", false),
    ("int4ne", false),
    ("int4gt", false),
    ("int4div", true),
    ("enum_eq", false),
    ("nameeq", false),
    ("upper", false),
    ("textlike", false),
    ("arraycontains", false),
    ("arrayoverlap", false),
    ("jsonb_exists", false),
    ("jsonb_object_field", false),
    ("jsonb_object_field_text", false),
    ("json_object_field_text", false),
    ("timestamp_gt", false),
    ("timestamp_lt", false),
    ("timestamptz_mi_interval", false),
    ("int84eq", false),
    ("int48", false),
    ("coerce_via_io", true),
];

/// Stands for all that this build may know: here it matters what is asked for.
pub(super) fn find(symbol: &str, arguments: &[Oid], result: Oid, collation: Collation) -> Option<Function> {
    static NAMES: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let (_, raises) = KNOWN.iter().find(|(known, _)| *known == symbol)?;
    if symbol == "text_lt" && collation != Collation::C {
        return None;
    }
    let types: Vec<String> = arguments.iter().map(|oid| type_name(*oid)).collect();
    let shown = match symbol {
        "coerce_via_io" => format!("{}->{}", types.join(","), type_name(result)),
        _ => symbol.to_owned(),
    };
    let mut names = NAMES.lock().unwrap();
    let known = names.get(shown.as_str()).copied();
    let symbol = known.unwrap_or_else(|| {
        let name: &'static str = Box::leak(shown.into_boxed_str());
        names.insert(name);
        name
    });
    let raises = *raises && !symbol.ends_with("->text");
    let call = |_: &_, _: &[Value]| Err(Doubt::Unknown);
    Some(Function { symbol, strict: true, raises, reads_clock: false, is_hash_equality: false, call })
}

fn type_name(oid: Oid) -> String {
    match oid {
        25 => "text".to_owned(),
        114 => "json".to_owned(),
        3802 => "jsonb".to_owned(),
        2950 => "uuid".to_owned(),
        16384.. => "user".to_owned(),
        _ => oid.to_string(),
    }
}

/// An expression in one line: columns are `@level.scan.place`.
pub(super) fn brief(expr: &Expr) -> String {
    let list = |parts: &[Expr]| parts.iter().map(brief).collect::<Vec<_>>().join(", ");
    match expr {
        Expr::Const(Value::Null) => "null".to_owned(),
        Expr::Const(Value::Bool(value)) => value.to_string(),
        Expr::Const(Value::Int(value)) => value.to_string(),
        Expr::Const(Value::Text(value)) => format!("'{value}'"),
        Expr::Const(value) => format!("{value:?}"),
        Expr::Column(column) => format!("@{}.{}.{}", column.level, column.scan, column.place),
        Expr::Param(index) => format!("${index}"),
        Expr::Setting(name) => format!("[{name}]"),
        Expr::Now => "now".to_owned(),
        Expr::Call(function, parts) => format!("{}({})", function.symbol, list(parts)),
        Expr::And(parts) => format!("and({})", list(parts)),
        Expr::Or(parts) => format!("or({})", list(parts)),
        Expr::Not(part) => format!("not({})", brief(part)),
        Expr::IsNull(part) => format!("isnull({})", brief(part)),
        Expr::Is(part, wanted) => format!("is({}, {wanted:?})", brief(part)),
        Expr::Distinct(function, parts) => format!("distinct {}({})", function.symbol, list(&**parts)),
        Expr::NullIf(function, parts) => format!("nullif {}({})", function.symbol, list(&**parts)),
        Expr::Coalesce(parts) => format!("coalesce({})", list(parts)),
        Expr::Case(arms, default) => {
            let arms: Vec<_> =
                arms.iter().map(|(when, then)| format!("{} => {}", brief(when), brief(then))).collect();
            format!("case({}; {})", arms.join(", "), brief(default))
        }
        Expr::Array(parts) => format!("array({})", list(parts)),
        Expr::Elements { function, all, arguments } => {
            format!("{} {}({})", if *all { "all" } else { "any" }, function.symbol, list(&**arguments))
        }
        Expr::Exists(query) => format!("exists{}", brief_query(query)),
        Expr::Scalar(query) => format!("scalar{}", brief_query(query)),
        Expr::First(query) => format!("first{}", brief_query(query)),
        Expr::Quantified { all, test, query } => {
            format!("{}[{}]{}", if *all { "all" } else { "any" }, brief(test), brief_query(query))
        }
        Expr::Output(index) => format!("#{index}"),
        Expr::Collected(query) => format!("collected{}", brief_query(query)),
    }
}

fn brief_query(query: &Query) -> String {
    let scans: Vec<String> = query.scans.iter().map(|scan| format!("{:?}", scan.columns)).collect();
    let outputs: Vec<String> = query.outputs.iter().map(brief).collect();
    format!("({} where {} gives {})", scans.join(" x "), brief(&query.condition), outputs.join(", "))
}
