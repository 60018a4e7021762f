//! `GET /api/openapi`: the table of routes as an OpenAPI document, with what other stages answer besides.

use std::sync::Arc;

use axum::http::header;
use axum::response::IntoResponse;
use serde_json::{Map, Value, json};

use super::error::JSON;
use super::route::{Access, Answer, Content, OPERATIONS, Operation, REFUSAL};

/// Answers with the document.
pub(super) fn openapi(document: &Arc<str>) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, JSON)], document.to_string())
}

/// Routes and what their bodies look like.
#[derive(Clone, Debug, Default)]
pub struct Part {
    paths: Map<String, Value>,
    /// Schemas by their names.
    pub schemas: Map<String, Value>,
}

impl Part {
    /// Adds a route, under each of its paths.
    pub fn add<E>(&mut self, operation: &Operation<E>, answers: &[Answer]) {
        for path in [Some(operation.path), operation.public_path].into_iter().flatten() {
            self.paths.entry(path).or_insert_with(|| json!({}))[operation.method.to_ascii_lowercase()] =
                describe(operation, answers, path);
        }
    }
}

/// The document: every route of the table, and those of other stages.
pub fn document(added: &Part) -> Value {
    let Part { mut paths, schemas: mut all } = added.clone();
    let mut own = Part::default();
    for operation in OPERATIONS {
        own.add(operation, operation.answers);
    }
    paths.extend(own.paths);
    all.extend(schemas());
    json!({
        "openapi": "3.0.3",
        "info": {
            "title": "Rowcast",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Realtime for Postgres. Every route answers 405 to methods that it does not have, and 431 to headers that are too long.",
        },
        "servers": [{ "url": "/" }],
        "paths": paths,
        "components": {
            "schemas": all,
            "securitySchemes": {
                "bearer": { "type": "http", "scheme": "bearer", "bearerFormat": "JWT" },
                "apikey": { "type": "apiKey", "in": "header", "name": "apikey" },
            },
        },
    })
}

fn describe<E>(operation: &Operation<E>, answers: &[Answer], path: &str) -> Value {
    let security = match operation.access {
        Access::Open | Access::Browser | Access::Metered => json!([]),
        Access::Project | Access::Api | Access::Forwarded => json!([{ "bearer": [] }, { "apikey": [] }]),
        Access::App | Access::Operator => json!([{ "bearer": [] }]),
    };
    let responses: Map<_, _> =
        answers.iter().map(|answer| (answer.status.to_string(), response(answer))).collect();
    let mut described = json!({
        "summary": operation.summary,
        "parameters": parameters(operation, path),
        "security": security,
        "responses": responses,
    });
    if !operation.requests.is_empty() {
        let content: Map<_, _> = operation.requests.iter().filter_map(content).collect();
        described["requestBody"] = json!({ "content": content });
    }
    described
}

fn parameters<E>(operation: &Operation<E>, path: &str) -> Vec<Value> {
    let text = json!({ "type": "string" });
    let in_path = path
        .split('{')
        .skip(1)
        .filter_map(|part| part.split('}').next())
        .map(|name| json!({ "name": name, "in": "path", "required": true, "schema": text }));
    let in_query = operation.query.iter().map(
        |(name, meaning)| json!({ "name": name, "in": "query", "description": meaning, "schema": text }),
    );
    in_path.chain(in_query).collect()
}

fn response(answer: &Answer) -> Value {
    match content(&answer.content) {
        Some((media, schema)) => json!({ "description": answer.when, "content": { media: schema } }),
        None => json!({ "description": answer.when }),
    }
}

/// The media type of a body and its schema.
fn content(content: &Content) -> Option<(String, Value)> {
    let text = json!({ "schema": { "type": "string" } });
    let (media, schema) = match content {
        Content::Empty => return None,
        Content::Text => ("text/plain", text),
        Content::Html => ("text/html", text),
        Content::Bytes => {
            ("application/octet-stream", json!({ "schema": { "type": "string", "format": "binary" } }))
        }
        Content::Json(name) => {
            ("application/json", json!({ "schema": { "$ref": format!("#/components/schemas/{name}") } }))
        }
    };
    Some((media.to_owned(), schema))
}

fn object(properties: Value) -> Value {
    json!({ "type": "object", "properties": properties })
}

/// What the bodies of the table look like.
fn schemas() -> Map<String, Value> {
    let (text, number, switch) =
        (json!({ "type": "string" }), json!({ "type": "integer" }), json!({ "type": "boolean" }));
    let any_object = json!({ "type": "object", "additionalProperties": true });
    let tenant = object(json!({
        "id": text,
        "external_id": text,
        "name": text,
        "inserted_at": text,
        "max_concurrent_users": number,
        "max_channels_per_client": number,
        "max_events_per_second": number,
        "max_joins_per_second": number,
        "max_presence_events_per_second": number,
        "max_payload_size_in_kb": number,
        "max_client_presence_events_per_window": number,
        "client_presence_window_ms": number,
        "private_only": switch,
        "presence_enabled": switch,
        "extensions": { "type": "array", "items": any_object },
    }));
    let health = object(json!({
        "healthy": switch,
        "db_connected": switch,
        "replication_connected": switch,
        "connected_cluster": number,
        "region": { "type": "string", "nullable": true },
        "node": text,
    }));
    let mut message = object(json!({
        "topic": text,
        "event": text,
        "payload": any_object,
        "private": { "type": "boolean", "default": false },
        "id": text,
    }));
    message["required"] = json!(["topic", "event", "payload"]);
    let mut batch = object(json!({ "messages": { "type": "array", "items": message } }));
    batch["required"] = json!(["messages"]);
    let mut schemas = json!({
        "Batch": batch,
        "Document": any_object,
        "Message": object(json!({ "message": text })),
        "Payload": { "description": "any JSON; what is no object arrives as the field `_json` of one" },
        "Tenant": object(json!({ "data": tenant })),
        "Tenants": object(json!({ "data": { "type": "array", "items": tenant } })),
        "TenantHealth": object(json!({ "data": health })),
        "TenantUpsert": object(json!({ "tenant": any_object })),
    });
    schemas["Raised"] = object(json!({ "code": text, "message": text, "details": text, "hint": text }));
    schemas[REFUSAL] = object(json!({ "message": text, "error": text, "errors": any_object }));
    schemas["Batch"]["example"] = json!({
        "messages": [{ "topic": "room", "event": "said", "payload": { "text": "hello" } }],
    });
    schemas.as_object().cloned().unwrap_or_default()
}
