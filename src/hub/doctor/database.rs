//! The server, the role of the database URL, the schema, the slot, the publications, and room for sessions.

use tokio_postgres::Client;

use super::{Plan, Report};
use crate::auth::Roles;
use crate::hub::explain::Error;
use crate::hub::mirror::PUBLICATION;
use crate::postgres::migrate;
use crate::wal::sql::{identifier, literal};

/// What the event triggers are called.
const TRIGGERS: [&str; 2] = ["rowcast_ddl", "rowcast_drop"];

/// The publication of `realtime.messages`.
const MESSAGES: &str = "supabase_realtime_messages_publication";

/// The oldest version that is served, as `server_version_num` has it.
const VERSION_MIN: i32 = 140_000;

/// Version, log level, slots and senders; whether it makes sense to look further.
pub(super) async fn server(client: &Client, report: &mut Report) -> Result<bool, Error> {
    const SERVER: &str = "
        select current_setting('server_version'), current_setting('server_version_num')::int4,
               current_setting('wal_level'), pg_catalog.pg_is_in_recovery(),
               current_setting('max_replication_slots')::int8,
               (select count(*) from pg_catalog.pg_replication_slots),
               current_setting('max_wal_senders')::int8,
               (select count(*) from pg_catalog.pg_stat_replication),
               exists (select from pg_catalog.pg_replication_slots where slot_name like 'rowcast%')";
    let row = client.query_one(SERVER, &[]).await?;
    let (version, number): (String, i32) = (row.try_get(0)?, row.try_get(1)?);
    if number < VERSION_MIN {
        let text = format!("PostgreSQL {version} is older than 14");
        report.problem("server", text, "-- upgrade to PostgreSQL 14 or newer");
        return Ok(false);
    }
    report.ok("server", format!("PostgreSQL {version}"));
    let level: String = row.try_get(2)?;
    if level == "logical" {
        report.ok("server", "wal_level is logical");
    } else {
        let text = format!("wal_level is {level}: there is nothing to stream");
        report.problem("server", text, "alter system set wal_level = 'logical'; -- then restart Postgres");
    }
    if row.try_get(3)? {
        let text = "this server is in recovery: changes are streamed from the primary";
        report.problem("server", text, "-- point the database URL at the primary");
    }
    let is_served: bool = row.try_get(8)?;
    for (name, place) in [("max_replication_slots", 4), ("max_wal_senders", 6)] {
        let (all, used): (i64, i64) = (row.try_get(place)?, row.try_get(place + 1)?);
        let text = format!("{name} is {all}, of which {used} are in use");
        let fix = format!("alter system set {name} = {}; -- then restart Postgres", all.max(used) + 5);
        match used < all {
            true => report.ok("server", text),
            // What is in use may be our own.
            false if is_served => {
                report.warning("server", format!("{text}: there is no room for another"), Some(fix))
            }
            false => report.problem("server", format!("{text}: there is no room for ours"), fix),
        }
    }
    Ok(true)
}

/// What the role of the database URL may do.
pub(super) async fn role(
    client: &Client,
    roles: &[String],
    wanted: &[String],
    report: &mut Report,
) -> Result<(), Error> {
    const ROLE: &str = "
        select r.rolname::text, r.rolsuper or r.rolreplication, r.rolsuper or r.rolbypassrls,
               pg_catalog.has_database_privilege(pg_catalog.current_database(), 'TEMP'),
               pg_catalog.has_database_privilege(pg_catalog.current_database(), 'CREATE'),
               pg_catalog.current_database()::text,
               pg_catalog.has_table_privilege(c.oid, 'SELECT')
                 and not pg_catalog.row_security_active(c.oid)
                 and pg_catalog.has_schema_privilege(c.relnamespace, 'USAGE'),
               pg_catalog.has_table_privilege(c.oid, 'INSERT')
          from pg_catalog.pg_roles r
          left join (pg_catalog.pg_class c join pg_catalog.pg_namespace n
            on n.oid = c.relnamespace and n.nspname = 'realtime') on c.relname = 'messages'
         where r.rolname = current_user";
    let row = client.query_one(ROLE, &[]).await?;
    let (user, database): (String, String) = (row.try_get(0)?, row.try_get(5)?);
    let (quoted, database) = (identifier(&user), identifier(&database));
    if row.try_get(1)? {
        report.ok("role", format!("{user} may replicate"));
    } else {
        let text = format!("{user} lacks REPLICATION: there are no changes without it");
        report.problem("role", text, format!("alter role {quoted} replication"));
    }
    if row.try_get(3)? {
        report.ok("role", format!("{user} may make temporary functions"));
    } else {
        let text = format!(
            "{user} lacks TEMP on the database: functions cannot be looked into, so policies with them are asked"
        );
        report.warning("role", text, Some(format!("grant temporary on database {database} to {quoted}")));
    }
    if !row.try_get::<_, bool>(4)? {
        let text = format!(
            "{user} may not create publications; those that are missing have to be made by somebody else"
        );
        report.warning("role", text, Some(format!("grant create on database {database} to {quoted}")));
    }
    if !row.try_get::<_, bool>(2)? {
        let text = format!(
            "row level security binds {user}: tables with it cannot be held in memory, and are asked"
        );
        report.warning("role", text, Some(format!("alter role {quoted} bypassrls")));
    }
    // NULL where there is no such table, of which the schema's own check speaks.
    if row.try_get::<_, Option<bool>>(6)? == Some(false) {
        let text =
            format!("{user} cannot read all of realtime.messages: joins that ask for a replay are refused");
        let fix = format!(
            "grant usage on schema realtime to {quoted}; grant select on realtime.messages to {quoted}; \
             alter role {quoted} bypassrls"
        );
        report.warning("role", text, Some(fix));
    }
    if row.try_get::<_, Option<bool>>(7)? == Some(false) {
        let text =
            format!("{user} may not insert into realtime.messages: policies that only a row can answer deny");
        report.warning("role", text, Some(format!("grant insert on realtime.messages to {quoted}")));
    }
    taken_on(client, &user, roles, wanted, report).await
}

/// Whether it may take on the roles that tokens name.
async fn taken_on(
    client: &Client,
    user: &str,
    roles: &[String],
    wanted: &[String],
    report: &mut Report,
) -> Result<(), Error> {
    const MISSING: &str = "
        select r.rolname::text from pg_catalog.pg_roles r
         where r.rolname = any ($1) and not r.rolbypassrls
           and not pg_catalog.pg_has_role(r.oid, case when current_setting('server_version_num')::int4 >= 160000
                                                      then 'SET' else 'MEMBER' end)
         order by 1";
    let rows = client.query(MISSING, &[&roles]).await?;
    for row in &rows {
        let role: String = row.try_get(0)?;
        let text =
            format!("{user} may not take on {role}: what Postgres is asked for callers with it is refused");
        let fix = format!("grant {} to {}", identifier(&role), identifier(user));
        // A policy may name roles that no token does.
        if role == "anon" || role == "authenticated" || wanted.contains(&role) {
            report.problem("role", text, fix);
        } else {
            report.warning("role", text, Some(fix));
        }
    }
    if roles.is_empty() {
        let text = "none of anon, authenticated and service_role exists, and no policy names a role";
        report.problem("role", text, "-- rowcast migrate");
    } else if rows.is_empty() {
        report.ok("role", format!("{user} may take on {}", roles.join(", ")));
    }
    Ok(())
}

/// Whether tokens may have the roles that policies name. One that logs in is a person's or a program's, and no token's.
pub(super) async fn token_roles(
    client: &Client,
    roles: &[String],
    allowed: &Roles,
    report: &mut Report,
) -> Result<(), Error> {
    const WITHOUT_LOGIN: &str = "
        select r.rolname::text from pg_catalog.pg_roles r
         where r.rolname = any ($1) and not r.rolcanlogin and r.rolname !~ '^pg_' order by 1";
    for row in client.query(WITHOUT_LOGIN, &[&roles]).await? {
        let role: String = row.try_get(0)?;
        if !allowed.allows(&role) {
            let text = format!("tokens of the role {role} are refused: token_roles does not list it");
            let fix = format!(
                "-- if clients are to have it, add it: token_roles = \"anon, authenticated, service_role, {role}\""
            );
            report.warning("role", text, Some(fix));
        }
    }
    Ok(())
}

/// Migrations and event triggers.
pub(super) async fn schema(client: &Client, plan: &Plan, report: &mut Report) -> Result<(), Error> {
    match migrate::pending(&plan.scope.database, &[]).await {
        Ok(pending) if pending.is_empty() => report.ok("schema", "the schema is that of this version"),
        Ok(pending) => {
            let names: Vec<&str> = pending.iter().map(|migration| migration.name).collect();
            let text = format!("the schema lacks {}", names.join(", "));
            report.problem("schema", text, "-- rowcast migrate; rowcast migrate --dry-run prints the SQL");
        }
        Err(migrate::Error::Connect(error)) => return Err(error.into()),
        Err(error) => report.warning("schema", format!("{error}: {}", error.remedy()), None),
    }
    triggers(client, plan, report).await
}

/// The event triggers that announce changed policies in the log.
async fn triggers(client: &Client, plan: &Plan, report: &mut Report) -> Result<(), Error> {
    const TRIGGER: &str = "select evtname::text, evtenabled <> 'D' from pg_catalog.pg_event_trigger
                            where evtname = any ($1)";
    let rows = client.query(TRIGGER, &[&&TRIGGERS[..]]).await?;
    let mut there: Vec<(String, bool)> = Vec::new();
    for row in &rows {
        there.push((row.try_get(0)?, row.try_get(1)?));
    }
    let stands = |name: &str| there.iter().find(|(there, _)| there == name).map(|(_, enabled)| *enabled);
    let missing: Vec<&str> = TRIGGERS.into_iter().filter(|name| stands(name) != Some(true)).collect();
    if missing.is_empty() {
        report.ok("schema", "event triggers tell of changed policies in commit order");
    } else {
        let text = format!(
            "the event triggers {} are missing or disabled: changed policies are found by comparing, up to {} ms later",
            missing.join(", "),
            plan.catalog_poll.as_millis()
        );
        let enable = |name: &&str| match stands(name) {
            Some(_) => format!("alter event trigger {name} enable;"),
            None => include_str!("../../../sql/triggers/rowcast_ddl.sql").trim_end().to_owned(),
        };
        // The file makes all that are missing.
        let mut fixes: Vec<String> = missing.iter().map(enable).collect();
        fixes.dedup();
        let fix = format!("-- as a superuser\n{}", fixes.join("\n"));
        report.warning("schema", text, Some(fix));
    }
    Ok(())
}

/// The slot, if it outlives its session.
pub(super) async fn slot(client: &Client, plan: &Plan, report: &mut Report) -> Result<(), Error> {
    let Some(name) = &plan.durable_slot else {
        report.ok("slot", "it is temporary: it ends with its session and keeps no log");
        return Ok(());
    };
    const SLOT: &str = "
        select active, coalesce(wal_status, ''), plugin = 'pgoutput' and database = pg_catalog.current_database(),
               pg_catalog.pg_size_pretty(pg_catalog.pg_wal_lsn_diff(
                   case when pg_catalog.pg_is_in_recovery() then confirmed_flush_lsn
                        else pg_catalog.pg_current_wal_lsn() end, confirmed_flush_lsn)),
               current_setting('max_slot_wal_keep_size')
          from pg_catalog.pg_replication_slots where slot_name = $1";
    let Some(row) = client.query_opt(SLOT, &[name]).await? else {
        report.ok("slot", format!("{name} does not exist yet; the server makes it"));
        return Ok(());
    };
    let drop = format!("select pg_drop_replication_slot({})", literal(name));
    let (active, status): (bool, String) = (row.try_get(0)?, row.try_get(1)?);
    let behind: String = row.try_get::<_, Option<String>>(3)?.unwrap_or_else(|| "nothing".to_owned());
    if !row.try_get::<_, Option<bool>>(2)?.unwrap_or(false) {
        let text = format!("slot {name} is another program's, or another database's");
        report.problem("slot", text, "-- choose another slot_name");
    } else if status == "lost" {
        let text = format!("slot {name} has lost its log: the server makes it anew, and changes are missing");
        report.problem("slot", text, drop);
    } else if !active {
        let text = format!("slot {name} keeps {behind} of log, and nobody reads it");
        report.warning("slot", text, Some(format!("-- if its server is gone for good: {drop}")));
    } else {
        report.ok("slot", format!("{name} is being read, {behind} behind"));
    }
    if row.try_get::<_, String>(4)? == "-1" {
        let text = "max_slot_wal_keep_size is not set: a slot that nobody reads can fill the disk";
        let fix = "alter system set max_slot_wal_keep_size = '10GB'; select pg_reload_conf()";
        report.warning("slot", text, Some(fix.to_owned()));
    }
    Ok(())
}

/// The publications and what they have.
pub(super) async fn publications(client: &Client, plan: &Plan, report: &mut Report) -> Result<(), Error> {
    const FOUND: &str = "
        select (select count(*) from pg_catalog.pg_publication_tables t where t.pubname = p.pubname),
               p.pubinsert and p.pubupdate and p.pubdelete, p.pubinsert and p.pubupdate and p.pubdelete and p.pubtruncate,
               exists (select from pg_catalog.pg_publication_tables t where t.pubname = p.pubname
                          and t.schemaname = 'realtime'),
               p.puballtables, pg_catalog.pg_has_role(p.pubowner, 'USAGE')
          from pg_catalog.pg_publication p where p.pubname = $1";
    let name = &*plan.scope.publication;
    let quoted = identifier(name);
    match client.query_opt(FOUND, &[&name]).await? {
        None => {
            let text = format!("publication {name} is missing; a server makes it when it starts, empty");
            report.problem("publication", text, format!("create publication {quoted}"));
        }
        Some(row) => {
            let (count, every): (i64, bool) = (row.try_get(0)?, row.try_get(1)?);
            if count == 0 {
                let text = format!("publication {name} has no tables: there is nothing to subscribe to");
                report.warning("publication", text, Some(format!("alter publication {quoted} add table …")));
            } else {
                report.ok("publication", format!("{name} has {count} tables"));
            }
            if !every {
                let text = format!("publication {name} does not publish every insert, update and delete");
                let fix =
                    format!("alter publication {quoted} set (publish = 'insert, update, delete, truncate')");
                report.warning("publication", text, Some(fix));
            }
        }
    }
    match client.query_opt(FOUND, &[&PUBLICATION]).await? {
        Some(row) if row.try_get(2)? && row.try_get(5)? => {
            report.ok("publication", format!("{PUBLICATION} can take the tables that policies read"));
        }
        Some(row) if row.try_get(2)? => {
            let text = format!(
                "publication {PUBLICATION} is another role's: tables that policies read cannot be added to it"
            );
            report.warning(
                "publication",
                text,
                Some(format!("alter publication {PUBLICATION} owner to current_user")),
            );
        }
        Some(_) => {
            let text = format!(
                "publication {PUBLICATION} does not publish everything: tables that policies read cannot be followed"
            );
            let fix =
                format!("alter publication {PUBLICATION} set (publish = 'insert, update, delete, truncate')");
            report.warning("publication", text, Some(fix));
        }
        None => {
            let text = format!("publication {PUBLICATION} is missing; a server makes it when it starts");
            report.warning("publication", text, Some(format!("create publication {PUBLICATION}")));
        }
    }
    match client.query_opt(FOUND, &[&MESSAGES]).await? {
        Some(row) if row.try_get::<_, bool>(3)? => {
            report.ok("publication", format!("{MESSAGES} has realtime.messages"))
        }
        Some(_) => {
            let text = format!("{MESSAGES} lacks realtime.messages: broadcasts from SQL do not arrive");
            let fix = format!("alter publication {MESSAGES} add table realtime.messages");
            report.warning("publication", text, Some(fix));
        }
        None => {
            let text =
                format!("publication {MESSAGES} is missing; a server makes it when it starts, if it may");
            let fix = format!("create publication {MESSAGES} for table realtime.messages");
            report.warning("publication", text, Some(fix));
        }
    }
    Ok(())
}

/// Whether the sessions of a server fit into what is left.
pub(super) async fn sessions(client: &Client, plan: &Plan, report: &mut Report) -> Result<(), Error> {
    const SESSIONS: &str = "
        select current_setting('max_connections')::int8 - current_setting('superuser_reserved_connections')::int8,
               (select count(*) from pg_catalog.pg_stat_activity where backend_type = 'client backend')";
    let row = client.query_one(SESSIONS, &[]).await?;
    let (all, used): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let needed = i64::try_from(plan.sessions).unwrap_or(i64::MAX);
    let text = format!("{used} of {all} sessions are in use; a server opens up to {needed}");
    if all - used < needed {
        let fix =
            format!("alter system set max_connections = {}; -- then restart Postgres", all + needed + 10);
        report.warning("limits", text, Some(fix));
    } else {
        report.ok("limits", text);
    }
    Ok(())
}
