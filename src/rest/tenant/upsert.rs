//! Saying what the tenant is to be: accepted where it is so already.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::header::{HeaderName, LOCATION};
use serde_json::{Map, Value, json};

use super::{Operator, Tenant, TenantField, TenantValue};
use crate::auth::Secret;
use crate::rest::error::Error;
use crate::rest::field::{BLANK, INVALID};
use crate::rest::services::{Services, Shards};

/// What is wrong with a field that nothing here knows.
pub(in crate::rest) const UNSUPPORTED: &str = "has no other value here";

/// What is wrong with a value that is not the one in force.
pub(in crate::rest) fn unchangeable(setting: &str) -> String {
    format!("cannot be changed while the server runs, set {setting} and restart it")
}

/// The answer to an upsert, with the path of the tenant.
type Upserted = ([(HeaderName, String); 1], Json<Value>);

/// The tenant is named in the body.
pub(in crate::rest) async fn create<S: Shards>(
    _: Operator,
    State(services): State<Arc<Services<S>>>,
    request: Request,
) -> Result<Upserted, Error> {
    apply(&services, None, request).await
}

/// The tenant is named in the path.
pub(in crate::rest) async fn upsert<S: Shards>(
    _: Operator,
    State(services): State<Arc<Services<S>>>,
    Path(id): Path<String>,
    request: Request,
) -> Result<Upserted, Error> {
    apply(&services, Some(id), request).await
}

async fn apply<S: Shards>(
    services: &Services<S>,
    id: Option<String>,
    request: Request,
) -> Result<Upserted, Error> {
    let (parts, body) = request.into_parts();
    let body = services.bodies.read(&parts.headers, body).await?;
    let body: Value = serde_json::from_slice(&body.bytes).map_err(|_| Error::NotJson)?;
    let wanted = match &body["tenant"] {
        Value::Object(wanted) => wanted,
        Value::Null => return Err(Error::field("tenant", BLANK)),
        _ => return Err(Error::field("tenant", INVALID)),
    };
    let tenant = &services.tenant;
    let id = id.map_or_else(|| wanted.get("external_id").cloned().unwrap_or_default(), Value::String);
    let errors = differences(tenant, &id, wanted);
    if !errors.is_empty() {
        return Err(Error::Invalid(Value::Object(errors)));
    }
    Ok(([(LOCATION, format!("/api/tenants/{}", tenant.id))], Json(json!({ "data": tenant.data() }))))
}

/// What is wanted and is not so, by field.
fn differences(tenant: &Tenant, id: &Value, wanted: &Map<String, Value>) -> Map<String, Value> {
    let mut errors = Map::new();
    match id {
        Value::Null => _ = errors.insert("external_id".to_owned(), json!([BLANK])),
        id if *id == *tenant.id => {}
        _ => _ = errors.insert("external_id".to_owned(), json!([unchangeable("tenant_id")])),
    }
    if wanted.get("name").is_some_and(|name| !name.is_null() && *name != *tenant.id) {
        errors.insert("name".to_owned(), json!([unchangeable("tenant_id")]));
    }
    errors.extend(wrong(&tenant.fields, wanted));
    let extensions = match wanted.get("extensions") {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(extensions)) => extensions,
        Some(_) => {
            errors.insert("extensions".to_owned(), json!([INVALID]));
            &[]
        }
    };
    let wrong_extensions: Vec<_> =
        extensions.iter().map(|extension| extension_errors(tenant, extension)).collect();
    if wrong_extensions.iter().any(|errors| !errors.is_empty()) {
        errors.insert("extensions".to_owned(), json!(wrong_extensions));
    }
    errors
}

/// What is wanted of the extension and is not so.
fn extension_errors(tenant: &Tenant, extension: &Value) -> Map<String, Value> {
    let error = |name: &str, words: &str| Map::from_iter([(name.to_owned(), json!([words]))]);
    let kind = extension["type"].as_str().unwrap_or_default();
    if !["postgres_cdc_rls", "postgres"].contains(&kind) {
        return error("type", INVALID);
    }
    match &extension["settings"] {
        Value::Object(settings) => wrong(&tenant.database, settings),
        Value::Null => error("settings", BLANK),
        _ => error("settings", INVALID),
    }
}

/// The fields that are wanted otherwise than they are. Those that nothing here knows do not matter.
fn wrong(fields: &[TenantField], wanted: &Map<String, Value>) -> Map<String, Value> {
    let differs = |field: &&TenantField| {
        wanted.get(field.key).is_some_and(|value| !value.is_null() && !is_so(&field.value, value))
    };
    let words = |field: &TenantField| match field.setting {
        "" => UNSUPPORTED.to_owned(),
        setting => unchangeable(setting),
    };
    fields.iter().filter(differs).map(|field| (field.key.to_owned(), json!([words(field)]))).collect()
}

/// Whether a field has this value. A number may come as text.
fn is_so(value: &TenantValue, wanted: &Value) -> bool {
    match value {
        TenantValue::Shown(shown) => text(shown) == text(wanted),
        TenantValue::Secret(secret) => Secret::new(text(wanted)).ok() == *secret,
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> Tenant {
        let field = |key, setting, value| TenantField { key, setting, value };
        let secret = |text: &str| TenantValue::Secret(Secret::new(text).ok());
        Tenant {
            id: "realtime-dev".to_owned(),
            inserted_at: String::new(),
            node: String::new(),
            fields: vec![
                field("jwt_secret", "jwt_secret", secret("our secret")),
                field("max_events_per_second", "events_per_second_max", TenantValue::Shown(100.into())),
                field("suspend", "", TenantValue::Shown(false.into())),
            ],
            database: vec![
                field("db_host", "database_url", secret("db")),
                field("publication", "publication", TenantValue::Shown("supabase_realtime".into())),
            ],
        }
    }

    fn errors(wanted: Value) -> Value {
        let wanted = wanted.as_object().unwrap().clone();
        let id = wanted.get("external_id").cloned().unwrap_or_default();
        Value::Object(differences(&tenant(), &id, &wanted))
    }

    #[test]
    fn what_is_so_already_is_accepted() {
        assert_eq!(errors(json!({ "external_id": "realtime-dev" })), json!({}));
        let seed = json!({
            "external_id": "realtime-dev",
            "name": "realtime-dev",
            "jwt_secret": "our secret",
            "max_events_per_second": "100",
            "suspend": false,
            "notify_private_alpha": true,
            "extensions": [{
                "type": "postgres_cdc_rls",
                "settings": { "db_host": "db", "region": "us-east-1", "poll_interval_ms": 100, "publication": null },
            }],
        });
        assert_eq!(errors(seed), json!({}));
    }

    #[test]
    fn what_would_change_something_names_the_setting() {
        let restart = |setting: &str| json!([unchangeable(setting)]);
        let found = errors(json!({
            "external_id": "other",
            "name": "other",
            "jwt_secret": "their secret",
            "max_events_per_second": 101,
            "suspend": true,
            "extensions": [{ "type": "postgres", "settings": { "db_host": "elsewhere", "publication": 7 } }],
        }));
        assert_eq!(
            found,
            json!({
                "external_id": restart("tenant_id"),
                "name": restart("tenant_id"),
                "jwt_secret": restart("jwt_secret"),
                "max_events_per_second": restart("events_per_second_max"),
                "suspend": [UNSUPPORTED],
                "extensions": [{ "db_host": restart("database_url"), "publication": restart("publication") }],
            })
        );
    }

    #[test]
    fn what_is_no_tenant_is_told_so() {
        assert_eq!(errors(json!({})), json!({ "external_id": [BLANK] }));
        let with =
            |extensions: Value| errors(json!({ "external_id": "realtime-dev", "extensions": extensions }));
        assert_eq!(with(json!("all")), json!({ "extensions": [INVALID] }));
        assert_eq!(with(json!([{}])), json!({ "extensions": [{ "type": [INVALID] }] }));
        assert_eq!(with(json!([{ "type": "postgres" }])), json!({ "extensions": [{ "settings": [BLANK] }] }));
        let odd = json!([{ "type": "postgres", "settings": 1 }]);
        assert_eq!(with(odd), json!({ "extensions": [{ "settings": [INVALID] }] }));
    }
}
