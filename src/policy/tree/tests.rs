//! What is read, and what is refused.

use super::*;
use crate::change::RelationId;

#[test]
fn fields_are_found_by_name_whatever_else_a_node_has() {
    let text = "{VAR :varno 1 :novelty {THING :a (b 1 2) :b (o 3)} :varattno -6 :flag true :none <>}";
    let tree = read(text).unwrap();
    let node = tree.node().unwrap();
    assert_eq!(node.tag, "VAR");
    assert_eq!(node.integer("varno"), Some(1));
    assert_eq!(node.integer("varattno"), Some(-6));
    assert_eq!(node.oid("varattno"), None);
    assert_eq!(node.flag("flag"), Some(true));
    assert_eq!(node.get("none"), &Tree::Null);
    assert_eq!(node.get("missing"), &Tree::Null);
    let inner = node.get("novelty").node().unwrap();
    assert_eq!(inner.get("a"), &Tree::Numbers([1, 2].into()));
    assert_eq!(inner.get("b"), &Tree::Numbers([3].into()));
}

#[test]
fn odd_names_are_read_as_they_are() {
    let text = r#"{ALIAS :aliasname :a :x :} :colnames ("conv" "odd\ \)name:\\" ":b" """ "\"q" "ü\{")}"#;
    assert!(matches!(read(text), Err(Error::Malformed(_))), "an unprotected brace ends a word");
    let text = r#"{ALIAS :aliasname :a :x :\} :colnames ("conv" "odd\ \)name:\\" ":b" "" "\"q" "ü\{")}"#;
    let tree = read(text).unwrap();
    let node = tree.node().unwrap();
    assert_eq!(node.word("aliasname"), Some(":a"));
    assert_eq!(node.word("x"), Some(":}"));
    let names: Vec<_> = node
        .get("colnames")
        .items()
        .iter()
        .map(|item| match item {
            Tree::Text(text) => text.as_ref(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(names, ["conv", "odd )name:\\", ":b", "", "\"q", "ü{"]);
}

#[test]
fn constants_have_their_bytes_as_they_are_printed() {
    let bytes = |text: &str| match read(text).map(|tree| tree.node().unwrap().get("constvalue").clone()) {
        Ok(Tree::Datum(bytes)) => Some(bytes.to_vec()),
        _ => None,
    };
    assert_eq!(bytes("{CONST :constvalue 1 [ 1 0 0 0 0 0 0 0 ]}"), Some(vec![1, 0, 0, 0, 0, 0, 0, 0]));
    assert_eq!(bytes("{CONST :constvalue 5 [ 20 0 0 0 -1 ]}"), Some(vec![20, 0, 0, 0, 255]));
    assert_eq!(bytes("{CONST :constvalue 5 [ 20 0 0 0 255 ] :x 1}"), Some(vec![20, 0, 0, 0, 255]));
    assert_eq!(bytes("{CONST :constvalue 0 [ ]}"), Some(vec![]));
    for wrong in [
        "{CONST :constvalue 9 [ 1 0 0 0 0 0 0 0 ]}",
        "{CONST :constvalue 2 [ 1 0 0 ]}",
        "{CONST :constvalue 1 [ 256 ]}",
        "{CONST :constvalue 1 [ 1",
        "{CONST :constvalue x [ 1 ]}",
    ] {
        assert_eq!(bytes(wrong), None, "{wrong}");
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn malformed_text_is_an_error() {
    for text in [
        "",
        " ",
        "{",
        "}",
        "(",
        ")",
        "{}",
        "{VAR",
        "{VAR :a",
        "{VAR :a}",
        "{VAR a 1}",
        "({VAR}",
        "{VAR}}",
        "{VAR} 1",
        "(i 1 x)",
        "(i 1",
        "{V\\ AR}",
        "{VAR :a 1 2}",
        "\\",
        "({VAR :a )}",
        "{VAR :a (}",
    ] {
        let read = read(text);
        assert!(read.is_err() || text == "\\", "{text}: {read:?}");
    }
}

#[test]
fn depth_is_bounded_without_overflow() {
    let nested = |depth: usize| format!("{}{}", "(".repeat(depth), ")".repeat(depth));
    assert!(read(&nested(DEPTH_MAX)).is_ok());
    assert_eq!(read(&nested(1_000_000)), Err(Error::TooLarge));
    assert_eq!(read(&"{A :a ".repeat(100_000)), Err(Error::TooLarge));
    assert_eq!(read(&" ".repeat(SIZE_MAX + 1)), Err(Error::TooLarge));
}

#[test]
fn no_cut_or_change_of_a_tree_panics() {
    let text = r#"({QUERY :a {VAR :b "x\"ü" :c (b 1) :d 4 [ 1 0 0 0 0 0 0 0 ] :e ü\ } :f (o 1 2)})"#;
    assert!(read(text).is_ok());
    for at in text.char_indices().map(|(at, _)| at) {
        assert!(read(&text[..at]).is_err(), "{}", &text[..at]);
        for other in ["(", "}", "\\", ":", "\"", " ", "[", "ü"] {
            let mut changed = text.to_owned();
            changed.insert_str(at, other);
            _ = read(&changed);
        }
    }
}

#[test]
fn references_are_what_is_named() {
    let text = "{SUBLINK :subLinkType 2 :testexpr {OPEXPR :opno 98 :opfuncid 67 :opresulttype 16 :opcollid 0
        :inputcollid 100 :args ({VAR :vartype 2950 :varcollid 0 :varreturningtype 0} {FUNCEXPR :funcid 16400})}
        :subselect {QUERY :rtable ({RANGETBLENTRY :alias {ALIAS :aliasname 77 :colnames <>} :rtekind 0 :relid 16385
        :jointype 2} {RANGETBLENTRY :relid 0})}}";
    let found = references(text).unwrap();
    assert_eq!(found.relations, [RelationId(16385)].into());
    assert_eq!(found.functions, [67, 16400].into());
    assert_eq!(found.operators, [98].into());
    assert_eq!(found.collations, [100].into());
    assert_eq!(found.types, [16, 2950].into());
}
