//! The feed's subscribers: their bindings are resolved by the catalog, and again when it has changed.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value;
use tokio::task::AbortHandle;

use crate::policy::{Catalog, Claims};
use crate::subscription::Binding;
use crate::wal::stream::Backoff;

use super::stream::Interruption;
use super::{Feed, Report, moment};
use crate::hub::catalogs::{CATALOG_WITHIN, Catalogs};
use crate::hub::profile::{Basis, Spec};
use crate::hub::resolve::{Operands, Target, Unresolved, resolve};
use crate::hub::{ChannelRef, FeedCommand, Sink, Subscribe};
use crate::telemetry::code::Code;
use crate::telemetry::report::report;

/// What a client reads when the stream breaks.
const INTERRUPTED: &str =
    "Connection to PostgreSQL interrupted: changes may be missed until it is live again";

pub(in crate::hub) struct Resolved {
    channel: ChannelRef,
    attempt: u64,
    spec: Arc<Spec>,
    claims: Arc<Claims>,
    catalog_version: u64,
    targets: Result<Vec<Target>, Arc<str>>,
}

/// A channel that has subscribed, from its join to its close.
pub(super) struct Channel {
    /// What it asked for; nothing if that cannot be understood, as it has been told.
    spec: Option<Arc<Spec>>,
    claims: Arc<Claims>,
    stage: Stage,
    /// Tells the latest resolution from those it replaced.
    attempt: u64,
    /// Whether the last word to it was that it is subscribed.
    subscribed: bool,
}

/// How far a channel's bindings are resolved, under its present claims.
enum Stage {
    /// There is no stream, or deliveries under its old claims come first.
    Waiting,
    /// A task is at it.
    Resolving(AbortHandle),
    /// They are, or have been refused.
    Resolved,
}

impl<S: Sink> Feed<S> {
    /// Subscribes everybody to a new stream.
    pub(super) fn subscribe_all(&mut self) {
        for channel in self.channels.keys().copied().collect::<Vec<_>>() {
            self.reopened(channel);
        }
    }

    /// Subscribes a channel to the new stream. A channel that needs resolving first is waited for.
    fn reopened(&mut self, channel: ChannelRef) {
        let Some(state) = self.channels.get(&channel).filter(|state| state.spec.is_some()) else { return };
        let has_targets = self
            .profiles
            .of(channel)
            .and_then(|id| self.profiles.get(id))
            .is_some_and(|profile| !profile.targets.is_empty());
        if matches!(state.stage, Stage::Resolved) && has_targets {
            // It may have been told already, if the catalog has changed.
            if !state.subscribed && !self.announce(channel) {
                self.awaited.insert(channel);
            }
        } else {
            self.resolve(channel);
            self.awaited.insert(channel);
        }
    }

    /// Tells everybody who is subscribed that the stream has broken.
    pub(super) fn unsubscribe_all(&mut self) {
        let message: Arc<str> = INTERRUPTED.into();
        let mut subscribed = Vec::new();
        for (channel, state) in &mut self.channels {
            // It is begun anew with the next stream.
            if let Stage::Resolving(task) = &state.stage {
                task.abort();
                state.stage = Stage::Waiting;
            }
            if state.subscribed {
                subscribed.push(*channel);
            }
        }
        for channel in subscribed {
            self.tell(channel, false, &message);
        }
    }

    pub(super) fn command(&mut self, command: FeedCommand) {
        match command {
            FeedCommand::Subscribe(subscribe) => self.subscribe(subscribe),
            FeedCommand::Refresh { channel, claims } => {
                if let Some(state) = self.channels.get_mut(&channel) {
                    state.claims = claims;
                    self.resolve(channel);
                }
            }
            FeedCommand::Unsubscribe { channel } => {
                self.channels.remove(&channel);
                self.awaited.remove(&channel);
                self.joining.remove(&channel);
                self.announcements.forget(channel);
                self.profiles.leave(channel);
            }
        }
    }

    pub(super) fn subscribe(&mut self, subscribe: Subscribe) {
        let channel = subscribe.channel;
        let claims = Arc::clone(&subscribe.claims);
        let (spec, refusal) = match spec_of(subscribe) {
            Ok(spec) => (Some(Arc::new(spec)), None),
            Err(message) => (None, Some(message)),
        };
        let state = Channel { spec, claims, stage: Stage::Waiting, attempt: 0, subscribed: false };
        self.channels.insert(channel, state);
        match refusal {
            Some(message) => self.refuse(channel, &message),
            None => self.resolve(channel),
        }
    }

    /// Resolves a channel's bindings in the background, as its claims are now. While there is no stream nobody is
    /// subscribed; the opening of one resolves those who wait.
    pub(super) fn resolve(&mut self, channel: ChannelRef) {
        let Some(state) = self.channels.get_mut(&channel) else { return };
        let Some(spec) = &state.spec else { return };
        if let Stage::Resolving(task) = &state.stage {
            task.abort();
        }
        state.stage = Stage::Waiting;
        self.attempts += 1;
        state.attempt = self.attempts;
        if self.source.is_none() {
            return;
        }
        let (attempt, spec, claims) = (state.attempt, Arc::clone(spec), Arc::clone(&state.claims));
        let (catalogs, operands) = (Rc::clone(&self.catalogs), Rc::clone(&self.operands));
        let (report, mut catalog) = (self.report.clone(), Arc::clone(&self.catalog));
        if self.profiles.of(channel).is_none() {
            self.joining.insert(channel);
        }
        let task = self.tasks.spawn_local(async move {
            // A role or table that is not known may be new.
            let covered = |binding: &Binding| {
                catalog.tables.values().any(|table| binding.covers(&table.schema, &table.name))
            };
            let known = catalog.roles.get(&claims.role).is_some_and(Option::is_some);
            if !known || !spec.bindings.iter().all(covered) {
                catalog = catalogs.read(Some(&claims.role)).await;
            }
            let targets =
                resolve_patiently(&catalogs, &operands, &catalog, &claims.role, &spec.bindings).await;
            let catalog_version = catalog.version;
            let resolved = Resolved { channel, attempt, spec, claims, catalog_version, targets };
            let _ = report.send(Report::Resolved(Box::new(resolved))).await;
        });
        state.stage = Stage::Resolving(task);
    }

    pub(super) async fn resolved(&mut self, resolved: Resolved) -> Result<(), Interruption> {
        let channel = resolved.channel;
        if self.channels.get(&channel).is_none_or(|state| state.attempt != resolved.attempt) {
            return Ok(());
        }
        if self.source.is_none() {
            return Ok(());
        }
        if self.catalog.version < resolved.catalog_version {
            let catalog = self.catalogs.current();
            self.adopt(catalog).await?;
        }
        if self.catalog.version > resolved.catalog_version {
            // Columns may have moved since.
            self.resolve(channel);
            return Ok(());
        }
        self.joining.remove(&channel);
        if let Some(state) = self.channels.get_mut(&channel) {
            state.stage = Stage::Resolved;
        }
        // What waits for the old claims leaves first, so that order holds across a new token.
        if let Some(old) = self.profiles.of(channel).and_then(|id| self.profiles.get(id))
            && old.claims != resolved.claims
        {
            self.lanes.wait_behind(&resolved.claims, &old.claims);
        }
        let (targets, refusal) = match resolved.targets {
            Ok(targets) => (targets, None),
            Err(message) => (Vec::new(), Some(message)),
        };
        self.profiles.join(
            channel,
            &resolved.spec,
            &resolved.claims,
            targets,
            Basis { catalog: &self.catalog, moment: moment() },
            self.progress.sequence() + 1,
        );
        match refusal {
            None => {
                self.announce(channel);
            }
            Some(message) => self.refuse(channel, &message),
        }
        Ok(())
    }

    /// Takes up a newer catalog. Where tables have changed, or what a role may do, profiles' targets are made anew
    /// before the next change is decided. All of it happens, or nothing; with no stream there is nothing to decide, and the next one
    /// brings a catalog of its own.
    pub(super) async fn adopt(&mut self, catalog: Arc<Catalog>) -> Result<(), Interruption> {
        if catalog.version <= self.catalog.version || self.source.is_none() {
            return Ok(());
        }
        let mut resolutions = Vec::new();
        let same_tables = self.catalog.tables == catalog.tables;
        // Filters and selections stand only while the role may read their columns.
        let same = |role: &Arc<str>| same_tables && self.catalog.roles.get(role) == catalog.roles.get(role);
        let same_roles: HashMap<&Arc<str>, bool> =
            catalog.roles.keys().map(|role| (role, same(role))).collect();
        let concerned: Vec<_> = self
            .profiles
            .iter()
            .filter(|(_, profile)| !same_roles.get(&profile.claims.role).is_some_and(|same| *same))
            .map(|(id, profile)| (id, Arc::clone(&profile.spec), Arc::clone(&profile.claims)))
            .collect();
        for (id, spec, claims) in concerned {
            let resolving =
                resolve_patiently(&self.catalogs, &self.operands, &catalog, &claims.role, &spec.bindings);
            resolutions.push((id, self.needed(resolving).await?));
        }
        self.mirror_surveyed(&catalog).await?;
        let before = std::mem::replace(&mut self.catalog, catalog);
        self.publish_catalog();
        self.recheck_policies(&before).await;
        self.profiles.adopt(Basis { catalog: &self.catalog, moment: moment() });
        self.count_distrusted();
        // What could not be judged before may have been mended; if not, it is told again.
        self.profiles.forget_told();
        for (id, resolution) in resolutions {
            let (targets, refusal) = match resolution {
                Ok(targets) => (targets, None),
                Err(message) => (Vec::new(), Some(message)),
            };
            let relations: BTreeSet<_> = targets.iter().map(|target| target.relation).collect();
            let changed = self.profiles.get(id).is_some_and(|profile| {
                profile.targets.iter().map(|target| target.relation).collect::<BTreeSet<_>>() != relations
            });
            self.profiles.retarget(id, targets, Basis { catalog: &self.catalog, moment: moment() });
            let Some(profile) = self.profiles.get(id).filter(|_| changed) else { continue };
            for channel in profile.members.iter().map(|member| member.channel).collect::<Vec<_>>() {
                match &refusal {
                    None => {
                        self.announce(channel);
                    }
                    Some(message) => self.tell(channel, false, message),
                }
            }
        }
        Ok(())
    }

    /// Tells a channel that it gets no changes. Why is for the client alone: the words repeat what it asked for.
    fn refuse(&mut self, channel: ChannelRef, message: &Arc<str>) {
        let (shard, socket) = (channel.shard, channel.connection);
        report!(info, Code::RealtimeDisabledForConfiguration, shard, %socket, "subscription refused");
        self.tell(channel, false, message);
    }

    /// Tells a channel whether it is subscribed.
    pub(super) fn tell(&mut self, channel: ChannelRef, ok: bool, message: &Arc<str>) {
        self.awaited.remove(&channel);
        self.announcements.forget(channel);
        if let Some(state) = self.channels.get_mut(&channel) {
            state.subscribed = ok;
            self.out.system(channel, ok, message);
        }
    }
}

fn spec_of(subscribe: Subscribe) -> Result<Spec, Arc<str>> {
    let mut ids = Vec::with_capacity(subscribe.bindings.len());
    let mut bindings = Vec::with_capacity(subscribe.bindings.len());
    let mut elements = Vec::with_capacity(subscribe.bindings.len());
    for (id, element) in subscribe.bindings {
        bindings.push(Binding::parse(&element).map_err(|error| Arc::from(error.to_string()))?);
        ids.push(id);
        elements.push(Value::Object(element));
    }
    let Subscribe { topic, dialect, legacy, whole_deleted, .. } = subscribe;
    let key =
        format!("{dialect:?} {legacy} {whole_deleted} {topic} {ids:?} {}", Value::Array(elements)).into();
    Ok(Spec { topic, dialect, legacy, whole_deleted, ids, bindings, key })
}

/// Resolves bindings, waiting for Postgres as long as it takes; `Err` holds the words for the client.
async fn resolve_patiently(
    catalogs: &Catalogs,
    operands: &Operands,
    catalog: &Catalog,
    role: &str,
    bindings: &[Binding],
) -> Result<Vec<Target>, Arc<str>> {
    let mut backoff = Backoff::new();
    loop {
        let client = catalogs.client().await;
        match tokio::time::timeout(CATALOG_WITHIN, resolve(&client, operands, catalog, role, bindings)).await
        {
            Ok(Ok(targets)) => return Ok(targets),
            Ok(Err(Unresolved::Refused(message))) => return Err(message.into()),
            Ok(Err(Unresolved::SessionLost(_))) => {}
            Err(_) => catalogs.give_up(&client).await,
        }
        tokio::time::sleep(backoff.pause(rand::random())).await;
    }
}
