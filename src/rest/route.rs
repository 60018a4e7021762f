//! Every route, with all that it can answer: the one table that the router and the OpenAPI document are made of.

/// What a route is for. The router knows who answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the table says what each is for")]
pub enum Endpoint {
    Socket,
    LongPoll,
    Healthcheck,
    Page,
    OpenApi,
    Ping,
    Batch,
    Single,
    Metrics,
    ListTenants,
    CreateTenant,
    ShowTenant,
    PutTenant,
    PatchTenant,
    DeleteTenant,
    ReloadTenant,
    ShutdownTenant,
    TenantHealth,
    Call,
    Forward,
}

/// Who may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Anybody.
    Open,
    /// Anybody, from a page of any origin, too.
    Browser,
    /// As [`Access::Browser`], and held to the rate of requests.
    Metered,
    /// As [`Access::Metered`], with a token of the project.
    Project,
    /// The same, with the token in `Authorization`; other stages answer it.
    App,
    /// Holders of a token of the operator's.
    Operator,
    /// Anybody, from a page of any origin, too; what may be done depends on the token's role.
    Api,
    /// The same, of routes that somebody else answers.
    Forwarded,
}

/// What a body holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Nothing.
    Empty,
    /// Plain text.
    Text,
    /// A page.
    Html,
    /// Any bytes.
    Bytes,
    /// JSON of this schema in the document's components.
    Json(&'static str),
}

/// One answer of a route.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The body.
    pub content: Content,
    /// When it is given.
    pub when: &'static str,
}

/// One route.
#[derive(Clone, Copy, Debug)]
pub struct Operation<E = Endpoint> {
    /// Who answers it.
    pub endpoint: E,
    /// Its method in capitals. HEAD goes with GET.
    pub method: &'static str,
    /// Its path, as the stock server has it behind its gateway.
    pub path: &'static str,
    /// Its path as clients ask a gateway for it.
    pub public_path: Option<&'static str>,
    /// Who may ask.
    pub access: Access,
    /// What it is for.
    pub summary: &'static str,
    /// Names and meanings of its query parameters.
    pub query: &'static [(&'static str, &'static str)],
    /// What may be sent.
    pub requests: &'static [Content],
    /// Everything that it answers.
    pub answers: &'static [Answer],
}

impl Operation {
    /// Its paths as the router takes them.
    pub(super) fn patterns(&self) -> impl Iterator<Item = String> {
        // The topic of a broadcast may be missing or have slashes: the route says what is wrong with it.
        let pattern = |path: &str| {
            path.replace("{topic}/events/{event}", "{*target}").replace("/rest/v1/{path}", "/rest/v1/{*path}")
        };
        [Some(self.path), self.public_path].into_iter().flatten().map(pattern)
    }
}

/// The name of the schema that every refusal with a JSON body has.
pub(super) const REFUSAL: &str = "Refusal";

/// An answer with this body.
pub const fn answer(status: u16, content: Content, when: &'static str) -> Answer {
    Answer { status, content, when }
}

const fn refusal(status: u16, when: &'static str) -> Answer {
    answer(status, Content::Json(REFUSAL), when)
}

const NOT_JSON: Answer = refusal(400, "the body is not JSON");
const NO_TOKEN: Answer = refusal(401, "there is no valid token in `Authorization` or `apikey`");
const NOT_ADMIN: Answer = answer(403, Content::Empty, "the token is not an operator's");
const NO_TENANT: Answer = refusal(404, "there is no such tenant");
const LATE: Answer = refusal(408, "the body did not arrive in time");
const ONLY_TENANT: Answer = refusal(409, "the only tenant cannot be ended");
const TOO_LONG: Answer = refusal(413, "the body is over its limit");
const BUSY: Answer = refusal(503, "too many bodies are being read");
const TENANT: Answer = answer(200, Content::Json("Tenant"), "the tenant");
const UNCHANGEABLE: Answer =
    refusal(422, "a value differs from the one in force; the setting to change is named");
const UPSERT: &[Answer] = &[TENANT, NOT_JSON, NOT_ADMIN, LATE, TOO_LONG, UNCHANGEABLE, BUSY];
const ENDING: &[Answer] = &[NOT_ADMIN, NO_TENANT, ONLY_TENANT];
const METRICS: &[Answer] =
    &[answer(200, Content::Text, "the metrics"), answer(403, Content::Empty, "the token is no reader's")];
const PAGE: &[Answer] = &[answer(200, Content::Html, "a page for people")];

const SILENT: Answer = refusal(504, "no session became free in time, or Postgres did not answer in time");
const CALL: &[Answer] = &[
    answer(200, Content::Json("Payload"), "what the function returned"),
    answer(204, Content::Empty, "it returns nothing"),
    answer(206, Content::Json("Payload"), "not all rows, where they were counted"),
    answer(300, Content::Json("Raised"), "several functions fit"),
    answer(400, Content::Json("Raised"), "the request is invalid, or the function has raised an error"),
    answer(401, Content::Json("Raised"), "the token is refused, or there is none and that does not suffice"),
    answer(403, Content::Json("Raised"), "the role may not do this"),
    answer(404, Content::Json("Raised"), "no function fits"),
    answer(405, Content::Json("Raised"), "the function would change something, and was called by GET"),
    answer(406, Content::Json("Raised"), "schema or media type are not there, or it is not one row"),
    LATE,
    answer(409, Content::Json("Raised"), "a key is there already, or is missing"),
    TOO_LONG,
    answer(416, Content::Json("Raised"), "there are not so many rows"),
    answer(429, Content::Json("Raised"), "there are too many requests, or the function says so (`PT429`)"),
    answer(500, Content::Json("Raised"), "Postgres has raised an error that is not the caller's"),
    answer(503, Content::Json("Raised"), "the database cannot be reached, or too many calls wait"),
    SILENT,
];
const CALL_QUERY: &[(&str, &str)] = &[
    ("select", "columns of the result"),
    ("order", "columns to sort by"),
    ("limit", "how many rows at most"),
    ("offset", "how many rows to leave out"),
];

const fn get(endpoint: Endpoint, path: &'static str, access: Access) -> Operation {
    Operation {
        endpoint,
        method: "GET",
        path,
        public_path: None,
        access,
        summary: "",
        query: &[],
        requests: &[],
        answers: &[],
    }
}

const fn operator(endpoint: Endpoint, method: &'static str, path: &'static str) -> Operation {
    Operation { method, ..get(endpoint, path, Access::Operator) }
}

/// Every route of the server.
pub const OPERATIONS: &[Operation] = &[
    Operation {
        public_path: Some("/realtime/v1/websocket"),
        summary: "Open a WebSocket",
        query: &[("apikey", "the token, unless header x-api-key has it"), ("vsn", "1.0.0 or 2.0.0")],
        answers: &[
            answer(101, Content::Empty, "the socket is open"),
            answer(400, Content::Empty, "the method is not GET, or the handshake is malformed"),
            refusal(401, "the token is missing or refused"),
            answer(403, Content::Empty, "the version is not known"),
            answer(426, Content::Empty, "the request asks for no WebSocket"),
            refusal(429, "as many sockets have joined channels as may, or too many join"),
            refusal(500, "`exp` or `iat` of the token is not a number, or a required claim differs"),
            refusal(503, "as many sockets are open as may be"),
        ],
        ..get(Endpoint::Socket, "/socket/websocket", Access::Open)
    },
    Operation {
        public_path: Some("/realtime/v1/longpoll"),
        summary: "Long polling, which is not served",
        answers: &[refusal(404, "always")],
        ..get(Endpoint::LongPoll, "/socket/longpoll", Access::Browser)
    },
    Operation {
        summary: "Whether changes flow",
        answers: &[
            answer(200, Content::Text, "they do"),
            answer(503, Content::Text, "they do not; the text says why"),
        ],
        ..get(Endpoint::Healthcheck, "/healthcheck", Access::Browser)
    },
    Operation { summary: "A page for people", answers: PAGE, ..get(Endpoint::Page, "/", Access::Open) },
    Operation { summary: "The same page", answers: PAGE, ..get(Endpoint::Page, "/status", Access::Open) },
    Operation {
        summary: "This document",
        answers: &[answer(200, Content::Json("Document"), "this document")],
        ..get(Endpoint::OpenApi, "/api/openapi", Access::Browser)
    },
    Operation {
        summary: "What has been counted, for Prometheus",
        answers: METRICS,
        ..operator(Endpoint::Metrics, "GET", "/metrics")
    },
    Operation {
        summary: "The same: there is one region",
        answers: METRICS,
        ..operator(Endpoint::Metrics, "GET", "/metrics/{region}")
    },
    Operation {
        public_path: Some("/realtime/v1/api/ping"),
        summary: "Whether the server answers, and how near its limit the rate of requests is",
        answers: &[
            answer(200, Content::Json("Message"), "always"),
            refusal(429, "there are too many requests"),
        ],
        ..get(Endpoint::Ping, "/api/ping", Access::Metered)
    },
    Operation {
        method: "POST",
        public_path: Some("/realtime/v1/api/broadcast"),
        summary: "Broadcast a batch of messages",
        requests: &[Content::Json("Batch")],
        answers: &[
            answer(202, Content::Empty, "taken; private messages that may not be sent are dropped"),
            NOT_JSON,
            NO_TOKEN,
            LATE,
            TOO_LONG,
            refusal(415, "the body is of another type than JSON"),
            refusal(422, "a message is invalid; none was sent"),
            refusal(429, "there are too many requests or too many messages"),
            BUSY,
        ],
        ..get(Endpoint::Batch, "/api/broadcast", Access::Project)
    },
    Operation {
        method: "POST",
        public_path: Some("/realtime/v1/api/broadcast/{topic}/events/{event}"),
        summary: "Broadcast one message, whose body is the payload",
        query: &[("private", "`true` for the private channel of this topic")],
        requests: &[Content::Json("Payload"), Content::Bytes],
        answers: &[
            answer(202, Content::Empty, "taken"),
            NOT_JSON,
            NO_TOKEN,
            refusal(403, "policies do not let this token send to this private topic"),
            LATE,
            TOO_LONG,
            refusal(415, "the body is neither JSON nor bytes"),
            refusal(422, "topic, event or payload is invalid, or policies could not be evaluated"),
            refusal(429, "there are too many requests or too many messages"),
            BUSY,
        ],
        ..get(Endpoint::Single, "/api/broadcast/{topic}/events/{event}", Access::Project)
    },
    Operation {
        summary: "All tenants, of which there is one",
        answers: &[answer(200, Content::Json("Tenants"), "the list"), NOT_ADMIN],
        ..operator(Endpoint::ListTenants, "GET", "/api/tenants")
    },
    Operation {
        summary: "Say what the tenant is to be: nothing can be changed, but what is already so is accepted",
        requests: &[Content::Json("TenantUpsert")],
        answers: UPSERT,
        ..operator(Endpoint::CreateTenant, "POST", "/api/tenants")
    },
    Operation {
        summary: "The tenant",
        answers: &[TENANT, NOT_ADMIN, NO_TENANT],
        ..operator(Endpoint::ShowTenant, "GET", "/api/tenants/{tenant_id}")
    },
    Operation {
        summary: "As POST, with the tenant in the path",
        requests: &[Content::Json("TenantUpsert")],
        answers: UPSERT,
        ..operator(Endpoint::PutTenant, "PUT", "/api/tenants/{tenant_id}")
    },
    Operation {
        summary: "As PUT",
        requests: &[Content::Json("TenantUpsert")],
        answers: UPSERT,
        ..operator(Endpoint::PatchTenant, "PATCH", "/api/tenants/{tenant_id}")
    },
    Operation {
        summary: "Delete a tenant: the only one cannot be deleted, others are gone already",
        answers: &[answer(204, Content::Empty, "there is no such tenant"), NOT_ADMIN, ONLY_TENANT],
        ..operator(Endpoint::DeleteTenant, "DELETE", "/api/tenants/{tenant_id}")
    },
    Operation {
        summary: "Disconnect all sockets; clients come back",
        answers: &[answer(204, Content::Empty, "done"), NOT_ADMIN, NO_TENANT],
        ..operator(Endpoint::ReloadTenant, "POST", "/api/tenants/{tenant_id}/reload")
    },
    Operation {
        summary: "End the tenant's connection to its database, which lives as long as the server",
        answers: ENDING,
        ..operator(Endpoint::ShutdownTenant, "POST", "/api/tenants/{tenant_id}/shutdown")
    },
    Operation {
        summary: "Whether the database is connected, and how many sockets have joined",
        answers: &[answer(200, Content::Json("TenantHealth"), "healthy or not"), NOT_ADMIN, NO_TENANT],
        ..operator(Endpoint::TenantHealth, "GET", "/api/tenants/{tenant_id}/health")
    },
    Operation {
        method: "POST",
        summary: "Call a function of the database, with its arguments as JSON",
        query: CALL_QUERY,
        requests: &[Content::Json("Payload")],
        answers: CALL,
        ..get(Endpoint::Call, "/rest/v1/rpc/{function}", Access::Api)
    },
    Operation {
        summary: "The same in a transaction that changes nothing; all other parameters are arguments",
        query: CALL_QUERY,
        answers: CALL,
        ..get(Endpoint::Call, "/rest/v1/rpc/{function}", Access::Api)
    },
    Operation {
        public_path: Some("/rest/v1/"),
        summary: "Everything else goes to the PostgREST of `postgrest_url`, by any method",
        answers: &[
            answer(404, Content::Json("Raised"), "there is none"),
            answer(429, Content::Json("Raised"), "too many requests"),
            answer(502, Content::Json("Raised"), "it cannot be reached"),
            answer(503, Content::Json("Raised"), "too many requests are with it"),
            answer(504, Content::Json("Raised"), "it does not answer"),
        ],
        ..get(Endpoint::Forward, "/rest/v1/{path}", Access::Forwarded)
    },
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The cells of the page's first table.
    fn rows() -> Vec<Vec<&'static str>> {
        let table = include_str!("../../docs/http.md").lines().skip_while(|line| !line.starts_with("| "));
        let rows = table.take_while(|line| line.starts_with('|')).skip(2);
        rows.map(|line| line.trim_matches('|').split(" | ").map(str::trim).collect()).collect()
    }

    #[test]
    fn the_page_lists_every_route_with_its_answers() {
        let is_code = |cell: &str, path: &str| cell.split(", ").any(|code| code.trim_matches('`') == path);
        for operation in OPERATIONS {
            let is_of = |row: &&Vec<&str>| {
                is_code(row[1], operation.path)
                    && (row[0] == "any" || row[0].split(", ").any(|method| method == operation.method))
            };
            let row = rows().into_iter().find(|row| is_of(&row)).unwrap_or_else(|| panic!("{operation:?}"));
            assert!(is_code(row[2], operation.public_path.unwrap_or("–")), "{operation:?}");
            let documented: BTreeSet<u16> =
                row[4].split([' ', ',', ';', ':']).filter_map(|word| word.parse().ok()).collect();
            let real: BTreeSet<u16> = operation.answers.iter().map(|answer| answer.status).collect();
            // The socket's refusals have a page of their own.
            if operation.endpoint != Endpoint::Socket {
                assert_eq!(documented, real, "{} {}", operation.method, operation.path);
            }
        }
    }
}
