//! The callers that a program judges for, so grouped and indexed that a row finds those who may see it.
//!
//! Callers whom the program cannot tell apart are one group. From a row follows a list of candidates, a superset of the
//! groups that may see it; each of them is judged by the whole program.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use slab::Slab;
use smallvec::SmallVec;

use super::elements;
use super::evaluate::{Evaluator, Rows, STEPS_MAX};
use super::function::Moment;
use super::program::{Params, Program, Relations, Tuple, Verdict};
use super::reach::{Found, Standing, Under};
use super::value::Value;
use crate::change::RelationId;

/// Steps that a search for candidates may take however few groups there are, and more for each group: above that it
/// costs less to judge them all.
const SEARCH_STEPS_MIN: usize = 2_000;
const SEARCH_STEPS_PER_GROUP: usize = 8;

/// So few groups are judged without a search.
const SEARCHED_MIN: usize = 2;

/// Room for so many candidates is made at once.
const FOUND_USUALLY: usize = 16;

/// Groups by place.
type Places = SmallVec<[u32; 4]>;

/// Groups of members `K`.
#[derive(Debug)]
pub struct Audience<K> {
    program: Arc<Program>,
    groups: Slab<Group<K>>,
    /// By the hash of their parameters.
    by_params: HashMap<u64, Places>,
    standings: Standings,
}

#[derive(Debug)]
struct Group<K> {
    params: Params,
    members: Members<K>,
}

/// Members in any order.
#[derive(Debug)]
struct Members<K> {
    list: Vec<K>,
    /// Where each stands in the list, once they are many.
    #[expect(clippy::box_collection, reason = "most groups have none")]
    places: Option<Box<HashMap<K, usize>>>,
}

/// More members than this are found by their hash.
const LISTED_MAX: usize = 32;

/// The indexes that the program looks into.
#[derive(Debug)]
struct Standings {
    indexes: Box<[Index]>,
    group_count: usize,
}

#[derive(Debug)]
struct Index {
    param: usize,
    under: Under,
    by_value: HashMap<Value, Places>,
    /// Those who are candidates whatever they are looked up by.
    always: Places,
}

impl<K: Copy + Eq + Hash> Audience<K> {
    /// Nobody yet.
    pub fn new(program: Arc<Program>) -> Self {
        let index = |&(param, under): &(usize, Under)| Index {
            param,
            under,
            by_value: HashMap::new(),
            always: Places::new(),
        };
        let indexes = program.reach().1.iter().map(index).collect();
        Self {
            program,
            groups: Slab::new(),
            by_params: HashMap::new(),
            standings: Standings { indexes, group_count: 0 },
        }
    }

    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.groups.len()
    }

    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether what it says may depend on rows of this relation.
    pub fn may_depend_on(&self, relation: RelationId) -> bool {
        self.program.may_depend_on(relation)
    }

    fn find(&self, hash: u64, params: &Params) -> Option<u32> {
        let places = self.by_params.get(&hash)?;
        places.iter().copied().find(|&place| self.groups[place as usize].params == *params)
    }

    /// Adds a member to the group of its parameters; it is in one group at most, once.
    pub fn insert(&mut self, params: &Params, member: K) {
        let hash = self.by_params.hasher().hash_one(params);
        if let Some(place) = self.find(hash, params) {
            return self.groups[place as usize].members.insert(member);
        }
        let mut members = Members { list: Vec::new(), places: None };
        members.insert(member);
        // More groups than `u32` counts do not fit into memory.
        let place =
            u32::try_from(self.groups.insert(Group { params: params.clone(), members })).unwrap_or(u32::MAX);
        self.by_params.entry(hash).or_default().push(place);
        self.standings.group_count = self.groups.len();
        self.standings.indexes.iter_mut().for_each(|index| index.insert(params, place));
    }

    /// Removes a member.
    pub fn remove(&mut self, params: &Params, member: K) {
        let hash = self.by_params.hasher().hash_one(params);
        let Some(place) = self.find(hash, params) else { return };
        let group = &mut self.groups[place as usize];
        group.members.remove(member);
        if !group.members.list.is_empty() {
            return;
        }
        self.groups.remove(place as usize);
        self.standings.group_count = self.groups.len();
        take(&mut self.by_params, &hash, place);
        self.standings.indexes.iter_mut().for_each(|index| index.remove(params, place));
    }

    /// Calls `visit` with the members of each group to which the row is visible, or of which that is unknown. Says how
    /// many groups were judged.
    pub fn judge(
        &self,
        row: &dyn Tuple,
        relations: &dyn Relations,
        moment: &Moment,
        visit: &mut dyn FnMut(&[K], Verdict),
    ) -> usize {
        let mut judged = 0;
        let mut judge = |group: &Group<K>| {
            judged += 1;
            let verdict = self.program.judge(&group.params, row, relations, moment);
            if verdict != Verdict::Fails {
                visit(&group.members.list, verdict);
            }
        };
        let candidates =
            if self.groups.len() <= SEARCHED_MIN { None } else { self.candidates(row, relations, moment) };
        match candidates {
            Some(places) => places.into_iter().for_each(|place| judge(&self.groups[place as usize])),
            None => self.groups.iter().for_each(|(_, group)| judge(group)),
        }
        judged
    }

    /// The groups for which the program may pass; `None`: any.
    fn candidates(&self, row: &dyn Tuple, relations: &dyn Relations, moment: &Moment) -> Option<Vec<u32>> {
        let (reach, _) = self.program.reach();
        let steps = SEARCH_STEPS_MIN + SEARCH_STEPS_PER_GROUP * self.groups.len();
        let steps = u32::try_from(steps).map_or(STEPS_MAX, |steps| steps.min(STEPS_MAX));
        let evaluator = Evaluator::new(&[], relations, moment).within(steps);
        let mut found = Vec::with_capacity(FOUND_USUALLY);
        if reach.collect(&evaluator, &Rows::of(row), &self.standings, &mut found) == Found::Anybody {
            return None;
        }
        found.sort_unstable();
        found.dedup();
        Some(found)
    }
}

impl<K: Copy + Eq + Hash> Members<K> {
    fn insert(&mut self, member: K) {
        let known = match &self.places {
            Some(places) => places.contains_key(&member),
            None => self.list.contains(&member),
        };
        if known {
            return;
        }
        if let Some(places) = &mut self.places {
            places.insert(member, self.list.len());
        } else if self.list.len() == LISTED_MAX {
            let places = self.list.iter().chain([&member]).enumerate();
            self.places = Some(Box::new(places.map(|(place, member)| (*member, place)).collect()));
        } else if self.list.is_empty() {
            // Most groups have one member for good.
            self.list.reserve_exact(1);
        }
        self.list.push(member);
    }

    fn remove(&mut self, member: K) {
        let place = match &mut self.places {
            Some(places) => places.remove(&member),
            None => self.list.iter().position(|known| *known == member),
        };
        let Some(place) = place else { return };
        self.list.swap_remove(place);
        if let (Some(places), Some(moved)) = (&mut self.places, self.list.get(place)) {
            places.insert(*moved, place);
        }
    }
}

impl Index {
    /// Under which values these parameters stand; `None`: under any.
    fn keys<'p>(&self, params: &'p Params) -> Option<SmallVec<[&'p Value; 2]>> {
        let value = params.0.get(self.param)?;
        if value.is_null() {
            return Some(SmallVec::new());
        }
        if self.under == Under::Value {
            return Some(SmallVec::from_slice(&[value]));
        }
        let elements = elements::of(value).ok()?;
        let known = elements.iter().filter(|element| !element.is_null());
        match self.under {
            Under::Value | Under::Elements => Some(known.collect()),
            // Values of these types are equal if they are equal as values; of others, that is not known here.
            _ if elements.iter().any(|element| !matches!(element, Value::Uuid(_) | Value::Int(_))) => None,
            Under::Overlap => Some(known.collect()),
            // Nothing is demanded: every array contains it.
            Under::Contained if elements.is_empty() => None,
            Under::Contained => Some(known.take(1).collect()),
        }
    }

    fn insert(&mut self, params: &Params, place: u32) {
        match self.keys(params) {
            None => self.always.push(place),
            Some(keys) => {
                for key in keys {
                    let places = self.by_value.entry(key.clone()).or_default();
                    // The same element twice.
                    if places.last() != Some(&place) {
                        places.push(place);
                    }
                }
            }
        }
    }

    fn remove(&mut self, params: &Params, place: u32) {
        match self.keys(params) {
            None => self.always.retain(|known| *known != place),
            Some(keys) => keys.into_iter().for_each(|key| take(&mut self.by_value, key, place)),
        }
    }
}

fn take<Q: Eq + Hash>(map: &mut HashMap<Q, Places>, key: &Q, place: u32) {
    let Some(places) = map.get_mut(key) else { return };
    if let Some(index) = places.iter().position(|known| *known == place) {
        places.swap_remove(index);
    }
    if places.is_empty() {
        map.remove(key);
    }
}

impl Standing for Standings {
    fn under(&self, index: usize, value: &Value, found: &mut Vec<u32>) {
        let index = &self.indexes[index];
        found.extend(index.by_value.get(value).into_iter().flatten());
        found.extend(&index.always);
    }

    fn always(&self, index: usize, found: &mut Vec<u32>) {
        found.extend(&self.indexes[index].always);
    }

    fn enough(&self) -> usize {
        1_024 + 4 * self.group_count
    }
}

#[cfg(test)]
mod tests {
    use super::super::expression::Expr;
    use super::super::fixture::{
        Full, MOMENT, Tables, and, array_of, boolean, call, column, contains, eq, equal, exists, int, less,
        me, not, or, overlaps, query, rule, session,
    };
    use super::super::function::Doubt;
    use super::super::program::Caller;
    use super::*;

    const CALLERS: i64 = 100;

    fn row(numbers: [i64; 2], array: &[i64]) -> Full {
        let array = elements::collect(array.iter().copied().map(Value::Int).collect()).unwrap();
        Full([Value::Int(numbers[0]), Value::Int(numbers[1]), Value::Bool(true), array].into())
    }

    /// A hundred callers of a program with this rule.
    fn audience(condition: Expr) -> Audience<i64> {
        let program = Arc::new(Program::new(vec![rule(condition)], vec![]));
        let mut audience = Audience::new(Arc::clone(&program));
        for number in 0..CALLERS {
            audience.insert(&params(&program, number), number);
        }
        audience
    }

    fn params(program: &Program, number: i64) -> Params {
        let settings = session(&number.to_string());
        program.params(&Caller { settings: &settings, moment: MOMENT }).unwrap()
    }

    /// Who passes, and how many were judged.
    fn seen(audience: &Audience<i64>, row: &Full, tables: &Tables) -> (Vec<i64>, usize) {
        let mut seen = Vec::new();
        let judged = audience.judge(row, tables, &MOMENT, &mut |members, verdict| {
            assert_eq!(verdict, Verdict::Passes);
            seen.extend_from_slice(members);
        });
        seen.sort_unstable();
        (seen, judged)
    }

    /// Of conversation 1: callers 7 and 8, of 2: 9.
    fn tables() -> Tables {
        let rows = [[1, 7], [1, 8], [2, 9]].map(|numbers| row(numbers, &[]));
        Tables([(RelationId(1), rows.to_vec())].into())
    }

    #[test]
    fn usual_policies_judge_those_alone_who_may_see_the_row() {
        let mine = |query| Expr::Quantified {
            all: false,
            test: Box::new(eq(column(0, 0, 0), Expr::Output(0))),
            query,
        };
        let elements = |value, array| Expr::Elements {
            function: equal(),
            all: false,
            arguments: Box::new([value, array]),
        };
        let of_me = || eq(column(0, 0, 1), me());
        let same = || eq(column(0, 0, 0), column(1, 0, 0));
        let conversations = || query(&[1], of_me(), vec![column(0, 0, 0)]);
        let policies = [
            ("participant", exists(&[1], and([same(), of_me()])), &[7, 8][..]),
            ("one of mine", mine(conversations()), &[7, 8]),
            ("the one of mine", eq(column(0, 0, 0), Expr::Scalar(conversations())), &[7, 8]),
            ("sender or receiver", or([of_me(), eq(me(), column(0, 0, 0))]), &[1, 20]),
            ("sender and participant", and([of_me(), exists(&[1], and([same(), of_me()]))]), &[]),
            ("in the list", elements(me(), column(0, 0, 3)), &[30, 31]),
            ("list contains", call(contains(), [column(0, 0, 3), call(array_of(), [me()])]), &[30, 31]),
            ("list overlaps", call(overlaps(), [call(array_of(), [me()]), column(0, 0, 3)]), &[30, 31]),
            ("in a list of mine", elements(column(0, 0, 1), call(array_of(), [me()])), &[20]),
            ("one number", and([eq(me(), int(5)), column(0, 0, 2)]), &[5]),
            (
                "list or participant",
                or([elements(me(), column(0, 0, 3)), exists(&[1], and([same(), of_me()]))]),
                &[7, 8, 30, 31],
            ),
            ("nobody", and([of_me(), not(column(0, 0, 2))]), &[]),
        ];
        for (name, condition, expected) in policies {
            let audience = audience(condition);
            let (seen, judged) = seen(&audience, &row([1, 20], &[30, 31]), &tables());
            assert_eq!(seen, expected, "{name}");
            assert!(judged <= 4, "{name}: {judged}");
            let (seen, judged) = self::seen(&audience, &row([300, 200], &[]), &tables());
            assert!(judged <= 2, "{name}: {judged}");
            assert_eq!(seen, if name == "one number" { vec![5] } else { vec![] }, "{name}");
        }
    }

    #[test]
    fn what_no_index_finds_is_judged_for_all() {
        for (condition, expected) in
            [(call(less(), [me(), column(0, 0, 0)]), vec![0]), (not(not(eq(me(), column(0, 0, 0)))), vec![1])]
        {
            assert_eq!(seen(&audience(condition), &row([1, 1], &[]), &tables()), (expected, 100));
        }
        let everybody = audience(boolean(Some(true)));
        assert_eq!(everybody.len(), 1, "nothing tells them apart");
        assert_eq!(seen(&everybody, &row([1, 1], &[]), &tables()).0.len(), 100);
        assert_eq!(seen(&audience(boolean(None)), &row([1, 1], &[]), &tables()), (vec![], 1));
    }

    #[test]
    fn a_long_search_is_given_up_for_judging_all() {
        // Any row of a large relation leads to somebody.
        let all =
            audience(exists(&[1], and([call(less(), [int(0), column(0, 0, 0)]), eq(column(0, 0, 1), me())])));
        let many = (0..5_000).map(|number| row([1, number % 3], &[]));
        let tables = Tables([(RelationId(1), many.collect())].into());
        assert_eq!(seen(&all, &row([1, 1], &[]), &tables), (vec![0, 1, 2], 100));
    }

    #[test]
    fn what_is_unknown_is_reported_for_all_whom_it_may_concern() {
        let participant =
            exists(&[1], and([eq(column(0, 0, 0), column(1, 0, 0)), eq(column(0, 0, 1), me())]));
        let mut unknown = 0;
        audience(participant).judge(
            &row([1, 1], &[]),
            &Tables::default(),
            &MOMENT,
            &mut |members, verdict| {
                assert_eq!(verdict, Verdict::Unknown(Doubt::NotMirrored));
                unknown += members.len();
            },
        );
        assert_eq!(unknown, 100);
    }

    #[test]
    fn members_come_and_go() {
        let mut audience = audience(eq(column(0, 0, 0), me()));
        let program = Arc::clone(audience.program());
        let seven = params(&program, 7);
        for member in 1_000..1_100 {
            audience.insert(&seven, member);
            audience.insert(&seven, member);
        }
        let of_seven = row([7, 0], &[]);
        assert_eq!(audience.len(), 100);
        assert_eq!(seen(&audience, &of_seven, &tables()).0.len(), 101);
        for member in (1_000..1_100).rev() {
            audience.remove(&seven, member);
            audience.remove(&seven, member);
            audience.remove(&params(&program, 8), 7);
        }
        assert_eq!(seen(&audience, &of_seven, &tables()), (vec![7], 1));
        audience.remove(&seven, 7);
        assert_eq!(seen(&audience, &of_seven, &tables()), (vec![], 0));
        (0..CALLERS).for_each(|number| audience.remove(&params(&program, number), number));
        assert!(audience.is_empty() && audience.by_params.is_empty());
        assert!(audience.standings.indexes.iter().all(|index| index.by_value.is_empty()));
        audience.insert(&seven, 7);
        assert_eq!(seen(&audience, &of_seven, &tables()), (vec![7], 1));
    }
}
