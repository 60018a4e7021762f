//! The policies of a table for a role, compiled.

use std::ops::ControlFlow;
use std::sync::Arc;

use super::affected::{self, Affected, Guard};
use super::evaluate::{Evaluator, NoRow, Rows};
use super::expression::Expr;
use super::function::{Doubt, Moment};
use super::hoist::hoist;
use super::normal::normal;
use super::plan::{Node, Planner, Use};
use super::reach::{Indexes, Reach};
use super::split::split;
use super::uncompiled::Uncompiled;
use super::value::Value;
use super::walk;
use crate::change::RelationId;

/// The policies on a table that bind a role for a command: one permissive rule must hold, and all restrictive ones.
#[derive(Clone, Debug)]
pub struct Program {
    /// The parts that depend on the caller alone; [`Expr::Param`] counts in these.
    pub params: Box<[Expr]>,
    /// Permissive policies.
    pub permissive: Box<[Rule]>,
    /// Restrictive policies.
    pub restrictive: Box<[Rule]>,
    /// The columns of the judged row that are read, as places among the table's columns; ascending.
    pub columns: Box<[usize]>,
    /// The relations that are read, with the columns that are read of each; ascending.
    pub relations: Box<[(RelationId, Box<[usize]>)]>,
    plan: Box<Plan>,
}

/// What follows from the rules.
#[derive(Clone, Debug)]
struct Plan {
    params: Box<[Node]>,
    permissive: Box<[Option<Condition>]>,
    restrictive: Box<[Option<Condition>]>,
    keys: Box<[(RelationId, usize)]>,
    reach: Reach,
    indexes: Indexes,
    guards: Box<[Guard]>,
}

/// The condition of a rule.
#[derive(Clone, Debug)]
struct Condition {
    node: Node,
    raises: bool,
}

/// All else follows from the rules.
impl PartialEq for Program {
    fn eq(&self, other: &Self) -> bool {
        (&self.params, &self.permissive, &self.restrictive)
            == (&other.params, &other.permissive, &other.restrictive)
    }
}

/// One policy.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Its name.
    pub policy: Arc<str>,
    /// Its condition, or why it is asked of Postgres.
    pub condition: Result<Expr, Uncompiled>,
}

/// Who asks, as policies see them.
#[derive(Clone, Copy, Debug)]
pub struct Caller<'a> {
    /// Settings of the session by name; those that are missing are NULL. `request.jwt.claims` is among them, and what
    /// else the statement that asks Postgres sets.
    pub settings: &'a dyn Settings,
    /// The moment.
    pub moment: Moment,
}

/// The settings of a session.
pub trait Settings: std::fmt::Debug {
    /// The value of a setting; `None` if it has never been set.
    fn get(&self, name: &str) -> Option<&str>;
}

/// The values of a program's parameters for one caller. Equal for callers whom the program cannot tell apart.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Params(pub Box<[Value]>);

/// A row, as expressions read it.
pub trait Tuple {
    /// The value of the column in this place of its relation.
    fn value(&self, place: usize) -> Result<Value, Doubt>;
}

/// What relations hold at one moment.
pub trait Relations {
    /// Visits rows of a relation: with a key, those whose column in that place equals the value, which is not NULL, by a
    /// hash equality; else all. Stops when the visitor breaks.
    fn scan(
        &self,
        relation: RelationId,
        key: Option<(usize, &Value)>,
        visit: &mut dyn FnMut(&dyn Tuple) -> ControlFlow<()>,
    ) -> Result<(), Doubt>;
}

/// What a program says about a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The row passes.
    Passes,
    /// It does not.
    Fails,
    /// Only Postgres can tell.
    Unknown(Doubt),
}

/// What one rule says about a row.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleVerdict {
    /// The policy.
    pub policy: Arc<str>,
    /// Whether it is permissive.
    pub permissive: bool,
    /// What it says.
    pub outcome: Outcome,
    /// The relations that it reads; ascending.
    pub relations: Vec<RelationId>,
}

/// What a condition says about a row.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It holds.
    True,
    /// It does not.
    False,
    /// It is NULL, which lets nothing pass.
    Null,
    /// Only Postgres can tell.
    Doubt(Doubt),
    /// It is asked of Postgres always, and why.
    Uncompiled(Uncompiled),
}

impl Program {
    /// Compiled rules, with no [`Expr::Param`] in them.
    pub fn new(permissive: Vec<Rule>, restrictive: Vec<Rule>) -> Self {
        let mut params = Vec::new();
        let mut prepare = |rules: Vec<Rule>| -> Box<[Rule]> {
            let prepared = rules.into_iter().map(|rule| Rule {
                condition: rule.condition.map(|condition| split(hoist(normal(condition, true), &mut params))),
                ..rule
            });
            prepared.collect()
        };
        let (permissive, restrictive) = (prepare(permissive), prepare(restrictive));
        let mut planner = Planner::new();
        let mut conditions = |rules: &[Rule], us: Use| -> Box<[Option<Condition>]> {
            let condition = |rule: &Rule| {
                let condition = rule.condition.as_ref().ok()?;
                let node = planner.node(condition, us);
                Some(Condition { node, raises: walk::raises(condition) })
            };
            rules.iter().map(condition).collect()
        };
        let among = if permissive.len() == 1 { Use::CONDITION } else { Use::TRUTH };
        let permitting = conditions(&permissive, among);
        let restricting = conditions(&restrictive, Use::CONDITION);
        let (reach, indexes) = Reach::of(&permissive, &restrictive, &mut planner);
        let mut guards = Vec::new();
        for condition in permissive.iter().chain(&restrictive).filter_map(|rule| rule.condition.as_ref().ok())
        {
            Guard::of(condition, &mut guards);
        }
        let Planner { mut columns, mut relations, mut keys, .. } = planner;
        columns.sort_unstable();
        keys.sort_unstable_by_key(|(relation, place)| (relation.0, *place));
        relations.sort_unstable_by_key(|(relation, _)| relation.0);
        let relations = relations.into_iter().map(|(relation, mut columns)| {
            columns.sort_unstable();
            (relation, columns.into())
        });
        let plan = Plan {
            params: params.iter().map(|param| Planner::new().node(param, Use::VALUE)).collect(),
            permissive: permitting,
            restrictive: restricting,
            keys: keys.into(),
            reach,
            indexes,
            guards: guards.into(),
        };
        Self {
            params: params.into(),
            permissive,
            restrictive,
            columns: columns.into(),
            relations: relations.collect(),
            plan: Box::new(plan),
        }
    }

    /// Whether some policy is asked of Postgres.
    pub fn is_partial(&self) -> bool {
        self.permissive.iter().chain(&self.restrictive).any(|rule| rule.condition.is_err())
    }

    /// Whether what it says depends on the clock.
    pub fn reads_clock(&self) -> bool {
        let reads = |part: &Expr| {
            matches!(part, Expr::Now) || walk::function(part).is_some_and(|function| function.reads_clock)
        };
        let rules = self.permissive.iter().chain(&self.restrictive);
        let conditions = rules.filter_map(|rule| rule.condition.as_ref().ok());
        self.params.iter().chain(conditions).any(|part| walk::any(part, &reads))
    }

    /// By which columns, as places, relations are looked up; ascending.
    pub fn keys(&self) -> &[(RelationId, usize)] {
        &self.plan.keys
    }

    /// Whether what the program says may depend on rows of this relation.
    pub fn may_depend_on(&self, relation: RelationId) -> bool {
        self.relations.iter().any(|(read, _)| *read == relation)
    }

    /// Whose verdicts about any row may have changed because this row of a relation came or went: a superset. Of an
    /// updated row, both the old and the new one are to be asked about.
    pub fn affected(&self, relation: RelationId, row: &dyn Tuple) -> Affected {
        affected::affected(&self.plan.guards, relation, row)
    }

    /// For whom it may pass.
    pub(super) fn reach(&self) -> (&Reach, &Indexes) {
        (&self.plan.reach, &self.plan.indexes)
    }

    /// Evaluates the parameters for a caller. Postgres may evaluate them whatever a row holds, so an error in one is a
    /// doubt about all rows.
    ///
    /// # Errors
    /// When any of them comes to a doubt: nothing may be judged for this caller then.
    pub fn params(&self, caller: &Caller<'_>) -> Result<Params, Doubt> {
        let value = |node: &Node| {
            Evaluator::of_caller(caller.settings, &caller.moment).value(node, &Rows::of(&NoRow))
        };
        self.plan.params.iter().map(value).collect::<Result<_, _>>().map(Params)
    }

    /// Whether a row passes: some permissive rule and all restrictive ones must be true of it.
    pub fn judge(
        &self,
        params: &Params,
        row: &dyn Tuple,
        relations: &dyn Relations,
        moment: &Moment,
    ) -> Verdict {
        let evaluator = Evaluator::new(&params.0, relations, moment);
        let rows = Rows::of(row);
        let mut doubt = None;
        for rule in &self.plan.restrictive {
            match rule.as_ref().map_or(Err(Doubt::Unknown), |rule| evaluator.truth(&rule.node, &rows)) {
                Ok(Some(true)) => {}
                // Whatever else is true, and be it an error, hides the row as well.
                Ok(_) => return Verdict::Fails,
                Err(found) => doubt = doubt.or(Some(found)),
            }
        }
        match (self.permits(&evaluator, &rows), doubt) {
            (Verdict::Passes, Some(doubt)) => Verdict::Unknown(doubt),
            (verdict, _) => verdict,
        }
    }

    /// Whether some permissive rule holds, and none may raise an error.
    fn permits(&self, evaluator: &Evaluator<'_>, rows: &Rows<'_>) -> Verdict {
        let rules = &self.plan.permissive;
        if rules.iter().any(Option::is_none) {
            return Verdict::Unknown(Doubt::Unknown);
        }
        let raises = rules.iter().flatten().any(|rule| rule.raises);
        let (mut passes, mut doubt, mut error) = (false, None, None);
        for rule in rules.iter().flatten() {
            if passes && !rule.raises {
                continue;
            }
            match evaluator.truth(&rule.node, rows) {
                Ok(Some(true)) if !raises => return Verdict::Passes,
                Ok(Some(true)) => passes = true,
                Ok(_) => {}
                Err(found) if rule.raises => error = error.or(Some(found)),
                Err(found) => doubt = doubt.or(Some(found)),
            }
        }
        match (error, doubt) {
            (Some(error), _) => Verdict::Unknown(error),
            _ if passes => Verdict::Passes,
            (None, Some(doubt)) => Verdict::Unknown(doubt),
            (None, None) => Verdict::Fails,
        }
    }

    /// What each rule says about a row, permissive ones first.
    pub fn explain(
        &self,
        params: &Params,
        row: &dyn Tuple,
        relations: &dyn Relations,
        moment: &Moment,
    ) -> Vec<RuleVerdict> {
        let explain = |(rule, planned, permissive): (&Rule, &Option<Condition>, bool)| {
            let outcome = match (&rule.condition, planned) {
                (Err(why), _) => Outcome::Uncompiled(why.clone()),
                (Ok(_), None) => Outcome::Doubt(Doubt::Unknown),
                (Ok(_), Some(planned)) => {
                    let evaluator = Evaluator::new(&params.0, relations, moment);
                    match evaluator.truth(&planned.node, &Rows::of(row)) {
                        Ok(Some(true)) => Outcome::True,
                        Ok(Some(false)) => Outcome::False,
                        Ok(None) => Outcome::Null,
                        Err(doubt) => Outcome::Doubt(doubt),
                    }
                }
            };
            let mut relations = Vec::new();
            if let Ok(condition) = &rule.condition {
                walk::scans(condition, &mut |scan| relations.push(scan.relation));
            }
            relations.sort_unstable_by_key(|relation| relation.0);
            relations.dedup();
            RuleVerdict { policy: Arc::clone(&rule.policy), permissive, outcome, relations }
        };
        let permissive = self.permissive.iter().zip(&self.plan.permissive);
        let restrictive = self.restrictive.iter().zip(&self.plan.restrictive);
        let permissive = permissive.map(|(rule, planned)| (rule, planned, true));
        let restrictive = restrictive.map(|(rule, planned)| (rule, planned, false));
        permissive.chain(restrictive).map(explain).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{
        Full, MOMENT, Tables, and, boolean, call, column, eq, equal, exists, int, inverse, me, or, query,
        rule, session,
    };
    use super::super::uncompiled::Reason;
    use super::*;

    fn row(numbers: [i64; 2]) -> Full {
        Full([Value::Int(numbers[0]), Value::Int(numbers[1]), Value::Null, Value::Null].into())
    }

    fn tables(rows: &[[i64; 2]]) -> Tables {
        Tables([(RelationId(1), rows.iter().copied().map(row).collect())].into())
    }

    fn params(program: &Program, who: &str) -> Result<Params, Doubt> {
        program.params(&Caller { settings: &session(who), moment: MOMENT })
    }

    fn asked() -> Rule {
        Rule { policy: "asked".into(), condition: Err(Uncompiled::new(Reason::Function, "f")) }
    }

    /// Participants of the row's conversation, among whom is the caller.
    fn participates() -> Expr {
        let found = eq(column(0, 0, 0), column(1, 0, 0));
        exists(&[1], and([found, eq(column(0, 0, 1), me())]))
    }

    #[test]
    fn what_depends_on_the_caller_alone_is_evaluated_once() {
        let twice = or([participates(), eq(column(0, 0, 1), me())]);
        let program = Program::new(vec![rule(twice)], vec![rule(eq(me(), me()))]);
        assert_eq!(program.params.len(), 2, "the caller's number, and what restricts");
        assert_eq!(params(&program, "7"), Ok(Params([Value::Int(7), Value::Bool(true)].into())));
        assert_eq!(params(&program, "seven"), Err(Doubt::Raises), "an error is not found by luck");
        assert_eq!(*program.columns, [0, 1]);
        assert_eq!(*program.relations, [(RelationId(1), [0, 1, 2, 3].into())]);
        // By the row for a caller, and by both for candidates.
        assert_eq!(program.keys(), [(RelationId(1), 0)]);
        assert!(program.may_depend_on(RelationId(1)) && !program.may_depend_on(RelationId(2)));
        assert!(!program.is_partial());
    }

    #[test]
    fn one_permissive_and_all_restrictive_rules_must_hold() {
        let truth = |truth| rule(boolean(truth));
        let unknown = Verdict::Unknown(Doubt::Unknown);
        let error = || rule(eq(call(inverse(), [column(0, 0, 1)]), int(1)));
        let (yes, no, null) = (Some(true), Some(false), None);
        for (permissive, restrictive, expected) in [
            (vec![], vec![], Verdict::Fails),
            (vec![], vec![truth(yes)], Verdict::Fails),
            (vec![truth(yes)], vec![], Verdict::Passes),
            (vec![truth(no)], vec![], Verdict::Fails),
            (vec![truth(null)], vec![], Verdict::Fails),
            (vec![truth(no), truth(yes)], vec![], Verdict::Passes),
            (vec![truth(yes)], vec![truth(yes)], Verdict::Passes),
            (vec![truth(yes)], vec![truth(yes), truth(null)], Verdict::Fails),
            (vec![truth(yes)], vec![truth(no), asked()], Verdict::Fails),
            (vec![truth(yes)], vec![truth(yes), asked()], unknown),
            (vec![truth(no)], vec![asked()], Verdict::Fails),
            (vec![truth(yes), asked()], vec![], unknown),
            (vec![truth(no), asked()], vec![], unknown),
            (vec![asked()], vec![truth(no)], Verdict::Fails),
            (vec![truth(yes), error()], vec![], Verdict::Unknown(Doubt::Raises)),
            (vec![error(), truth(yes)], vec![], Verdict::Unknown(Doubt::Raises)),
            (vec![truth(yes)], vec![error()], Verdict::Unknown(Doubt::Raises)),
            (vec![truth(no)], vec![error()], Verdict::Fails),
        ] {
            let program = Program::new(permissive, restrictive);
            let verdict = program.judge(&Params(Box::default()), &row([1, 0]), &Tables::default(), &MOMENT);
            assert_eq!(verdict, expected, "{program:?}");
        }
    }

    #[test]
    fn what_raises_an_error_for_no_row_in_particular_raises_it_for_every_one() {
        let error = || eq(call(inverse(), [int(0)]), int(1));
        let lazy = Expr::Case([(eq(column(0, 0, 0), int(1)), boolean(Some(true)))].into(), Box::new(error()));
        let program = Program::new(vec![rule(lazy)], vec![]);
        assert_eq!(params(&program, "7"), Err(Doubt::Raises));
        // In what depends on the caller as well.
        let lazy = Expr::Case([(eq(me(), int(7)), boolean(Some(true)))].into(), Box::new(error()));
        let program = Program::new(vec![rule(lazy)], vec![]);
        assert_eq!(params(&program, "7"), Err(Doubt::Raises));
        let fine = eq(call(inverse(), [int(1)]), int(1));
        let program = Program::new(vec![rule(fine)], vec![]);
        let params = params(&program, "7").unwrap();
        assert_eq!(program.judge(&params, &row([1, 0]), &Tables::default(), &MOMENT), Verdict::Passes);
    }

    #[test]
    fn rights_follow_the_rows_of_other_relations() {
        let program = Program::new(vec![rule(participates())], vec![]);
        let tables = tables(&[[1, 7], [1, 8], [2, 9]]);
        for (who, conversation, expected) in [
            ("7", 1, Verdict::Passes),
            ("8", 1, Verdict::Passes),
            ("9", 1, Verdict::Fails),
            ("9", 2, Verdict::Passes),
            ("7", 2, Verdict::Fails),
        ] {
            let params = params(&program, who).unwrap();
            assert_eq!(program.judge(&params, &row([conversation, 0]), &tables, &MOMENT), expected, "{who}");
            let unmirrored = program.judge(&params, &row([1, 0]), &Tables::default(), &MOMENT);
            assert_eq!(unmirrored, Verdict::Unknown(Doubt::NotMirrored));
        }
    }

    #[test]
    fn a_row_affects_those_whom_it_names() {
        let mut program = Program::new(vec![rule(participates())], vec![]);
        let named = Affected::Values([(0, Value::Int(7))].into_iter().collect());
        assert_eq!(program.affected(RelationId(1), &row([1, 7])), named);
        assert!(named.includes(&params(&program, "7").unwrap()));
        assert!(!named.includes(&params(&program, "8").unwrap()));
        assert_eq!(program.affected(RelationId(2), &row([1, 7])), Affected::Nobody);
        let nameless = Full([Value::Int(1), Value::Null, Value::Null, Value::Null].into());
        assert_eq!(program.affected(RelationId(1), &nameless), Affected::Nobody);
        // Rows that the query never finds, and queries that name nobody.
        let of_five = |tie: Expr| exists(&[1], and([eq(column(0, 0, 0), int(5)), tie]));
        program = Program::new(vec![rule(of_five(eq(me(), column(0, 0, 1))))], vec![]);
        assert_eq!(program.affected(RelationId(1), &row([4, 7])), Affected::Nobody);
        assert_eq!(program.affected(RelationId(1), &row([5, 7])), named);
        program = Program::new(vec![rule(of_five(boolean(Some(true))))], vec![]);
        assert_eq!(program.affected(RelationId(1), &row([4, 7])), Affected::Nobody);
        assert_eq!(program.affected(RelationId(1), &row([5, 7])), Affected::Everybody);
        // One of two columns, or an element of a list.
        let listed =
            Expr::Elements { function: equal(), all: false, arguments: Box::new([me(), column(0, 0, 3)]) };
        let either = [eq(column(0, 0, 0), me()), eq(me(), column(0, 0, 1)), listed];
        program = Program::new(vec![rule(exists(&[1], Expr::Or(either.into())))], vec![]);
        let list = crate::policy::elements::collect(vec![Value::Int(9), Value::Null, Value::Int(9)]).unwrap();
        let row = Full([Value::Int(4), Value::Int(7), Value::Null, list].into());
        let named = Affected::Values([4, 7, 9].map(|number| (0, Value::Int(number))).into_iter().collect());
        assert_eq!(program.affected(RelationId(1), &row), named);
    }

    #[test]
    fn rows_are_looked_up_by_each_of_a_few_values_and_found_once() {
        let listed = |array| Expr::Elements {
            function: equal(),
            all: false,
            arguments: Box::new([column(0, 0, 0), array]),
        };
        let twice = Expr::Array([int(1), int(3), int(1), Expr::Const(Value::Null)].into());
        let found = Expr::Scalar(query(&[1], listed(twice), vec![column(0, 0, 1)]));
        let program = Program::new(vec![rule(eq(found, column(0, 0, 0)))], vec![]);
        assert_eq!(program.keys(), [(RelationId(1), 0)]);
        let judge =
            |rows: &[[i64; 2]]| program.judge(&Params(Box::default()), &row([7, 0]), &tables(rows), &MOMENT);
        assert_eq!(judge(&[[1, 7], [2, 8]]), Verdict::Passes);
        assert_eq!(judge(&[[2, 7]]), Verdict::Fails);
        assert_eq!(judge(&[[1, 7], [3, 8]]), Verdict::Unknown(Doubt::Raises));
    }

    #[test]
    fn each_rule_explains_itself() {
        let mine = Expr::Scalar(query(&[1], eq(column(0, 0, 1), me()), vec![column(0, 0, 0)]));
        let rules = vec![rule(eq(column(0, 0, 0), mine)), rule(boolean(None)), asked()];
        let program = Program::new(rules, vec![rule(participates())]);
        let params = params(&program, "7").unwrap();
        let explain = |tables: &Tables| {
            let verdicts = program.explain(&params, &row([1, 0]), tables, &MOMENT);
            let read: Vec<_> = verdicts.iter().map(|verdict| verdict.relations.len()).collect();
            assert_eq!(read, [1, 0, 0, 1]);
            assert_eq!(verdicts.iter().filter(|verdict| verdict.permissive).count(), 3);
            verdicts.into_iter().map(|verdict| verdict.outcome).collect::<Vec<_>>()
        };
        let asked = Outcome::Uncompiled(Uncompiled::new(Reason::Function, "f"));
        let (yes, no, null) = (Outcome::True, Outcome::False, Outcome::Null);
        assert_eq!(explain(&tables(&[[1, 7]])), [yes, null.clone(), asked.clone(), Outcome::True]);
        assert_eq!(explain(&tables(&[[2, 7]])), [no.clone(), null.clone(), asked.clone(), no.clone()]);
        let raises = Outcome::Doubt(Doubt::Raises);
        assert_eq!(explain(&tables(&[[2, 7], [3, 7]])), [raises, null, asked, no]);
    }

    #[test]
    fn the_same_symbol_is_not_the_same_function() {
        let other = Expr::Call(
            super::super::function::Function {
                call: |_, _| Err(Doubt::Raises),
                ..super::super::fixture::equal()
            },
            [me(), int(1)].into(),
        );
        let both = or([eq(eq(me(), int(1)), column(0, 0, 2)), eq(other, column(0, 0, 2))]);
        assert_eq!(Program::new(vec![rule(both)], vec![]).params.len(), 2);
    }
}
