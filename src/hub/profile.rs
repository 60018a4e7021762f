//! Who wants which changes: channels grouped by everything that makes their frames equal.
//!
//! A *profile* is one topic, dialect, set of bindings and claims. All its members get the same frames, so a
//! change is matched, decided and encoded once a profile; a member costs one entry in a list.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use crate::change::RelationId;
use crate::policy::function::Moment;
use crate::policy::{Catalog, Claims};
use crate::protocol::Dialect;
use crate::subscription::{Binding, Index};

use super::ChannelRef;
use super::audiences::Audiences;
use super::resolve::Target;

/// Names a profile. Never reused while the server runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProfileId(u64);

/// Names one target of one profile in the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TargetKey {
    /// The profile.
    pub profile: ProfileId,
    /// The target, by position.
    pub target: usize,
}

/// What a channel joined with, apart from who joined.
#[derive(Debug)]
pub struct Spec {
    /// The whole topic.
    pub topic: Arc<str>,
    /// How frames are written.
    pub dialect: Dialect,
    /// Whether events are named by the change, as for joins without `config`.
    pub legacy: bool,
    /// Whether they want deleted rows whole.
    pub whole_deleted: bool,
    /// The ids that the client knows its bindings by, in order.
    pub ids: Vec<u32>,
    /// The bindings, in order.
    pub bindings: Vec<Binding>,
    /// Equal for specs that are equal.
    pub key: Arc<str>,
}

/// Channels whose frames are equal.
#[derive(Debug)]
pub struct Profile {
    /// What they joined with.
    pub spec: Arc<Spec>,
    /// Who they are.
    pub claims: Arc<Claims>,
    /// What they will be sent; empty while their bindings cannot be had.
    pub targets: Vec<Rc<Target>>,
    /// The channels. Shared with what waits to be delivered to them.
    pub members: Rc<Vec<Member>>,
    /// Tables that these subscribers have been told they cannot be checked on.
    pub told: Vec<RelationId>,
}

/// One channel of a profile.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// The channel.
    pub channel: ChannelRef,
    /// The first transaction it gets, in the order of receipt.
    pub since: u64,
}

/// What subscribers are arranged by.
#[derive(Clone, Copy, Debug)]
pub struct Basis<'a> {
    /// Tables, roles and their policies.
    pub catalog: &'a Catalog,
    /// Now.
    pub moment: Moment,
}

/// All profiles, the index over their targets, and the audiences of tables.
#[derive(Debug, Default)]
pub struct Profiles {
    by_id: HashMap<ProfileId, Profile>,
    by_key: HashMap<(Arc<str>, Arc<Claims>), ProfileId>,
    /// What profiles joined with, once for all that joined with the same, by its key; and how many of them there are.
    specs: HashMap<Arc<str>, (Arc<Spec>, usize)>,
    channels: HashMap<ChannelRef, ProfileId>,
    index: Index<TargetKey>,
    audiences: Audiences,
    last_id: u64,
}

impl Profiles {
    /// The profile with this name, while it has members.
    pub fn get(&self, id: ProfileId) -> Option<&Profile> {
        self.by_id.get(&id)
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, id: ProfileId) -> Option<&mut Profile> {
        self.by_id.get_mut(&id)
    }

    /// Forgets which tables subscribers have been told of.
    pub fn forget_told(&mut self) {
        self.by_id.values_mut().for_each(|profile| profile.told.clear());
    }

    /// The index over all targets.
    pub fn index(&self) -> &Index<TargetKey> {
        &self.index
    }

    /// The subscribers of each table, by role and rights.
    pub fn audiences(&self) -> &Audiences {
        &self.audiences
    }

    /// The same, to be changed.
    pub fn audiences_mut(&mut self) -> &mut Audiences {
        &mut self.audiences
    }

    /// Takes up another catalog. Targets stay as they are.
    pub fn adopt(&mut self, basis: Basis<'_>) {
        let by_id = &self.by_id;
        let claims_of = |id| by_id.get(&id).map(|profile: &Profile| &profile.claims);
        self.audiences.adopt(basis.catalog, basis.moment, claims_of);
    }

    /// All profiles.
    pub fn iter(&self) -> impl Iterator<Item = (ProfileId, &Profile)> {
        self.by_id.iter().map(|(id, profile)| (*id, profile))
    }

    /// The profile of a channel.
    pub fn of(&self, channel: ChannelRef) -> Option<ProfileId> {
        self.channels.get(&channel).copied()
    }

    /// Adds a channel, from transaction `since` on; `targets` is what its bindings resolve to.
    pub fn join(
        &mut self,
        channel: ChannelRef,
        spec: &Arc<Spec>,
        claims: &Arc<Claims>,
        targets: Vec<Target>,
        basis: Basis<'_>,
        since: u64,
    ) -> ProfileId {
        self.leave(channel);
        let key = (Arc::clone(&spec.key), Arc::clone(claims));
        let id = match self.by_key.get(&key) {
            Some(id) => *id,
            None => {
                self.last_id += 1;
                let id = ProfileId(self.last_id);
                let (spec, count) =
                    self.specs.entry(Arc::clone(&spec.key)).or_insert_with(|| (Arc::clone(spec), 0));
                *count += 1;
                let key = (Arc::clone(&spec.key), key.1);
                let profile = Profile {
                    spec: Arc::clone(spec),
                    claims: Arc::clone(claims),
                    targets: Vec::new(),
                    members: Rc::default(),
                    told: Vec::new(),
                };
                self.by_id.insert(id, profile);
                self.by_key.insert(key, id);
                id
            }
        };
        self.retarget(id, targets, basis);
        if let Some(profile) = self.by_id.get_mut(&id) {
            let members = Rc::make_mut(&mut profile.members);
            if members.is_empty() {
                // Most profiles have one member for good.
                members.reserve_exact(1);
            }
            members.push(Member { channel, since });
        }
        self.channels.insert(channel, id);
        id
    }

    /// Removes a channel; its profile goes with its last member.
    pub fn leave(&mut self, channel: ChannelRef) {
        let Some(id) = self.channels.remove(&channel) else { return };
        let Some(profile) = self.by_id.get_mut(&id) else { return };
        if let Some(place) = profile.members.iter().position(|member| member.channel == channel) {
            Rc::make_mut(&mut profile.members).swap_remove(place);
        }
        if profile.members.is_empty()
            && let Some(profile) = self.by_id.remove(&id)
        {
            self.by_key.remove(&(Arc::clone(&profile.spec.key), Arc::clone(&profile.claims)));
            self.release(&profile.spec.key);
            self.unindex(id, &profile.claims, &profile.targets);
        }
    }

    /// One profile less joined with this.
    fn release(&mut self, key: &Arc<str>) {
        if let Some((_, count)) = self.specs.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.specs.remove(key);
            }
        }
    }

    /// Gives a profile other targets.
    pub fn retarget(&mut self, id: ProfileId, targets: Vec<Target>, basis: Basis<'_>) {
        let Some(profile) = self.by_id.get_mut(&id) else { return };
        let old = std::mem::take(&mut profile.targets);
        let claims = Arc::clone(&profile.claims);
        self.unindex(id, &claims, &old);
        for (position, target) in targets.iter().enumerate() {
            let key = TargetKey { profile: id, target: position };
            if basis.catalog.tables.contains_key(&target.relation) {
                self.audiences.insert(basis.catalog, target.relation, id, &claims, basis.moment);
                self.index.insert(target.relation, target.events, Arc::clone(&target.predicate), key);
            }
        }
        if let Some(profile) = self.by_id.get_mut(&id) {
            profile.targets = targets.into_iter().map(Rc::new).collect();
        }
    }

    fn unindex(&mut self, id: ProfileId, claims: &Arc<Claims>, targets: &[Rc<Target>]) {
        for relation in targets.iter().map(|target| target.relation).collect::<BTreeSet<_>>() {
            self.audiences.remove(relation, id, claims);
        }
        for (position, target) in targets.iter().enumerate() {
            self.index.remove(target.relation, TargetKey { profile: id, target: position });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::ConnectionId;

    #[test]
    fn what_many_joined_with_is_held_once_and_let_go_with_the_last() {
        let catalog = Catalog::default();
        let basis = Basis { catalog: &catalog, moment: Moment { now_micros: 0 } };
        let channel =
            |slot| ChannelRef { shard: 0, connection: ConnectionId { slot, generation: 0 }, join: 1 };
        let mut profiles = Profiles::default();
        let mut join = |slot: u32, user: u32, topic: &str| {
            let spec = Arc::new(Spec {
                topic: topic.into(),
                dialect: Dialect::V2,
                legacy: false,
                whole_deleted: false,
                ids: vec![1],
                bindings: Vec::new(),
                key: topic.into(),
            });
            let json = format!(r#"{{"sub":"{user}"}}"#).into();
            let claims = Arc::new(Claims { role: "authenticated".into(), json, expires_at: i64::MAX });
            profiles.join(channel(slot), &spec, &claims, Vec::new(), basis, 0)
        };
        let [first, second, third] = [join(1, 1, "a"), join(2, 2, "a"), join(3, 3, "b")];
        assert_eq!(join(4, 1, "a"), first, "the same user with the same again");
        let spec = |profiles: &Profiles, id| Arc::clone(&profiles.get(id).unwrap().spec);
        assert!(Arc::ptr_eq(&spec(&profiles, first), &spec(&profiles, second)));
        assert!(!Arc::ptr_eq(&spec(&profiles, first), &spec(&profiles, third)));
        for (slot, count) in [(1, 2), (4, 2), (2, 1), (3, 0)] {
            profiles.leave(channel(slot));
            assert_eq!(profiles.specs.len(), count, "{slot}");
        }
        assert!(profiles.by_key.is_empty());
    }
}
