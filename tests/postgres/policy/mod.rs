//! Policies that people write, as servers of each version keep them, and what compiling makes of them.

use rowcast::policy::compile::{self, Command, Rules};
use rowcast::policy::source::Source;
use rowcast::policy::uncompiled::Reason;

use crate::support::{TestDatabase, majors};

pub(crate) mod reading;
mod refusals;
mod registry;
mod rights;
mod shapes;

/// What `auth.uid()` and `auth.jwt()` come to.
const UID: &str =
    "text->uuid(nullif texteq(json_object_field_text(text->json([request.jwt.claims]), 'sub'), ''))";
const JWT: &str =
    "text->jsonb(coalesce(nullif texteq([request.jwt.claim], ''), nullif texteq([request.jwt.claims], '')))";

/// A schema as messengers have it, and one policy, named `p`, on `public.messages`.
struct Subject {
    database: TestDatabase,
}

impl Subject {
    async fn create(major: u32) -> Self {
        let database = TestDatabase::create(major).await;
        database.execute(include_str!("schema.sql")).await;
        Self { database }
    }

    /// Runs `sql` in a transaction, reads the catalog and takes everything back.
    async fn source(&self, sql: &str) -> Source {
        self.database.execute(&format!("begin; {sql}")).await;
        let source = reading::read(&self.database.client, self.database.major).await;
        self.database.execute("rollback").await;
        source
    }

    /// The rules of the role `reader` on `public.messages`.
    async fn rules(&self, sql: &str) -> Rules {
        let source = self.source(sql).await;
        rules(&source, "public.messages")
    }

    /// What the policy `using` comes to, in short.
    async fn using(&self, using: &str) -> Result<String, (Reason, String)> {
        self.policy(&format!("create policy p on public.messages using ({using})")).await
    }

    /// What the only policy comes to.
    async fn policy(&self, sql: &str) -> Result<String, (Reason, String)> {
        let rules = self.rules(sql).await;
        let [rule] = &rules.permissive[..] else { panic!("{rules:?}") };
        match &rule.condition {
            Ok(condition) => Ok(registry::brief(condition).replace(UID, "UID").replace(JWT, "JWT")),
            Err(reason) => Err((reason.reason, reason.about.to_string())),
        }
    }
}

fn rules(source: &Source, table: &str) -> Rules {
    let named = |schema: &str, name: &str| format!("{schema}.{name}") == table;
    let (id, _) = source.relations.iter().find(|(_, found)| named(&found.schema, &found.name)).unwrap();
    let (role, _) = source.roles.iter().find(|(_, role)| &*role.name == "reader").unwrap();
    compile::rules(source, *id, *role, Command::Select, registry::find)
}

/// What a policy comes to in short, or why it is not compiled.
type Expected<'a> = Result<&'a str, (Reason, &'a str)>;

/// Asks for each policy on each major version, and compares with what is expected of all of them.
async fn check(expected: &[(&str, Expected<'_>)]) {
    for major in majors() {
        let subject = Subject::create(major).await;
        let mut wrong = Vec::new();
        for (sql, expected) in expected {
            let found = if sql.starts_with("create ") || sql.contains(';') {
                subject.policy(sql).await
            } else {
                subject.using(sql).await
            };
            let found =
                found.as_ref().map(String::as_str).map_err(|(reason, about)| (*reason, about.as_str()));
            if found != *expected {
                wrong.push(format!("{sql}\n    expected {expected:?}\n    found    {found:?}"));
            }
        }
        assert!(wrong.is_empty(), "on {major}:\n{}", wrong.join("\n"));
    }
}
