//! Calling functions as clients do, on live servers.
//!
//! A [`Desk`] is a database of its own, with roles as Supabase has them and a pool of sessions for calls.

mod choice;
mod failures;
mod leaks;
mod rights;
mod settings;
mod values;

use std::sync::Arc;
use std::time::Duration;

use rowcast::policy::Claims;
use rowcast::postgres::connect::Database;
use rowcast::postgres::rpc::{Caller, Config, Error, Function, Returned, Rpc};
use serde_json::{Map, Value, json};

use crate::support::TestDatabase;

/// How long anything that must come may take.
const WITHIN: Duration = Duration::from_secs(20);

const ROLES: &str = "do $$ begin
    if to_regrole('anon') is null then create role anon; end if;
    if to_regrole('authenticated') is null then create role authenticated; end if;
    if to_regrole('service_role') is null then create role service_role bypassrls; end if;
exception when duplicate_object or unique_violation then null; end $$";

struct Desk {
    database: TestDatabase,
    rpc: Rpc,
}

impl Desk {
    /// With these objects in its database, and the usual settings.
    async fn with(major: u32, sql: &str) -> Self {
        Self::configured(major, sql, |config| config).await
    }

    async fn configured(major: u32, sql: &str, configure: impl FnOnce(Config) -> Config) -> Self {
        let database = TestDatabase::create(major).await;
        // Roles belong to the cluster, and other tests make the same ones.
        database.execute(ROLES).await;
        database.execute("grant usage on schema public to anon, authenticated, service_role").await;
        database.execute(sql).await;
        let config = Config::new(Database::parse(&database.url).unwrap());
        let config = configure(Config { timeout: WITHIN, ..config });
        Self { database, rpc: Rpc::new(config) }
    }

    async fn call(&self, caller: &Caller, name: &str, arguments: Value) -> Result<Returned, Error> {
        self.rpc.call(caller, Function::public(name), &object(arguments)).await
    }

    /// The JSON of what it returned.
    async fn json(&self, caller: &Caller, name: &str, arguments: Value) -> Value {
        match self.call(caller, name, arguments).await {
            Ok(returned) => serde_json::from_str(&returned.json).unwrap(),
            Err(error) => panic!("{name}: {}", error.body()),
        }
    }

    /// Status and code of a refusal.
    async fn refusal(&self, caller: &Caller, name: &str, arguments: Value) -> (u16, String) {
        match self.call(caller, name, arguments).await {
            Ok(returned) => panic!("{name} returned {}", returned.json),
            Err(error) => (error.status(), error.code().to_owned()),
        }
    }
}

/// Runs a test on every major version, one after another.
async fn on_each_major(test: impl AsyncFn(u32)) {
    for major in crate::support::majors() {
        eprintln!("on PostgreSQL {major}");
        test(major).await;
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        other => panic!("{other} is no object"),
    }
}

/// Somebody with a token of this role and no other claim than `sub`.
fn caller(role: &str, sub: &str) -> Caller {
    let json = json!({ "role": role, "sub": sub }).to_string();
    Caller::new(Arc::new(Claims { role: role.into(), json: json.into(), expires_at: i64::MAX }))
}

fn anon() -> Caller {
    caller("anon", "")
}

fn ann() -> Caller {
    caller("authenticated", "11111111-1111-1111-1111-111111111111")
}

fn bob() -> Caller {
    caller("authenticated", "22222222-2222-2222-2222-222222222222")
}
