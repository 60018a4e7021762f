//! The statements of a call as SQL.
//!
//! A call is five messages that are sent together: begin, the caller's settings, the call, the end, and what makes the
//! session as it was. The second one also looks whether the function is still the one that is known, and whether the
//! role may call it; what it finds is a setting of the transaction, [`GATE`], without which the third does nothing. So
//! no function runs by chance outside of its transaction, or as another role.
//!
//! Why the rights are looked at, although Postgres does so too: it checks `usage` of a schema when a statement is
//! analysed, which the server's own role did, and may plan a function away for one caller and keep the plan for others.

use std::fmt::Write;

use super::signature::{Parameter, Returns, Signature};
use crate::wal::sql::identifier;

/// The setting that a call looks at, and what it is to be.
const GATE: &str = "pg_catalog.current_setting('rowcast.call', true) = 'open'";

/// What [`SETTINGS`] says when the call may go on.
pub(super) const OPEN: &str = "open";
/// The function is not the one that is known.
pub(super) const CHANGED: &str = "changed";
/// The role may not use the schema.
pub(super) const NO_SCHEMA: &str = "schema";
/// The role may not execute the function.
pub(super) const NO_FUNCTION: &str = "function";

/// Makes the transaction the caller's: its role comes last. Everything ends with the transaction.
///
/// $1 role, $2 claims, $3 method, $4 path, $5 headers, $6 search path, $7 timeout, $8 and $9 id and version of the
/// function, $10 id of its schema.
pub(super) const SETTINGS: &str = "\
    select pg_catalog.set_config('request.jwt.claims', $2::text, true), \
    pg_catalog.set_config('request.method', $3::text, true), \
    pg_catalog.set_config('request.path', $4::text, true), \
    pg_catalog.set_config('request.headers', $5::text, true), \
    pg_catalog.set_config('search_path', $6::text, true), \
    pg_catalog.set_config('statement_timeout', $7::text, true), \
    pg_catalog.set_config('role', $1::text, true), \
    pg_catalog.set_config('rowcast.call', case \
    when not exists (select from pg_catalog.pg_proc as p where p.oid = $8::oid and p.xmin::text = $9::text) then 'changed' \
    when not pg_catalog.has_schema_privilege($1::text::name, $10::oid, 'usage') then 'schema' \
    when not pg_catalog.has_function_privilege($1::text::name, $8::oid, 'execute') then 'function' \
    else 'open' end, true)";

/// The column of [`SETTINGS`] that says how the gate stands.
pub(super) const VERDICT: usize = 7;

/// Makes a session as it was, whatever a function has done to it.
pub(super) const RESET: &str = "\
    reset session authorization; reset role; reset all; unlisten *; close all; \
    select pg_catalog.pg_advisory_unlock_all(); discard sequences; discard temp";

/// The call of a function with those of its arguments that are given: $1 is the object that holds them, or the whole
/// body; there is no $1 if there are none.
///
/// The answer is one row, or none where the gate is shut: the JSON (null for nothing, and for SQL's null), the number
/// of rows, and what the function set as `response.status` and `response.headers`.
pub(super) fn call(signature: &Signature, given: &[String]) -> String {
    let invocation = invocation(signature, given);
    let said = "pg_catalog.current_setting('response.status', true), \
                pg_catalog.current_setting('response.headers', true)";
    let (value, source) = match signature.returns {
        Returns::Void => ("null::text", format!("select null from {invocation} where {GATE}")),
        Returns::Scalar => {
            ("pg_catalog.to_json(r.v)::text", format!("select t.v from {invocation}(v) where {GATE}"))
        }
        Returns::Composite => {
            ("pg_catalog.row_to_json(r)::text", format!("select t.* from {invocation} where {GATE}"))
        }
    };
    if !signature.is_set {
        return format!("select {value}, 1::bigint, {said} from ({source}) as r");
    }
    let value = match signature.returns {
        Returns::Void => "null::text",
        Returns::Scalar => "coalesce(pg_catalog.json_agg(r.v), '[]')::text",
        Returns::Composite => "coalesce(pg_catalog.json_agg(r), '[]')::text",
    };
    format!("select {value}, pg_catalog.count(*), {said} from ({source}) as r")
}

/// `name(arguments) as t`, after what takes the arguments out of $1.
fn invocation(signature: &Signature, given: &[String]) -> String {
    let name = format!("{}.{}", identifier(&signature.schema), identifier(&signature.name));
    if signature.is_unnamed() {
        let sql_type = &signature.parameters[0].sql_type;
        return format!("{name}($1::text::{sql_type}) as t");
    }
    let parameters: Vec<&Parameter> =
        signature.parameters.iter().filter(|parameter| given.contains(&parameter.name)).collect();
    if parameters.is_empty() {
        return format!("{name}() as t");
    }
    let (mut columns, mut arguments) = (String::new(), String::new());
    for (place, parameter) in parameters.into_iter().enumerate() {
        let separator = if place == 0 { "" } else { ", " };
        let column = identifier(&parameter.name);
        let variadic = if parameter.is_variadic { "variadic " } else { "" };
        let _ = write!(columns, "{separator}{column} {}", parameter.sql_type);
        let _ = write!(arguments, "{separator}{variadic}{column} => a.{column}");
    }
    format!("pg_catalog.json_to_record($1::text::json) as a({columns}), lateral {name}({arguments}) as t")
}

/// The search path of a call: the function's schema, then where applications keep things.
pub(super) fn search_path(schema: &str) -> String {
    format!("{}, public, extensions", identifier(schema))
}
