//! What a caller may have meant who asked for a function that does not exist.

use std::collections::HashSet;

use super::catalog::Schema;
use super::{Arguments, Error, Form, Function};

/// How alike two names have to be, from 0 to 1.
const ALIKE_MIN: f64 = 0.5;

/// How many arguments a function has at most, and how long a name is; of more than that is said no more.
const ARGUMENTS_MAX: usize = 100;
const NAME_CHARS_MAX: usize = 63;

/// The error of a call that no function fits. It names one that nearly does: of the same name the one whose arguments
/// are most alike, else the one whose name is.
pub(super) fn not_found(schema: &Schema, function: Function<'_>, arguments: &Arguments) -> Error {
    let mut names: Vec<&String> = arguments.names.iter().collect();
    names.sort_unstable();
    let names: Vec<String> = names.into_iter().take(ARGUMENTS_MAX).map(|name| cut(name)).collect();
    let near = match schema.functions.get(function.name) {
        Some(overloads) => {
            let asked = format!("({})", names.join(", "));
            let all: Vec<String> = overloads.iter().map(|signature| signature.names()).collect();
            nearest(&asked, all.iter().map(String::as_str), 0.0)
                .map(|near| format!("{}{near}", function.name))
        }
        None => {
            let all = schema.functions.keys().map(String::as_str);
            nearest(function.name, all, ALIKE_MIN).map(str::to_owned)
        }
    };
    Error::NotFound {
        schema: function.schema.to_owned(),
        name: function.name.to_owned(),
        arguments: names,
        is_body: arguments.form == Form::Body,
        near,
    }
}

fn cut(name: &str) -> String {
    name.chars().take(NAME_CHARS_MAX).collect()
}

/// The candidate that is most like `text`, if one is alike enough; of equals the first by name.
fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>, alike_min: f64) -> Option<&'a str> {
    let wanted = pairs(text);
    let alike = candidates.map(|candidate| (likeness(&wanted, &pairs(candidate)), candidate));
    let best = alike.max_by(|left, right| left.0.total_cmp(&right.0).then(right.1.cmp(left.1)))?;
    (best.0 >= alike_min).then_some(best.1)
}

/// How much of both texts is in both, by their pairs of neighbouring letters: 0 is nothing, 1 all.
fn likeness(left: &HashSet<[char; 2]>, right: &HashSet<[char; 2]>) -> f64 {
    let count = |length: usize| u32::try_from(length).map_or(f64::MAX, f64::from);
    let all = count(left.len() + right.len());
    if all == 0.0 { 0.0 } else { 2.0 * count(left.intersection(right).count()) / all }
}

fn pairs(text: &str) -> HashSet<[char; 2]> {
    let ends = |text: &str| {
        std::iter::once(' ')
            .chain(text.to_lowercase().chars().collect::<Vec<_>>())
            .chain([' '])
            .collect::<Vec<_>>()
    };
    ends(text).windows(2).map(|pair| [pair[0], pair[1]]).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use tokio::time::Instant;

    use super::*;

    #[test]
    fn an_error_is_short_however_much_was_sent() {
        let schema = Schema { functions: HashMap::new(), read_at: Instant::now() };
        let names = (0..1000).map(|number| format!("{number:0>1000}")).collect();
        let arguments = Arguments { names, json: String::new(), form: Form::Body };
        let error = not_found(&schema, Function::public("f"), &arguments);
        assert!(error.body().to_string().len() < 20_000);
    }

    #[test]
    fn slips_find_what_was_meant() {
        let all = ["send_message", "edit_message", "get_unread_counts", "sum"];
        for (text, expected) in [
            ("sent_message", Some("send_message")),
            ("send_mesage", Some("send_message")),
            ("get_unread_count", Some("get_unread_counts")),
            ("SUM", Some("sum")),
            ("version", None),
            ("", None),
        ] {
            assert_eq!(nearest(text, all.into_iter(), ALIKE_MIN), expected, "{text}");
        }
        assert_eq!(nearest("(a)", ["(a, b)", "(c)"].into_iter(), 0.0), Some("(a, b)"));
        assert_eq!(nearest("(a, c)", ["(a, b)", "(d)"].into_iter(), 0.0), Some("(a, b)"));
    }
}
