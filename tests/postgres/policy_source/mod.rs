//! What is read of a database to compile its policies: the parts that they name, bodies as their callers mean them,
//! and who may do what.

mod bodies;
mod rights;

use std::sync::Arc;

use rowcast::change::{Oid, RelationId};
use rowcast::policy::source::{Function, NoBody, Relation, Role, Source};
use rowcast::postgres::policies::{self, Bodies};
use tokio_postgres::Client;

use crate::support::{TestDatabase, connect, majors};

/// What the databases of these tests have besides what each says.
const SCHEMA: &str = "
    create schema auth;
    create function auth.uid() returns uuid language sql stable as
        $$ select (nullif(current_setting('request.jwt.claims', true), '')::jsonb ->> 'sub')::uuid $$;
    grant usage on schema auth to public;";

/// Roles of this database alone: roles are shared by a cluster.
struct Names {
    user: String,
    other: String,
    owner: String,
}

/// A database with roles of its own.
struct Subject {
    database: TestDatabase,
    names: Names,
}

impl Subject {
    /// Makes a database with a function `auth.uid()` and three roles, and runs `schema` in it: `{user}`, `{other}` and
    /// `{owner}` in it stand for the roles.
    async fn create(major: u32, schema: &str) -> Self {
        let database = TestDatabase::create(major).await;
        let row = database.client.query_one("select current_database()", &[]).await.unwrap();
        let prefix: String = row.get(0);
        let name = |role: &str| format!("{prefix}_{role}");
        let names = Names { user: name("user"), other: name("other"), owner: name("owner") };
        let Names { user, other, owner } = &names;
        database.execute(&format!("create role {user}; create role {other}; create role {owner}")).await;
        database.execute(SCHEMA).await;
        let subject = Self { database, names };
        subject.execute(schema).await;
        subject
    }

    async fn execute(&self, sql: &str) {
        let Names { user, other, owner } = &self.names;
        let sql = sql.replace("{user}", user).replace("{other}", other).replace("{owner}", owner);
        self.database.execute(&sql).await;
    }

    /// Reads what the policies on a table are made of, for the first two roles.
    async fn read(&self, table: &str) -> Reading {
        let client = connect(&self.database.url).await;
        self.read_on(&client, table).await
    }

    async fn read_on(&self, client: &Client, table: &str) -> Reading {
        let row = client.query_one(&format!("select '{table}'::regclass::oid"), &[]).await.unwrap();
        let root: Oid = row.get(0);
        client
            .batch_execute("begin isolation level repeatable read; set local search_path = ''")
            .await
            .unwrap();
        let roles = [&*self.names.user, &*self.names.other];
        let source =
            policies::read(client, &roles, &[root], Arc::default(), &mut Bodies::default()).await.unwrap();
        client.batch_execute("rollback").await.unwrap();
        Reading { source, root: RelationId(root) }
    }

    /// How many functions and tables there are, those of sessions included.
    async fn object_count(&self) -> i64 {
        let count = "select (select count(*) from pg_proc) + (select count(*) from pg_class)";
        self.database.client.query_one(count, &[]).await.unwrap().get(0)
    }
}

/// What was read.
struct Reading {
    source: Source,
    root: RelationId,
}

impl Reading {
    fn root(&self) -> &Relation {
        &self.source.relations[&self.root]
    }

    /// The relation of this name.
    fn relation(&self, name: &str) -> Option<(RelationId, &Relation)> {
        let mut relations = self.source.relations.iter();
        relations.find(|(_, relation)| &*relation.name == name).map(|(id, relation)| (*id, relation))
    }

    /// The functions of this name.
    fn functions(&self, name: &str) -> Vec<(Oid, &Function)> {
        let functions = self.source.functions.iter();
        functions
            .filter(|(_, function)| &*function.name == name)
            .map(|(id, function)| (*id, function))
            .collect()
    }

    fn body(&self, name: &str) -> &Result<Arc<str>, NoBody> {
        let functions = self.functions(name);
        let [(_, function)] = *functions else { panic!("{} functions {name}", functions.len()) };
        &function.body
    }

    /// Whether the body of a function was analysed and reads a relation.
    fn reads(&self, function: &str, relation: &str) -> bool {
        let (Ok(body), Some((id, _))) = (self.body(function), self.relation(relation)) else { return false };
        body.contains(&format!(":relid {} ", id.0))
    }

    fn role(&self, name: &str) -> (Oid, &Role) {
        let role = self.source.roles.iter().find(|(_, role)| &*role.name == name);
        role.map(|(id, role)| (*id, role)).unwrap_or_else(|| panic!("no role {name}"))
    }

    fn may_call(&self, role: &str, function: &str) -> bool {
        let functions = self.functions(function);
        let [(function, _)] = *functions else { panic!("{} functions {function}", functions.len()) };
        self.source.executable.contains(&(self.role(role).0, function))
    }
}

/// Runs a test on every major version.
async fn on_each_major(test: impl AsyncFn(u32)) {
    for major in majors() {
        test(major).await;
    }
}

#[tokio::test]
async fn all_that_policies_name_is_read() {
    on_each_major(async |major| {
        let subject = Subject::create(
            major,
            "create table people (conversation int, who uuid, left_at timestamptz, primary key (conversation, who));
             create table blocked (who uuid primary key); create table unrelated (id int);
             create type mood as enum ('b', 'a');
             create view present as select conversation, who from people where left_at is null;
             create function takes_part(int) returns boolean language sql stable security definer
                 set search_path = '' as $$ select exists (select from public.present p
                     where p.conversation = $1 and p.who = auth.uid()) $$;
             alter function takes_part owner to {owner}; alter view present owner to {other};
             create table \"Odd name\" (id int primary key, conversation int, mood mood, \"a\"\"b\\c\" text collate \"C\");
             alter table \"Odd name\" enable row level security, replica identity full;
             alter table people enable row level security, force row level security;
             create policy own on people using (who = auth.uid() and who not in (select who from blocked));
             create policy p on \"Odd name\" for select to {user} using (takes_part(conversation) and mood = 'a');
             create policy r on \"Odd name\" as restrictive for insert with check (\"a\"\"b\\c\" > 'x')",
        )
        .await;
        let before = subject.object_count().await;
        let reading = subject.read("\"Odd name\"").await;
        assert_eq!(subject.object_count().await, before, "nothing stays behind");
        let root = reading.root();
        assert_eq!(reading.source.major, major);
        assert_eq!((&*root.name, root.kind, root.persistence), ("Odd name", 'r', 'p'));
        assert!(root.row_security && !root.row_security_forced && root.has_identity && !root.inherits);
        assert!(root.columns.iter().all(|column| column.in_identity));
        assert_eq!(&*root.columns[3].name, "a\"b\\c");
        let policies: Vec<_> = root.policies.iter().map(|p| (&*p.name, p.command, p.permissive)).collect();
        assert_eq!(policies, [("p", 'r', true), ("r", 'a', false)]);
        assert_eq!(root.policies[0].roles, [reading.role(&subject.names.user).0]);
        assert_eq!(root.policies[1].roles, [0]);
        assert!(root.policies[1].using.is_none() && root.policies[0].check.is_none());
        assert!(root.policies[0].using.as_ref().unwrap().tree.starts_with("{BOOLEXPR"));
        assert!(reading.reads("takes_part", "present"));
        let (_, view) = reading.relation("present").unwrap();
        assert!(view.view.as_ref().unwrap().contains(":relid") && !view.security_invoker);
        let (_, people) = reading.relation("people").unwrap();
        assert!(people.row_security_forced && people.policies.len() == 1);
        assert_eq!(people.columns.iter().map(|column| column.in_identity).collect::<Vec<_>>(), [true, true, false]);
        assert!(reading.relation("blocked").is_some() && reading.relation("unrelated").is_none());
        assert!(reading.body("uid").is_ok());
        for owner in [&subject.names.owner, &subject.names.other] {
            assert!(!reading.role(owner).1.bypasses);
        }
        // Labels in their order, not in that of their making.
        let labels = "select oid, enumlabel from pg_enum order by enumlabel";
        let labels = subject.database.client.query(labels, &[]).await.unwrap();
        let places: Vec<u32> = labels.iter().map(|row| reading.source.enum_labels[&row.get::<_, Oid>(0)]).collect();
        assert_eq!(places, [1, 0]);
        use rowcast::policy::function::Collation;
        assert_eq!(reading.source.collations.get(&950), Some(&Collation::C));
        assert!(reading.source.collations.contains_key(&100));
        let uuid_eq = reading.functions("uuid_eq");
        assert_eq!(&*uuid_eq[0].1.source, "uuid_eq");
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_mirrored_is_told() {
    on_each_major(async |major| {
        let subject = Subject::create(
            major,
            "create table none (id int); create unlogged table unlogged (id int primary key);
             create table parent (id int primary key) partition by list (id);
             create table child partition of parent for values in (1);
             create table base (id int primary key); create table heir () inherits (base);
             create table chosen (id int primary key, n int not null); create unique index n on chosen (n) include (id);
             alter table chosen replica identity using index n;
             create table later (id int, primary key (id) deferrable);
             create materialized view kept as select 1 as id;
             create view theirs with (security_invoker) as select id from base;
             create table t (id int);
             create policy p on t using (exists (select from none, unlogged, parent, child, base, heir, chosen, later,
                 kept, theirs)); alter table t enable row level security",
        )
        .await;
        // Views of that kind are newer than some of the servers.
        let reading = subject.read("t").await;
        let relation = |name: &str| reading.relation(name).unwrap_or_else(|| panic!("{name}")).1;
        assert!(!relation("none").has_identity && !relation("later").has_identity);
        assert_eq!(relation("unlogged").persistence, 'u');
        for name in ["parent", "child", "base", "heir"] {
            assert!(relation(name).inherits, "{name}");
        }
        let identity: Vec<_> = relation("chosen").columns.iter().map(|column| column.in_identity).collect();
        assert_eq!(identity, [false, true]);
        assert_eq!(relation("kept").kind, 'm');
        assert!(relation("theirs").security_invoker && relation("theirs").view.is_some());
    })
    .await;
}

/// A reading holds up what is decided, so it must not take long: it prints how long it does.
#[tokio::test]
async fn a_catalog_of_many_tables_is_read_quickly() {
    on_each_major(async |major| {
        let subject = Subject::create(
            major,
            "create table people (conversation int, who uuid, primary key (conversation, who));
             create function takes_part(c int) returns boolean language plpgsql stable security definer as
                 'begin return exists (select 1 from public.people where conversation = c and who = auth.uid()); end';
             create function is_staff() returns boolean language sql stable as 'select auth.uid() is not null';
             create publication many;
             do $$ begin for n in 1..50 loop
                 execute format('create table t%s (id int primary key, conversation int, who uuid, body text)', n);
                 execute format('alter table t%s enable row level security', n);
                 execute format('create policy a on t%s using (takes_part(conversation))', n);
                 execute format('create policy b on t%s using (who = auth.uid() or is_staff())', n);
                 execute format('alter publication many add table t%s', n);
             end loop; end $$",
        )
        .await;
        let client = connect(&subject.database.url).await;
        client.batch_execute("set search_path = ''").await.unwrap();
        let mut reader = rowcast::postgres::catalog::CatalogReader::new(client, vec!["many".to_owned()]);
        let Names { user, other, owner } = &subject.names;
        let roles = [user, other, owner].map(|name| Arc::from(name.as_str())).into();
        for _ in 0..3 {
            let began = std::time::Instant::now();
            reader.fingerprint().await.unwrap();
            let compared = began.elapsed();
            let catalog = reader.read(&roles).await.unwrap();
            eprintln!("PostgreSQL {major}: compared in {compared:?}, read in {:?}", began.elapsed() - compared);
            assert_eq!(catalog.tables.len(), 50);
            for name in [user, other, owner] {
                let role = catalog.roles[name.as_str()].as_ref().unwrap();
                assert!(role.access.values().all(|access| access.program.is_some()));
                assert_eq!(role.access.len(), 50);
            }
            assert!(catalog.source.functions.values().all(|function| function.body != Err(NoBody::Refused)));
            assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
        }
    })
    .await;
}

#[tokio::test]
async fn the_fingerprint_follows_what_a_reading_depends_on() {
    const CHANGES: [&str; 22] = [
        "alter table people add n int",
        "alter table people rename column n to m",
        "alter table people replica identity full",
        "create table shadow (id int)",
        "create function g() returns int language sql as 'select 1'",
        "create or replace function g() returns int language sql as 'select 2'",
        "alter function g() set search_path = ''",
        "grant execute on function g() to {user}",
        "create policy p on people using (true)",
        "alter policy p on people to {user}",
        "create view v as select 1 as one",
        "create or replace view v as select 2 as one",
        "alter view v set (security_invoker = true)",
        "grant select (who) on people to {user}",
        "create schema private",
        "grant usage on schema private to {user}",
        "create type mood as enum ('a')",
        "alter type mood add value 'b'",
        "grant {other} to {user}",
        "alter role {user} set search_path = 'private'",
        "alter role {user} bypassrls",
        "revoke execute on function pg_catalog.length(text) from public",
    ];
    const NOTHING: [&str; 6] = [
        "alter role {user} password 'x'",
        "insert into people select 1, gen_random_uuid()",
        "analyze people",
        "vacuum people",
        "create temp table passing (id int primary key); create temp view w as select 1; select * from w; discard temp",
        "create or replace function pg_temp.f() returns int language sql as 'select 1'",
    ];
    on_each_major(async |major| {
        let subject = Subject::create(
            major,
            "create table people (conversation int, who uuid, primary key (conversation, who)); create publication many",
        )
        .await;
        let client = connect(&subject.database.url).await;
        let mut reader = rowcast::postgres::catalog::CatalogReader::new(client, vec!["many".to_owned()]);
        let mut last = reader.fingerprint().await.unwrap().0;
        for statement in CHANGES {
            subject.execute(statement).await;
            let next = reader.fingerprint().await.unwrap().0;
            assert_ne!(next, last, "{statement} on {major}");
            last = next;
        }
        for statement in NOTHING {
            // Roles are shared by a cluster, and other tests make some meanwhile: not at every moment.
            let mut is_steady = false;
            for _ in 0..20 {
                let before = reader.fingerprint().await.unwrap().0;
                subject.execute(statement).await;
                is_steady |= reader.fingerprint().await.unwrap().0 == before;
            }
            assert!(is_steady, "{statement} on {major}");
        }
    })
    .await;
}
