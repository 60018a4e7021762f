//! What a policy's expression reads, by the tree that Postgres keeps of it.
//!
//! The tree is already analysed: names are numbers, so nothing here depends on a search path. It is read as a
//! sequence of words; strings in it are written as numbers of bytes, or between quotes, and cannot be mistaken for
//! words. What is not understood counts as the worst.

use std::collections::{BTreeSet, HashMap};

/// The numbers of functions, by what is known of them.
pub(super) type Functions = HashMap<u32, Function>;

/// What is known of a function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Function {
    /// Gives the same for the same arguments, for ever, and is built in.
    Immutable,
    /// Reads one setting, whose name is its first argument.
    CurrentSetting,
    /// Reads these settings of the caller and nothing else.
    Reads(Needs),
    /// Does the same for a row that is stored and for one that is not.
    Indifferent,
    /// Anything.
    Unknown,
}

/// Which parts of a subject an answer was made of, besides its role and its topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// The claim `sub`.
    pub(super) sub: bool,
    /// Any claims.
    pub(super) claims: bool,
    /// The headers.
    pub(super) headers: bool,
}

impl Needs {
    /// What both need.
    pub(super) fn and(self, other: Self) -> Self {
        Self {
            sub: self.sub || other.sub,
            claims: self.claims || other.claims,
            headers: self.headers || other.headers,
        }
    }

    /// What a setting of the session holds; `None` for one that nobody knows.
    pub(super) fn of_setting(name: &str) -> Option<Self> {
        match name {
            "realtime.topic" | "request.jwt.claim.role" | "role" => Some(Self::default()),
            "request.jwt.claim.sub" => Some(Self { sub: true, ..Self::default() }),
            "request.jwt.claims" => Some(Self { claims: true, ..Self::default() }),
            "request.headers" => Some(Self { headers: true, ..Self::default() }),
            _ => None,
        }
    }
}

/// What a tree names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Tree {
    /// Functions.
    pub(super) functions: BTreeSet<u32>,
    /// Operators whose function the tree does not name.
    pub(super) operators: BTreeSet<u32>,
    /// Tables and views.
    pub(super) relations: BTreeSet<u32>,
    /// The numbers of columns: of the row itself, and of any table in it.
    columns: BTreeSet<i32>,
    /// The kinds of node.
    kinds: BTreeSet<String>,
    /// The types that texts are turned into.
    conversions: BTreeSet<u32>,
    /// The names of the settings that are read; `None` for one that is not a constant.
    settings: Vec<Option<String>>,
    /// Whether something stood where a number should.
    is_garbled: bool,
}

/// Nodes whose value depends on nothing but what is below them.
const PURE_KINDS: &[&str] = &[
    "ARRAYEXPR",
    "BOOLEANTEST",
    "BOOLEXPR",
    "CASE",
    "CASEEXPR",
    "CASETESTEXPR",
    "CASEWHEN",
    "COALESCE",
    "COALESCEEXPR",
    "COERCEVIAIO",
    "COLLATEEXPR",
    "CONST",
    "DISTINCTEXPR",
    "FROMEXPR",
    "FUNCEXPR",
    "NULLIFEXPR",
    "NULLTEST",
    "OPEXPR",
    "QUERY",
    "RELABELTYPE",
    "SCALARARRAYOPEXPR",
    "SUBLINK",
    "TARGETENTRY",
    "VAR",
    "WHEN",
];

/// Types that read and write their text form the same way at all times: boolean, "char", name, int8, int2, int4, text,
/// json, float4, float8, varchar, uuid, jsonb.
const STEADY_TYPES: &[u32] = &[16, 18, 19, 20, 21, 23, 25, 114, 700, 701, 1043, 2950, 3802];

/// The number of `current_setting(text, boolean)` and of `current_setting(text)`.
pub(super) const CURRENT_SETTING: [u32; 2] = [3294, 2077];

impl Tree {
    /// Reads a tree as Postgres prints it.
    pub(super) fn read(text: &str) -> Self {
        let mut tree = Self::default();
        let words: Vec<&str> = text.split_whitespace().collect();
        let mut operator = None;
        for (place, word) in words.iter().enumerate() {
            if let Some(kind) = word.trim_start_matches('(').strip_prefix('{') {
                tree.kinds.insert(kind.trim_end_matches(['}', ')']).to_owned());
            }
            let number = || {
                let next = words.get(place + 1).map(|next| next.trim_end_matches(['}', ')']));
                next.and_then(|next| next.parse::<i64>().ok())
            };
            let id = || number().and_then(|number| u32::try_from(number).ok());
            match *word {
                ":funcid" | ":aggfnoid" | ":winfnoid" => {
                    let function = tree.number(id());
                    tree.functions.insert(function);
                    if CURRENT_SETTING.contains(&function) {
                        tree.settings.push(constant_argument(&words[place..]));
                    }
                }
                ":opno" => operator = id(),
                ":opfuncid" => match (tree.number(id()), operator.take()) {
                    (0, Some(operator)) => drop(tree.operators.insert(operator)),
                    (0, None) => tree.is_garbled = true,
                    (function, _) => drop(tree.functions.insert(function)),
                },
                ":relid" => {
                    let relation = tree.number(id());
                    tree.relations.insert(relation);
                }
                ":varattno" => match number().and_then(|number| i32::try_from(number).ok()) {
                    Some(column) => drop(tree.columns.insert(column)),
                    None => tree.is_garbled = true,
                },
                ":resulttype" => {
                    let conversion = tree.number(id());
                    tree.conversions.insert(conversion);
                }
                _ => {}
            }
        }
        // An ordinary table's entry has a number that is not zero; other entries have none, or zero.
        tree.relations.remove(&0);
        tree
    }

    fn number(&mut self, number: Option<u32>) -> u32 {
        self.is_garbled |= number.is_none();
        number.unwrap_or(0)
    }

    /// Whether it gives the same for a row that is not stored as for one that is, provided that nothing that it names
    /// looks for that row: no part of it takes the row as a whole, or what only a stored row has.
    pub(super) fn is_about_columns(&self) -> bool {
        !self.is_garbled && self.columns.iter().all(|column| *column > 0)
    }

    /// What it was made of if it reads nothing but columns, settings and constants; `None` if it may read more.
    /// `unsteady` are the columns whose values differ from time to time.
    pub(super) fn needs(&self, functions: &Functions, unsteady: &[i32]) -> Option<Needs> {
        let is_pure = !self.is_garbled
            && self.relations.is_empty()
            && self.operators.is_empty()
            && self.kinds.iter().all(|kind| PURE_KINDS.contains(&kind.as_str()))
            && self.columns.iter().all(|column| !unsteady.contains(column))
            && (!self.kinds.contains("COERCEVIAIO")
                || self.conversions.iter().all(|conversion| STEADY_TYPES.contains(conversion)));
        let mut needs = Needs::default();
        for function in &self.functions {
            match functions.get(function)? {
                Function::Immutable | Function::CurrentSetting => {}
                Function::Reads(more) => needs = needs.and(*more),
                Function::Indifferent | Function::Unknown => return None,
            }
        }
        for setting in &self.settings {
            needs = needs.and(Needs::of_setting(setting.as_deref()?)?);
        }
        is_pure.then_some(needs)
    }
}

/// The text constant that is a call's first argument: the words begin at `:funcid`.
fn constant_argument(words: &[&str]) -> Option<String> {
    let arguments = words.iter().position(|word| *word == ":args")?;
    let words = words.get(arguments + 1..)?;
    (*words.first()? == "({CONST").then_some(())?;
    let value = words.iter().position(|word| *word == ":constvalue")?;
    let bytes = words.get(value + 3..)?.iter().take_while(|word| !word.starts_with(']'));
    // Four bytes of length come first, on little-endian machines and with short texts.
    let bytes = bytes.skip(4).map(|byte| byte.parse::<i16>().ok().map(|byte| byte.to_le_bytes()[0]));
    String::from_utf8(bytes.collect::<Option<_>>()?).ok()
}

/// What is known of a function that somebody has made.
pub(super) fn known(schema: &str, name: &str, source: &str) -> Option<Needs> {
    let source: String = source.split_whitespace().collect::<Vec<_>>().concat().to_lowercase();
    let source = source.trim_end_matches(';');
    let texts: &[&str] = match (schema, name) {
        ("auth", "uid") => &[
            "selectcoalesce(nullif(current_setting('request.jwt.claims',true),'')::jsonb->>'sub',\
             nullif(current_setting('request.jwt.claim.sub',true),''))::uuid",
            "selectcoalesce(nullif(current_setting('request.jwt.claim.sub',true),''),\
             (nullif(current_setting('request.jwt.claims',true),'')::jsonb->>'sub'))::uuid",
            "selectnullif(current_setting('request.jwt.claim.sub',true),'')::uuid",
        ],
        ("auth", "role") => &[
            "selectcoalesce(nullif(current_setting('request.jwt.claims',true),'')::jsonb->>'role',\
             nullif(current_setting('request.jwt.claim.role',true),''))::text",
            "selectcoalesce(nullif(current_setting('request.jwt.claim.role',true),''),\
             (nullif(current_setting('request.jwt.claims',true),'')::jsonb->>'role'))::text",
            "selectnullif(current_setting('request.jwt.claim.role',true),'')::text",
        ],
        ("auth", "jwt") => &[
            "selectcoalesce(nullif(current_setting('request.jwt.claims',true),''),\
             nullif(current_setting('request.jwt.claim',true),''))::jsonb",
            "selectcoalesce(nullif(current_setting('request.jwt.claim',true),''),\
             nullif(current_setting('request.jwt.claims',true),''))::jsonb",
        ],
        ("realtime", "topic") => &[
            "selectnullif(current_setting('realtime.topic',true),'')",
            "selectnullif(current_setting('realtime.topic',true),'')::text",
        ],
        _ => &[],
    };
    texts.contains(&source).then(|| match name {
        "uid" => Needs { sub: true, ..Needs::default() },
        "jwt" => Needs { claims: true, ..Needs::default() },
        _ => Needs::default(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SETTING: &str = "{OPEXPR :opno 98 :opfuncid 67 :opresulttype 16 :args ({FUNCEXPR :funcid 3294 \
        :funcresulttype 25 :args ({CONST :consttype 25 :location 103 :constvalue 19 [ 76 0 0 0 114 101 113 117 101 115 \
        116 46 104 101 97 100 101 114 115 ]} {CONST :consttype 16 :constvalue 1 [ 1 0 0 0 0 0 0 0 ]}) :location 87} \
        {VAR :varno 1 :varattno 2 :vartype 25}) :location 76}";

    fn functions() -> Functions {
        [(67, Function::Immutable), (3294, Function::CurrentSetting), (9, Function::Indifferent)].into()
    }

    #[test]
    fn a_setting_is_known_by_its_name() {
        let tree = Tree::read(SETTING);
        let needs = tree.needs(&functions(), &[]);
        assert_eq!(needs, Some(Needs { headers: true, ..Needs::default() }));
        assert!(tree.is_about_columns());
        assert_eq!(tree.needs(&functions(), &[2]), None, "a column that differs from time to time");
        assert_eq!(Tree::read(&SETTING.replace("104 101 97", "104 101 98")).needs(&functions(), &[]), None);
    }

    #[test]
    fn what_may_read_more_has_no_needs() {
        for more in [
            "{RANGETBLENTRY :rtekind 0 :relid 16391 :relkind r}",
            "{SQLVALUEFUNCTION :op 3}",
            "{FUNCEXPR :funcid 9 :args <>}",
            "{FUNCEXPR :funcid 12 :args <>}",
            "{OPEXPR :opno 98 :opfuncid 0}",
            "{VAR :varno 1 :varattno 0}",
            "{FUNCEXPR :funcid x}",
            "{COERCEVIAIO :arg <> :resulttype 1184 }",
        ] {
            assert_eq!(Tree::read(&format!("{SETTING} {more}")).needs(&functions(), &[0]), None, "{more}");
        }
        assert!(Tree::read(&format!("{SETTING} {{NULLTEST :arg <>}}")).needs(&functions(), &[]).is_some());
    }

    #[test]
    fn a_whole_row_is_more_than_columns() {
        assert!(!Tree::read("{VAR :varno 1 :varattno 0}").is_about_columns());
        assert!(!Tree::read("{VAR :varno 1 :varattno -6}").is_about_columns());
        assert!(!Tree::read("{VAR :varno 1 :varattno none}").is_about_columns());
        assert!(Tree::read("{VAR :varno 1 :varattno 6}").is_about_columns());
    }

    #[test]
    fn functions_are_known_by_their_text_alone() {
        let topic = " SELECT nullif(current_setting('realtime.topic', true), '')::text; ";
        assert_eq!(known("realtime", "topic", topic), Some(Needs::default()));
        assert_eq!(known("public", "topic", topic), None);
        assert_eq!(known("realtime", "topic", "select topic from current"), None);
    }
}
