//! The callers that a program judges for, so grouped and indexed that a row finds those who may see it.
//!
//! Callers whom the program cannot tell apart are one group. From a row follows a list of candidates, a superset of the
//! groups that may see it; each of them is judged by the whole program.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, RandomState};
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

/// Groups by place.
type Places = SmallVec<[u32; 4]>;

/// Groups of members `K`.
#[derive(Debug)]
pub struct Audience<K> {
    program: Arc<Program>,
    groups: Slab<Group<K>>,
    /// By the hash of their parameters.
    by_params: HashMap<u64, Places>,
    hasher: RandomState,
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
            hasher: RandomState::new(),
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
        let hash = self.hasher.hash_one(params);
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
        let hash = self.hasher.hash_one(params);
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
        match self.candidates(row, relations, moment) {
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
        let mut found = Vec::new();
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
