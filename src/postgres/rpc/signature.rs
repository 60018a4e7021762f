//! What is known of one function, and which of those of one name a call means.
//!
//! As PostgREST chooses: by the names of the arguments alone, never by their values. All required arguments must be
//! given, and nothing else but such as have a default. A function of one unnamed argument takes the whole body when no
//! other fits.

use super::error::Error;

/// What a function returns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Returns {
    /// Nothing.
    Void,
    /// A value.
    Scalar,
    /// A row: of a table or type, or of its own output arguments.
    Composite,
}

/// One argument that a caller may give.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    /// Empty if it has none.
    pub(super) name: String,
    /// Its type as SQL.
    pub(super) sql_type: String,
    /// Whether it has no default.
    pub(super) is_required: bool,
    /// Whether it takes all further values, as an array.
    pub(super) is_variadic: bool,
}

/// One function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Signature {
    pub(super) id: u32,
    /// Of its row in the catalog: another one says that something about it has changed.
    pub(super) version: String,
    /// The relation that says which columns the returned row has; 0 for none.
    pub(super) row_type_id: u32,
    /// The same of these columns; empty for none.
    pub(super) row_type_version: String,
    pub(super) schema_id: u32,
    pub(super) schema: String,
    pub(super) name: String,
    pub(super) is_set: bool,
    pub(super) is_volatile: bool,
    pub(super) returns: Returns,
    pub(super) parameters: Vec<Parameter>,
    /// Its own `statement_timeout`; 0 is none.
    pub(super) timeout_ms: Option<i64>,
}

/// What a call brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Given<'a> {
    /// Arguments by name, each once.
    Named(&'a [String]),
    /// The same, and a body that may be taken whole by a function of one unnamed argument.
    Body(&'a [String]),
}

impl<'a> Given<'a> {
    pub(super) fn names(self) -> &'a [String] {
        match self {
            Self::Named(names) | Self::Body(names) => names,
        }
    }
}

impl Signature {
    /// Whether it can be called with exactly these arguments.
    fn takes(&self, names: &[String]) -> bool {
        let is_named = |name: &String| self.parameters.iter().any(|parameter| parameter.name == *name);
        let is_given = |parameter: &Parameter| names.contains(&parameter.name);
        names.iter().all(is_named)
            && self.parameters.iter().all(|parameter| !parameter.is_required || is_given(parameter))
    }

    /// Whether it is to be called with the whole body for its argument.
    pub(super) fn takes_body(&self) -> bool {
        match &self.parameters[..] {
            [only] => only.name.is_empty() && matches!(only.sql_type.as_str(), "json" | "jsonb"),
            _ => false,
        }
    }

    /// Whether its arguments can be told apart by name.
    fn is_callable(&self) -> bool {
        self.takes_body() || self.parameters.iter().all(|parameter| !parameter.name.is_empty())
    }

    /// As people write it: `public.add(a => integer, b => integer)`.
    pub(super) fn display(&self) -> String {
        let argument = |parameter: &Parameter| format!("{} => {}", parameter.name, parameter.sql_type);
        let arguments: Vec<String> = self.parameters.iter().map(argument).collect();
        format!("{}.{}({})", self.schema, self.name, arguments.join(", "))
    }

    /// The names of its arguments, as a hint has them: `(a, b)`.
    pub(super) fn names(&self) -> String {
        let names: Vec<&str> = self.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
        format!("({})", names.join(", "))
    }
}

/// The function that is meant; `None` if none of these fits.
pub(super) fn choose<'a, S>(overloads: &'a [S], given: Given<'_>) -> Result<Option<&'a S>, Error>
where
    S: AsRef<Signature>,
{
    let fitting: Vec<&S> = overloads
        .iter()
        .filter(|signature| {
            let signature = signature.as_ref();
            signature.is_callable() && !signature.takes_body() && signature.takes(given.names())
        })
        .collect();
    let fitting = match (fitting.is_empty(), given) {
        (true, Given::Body(_)) => {
            overloads.iter().filter(|signature| (*signature).as_ref().takes_body()).collect()
        }
        _ => fitting,
    };
    match fitting[..] {
        [] => Ok(None),
        [only] => Ok(Some(only)),
        _ => Err(Error::Ambiguous {
            candidates: fitting.iter().map(|signature| (*signature).as_ref().display()).collect(),
        }),
    }
}

impl AsRef<Self> for Signature {
    fn as_ref(&self) -> &Self {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `f(a, b?)`: a question mark for a default, `:json` for a type.
    fn signature(text: &str) -> Signature {
        let (name, arguments) = text.trim_end_matches(')').split_once('(').unwrap();
        let parameters = arguments.split(", ").filter(|argument| !argument.is_empty()).map(|argument| {
            let (name, sql_type) = argument.split_once(':').unwrap_or((argument, "integer"));
            Parameter {
                name: name.trim_end_matches('?').to_owned(),
                sql_type: sql_type.to_owned(),
                is_required: !name.ends_with('?'),
                is_variadic: false,
            }
        });
        Signature {
            id: 1,
            version: "1".to_owned(),
            row_type_id: 0,
            row_type_version: String::new(),
            schema_id: 2,
            schema: "public".to_owned(),
            name: name.to_owned(),
            is_set: false,
            is_volatile: true,
            returns: Returns::Scalar,
            timeout_ms: None,
            parameters: parameters.collect(),
        }
    }

    fn chosen(overloads: &[&str], names: &[&str], is_body: bool) -> String {
        let overloads: Vec<Signature> = overloads.iter().map(|text| signature(text)).collect();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let given = if is_body { Given::Body(&names) } else { Given::Named(&names) };
        match choose(&overloads, given) {
            Ok(Some(signature)) => signature.names(),
            Ok(None) => "none".to_owned(),
            Err(Error::Ambiguous { candidates }) => format!("{} fit", candidates.len()),
            Err(error) => panic!("{error}"),
        }
    }

    #[test]
    fn functions_are_chosen_by_the_names_of_their_arguments() {
        for (overloads, names, expected) in [
            (&["f()"][..], &[][..], "()"),
            (&["f()"], &["a"], "none"),
            (&["f(a)"], &["a"], "(a)"),
            (&["f(a)"], &[], "none"),
            (&["f(a)"], &["a", "b"], "none"),
            (&["f(a, b?)"], &["a"], "(a, b)"),
            (&["f(a, b?)"], &["b"], "none"),
            (&["f(a?, b?)"], &[], "(a, b)"),
            (&["f(a)", "f(a, b)"], &["b", "a"], "(a, b)"),
            (&["f(a, b?)", "f(a, c?)"], &["a"], "2 fit"),
            (&["f(a, b?)", "f(a, c?)"], &["a", "c"], "(a, c)"),
            (&["f(a:text)", "f(a)"], &["a"], "2 fit"),
            // No name of ours is empty.
            (&["f(:integer)"], &[""], "none"),
            (&["f(:integer, b)"], &["b"], "none"),
        ] {
            assert_eq!(chosen(overloads, names, false), expected, "{overloads:?} {names:?}");
        }
    }

    #[test]
    fn a_body_goes_to_one_unnamed_argument_if_nothing_else_fits() {
        for (overloads, names, is_body, expected) in [
            (&["f(:json)"][..], &["a"][..], true, "()"),
            (&["f(:jsonb)"], &[], true, "()"),
            (&["f(:json)"], &[], false, "none"),
            (&["f(:text)"], &["a"], true, "none"),
            (&["f(:json)", "f(a)"], &["a"], true, "(a)"),
            (&["f(:json)", "f(a)"], &["b"], true, "()"),
            (&["f(:json)", "f(:jsonb)"], &["b"], true, "2 fit"),
        ] {
            assert_eq!(chosen(overloads, names, is_body), expected, "{overloads:?} {names:?}");
        }
    }
}
