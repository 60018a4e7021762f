//! The subscribers of each table by role, so arranged that a row finds those whose policies let them see it.
//!
//! Callers whose policies are compiled stand in an [`Audience`], by what the policies make of their claims; all others
//! stand beside it and are looked at one by one. Whoever asks for a row's recipients pays for those who get it, and for
//! those beside.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use crate::change::RelationId;
use crate::policy::audience::Audience;
use crate::policy::function::Moment;
use crate::policy::program::{Caller, Params, Settings};
use crate::policy::{Access, Catalog, Claims, Program};

use super::fanout::Asked;
use super::profile::ProfileId;

/// All tables with subscribers.
#[derive(Debug, Default)]
pub struct Audiences {
    tables: HashMap<RelationId, Vec<RoleAudience>>,
    /// Tables whose programs are not used, with what a role could see there when Postgres contradicted one.
    distrusted: HashMap<RelationId, (Arc<str>, Arc<Access>)>,
}

/// The subscribers of one table with one role.
#[derive(Debug)]
pub struct RoleAudience {
    /// The role.
    pub role: Arc<str>,
    /// What it may see of the table.
    access: Option<Arc<Access>>,
    /// Those whom the role's program judges, if it has one.
    audience: Option<Audience<ProfileId>>,
    members: Vec<(ProfileId, Rc<Params>)>,
    places: HashMap<ProfileId, usize>,
    /// Those beside, with the reason why.
    others: BTreeMap<ProfileId, Asked>,
    /// What the program makes of claims, and how many members have them.
    known: HashMap<Arc<Claims>, Known>,
    /// About how many groups of callers a row has judged.
    expected: Cell<usize>,
}

/// How many subscribers have the same claims, and what the program makes of these.
type Known = (usize, Result<Rc<Params>, Asked>);

/// A caller's settings, as Postgres is asked with them.
#[derive(Debug)]
struct CallerSettings<'a>(&'a Claims);

impl Settings for CallerSettings<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            "role" => Some(&self.0.role),
            "request.jwt.claims" => Some(&self.0.json),
            _ => None,
        }
    }
}

impl Audiences {
    /// The subscribers of a table, by role.
    pub fn of(&self, relation: RelationId) -> &[RoleAudience] {
        self.tables.get(&relation).map_or(&[], Vec::as_slice)
    }

    /// Those with one role.
    pub fn with_role(&self, relation: RelationId, role: &str) -> Option<&RoleAudience> {
        self.of(relation).iter().find(|audience| &*audience.role == role)
    }

    /// Whether the programs of a table may be used.
    pub fn trusts(&self, relation: RelationId) -> bool {
        self.distrusted.is_empty() || !self.distrusted.contains_key(&relation)
    }

    /// Uses no program of a table any more, until what the role may see of it has changed.
    pub fn distrust(&mut self, relation: RelationId, role: &Arc<str>, access: &Arc<Access>) {
        self.distrusted.insert(relation, (Arc::clone(role), Arc::clone(access)));
    }

    /// How many tables are distrusted.
    pub fn distrusted_count(&self) -> usize {
        self.distrusted.len()
    }

    /// Adds a subscriber to a table.
    pub(super) fn insert(
        &mut self,
        catalog: &Catalog,
        relation: RelationId,
        id: ProfileId,
        claims: &Arc<Claims>,
        moment: Moment,
    ) {
        let roles = self.tables.entry(relation).or_default();
        let place = roles.iter().position(|known| known.role == claims.role).unwrap_or_else(|| {
            let access = catalog.access(&claims.role, relation).cloned();
            roles.push(RoleAudience::new(Arc::clone(&claims.role), access));
            roles.len() - 1
        });
        roles[place].insert(id, claims, moment);
    }

    /// Removes a subscriber from a table.
    pub(super) fn remove(&mut self, relation: RelationId, id: ProfileId, claims: &Arc<Claims>) {
        let Some(roles) = self.tables.get_mut(&relation) else { return };
        let Some(place) = roles.iter().position(|known| known.role == claims.role) else { return };
        roles[place].remove(id, claims);
        if roles[place].is_empty() {
            roles.swap_remove(place);
        }
        if roles.is_empty() {
            self.tables.remove(&relation);
        }
    }

    /// Takes up another catalog: audiences of roles that may see something else than before are made anew.
    /// `claims_of` tells who a subscriber is.
    pub(super) fn adopt<'a>(
        &mut self,
        catalog: &Catalog,
        moment: Moment,
        claims_of: impl Fn(ProfileId) -> Option<&'a Arc<Claims>>,
    ) {
        self.distrusted.retain(|relation, (role, access)| catalog.access(role, *relation) == Some(access));
        for (relation, roles) in &mut self.tables {
            for audience in roles {
                let access = catalog.access(&audience.role, *relation);
                if audience.access.as_ref() == access {
                    continue;
                }
                let subscribers: Vec<ProfileId> = audience.subscribers().collect();
                *audience = RoleAudience::new(Arc::clone(&audience.role), access.cloned());
                for id in subscribers {
                    if let Some(claims) = claims_of(id) {
                        audience.insert(id, claims, moment);
                    }
                }
            }
        }
    }
}

impl RoleAudience {
    fn new(role: Arc<str>, access: Option<Arc<Access>>) -> Self {
        let program =
            access.as_ref().filter(|access| access.row_security).and_then(|access| access.program.as_ref());
        Self {
            audience: program.map(|program| Audience::new(Arc::clone(program))),
            role,
            access,
            members: Vec::new(),
            places: HashMap::new(),
            others: BTreeMap::new(),
            known: HashMap::new(),
            expected: Cell::new(0),
        }
    }

    /// Those whom a program judges, if there is one.
    pub fn audience(&self) -> Option<&Audience<ProfileId>> {
        self.audience.as_ref()
    }

    /// The program.
    pub fn program(&self) -> Option<&Arc<Program>> {
        self.audience.as_ref().map(Audience::program)
    }

    /// What the program makes of a subscriber's claims, or why it does not judge it.
    pub fn params(&self, id: ProfileId) -> Result<&Rc<Params>, Asked> {
        let member = self.places.get(&id).and_then(|place| self.members.get(*place));
        member
            .map(|(_, params)| params)
            .ok_or_else(|| self.others.get(&id).copied().unwrap_or(Asked::NotCompiled))
    }

    /// Those whom no program judges.
    pub fn others(&self) -> impl Iterator<Item = ProfileId> {
        self.others.keys().copied()
    }

    /// One of those whom the program judges, by any number.
    pub fn any_member(&self, number: usize) -> Option<(ProfileId, &Rc<Params>)> {
        let place = number.checked_rem(self.members.len())?;
        self.members.get(place).map(|(id, params)| (*id, params))
    }

    /// About how many a row has to look at to find its recipients here.
    pub fn cost(&self) -> usize {
        self.expected.get() + self.others.len()
    }

    /// Notes how many groups of callers a row has judged.
    pub(super) fn judged(&self, count: usize) {
        // Rows for everybody are rare between rows for few; what they cost is soon forgotten.
        self.expected.set(count.max(self.expected.get() / 2));
    }

    /// Notes that the recipients of a row were found in another way.
    pub(super) fn passed_over(&self) {
        let expected = self.expected.get();
        self.expected.set(expected - expected.div_ceil(16));
    }

    fn subscribers(&self) -> impl Iterator<Item = ProfileId> {
        self.members.iter().map(|(id, _)| *id).chain(self.others.keys().copied())
    }

    fn is_empty(&self) -> bool {
        self.members.is_empty() && self.others.is_empty()
    }

    fn insert(&mut self, id: ProfileId, claims: &Arc<Claims>, moment: Moment) {
        if self.places.contains_key(&id) || self.others.contains_key(&id) {
            return;
        }
        let Some(audience) = &mut self.audience else {
            self.others.insert(id, Asked::NotCompiled);
            return;
        };
        let (count, params) = self.known.entry(Arc::clone(claims)).or_insert_with(|| {
            let settings = CallerSettings(claims);
            let caller = Caller { settings: &settings, moment };
            (0, audience.program().params(&caller).map(Rc::new).map_err(|_| Asked::Params))
        });
        *count += 1;
        match params {
            Ok(params) => {
                audience.insert(params, id);
                self.places.insert(id, self.members.len());
                self.members.push((id, Rc::clone(params)));
            }
            Err(asked) => {
                self.others.insert(id, *asked);
            }
        }
    }

    fn remove(&mut self, id: ProfileId, claims: &Arc<Claims>) {
        let was_other = self.others.remove(&id).is_some();
        let place = self.places.remove(&id);
        if let Some(place) = place {
            let (_, params) = self.members.swap_remove(place);
            if let Some((moved, _)) = self.members.get(place) {
                self.places.insert(*moved, place);
            }
            if let Some(audience) = &mut self.audience {
                audience.remove(&params, id);
            }
        }
        if (was_other || place.is_some())
            && let Some((count, _)) = self.known.get_mut(claims)
        {
            *count -= 1;
            if *count == 0 {
                self.known.remove(claims);
            }
        }
    }
}
