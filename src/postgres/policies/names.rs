//! What an analysed tree names, to be read next.
//!
//! The tree is read as a sequence of words. A name that is written like a field adds something that nobody asks for; it
//! cannot hide anything.

use std::collections::BTreeSet;

use crate::change::Oid;

/// What trees name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) relations: BTreeSet<Oid>,
    pub(super) functions: BTreeSet<Oid>,
    pub(super) operators: BTreeSet<Oid>,
    pub(super) collations: BTreeSet<Oid>,
}

impl Names {
    /// Adds what others name.
    pub(super) fn extend(&mut self, others: &Self) {
        self.relations.extend(&others.relations);
        self.functions.extend(&others.functions);
        self.operators.extend(&others.operators);
        self.collations.extend(&others.collations);
    }

    /// Adds what a tree names.
    pub(super) fn add(&mut self, tree: &str) {
        let mut words = tree.split_whitespace().peekable();
        while let Some(word) = words.next() {
            let set = match word {
                ":relid" => &mut self.relations,
                ":funcid" | ":opfuncid" | ":aggfnoid" | ":winfnoid" => &mut self.functions,
                ":opno" | ":opnos" | ":eqop" | ":sortop" => &mut self.operators,
                ":collOid" => &mut self.collations,
                _ if word.starts_with(':') && word.trim_end_matches('s').ends_with("collid") => {
                    &mut self.collations
                }
                _ => continue,
            };
            if words.peek() == Some(&"(o") {
                words.next();
            }
            while let Some(number) =
                words.peek().and_then(|word| word.trim_end_matches([')', '}']).parse().ok())
            {
                if number != 0 {
                    set.insert(number);
                }
                words.next();
            }
        }
    }
}

/// The names that a tree's tables, their columns and their aliases have.
pub(super) fn of_scans(tree: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut rest = tree;
    while let Some(at) = rest.find(":aliasname ") {
        rest = &rest[at + ":aliasname ".len()..];
        let (alias, after) = word(rest, |letter| letter == ' ' || letter == '}');
        found.insert(alias);
        rest = after;
        let Some(mut list) = rest.strip_prefix(" :colnames (") else { continue };
        while let Some(start) = list.strip_prefix('"') {
            let (column, after) = word(start, |letter| letter == '"');
            found.insert(column);
            list = after.strip_prefix('"').unwrap_or(after).trim_start();
        }
        rest = list;
    }
    found
}

/// What stands before the first letter that ends it, without the backslashes that escape letters; and the rest.
fn word(text: &str, ends: impl Fn(char) -> bool) -> (String, &str) {
    let mut found = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        if ends(letter) {
            return (found, &text[at..]);
        }
        match letter {
            '\\' => found.extend(letters.next().map(|(_, letter)| letter)),
            letter => found.push(letter),
        }
    }
    (found, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tree_names_is_found() {
        let mut names = Names::default();
        names.add(
            "({OPEXPR :opno 98 :opfuncid 67 :opresulttype 16 :inputcollid 100 :args ({FUNCEXPR :funcid 16400 :funccollid 0} \
             {ROWCOMPAREEXPR :opnos (o 96 97) :inputcollids (o 0 950)} {RTE :relid 16385})})",
        );
        let set = |numbers: &[Oid]| numbers.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!(names.functions, set(&[67, 16400]));
        assert_eq!(names.operators, set(&[96, 97, 98]));
        assert_eq!(names.collations, set(&[100, 950]));
        assert_eq!(names.relations, set(&[16385]));
    }

    #[test]
    fn names_of_scans_are_read_without_their_escapes() {
        let tree = r#"{RTE :alias {ALIAS :aliasname p :colnames <>} :eref {ALIAS :aliasname p\ q :colnames ("id" "a\"b" "")} :rtekind 0}"#;
        let expected = ["", "a\"b", "id", "p", "p q"].map(str::to_owned);
        assert_eq!(of_scans(tree), expected.into());
    }
}
