//! `/api/tenants`: the stock server's administrative routes, for the one tenant that there is.
//!
//! Everything about a tenant is a setting of this server, so nothing can be changed here. What tools send who make
//! sure that a tenant is there is accepted as long as it changes nothing, and refused with the name of the setting
//! otherwise (`upsert.rs`).
//!
//! A token that clients have opens `health` alone, which is what the stock container's health check asks for: all
//! other routes want a token without role, or of `service_role`.

mod upsert;

use std::fmt;
use std::sync::Arc;

use axum::Json;
use axum::extract::{FromRequestParts, Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde_json::{Map, Value, json};

#[cfg(test)]
pub(super) use upsert::{UNSUPPORTED, unchangeable};
pub(super) use upsert::{create, upsert};

use super::error::Error;
use super::services::{Services, Shards};
use crate::auth::Secret;
use crate::telemetry::clock::unix_seconds;
use crate::telemetry::health::Liveness;

/// The only tenant: what it is called, and everything that the routes know of it.
#[derive(Clone, Debug)]
pub struct Tenant {
    /// Its name, in paths and in answers.
    pub id: String,
    /// When it was made, which is when the server started, as ISO 8601.
    pub inserted_at: String,
    /// The name of this server.
    pub node: String,
    /// Its fields, by the names of the routes.
    pub fields: Vec<TenantField>,
    /// The settings of its extension, which is the database.
    pub database: Vec<TenantField>,
}

/// One field of a tenant.
#[derive(Clone, Debug)]
pub struct TenantField {
    /// Its name on the wire.
    pub key: &'static str,
    /// The setting of this server that it comes from; empty if there is none.
    pub setting: &'static str,
    /// Its value.
    pub value: TenantValue,
}

/// What a field holds.
#[derive(Clone)]
pub enum TenantValue {
    /// Anything that operators may read.
    Shown(Value),
    /// Something that they may not, if there is any.
    Secret(Option<Secret>),
}

/// Without secrets.
impl fmt::Debug for TenantValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Shown(value) => value.fmt(f),
            Self::Secret(_) => f.write_str("[redacted]"),
        }
    }
}

impl Tenant {
    /// As the routes show it.
    fn data(&self) -> Value {
        let shown = |fields: &[TenantField]| -> Map<String, Value> {
            let shown = fields.iter().filter_map(|field| match &field.value {
                TenantValue::Shown(value) => Some((field.key.to_owned(), value.clone())),
                TenantValue::Secret(_) => None,
            });
            shown.collect()
        };
        let mut data = shown(&self.fields);
        data.insert("id".to_owned(), self.uuid().into());
        data.insert("external_id".to_owned(), self.id.as_str().into());
        data.insert("name".to_owned(), self.id.as_str().into());
        data.insert("inserted_at".to_owned(), self.inserted_at.as_str().into());
        let extension = json!({
            "type": "postgres_cdc_rls",
            "inserted_at": self.inserted_at,
            "updated_at": self.inserted_at,
            "settings": shown(&self.database),
        });
        data.insert("extensions".to_owned(), json!([extension]));
        Value::Object(data)
    }

    /// An id that is the same after a restart, made of the name.
    fn uuid(&self) -> String {
        let mut bytes = [0_u8; 16];
        for (index, byte) in self.id.bytes().enumerate() {
            let place = &mut bytes[index % 16];
            *place = place.rotate_left(3) ^ byte;
        }
        uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
    }
}

/// Proof that a request comes from an operator.
pub(super) struct Operator;

impl<S: Shards> FromRequestParts<Arc<Services<S>>> for Operator {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, services: &Arc<Services<S>>) -> Result<Self, Error> {
        let admits = services.admins.admits_operator(authorization(&parts.headers), unix_seconds());
        if admits { Ok(Self) } else { Err(Error::NotAdmin) }
    }
}

/// Proof that a request comes with a genuine token.
pub(super) struct Holder;

impl<S: Shards> FromRequestParts<Arc<Services<S>>> for Holder {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, services: &Arc<Services<S>>) -> Result<Self, Error> {
        let admits = services.admins.admits(authorization(&parts.headers), unix_seconds());
        if admits { Ok(Self) } else { Err(Error::NotAdmin) }
    }
}

fn authorization(headers: &HeaderMap) -> Option<&str> {
    headers.get(header::AUTHORIZATION)?.to_str().ok()
}

/// Proof that the path names our tenant.
pub(super) struct Ours;

impl<S: Shards> FromRequestParts<Arc<Services<S>>> for Ours {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, services: &Arc<Services<S>>) -> Result<Self, Error> {
        match Path::<String>::from_request_parts(parts, &()).await {
            Ok(Path(id)) if id == services.tenant.id => Ok(Self),
            _ => Err(Error::NoTenant),
        }
    }
}

pub(super) async fn list<S: Shards>(_: Operator, State(services): State<Arc<Services<S>>>) -> Json<Value> {
    Json(json!({ "data": [services.tenant.data()] }))
}

pub(super) async fn show<S: Shards>(
    _: Operator,
    _: Ours,
    State(services): State<Arc<Services<S>>>,
) -> Json<Value> {
    Json(json!({ "data": services.tenant.data() }))
}

/// Of a tenant that is not there, nothing is left to be deleted.
pub(super) async fn delete(_: Operator, ours: Result<Ours, Error>) -> Result<StatusCode, Error> {
    match ours {
        Ok(Ours) => Err(Error::OnlyTenant),
        Err(_) => Ok(StatusCode::NO_CONTENT),
    }
}

/// Disconnects every socket, as the stock server does. The stream of changes goes on: nothing about it is cached.
pub(super) async fn reload<S: Shards>(
    _: Operator,
    _: Ours,
    State(services): State<Arc<Services<S>>>,
) -> StatusCode {
    tracing::info!("an operator has all sockets disconnected");
    services.broadcaster.disconnect_all().await;
    StatusCode::NO_CONTENT
}

/// The database's sessions are the server's own, and end with it.
pub(super) async fn shutdown(_: Operator, _: Ours) -> Error {
    Error::OnlyTenant
}

/// Always 200: whether the tenant is healthy stands in the body, as the stock server has it.
pub(super) async fn health<S: Shards>(
    _: Holder,
    _: Ours,
    State(services): State<Arc<Services<S>>>,
) -> Json<Value> {
    let live = services.health.get() == Liveness::Live;
    Json(json!({ "data": {
        "healthy": live,
        "db_connected": live,
        "replication_connected": live,
        "connected_cluster": services.meters.users.count(),
        // Nobody has said where this is.
        "region": null,
        "node": services.tenant.node,
    } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_shows_no_secret_and_keeps_its_id() {
        let secret = TenantValue::Secret(Secret::new("very secret indeed").ok());
        let tenant = Tenant {
            id: "realtime-dev".to_owned(),
            inserted_at: "2026-01-01T00:00:00.000Z".to_owned(),
            node: "rowcast@here".to_owned(),
            fields: vec![
                TenantField { key: "jwt_secret", setting: "jwt_secret", value: secret },
                TenantField { key: "private_only", setting: "", value: TenantValue::Shown(false.into()) },
            ],
            database: vec![],
        };
        let data = tenant.data();
        assert_eq!(data["private_only"], false);
        assert_eq!(data["external_id"], "realtime-dev");
        assert!(!data.to_string().contains("secret") && !format!("{tenant:?}").contains("very secret"));
        assert_eq!(data["id"], tenant.clone().data()["id"]);
        assert_ne!(data["id"], Tenant { id: "other".to_owned(), ..tenant }.data()["id"]);
    }
}
