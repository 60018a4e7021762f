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

use super::page::Page;
use super::signature::{Parameter, Returns, Signature};
use super::{Arguments, Form};
use crate::wal::sql::identifier;

/// The setting that a call looks at, and what it is to be.
const GATE: &str = "pg_catalog.current_setting('rowcast.call', true) operator(pg_catalog.=) 'open'";

/// What [`SETTINGS`] says when the call may go on.
pub(super) const OPEN: &str = "open";
/// The function is not the one that is known, or the role's settings are others.
pub(super) const CHANGED: &str = "changed";
/// The role may not use the schema.
pub(super) const NO_SCHEMA: &str = "schema";
/// The role may not execute the function.
pub(super) const NO_FUNCTION: &str = "function";

/// Makes the transaction the caller's. What its role has set is set with its rights, and before all that is ours but the
/// search path. Everything ends with the transaction.
///
/// $1 role, $2 claims, $3 method, $4 path, $5 headers, $6 search path, $7 timeout, $8 and $9 id and version of the
/// function, $10 id of its schema, $11 and $12 id and version of the type of its row, $13 and $14 the role's own settings
/// and their version, $15 the time zone or nothing.
pub(super) const SETTINGS: &str = "\
    select pg_catalog.set_config('search_path', $6::text, true), \
    pg_catalog.set_config('role', $1::text, true), \
    (select pg_catalog.count(pg_catalog.set_config(s.key, s.value, true)) \
    from pg_catalog.json_each_text($13::text::json) as s), \
    case when $15::text operator(pg_catalog.<>) '' then pg_catalog.set_config('timezone', $15::text, true) end, \
    pg_catalog.set_config('request.jwt.claims', $2::text, true), \
    pg_catalog.set_config('request.method', $3::text, true), \
    pg_catalog.set_config('request.path', $4::text, true), \
    pg_catalog.set_config('request.headers', $5::text, true), \
    pg_catalog.set_config('statement_timeout', $7::text, true), \
    pg_catalog.set_config('rowcast.call', case \
    when not exists (select from pg_catalog.pg_proc as p \
    where p.oid operator(pg_catalog.=) $8::oid and p.xmin::text operator(pg_catalog.=) $9::text) \
    or coalesce((select pg_catalog.sum(a.xmin::text::bigint)::text from pg_catalog.pg_attribute as a \
    where a.attrelid operator(pg_catalog.=) $11::oid and a.attnum operator(pg_catalog.>) 0), '') \
    operator(pg_catalog.<>) $12::text \
    or coalesce((select pg_catalog.sum(s.xmin::text::bigint)::text from pg_catalog.pg_db_role_setting as s \
    where s.setrole operator(pg_catalog.=) (select r.oid from pg_catalog.pg_roles as r \
    where r.rolname operator(pg_catalog.=) $1::text::name) \
    and s.setdatabase operator(pg_catalog.=) any (array[0::oid, (select d.oid from pg_catalog.pg_database as d \
    where d.datname operator(pg_catalog.=) pg_catalog.current_database())])), '') \
    operator(pg_catalog.<>) $14::text then 'changed' \
    when not pg_catalog.has_schema_privilege($1::text::name, $10::oid, 'usage') then 'schema' \
    when not pg_catalog.has_function_privilege($1::text::name, $8::oid, 'execute') then 'function' \
    else 'open' end, true)";

/// The column of [`SETTINGS`] that says how the gate stands.
pub(super) const VERDICT: usize = 9;

/// Makes a session as it was, whatever a function has done to it.
pub(super) const RESET: &str = "\
    reset session authorization; reset role; reset all; unlisten *; close all; \
    select pg_catalog.pg_advisory_unlock_all(); discard sequences; discard temp";

/// What stands before the number of rows in the error of a call that should have had one.
pub(super) const NOT_SINGLE: &str = "not one row but ";

/// A call as SQL, and which values it takes in this order: the arguments, then limit and offset.
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) takes_json: bool,
    pub(super) takes_limits: bool,
}

/// The call of a function with those of its arguments that are given.
///
/// The answer is one row, or none where the gate is shut: the JSON (null for nothing, and for SQL's null), the number
/// of rows, how many there would be without limits if that is asked for, and what the function set as
/// `response.status` and `response.headers`.
pub(super) fn call(signature: &Signature, arguments: &Arguments, page: &Page) -> Statement {
    let Invocation { sql: invocation, takes_json } = invocation(signature, arguments);
    let source = match signature.returns {
        Returns::Void => format!("select null from {invocation} where {GATE}"),
        Returns::Scalar => format!("select t.v from {invocation}(v) where {GATE}"),
        Returns::Composite => format!("select t.* from {invocation} where {GATE}"),
    };
    let is_set = signature.is_set && signature.returns != Returns::Void;
    let takes_limits = is_set && page.has_limits();
    let mut tail = String::new();
    if is_set && signature.returns == Returns::Composite {
        tail += &page.order_by();
    }
    if takes_limits {
        let first = if takes_json { 2 } else { 1 };
        let _ = write!(tail, " limit ${first}::bigint offset ${}::bigint", first + 1);
    }
    let columns = if signature.returns == Returns::Composite { page.columns() } else { "s.*".to_owned() };
    let is_counted = is_set && page.is_counted;
    let rows = if is_counted { "all_rows" } else { &format!("({source})") };
    let rows = format!("(select {columns} from {rows} as s{tail}) as {ROW}");
    let (with, total) = if is_counted {
        (format!("with all_rows as materialized ({source}) "), "(select pg_catalog.count(*) from all_rows)")
    } else {
        (String::new(), "null::bigint")
    };
    // Postgres does not analyse a statement anew when a column of a function's row changes: it is another one then.
    let Signature { id, version, row_type_version, .. } = signature;
    let value = value(signature, is_set, page.is_single);
    let count = if is_set { "pg_catalog.count(*)" } else { "1::bigint" };
    let sql = format!(
        "/* {id} {version} {row_type_version} */ {with}select {value}, {count}, {total}, pg_catalog.current_setting('response.status', true), \
         pg_catalog.current_setting('response.headers', true) from {rows}"
    );
    Statement { sql, takes_json, takes_limits }
}

/// The name of a row that is returned. No column may have it, as a column would be meant then.
const ROW: &str = "\"rowcast row\"";

/// What is returned, as SQL over the rows.
fn value(signature: &Signature, is_set: bool, is_single: bool) -> String {
    let item = match signature.returns {
        Returns::Void => return "null::text".to_owned(),
        Returns::Scalar => format!("{ROW}.v"),
        Returns::Composite => ROW.to_owned(),
    };
    match (is_set, is_single) {
        (false, _) => format!("pg_catalog.to_json({item})::text"),
        (true, false) => format!("coalesce(pg_catalog.json_agg({item}), '[]')::text"),
        // Anything but one row ends the transaction, so that the call has not happened.
        (true, true) => format!(
            "case pg_catalog.count(*) when 1 then pg_catalog.json_array_element(pg_catalog.json_agg({item}), 0)::text \
             else (pg_catalog.format('{NOT_SINGLE}%s', pg_catalog.count(*)))::int::text end"
        ),
    }
}

/// `name(arguments) as t`, after what takes the arguments out of $1.
struct Invocation {
    sql: String,
    takes_json: bool,
}

fn invocation(signature: &Signature, arguments: &Arguments) -> Invocation {
    let name = format!("{}.{}", identifier(&signature.schema), identifier(&signature.name));
    if signature.takes_body() {
        let sql_type = &signature.parameters[0].sql_type;
        return Invocation { sql: format!("{name}($1::text::{sql_type}) as t"), takes_json: true };
    }
    let is_given = |parameter: &&Parameter| arguments.names.contains(&parameter.name);
    let parameters: Vec<&Parameter> = signature.parameters.iter().filter(is_given).collect();
    if parameters.is_empty() {
        return Invocation { sql: format!("{name}() as t"), takes_json: false };
    }
    let (mut columns, mut values) = (String::new(), String::new());
    for (place, parameter) in parameters.into_iter().enumerate() {
        let separator = if place == 0 { "" } else { ", " };
        let column = identifier(&parameter.name);
        let Parameter { sql_type, is_variadic, .. } = parameter;
        let variadic = if *is_variadic { "variadic " } else { "" };
        let _ = write!(values, "{separator}{variadic}{column} => ");
        let _ = match (arguments.form, is_variadic) {
            (Form::Json | Form::Body, _) => {
                let _ = write!(values, "a.{column}");
                write!(columns, "{separator}{column} {sql_type}")
            }
            // Texts, of which each is read as its type reads a text.
            (Form::Texts, true) => {
                let _ = write!(values, "a.{column}::{sql_type}");
                write!(columns, "{separator}{column} text[]")
            }
            (Form::Texts, false) => {
                let _ = write!(values, "(a.{column}[pg_catalog.cardinality(a.{column})])::{sql_type}");
                write!(columns, "{separator}{column} text[]")
            }
        };
    }
    let sql =
        format!("pg_catalog.json_to_record($1::text::json) as a({columns}), lateral {name}({values}) as t");
    Invocation { sql, takes_json: true }
}

/// The search path of a call: the function's schema, then where applications keep things.
pub(super) fn search_path(schema: &str) -> String {
    format!("{}, public, extensions", identifier(schema))
}
