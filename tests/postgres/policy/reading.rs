//! A reading of the catalog by SQL of its own, for databases as small as those of these tests.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use rowcast::change::{Oid, RelationId, ReplicaIdentity};
use rowcast::policy::function::Collation;
use rowcast::policy::source::{Column, Expression, Function, NoBody, Policy, Relation, Role, Source};
use rowcast::postgres::types::load_types;
use tokio_postgres::{Client, Row};

/// Reads everything.
pub(crate) async fn read(client: &Client, major: u32) -> Source {
    let types = Arc::new(load_types(client).await.unwrap());
    let mut source = Source { major, types, ..Source::default() };
    source.collations =
        HashMap::from([(100, Collation::Deterministic), (950, Collation::C), (951, Collation::C)]);
    for row in
        all(client, "select oid, rolname::text, rolsuper, rolbypassrls or rolsuper from pg_roles").await
    {
        let id: Oid = row.get(0);
        let sql = format!("select oid from pg_roles r where pg_has_role({id}, oid, 'usage')");
        let has_rights_of = all(client, &sql).await.iter().map(|row| row.get(0)).collect();
        let name: String = row.get(1);
        let role = Role { name: name.into(), superuser: row.get(2), bypasses: row.get(3), has_rights_of };
        source.roles.insert(id, role);
    }
    relations(client, &mut source).await;
    functions(client, &mut source).await;
    privileges(client, &mut source).await;
    source
}

async fn all(client: &Client, sql: &str) -> Vec<Row> {
    client.query(sql, &[]).await.unwrap_or_else(|error| panic!("{sql}\n{error:?}"))
}

const OURS: &str = "relnamespace not in (select oid from pg_namespace where nspname in
    ('pg_catalog', 'information_schema', 'pg_toast')) and relkind in ('r', 'p', 'v', 'm', 'f')";

async fn relations(client: &Client, source: &mut Source) {
    let sql = format!(
        "select c.oid, relnamespace::regnamespace::text, relname::text, relkind::text, relpersistence::text,
            relowner, relrowsecurity, relforcerowsecurity,
            relreplident = 'f' or relreplident <> 'n' and exists (select from pg_index
                where indrelid = c.oid and indisprimary),
            relispartition or exists (select from pg_inherits where c.oid in (inhrelid, inhparent)),
            (select ev_action::text from pg_rewrite where ev_class = c.oid and rulename = '_RETURN'),
            coalesce('security_invoker=true' = any(reloptions), false)
        from pg_class c where {OURS}"
    );
    for row in all(client, &sql).await {
        let id: Oid = row.get(0);
        let letter = |index: usize| row.get::<_, &str>(index).chars().next().unwrap();
        let relation = Relation {
            schema: row.get::<_, String>(1).into(),
            name: row.get::<_, String>(2).into(),
            kind: letter(3),
            persistence: letter(4),
            owner: row.get(5),
            row_security: row.get(6),
            row_security_forced: row.get(7),
            replica_identity: ReplicaIdentity::Default,
            has_identity: row.get(8),
            inherits: row.get(9),
            columns: columns(client, id).await,
            policies: policies(client, id).await,
            view: row.get::<_, Option<String>>(10).map(Arc::from),
            security_invoker: row.get(11),
            row_estimate: 0.0,
        };
        source.relations.insert(RelationId(id), relation);
    }
}

async fn columns(client: &Client, id: Oid) -> Box<[Column]> {
    let sql = format!(
        "select attnum, attname::text, atttypid, attcollation, attgenerated <> '' from pg_attribute
        where attrelid = {id} and attnum > 0 and not attisdropped order by attnum"
    );
    let column = |row: &Row| Column {
        number: row.get(0),
        name: row.get::<_, String>(1).into(),
        type_id: row.get(2),
        collation: row.get(3),
        in_identity: false,
        generated: row.get(4),
    };
    all(client, &sql).await.iter().map(column).collect()
}

async fn policies(client: &Client, id: Oid) -> Vec<Policy> {
    let sql = format!(
        "select polname::text, polcmd::text, polpermissive, polroles, polqual::text, polwithcheck::text
        from pg_policy where polrelid = {id} order by polname"
    );
    let expression =
        |tree: Option<String>| tree.map(|tree| Expression { tree: tree.into(), text: "".into() });
    let policy = |row: &Row| Policy {
        name: row.get::<_, String>(0).into(),
        command: row.get::<_, &str>(1).chars().next().unwrap(),
        permissive: row.get(2),
        roles: row.get(3),
        using: expression(row.get(4)),
        check: expression(row.get(5)),
    };
    all(client, &sql).await.iter().map(policy).collect()
}

async fn functions(client: &Client, source: &mut Source) {
    let sql = "select p.oid, pronamespace::regnamespace::text, proname::text, proowner, lanname::text,
            provolatile::text, proisstrict, prosecdef, proretset, proargtypes::oid[], prorettype,
            coalesce(proconfig, '{}'), prosrc, prosqlbody::text,
            pg_get_function_arguments(p.oid), pg_get_function_result(p.oid)
        from pg_proc p join pg_language l on l.oid = prolang
        where p.oid >= 16384 or lanname = 'internal' or p.oid in (2003, 2004)";
    for row in all(client, sql).await {
        let id: Oid = row.get(0);
        let text = |index: usize| Arc::<str>::from(row.get::<_, String>(index));
        let body = match (row.get::<_, Option<String>>(13), row.get::<_, &str>(4)) {
            (Some(tree), _) => Ok(tree.into()),
            (None, "sql" | "plpgsql") => probe(client, &row).await,
            (None, "internal") => Err(NoBody::BuiltIn),
            (None, _) => Err(NoBody::Language),
        };
        let function = Function {
            schema: text(1),
            name: text(2),
            owner: row.get(3),
            language: text(4),
            volatility: row.get::<_, &str>(5).chars().next().unwrap(),
            strict: row.get(6),
            security_definer: row.get(7),
            returns_set: row.get(8),
            arguments: row.get::<_, Vec<Oid>>(9).into(),
            argument_names: Box::default(),
            result: row.get(10),
            config: row.get::<_, Vec<String>>(11).into_iter().map(Arc::from).collect(),
            source: text(12),
            body,
        };
        source.functions.insert(id, function);
    }
}

/// Has the server analyse the text of a function.
async fn probe(client: &Client, row: &Row) -> Result<Arc<str>, NoBody> {
    let text: String = row.get(12);
    let (arguments, result): (String, String) = (row.get(14), row.get(15));
    let body = match row.get::<_, &str>(4) {
        "sql" => text.trim().trim_end_matches(';').to_owned(),
        _ => {
            let inner = text.trim().strip_prefix("begin").and_then(|rest| rest.trim().strip_suffix("end"));
            let returned = inner.and_then(|rest| rest.trim().strip_prefix("return"));
            let returned = returned.ok_or(NoBody::Statements)?.trim().trim_end_matches(';');
            if returned.contains(';') {
                return Err(NoBody::Statements);
            }
            format!("select {returned}")
        }
    };
    let path = row.get::<_, Vec<String>>(11);
    let path = path.iter().find_map(|setting| setting.strip_prefix("search_path="));
    let path = path.map(|path| if path == "\"\"" { "''" } else { path });
    let path = path.map(|path| format!("set local search_path = {path};")).unwrap_or_default();
    let sql = format!(
        "savepoint probe; {path} create function pg_temp.probe({arguments}) returns {result} language sql
        begin atomic {body}; end"
    );
    if let Err(error) = client.batch_execute(&sql).await {
        client.batch_execute("rollback to savepoint probe").await.unwrap();
        let _ = error;
        return Err(NoBody::Refused);
    }
    let tree = "select prosqlbody::text from pg_proc where proname = 'probe'";
    let tree: String = client.query_one(tree, &[]).await.unwrap().get(0);
    client.batch_execute("rollback to savepoint probe").await.unwrap();
    Ok(tree.into())
}

async fn privileges(client: &Client, source: &mut Source) {
    let sql = format!(
        "select r.oid, c.oid, array_agg(attnum order by attnum) from pg_roles r, pg_class c
        join pg_attribute on attrelid = c.oid and attnum > 0 and not attisdropped
        where {OURS} and has_column_privilege(r.oid, c.oid, attnum, 'select') group by 1, 2"
    );
    for row in all(client, &sql).await {
        source.selectable.insert((row.get(0), RelationId(row.get(1))), row.get::<_, Vec<i16>>(2).into());
    }
    let sql = "select r.oid, p.oid from pg_roles r, pg_proc p
        where p.oid >= 16384 and has_function_privilege(r.oid, p.oid, 'execute')";
    source.executable = pairs(client, sql).await;
    let sql = "select r.oid, nspname::text from pg_roles r, pg_namespace n
        where has_schema_privilege(r.oid, n.oid, 'usage')";
    for row in all(client, sql).await {
        source.usable_schemas.insert((row.get(0), row.get::<_, String>(1).into()));
    }
}

async fn pairs(client: &Client, sql: &str) -> BTreeSet<(Oid, Oid)> {
    all(client, sql).await.iter().map(|row| (row.get(0), row.get(1))).collect()
}
