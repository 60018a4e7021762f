//! Takes out of conditions what depends on the caller alone, so that it is evaluated once for each caller.

use super::expression::Expr;
use super::function::Function;
use super::walk::{self, Inside};

/// What an expression depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Dependence {
    /// Nothing.
    Nothing,
    /// The caller's settings.
    Caller,
    /// Rows, or the moment.
    More,
}

/// Replaces the largest parts that depend on the caller alone by parameters, appended to `params`; and those that depend
/// on nothing but may raise an error, which Postgres evaluates whether or not a row ever needs them.
pub fn hoist(expr: Expr, params: &mut Vec<Expr>) -> Expr {
    match dependence(&expr, 0) {
        Dependence::Caller => {
            constants(&expr, params);
            param(expr, params)
        }
        Dependence::Nothing if walk::raises(&expr) => param(expr, params),
        _ => walk::map(expr, &mut |part, _| hoist(part, params)),
    }
}

/// Such parts of what is a parameter itself become parameters besides.
fn constants(expr: &Expr, params: &mut Vec<Expr>) {
    walk::parts(expr, &mut |part, _| {
        if dependence(part, 0) == Dependence::Nothing && walk::raises(part) {
            param(part.clone(), params);
        } else {
            constants(part, params);
        }
    });
}

fn param(expr: Expr, params: &mut Vec<Expr>) -> Expr {
    let place = params.iter().position(|known| is_same(known, &expr)).unwrap_or_else(|| {
        params.push(expr);
        params.len() - 1
    });
    Expr::Param(place)
}

/// `tests`: how many tests it stands in whose outputs are accounted for by their queries.
fn dependence(expr: &Expr, tests: usize) -> Dependence {
    let mut found = match expr {
        Expr::Setting(_) => Dependence::Caller,
        Expr::Column(_) | Expr::Now | Expr::Param(_) => Dependence::More,
        Expr::Output(_) if tests == 0 => Dependence::More,
        _ if walk::function(expr).is_some_and(|function| function.reads_clock) => Dependence::More,
        _ => Dependence::Nothing,
    };
    walk::scans(expr, &mut |_| found = Dependence::More);
    walk::parts(expr, &mut |part, inside| {
        if found != Dependence::More {
            found = found.max(dependence(part, tests + usize::from(inside == Inside::Test)));
        }
    });
    found
}

/// Whether both are the same down to the code of each function: the same symbol does different things under different
/// collations.
fn is_same(a: &Expr, b: &Expr) -> bool {
    fn functions<'a>(expr: &'a Expr, found: &mut Vec<&'a Function>) {
        found.extend(walk::function(expr));
        walk::parts(expr, &mut |part, _| functions(part, found));
    }
    let mut found = [Vec::new(), Vec::new()];
    functions(a, &mut found[0]);
    functions(b, &mut found[1]);
    let [ours, theirs] = found;
    let same = |(a, b): (&&Function, &&Function)| {
        std::ptr::fn_addr_eq(a.call, b.call)
            && (a.strict, a.raises, a.is_hash_equality) == (b.strict, b.raises, b.is_hash_equality)
    };
    a == b && ours.len() == theirs.len() && ours.iter().zip(&theirs).all(same)
}
