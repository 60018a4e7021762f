//! What SQL's logic demands of the evaluator: every table of truth, and where a doubt comes out.

use super::elements;
use super::evaluate::{Evaluator, Rows, Truth};
use super::expression::Expr;
use super::fixture::{
    Full, MOMENT, Tables, and, array_of, boolean, call, column, eq, equal, exists, int, inverse, less, not,
    or, query, rule,
};
use super::function::Doubt;
use super::plan::{Planner, Use};
use super::program::{Params, Program, Verdict};
use super::row::RowValues;
use super::value::Value;
use crate::change::RelationId;

const TRUTHS: [Truth; 3] = [Some(true), Some(false), None];

/// What an expression comes to, as a value that nothing hides.
fn truth(expr: &Expr, tables: &Tables) -> Result<Truth, Doubt> {
    let node = Planner::new().node(expr, Use::VALUE);
    let row = RowValues::of([None]);
    Evaluator::new(&[], tables, &MOMENT).truth(&node, &Rows::of(&row))
}

fn simple(expr: &Expr) -> Result<Truth, Doubt> {
    truth(expr, &Tables::default())
}

fn verdict(condition: Expr, row: &[Value]) -> Verdict {
    let program = Program::new(vec![rule(condition)], vec![]);
    program.judge(&Params(Box::default()), &Full(row.into()), &Tables::default(), &MOMENT)
}

/// NULL that raises an error in Postgres.
fn error() -> Expr {
    eq(call(inverse(), [int(0)]), int(1))
}

/// What is not known here.
fn unknown() -> Expr {
    column(0, 0, 0)
}

#[test]
fn logic_has_three_values() {
    for a in TRUTHS {
        for b in TRUTHS {
            let any_null = a.is_none() || b.is_none();
            let conjunction = match (a, b) {
                (Some(false), _) | (_, Some(false)) => Some(false),
                _ if any_null => None,
                _ => Some(true),
            };
            let disjunction = match (a, b) {
                (Some(true), _) | (_, Some(true)) => Some(true),
                _ if any_null => None,
                _ => Some(false),
            };
            let pair = || [boolean(a), boolean(b)];
            assert_eq!(simple(&and(pair())), Ok(conjunction), "{a:?} AND {b:?}");
            assert_eq!(simple(&or(pair())), Ok(disjunction), "{a:?} OR {b:?}");
            assert_eq!(simple(&Expr::Distinct(equal(), Box::new(pair()))), Ok(Some(a != b)));
            assert_eq!(simple(&eq(boolean(a), boolean(b))), Ok((!any_null).then_some(a == b)));
            assert_eq!(simple(&Expr::Is(Box::new(boolean(a)), b)), Ok(Some(a == b)));
            let coalesced = Expr::Coalesce(pair().into());
            assert_eq!(simple(&coalesced), Ok(a.or(b)));
            let nullif = Expr::NullIf(equal(), Box::new(pair()));
            assert_eq!(simple(&nullif), Ok(if a == b { None } else { a }));
            let case = Expr::Case([(boolean(a), boolean(b))].into(), Box::new(boolean(None)));
            assert_eq!(simple(&case), Ok(if a == Some(true) { b } else { None }));
        }
        assert_eq!(simple(&not(boolean(a))), Ok(a.map(|a| !a)));
        assert_eq!(simple(&Expr::IsNull(Box::new(boolean(a)))), Ok(Some(a.is_none())));
    }
    assert_eq!(simple(&and([])), Ok(Some(true)));
    assert_eq!(simple(&or([])), Ok(Some(false)));
}

#[test]
fn what_is_unknown_here_might_be_anything_and_an_error_spoils_all() {
    for in_front in [true, false] {
        let beside =
            |expr: Expr, truth| if in_front { [expr, boolean(truth)] } else { [boolean(truth), expr] };
        for (truth, all, any) in [
            (Some(true), Err(Doubt::Unknown), Ok(Some(true))),
            (Some(false), Ok(Some(false)), Err(Doubt::Unknown)),
            (None, Err(Doubt::Unknown), Err(Doubt::Unknown)),
        ] {
            assert_eq!(simple(&and(beside(unknown(), truth))), all, "{truth:?}");
            assert_eq!(simple(&or(beside(unknown(), truth))), any, "{truth:?}");
            assert_eq!(simple(&and(beside(error(), truth))), Err(Doubt::Raises), "{truth:?}");
            assert_eq!(simple(&or(beside(error(), truth))), Err(Doubt::Raises), "{truth:?}");
        }
        // What may raise an error for an unknown argument may raise it now.
        let may = eq(call(inverse(), [unknown()]), int(1));
        assert_eq!(simple(&or(beside(may, Some(true)))), Err(Doubt::Unknown));
        // Where both hide the row, it does not matter which.
        let zero = [Value::Int(0)];
        let of_row = || eq(call(inverse(), [column(0, 0, 0)]), int(1));
        assert_eq!(verdict(and(beside(of_row(), Some(false))), &zero), Verdict::Fails);
        assert_eq!(verdict(and(beside(of_row(), None)), &zero), Verdict::Fails);
        assert_eq!(verdict(and(beside(of_row(), Some(true))), &zero), Verdict::Unknown(Doubt::Raises));
        // Below NOT and beside an alternative, it does.
        let denied = and(beside(of_row(), Some(false)));
        assert_eq!(verdict(not(denied.clone()), &zero), Verdict::Unknown(Doubt::Raises));
        assert_eq!(verdict(or([denied, boolean(Some(true))]), &zero), Verdict::Unknown(Doubt::Raises));
    }
}

#[test]
fn any_and_all_look_at_each_element() {
    let list = |elements: &[Option<i64>]| {
        let elements = elements.iter().map(|element| element.map_or(Value::Null, Value::Int));
        Expr::Const(elements::collect(elements.collect()).unwrap())
    };
    let (one, null) = (int(1), Expr::Const(Value::Null));
    let cases = [
        (&one, list(&[Some(1), None]), Some(true), None),
        (&one, list(&[Some(1), Some(1)]), Some(true), Some(true)),
        (&one, list(&[Some(2), None]), None, Some(false)),
        (&one, list(&[Some(2)]), Some(false), Some(false)),
        (&one, list(&[]), Some(false), Some(true)),
        (&null, list(&[]), Some(false), Some(true)),
        (&null, list(&[Some(1)]), None, None),
        (&one, null.clone(), None, None),
    ];
    for (value, array, any, every) in cases {
        for (all, expected) in [(false, any), (true, every)] {
            let arguments = Box::new([value.clone(), array.clone()]);
            let elements = Expr::Elements { function: equal(), all, arguments };
            assert_eq!(simple(&elements), Ok(expected), "all: {all}, {elements:?}");
        }
    }
}

#[test]
fn queries_answer_by_their_rows() {
    let number = |number| Full([Value::Int(number), Value::Null, Value::Null, Value::Null].into());
    let of =
        |numbers: &[i64]| Tables([(RelationId(1), numbers.iter().copied().map(number).collect())].into());
    let numbers = || query(&[1], boolean(Some(true)), vec![column(0, 0, 0)]);
    let is_one = |expr| eq(expr, int(1));
    for (rows, scalar, first, any, every) in [
        (&[][..], Ok(None), Ok(None), Some(false), Some(true)),
        (&[1], Ok(Some(true)), Ok(Some(true)), Some(true), Some(true)),
        (&[2], Ok(Some(false)), Ok(Some(false)), Some(false), Some(false)),
        (&[1, 1], Err(Doubt::Raises), Ok(Some(true)), Some(true), Some(true)),
        (&[1, 2], Err(Doubt::Raises), Err(Doubt::Unknown), Some(true), Some(false)),
    ] {
        let tables = of(rows);
        assert_eq!(truth(&is_one(Expr::Scalar(numbers())), &tables), scalar, "{rows:?}");
        assert_eq!(truth(&is_one(Expr::First(numbers())), &tables), first, "{rows:?}");
        assert_eq!(truth(&exists(&[1], boolean(Some(true))), &tables), Ok(Some(!rows.is_empty())));
        assert_eq!(truth(&exists(&[1], boolean(None)), &tables), Ok(Some(false)));
        for (all, expected) in [(false, any), (true, every)] {
            let test = Box::new(is_one(Expr::Output(0)));
            let quantified = Expr::Quantified { all, test, query: numbers() };
            assert_eq!(truth(&quantified, &tables), Ok(expected), "{rows:?}");
            let test = Box::new(eq(Expr::Const(Value::Null), Expr::Output(0)));
            let quantified = Expr::Quantified { all, test, query: numbers() };
            let none = rows.is_empty().then_some(all);
            assert_eq!(truth(&quantified, &tables), Ok(none), "{rows:?}");
        }
    }
    // What is not mirrored is not empty.
    assert_eq!(simple(&exists(&[1], boolean(Some(true)))), Err(Doubt::NotMirrored));
    assert_eq!(simple(&exists(&[1], boolean(Some(false)))), Ok(Some(false)));
}

#[test]
fn an_error_in_a_query_comes_with_or_without_rows() {
    let empty = Tables([(RelationId(1), Vec::new())].into());
    assert_eq!(truth(&exists(&[1], error()), &empty), Err(Doubt::Raises));
    assert_eq!(truth(&exists(&[1], eq(call(inverse(), [int(1)]), int(1))), &empty), Ok(Some(false)));
    // Rows that are never looked at may raise it.
    let of_rows = eq(call(inverse(), [column(0, 0, 0)]), int(1));
    assert_eq!(truth(&exists(&[1], of_rows), &empty), Err(Doubt::Raises));
}

#[test]
fn a_judgement_ends() {
    let row = Full([Value::Int(1), Value::Null, Value::Null, Value::Null].into());
    let tables = Tables([(RelationId(1), vec![row; 60])].into());
    let never = call(less(), [column(0, 2, 0), int(0)]);
    assert_eq!(truth(&exists(&[1, 1], call(less(), [column(0, 1, 0), int(0)])), &tables), Ok(Some(false)));
    assert_eq!(truth(&exists(&[1, 1, 1], never), &tables), Err(Doubt::TooLong));
}

#[test]
fn arrays_of_arrays_are_left_to_postgres() {
    let inner = || call(array_of(), [int(1)]);
    let array = Expr::Array([inner(), inner()].into());
    assert_eq!(simple(&eq(array.clone(), array)), Err(Doubt::Unknown));
    let flat = || Expr::Array([int(1), int(2)].into());
    assert_eq!(simple(&eq(flat(), flat())), Ok(Some(true)));
}
