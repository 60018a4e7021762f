//! The settings as the fields of a tenant, by which the stock server's tools know them.

use serde_json::Value;

use super::Settings;
use crate::auth::Secret;
use crate::rest::{Tenant, TenantField, TenantValue};

impl Settings {
    /// The only tenant. `node` is the name of this server, `inserted_at` the time of its start as ISO 8601.
    pub fn tenant(&self, node: String, inserted_at: String) -> Tenant {
        let mut fields = self.limits();
        let jwt_secret = self.auth.jwt_secret.as_ref().map_or("", |secret| secret.expose());
        fields.push(secret("jwt_secret", "jwt_secret", jwt_secret.as_bytes()));
        Tenant { id: self.tenant_id.clone(), inserted_at, node, fields, database: self.extension() }
    }

    fn limits(&self) -> Vec<TenantField> {
        let channel = &self.channel;
        let milliseconds = u64::try_from(channel.presence_window.as_millis()).unwrap_or(u64::MAX);
        vec![
            shown("max_concurrent_users", "concurrent_users_max", channel.concurrent_users_max),
            shown("max_channels_per_client", "channels_per_socket_max", channel.channels_per_socket_max),
            shown("max_joins_per_second", "joins_per_second_max", channel.joins_per_second_max),
            shown("max_events_per_second", "events_per_second_max", channel.events_per_second_max),
            shown(
                "max_presence_events_per_second",
                "presence_events_per_second_max",
                channel.presence_events_per_second_max,
            ),
            // The rest of it is there for the envelope.
            shown("max_payload_size_in_kb", "payload_bytes_max", channel.payload_bytes_max / 1000),
            shown(
                "max_client_presence_events_per_window",
                "presence_window_events_max",
                channel.presence_window_events_max,
            ),
            shown("client_presence_window_ms", "presence_window_ms", milliseconds),
            shown("postgres_cdc_default", "", "postgres_cdc_rls"),
            shown("private_only", "", false),
            shown("presence_enabled", "", false),
            shown("suspend", "", false),
        ]
    }

    /// Where the database is cannot be read by operators, as it cannot in the stock server.
    fn extension(&self) -> Vec<TenantField> {
        let database = &self.database;
        let hidden = |key, text: &[u8]| secret(key, "database_url", text);
        let port = database.port().to_string();
        vec![
            shown("publication", "publication", self.wal.publication.as_str()),
            shown("slot_name", "slot_name", self.wal.slot_name.as_str()),
            hidden("db_host", database.host().as_bytes()),
            hidden("db_port", port.as_bytes()),
            hidden("db_name", database.name().as_bytes()),
            hidden("db_user", database.user().as_bytes()),
            hidden("db_password", database.password().unwrap_or_default()),
        ]
    }
}

fn shown(key: &'static str, setting: &'static str, value: impl Into<Value>) -> TenantField {
    TenantField { key, setting, value: TenantValue::Shown(value.into()) }
}

/// Without a value, whatever is sent for it differs.
fn secret(key: &'static str, setting: &'static str, value: &[u8]) -> TenantField {
    TenantField { key, setting, value: TenantValue::Secret(Secret::new(value).ok()) }
}
