//! What each stage needs, made of the settings.

use std::sync::Arc;

use super::{Error, OWN_PUBLICATION, WAITING_MAX};
use crate::channel;
use crate::config::{self, Settings};
use crate::hub::{self, ServerLimits, feed};
use crate::postgres::rpc::{self, Rpc};
use crate::protocol::change::timestamp;
use crate::rest::{Api, BroadcastLimits, Forwarder};
use crate::telemetry::clock::unix_seconds;
use crate::telemetry::page::Place;
use crate::wal::{Slot, SlotName, StreamConfig};

/// The bounds of broadcasts over HTTP are those of sockets.
pub(super) fn broadcast_limits(settings: &Settings) -> BroadcastLimits {
    let hub::Config { topic_bytes_max, json_depth_max, channel, .. } = hub_config(settings);
    BroadcastLimits { payload_bytes_max: channel.payload_bytes_max, json_depth_max, topic_bytes_max }
}

fn rpc_config(settings: &Settings) -> rpc::Config {
    rpc::Config {
        database: settings.database.clone(),
        connections: settings.rest.rpc_connections,
        waiting_max: settings.rest.rpc_waiting_max,
        timeout: settings.rest.rpc_timeout,
    }
}

/// What answers under `/rest/v1`. It opens no session before it is asked.
pub(super) fn api(settings: &Settings) -> Result<Api, Error> {
    let forwarder = settings.rest.postgrest.clone().map(Forwarder::new).transpose().map_err(Error::Tls)?;
    let rpc = Rpc::new(rpc_config(settings));
    let rest = &settings.rest;
    Ok(Api { rpc, schemas: rest.rpc_schemas.clone(), rows_max: rest.rpc_max_rows, forwarder })
}

/// Now, as tenants tell it.
pub(super) fn started_at() -> String {
    timestamp(unix_seconds().saturating_mul(1_000_000))
}

pub(super) fn feed_config(
    settings: &Settings,
    counters: &Arc<feed::Counters>,
) -> Result<feed::Config, Error> {
    let name = SlotName::new(&settings.wal.slot_name)?;
    let publications = vec![settings.wal.publication.clone(), OWN_PUBLICATION.to_owned()];
    let connection = settings.database.replication(name.as_str(), &settings.wal.publication);
    let slot = match settings.wal.slot {
        config::Slot::Temporary => Slot::Temporary,
        config::Slot::Durable => Slot::Durable(name),
    };
    Ok(feed::Config {
        stream: StreamConfig {
            connection,
            slot,
            publications,
            own_publication: Some(feed::MESSAGES_PUBLICATION),
        },
        publication: settings.wal.publication.clone(),
        database: settings.database.clone(),
        ask_connection_count: settings.hub.ask_connections,
        ask_timeout: settings.hub.ask_timeout,
        catalog_poll: settings.policy.catalog_poll,
        mirrored_besides: Arc::default(),
        mirror_bytes_max: settings.policy.mirror_bytes_max,
        switches: settings.policy.switches,
        shadow_per_million: settings.policy.shadow_per_million,
        #[cfg(feature = "postgres-tests")]
        amend: None,
        transaction_bytes_max: settings.wal.transaction_memory_bytes_max,
        record_bytes_max: settings.channel.record_bytes_max,
        broadcast_bytes_max: settings.channel.payload_bytes_max,
        waiting_max: WAITING_MAX,
        notes_sent: settings.adapter.messaging,
        counters: Arc::clone(counters),
    })
}

pub(super) fn hub_config(settings: &Settings) -> hub::Config {
    let defaults = hub::Config::default();
    let channel = &settings.channel;
    hub::Config {
        channel: channel::Limits {
            payload_bytes_max: channel.payload_bytes_max,
            presence_bytes_max: channel.payload_bytes_max,
            presence_calls_max: channel.presence_window_events_max,
            presence_window: channel.presence_window,
        },
        json_depth_max: settings.socket.json_depth_max,
        channels_per_socket_max: channel.channels_per_socket_max,
        refusal_delay: channel.join_error_delay,
        private_only: channel.private_only,
        presence_for_all: channel.presence_for_all,
        no_channel_timeout: channel.no_channel_timeout,
        ..defaults
    }
}

pub(super) fn shard_count(settings: &Settings) -> u16 {
    u16::try_from(settings.hub.shard_count).unwrap_or(hub::SHARDS_MAX).clamp(1, hub::SHARDS_MAX)
}

/// Where the numbers of the metrics page come from.
pub(super) fn place(settings: &Settings) -> Place {
    let host = nix::unistd::gethostname().ok().and_then(|host| host.into_string().ok());
    Place { tenant: settings.tenant_id.clone(), region: String::new(), host: host.unwrap_or_default() }
}

pub(super) fn server_limits(settings: &Settings) -> ServerLimits {
    let channel = &settings.channel;
    ServerLimits {
        concurrent_users_max: channel.concurrent_users_max,
        joins_per_second_max: channel.joins_per_second_max,
        events_per_second_max: channel.events_per_second_max,
        presence_events_per_second_max: channel.presence_events_per_second_max,
        db_events_per_second_max: channel.db_events_per_second_max,
        rest_requests_per_second_max: settings.rest.rest_requests_per_second_max,
    }
}
