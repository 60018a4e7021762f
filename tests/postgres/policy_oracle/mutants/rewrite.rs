//! Rewrites compiled rules, so that they mean something else.

use rowcast::policy::Program;
use rowcast::policy::expression::{Expr, Query};
use rowcast::policy::program::Rule;

/// Rules, permissive and restrictive.
pub(crate) type Rules = (Vec<Rule>, Vec<Rule>);

/// The rules of a program, with the parameters where they came from.
pub(crate) fn rules(program: &Program) -> Rules {
    let plain = |rules: &[Rule]| {
        let plain = |rule: &Rule| Rule {
            policy: rule.policy.clone(),
            condition: rule.condition.clone().map(|condition| {
                each(condition, &|expr| match expr {
                    Expr::Param(place) => program.params[place].clone(),
                    other => other,
                })
            }),
        };
        rules.iter().map(plain).collect()
    };
    (plain(&program.permissive), plain(&program.restrictive))
}

/// Rewrites every part of every condition.
pub(crate) fn every(rules: &mut Rules, rewrite: &dyn Fn(Expr) -> Expr) {
    for rule in rules.0.iter_mut().chain(&mut rules.1) {
        if let Ok(condition) = &mut rule.condition {
            *condition = each(condition.clone(), rewrite);
        }
    }
}

/// Rewrites every part of an expression, inner ones first.
fn each(expr: Expr, rewrite: &dyn Fn(Expr) -> Expr) -> Expr {
    let one = |expr: Box<Expr>| Box::new(each(*expr, rewrite));
    let all = |list: Box<[Expr]>| list.into_iter().map(|expr| each(expr, rewrite)).collect();
    let pair = |[left, right]: [Expr; 2]| Box::new([each(left, rewrite), each(right, rewrite)]);
    let query = |query: Query| {
        Box::new(Query {
            condition: each(query.condition, rewrite),
            outputs: query.outputs.into_iter().map(|expr| each(expr, rewrite)).collect(),
            ..query
        })
    };
    rewrite(match expr {
        Expr::Call(function, arguments) => Expr::Call(function, all(arguments)),
        Expr::And(list) => Expr::And(all(list)),
        Expr::Or(list) => Expr::Or(all(list)),
        Expr::Array(list) => Expr::Array(all(list)),
        Expr::Coalesce(list) => Expr::Coalesce(all(list)),
        Expr::Not(inner) => Expr::Not(one(inner)),
        Expr::IsNull(inner) => Expr::IsNull(one(inner)),
        Expr::Is(inner, what) => Expr::Is(one(inner), what),
        Expr::Distinct(function, both) => Expr::Distinct(function, pair(*both)),
        Expr::NullIf(function, both) => Expr::NullIf(function, pair(*both)),
        Expr::Case(arms, default) => {
            let arm = |(condition, value): (Expr, Expr)| (each(condition, rewrite), each(value, rewrite));
            Expr::Case(arms.into_iter().map(arm).collect(), one(default))
        }
        Expr::Elements { function, all, arguments } => {
            Expr::Elements { function, all, arguments: pair(*arguments) }
        }
        Expr::Exists(inner) => Expr::Exists(query(*inner)),
        Expr::Scalar(inner) => Expr::Scalar(query(*inner)),
        Expr::First(inner) => Expr::First(query(*inner)),
        Expr::Collected(inner) => Expr::Collected(query(*inner)),
        Expr::Quantified { all, test, query: inner } => {
            Expr::Quantified { all, test: one(test), query: query(*inner) }
        }
        leaf => leaf,
    })
}
