//! The truth: whether a caller finds a row, as Postgres says.

use tokio_postgres::{Client, SimpleQueryMessage};

use super::callers::Caller;

/// What Postgres says about one row and one caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Truth {
    /// The caller finds it.
    Found,
    /// It is not there for the caller.
    Hidden,
    /// An error is raised.
    Raised,
}

/// Asks one question after another: role and claims are set for each, the statement is planned for each, and an error
/// is contained in a subtransaction. Nothing that was found out for one question is there for the next: each statement
/// is a string that is parsed and planned when it is executed.
pub(crate) const SCHEMA: &str = "
    create schema oracle;
    create function oracle.truth(relation text, conditions text[], roles text[], claims text[]) returns text
    language plpgsql as $$
    declare answers text := ''; found_it boolean; caller integer; condition text;
    begin
        for caller in 1 .. cardinality(roles) loop
            foreach condition in array conditions loop
                begin
                    perform pg_catalog.set_config('role', roles[caller], true),
                            pg_catalog.set_config('request.jwt.claims', claims[caller], true);
                    execute 'select exists (select from ' || relation || ' where ' || condition || ')' into found_it;
                    perform pg_catalog.set_config('role', 'none', true);
                    answers := answers || case when found_it then 'f' else 'h' end;
                exception when others or assert_failure then
                    answers := answers || 'r';
                end;
            end loop;
        end loop;
        return answers;
    end $$;";

/// What each caller is told about each row: a list of rows a caller. `client` has an open transaction.
pub(crate) async fn truth(
    client: &Client,
    relation: &str,
    conditions: &[String],
    callers: &[Caller],
) -> Vec<Vec<Truth>> {
    if conditions.is_empty() {
        return vec![Vec::new(); callers.len()];
    }
    let roles: Vec<&str> = callers.iter().map(|caller| &*caller.role).collect();
    let claims: Vec<&str> = callers.iter().map(|caller| &*caller.claims).collect();
    let row = client
        .query_one("select oracle.truth($1, $2, $3, $4)", &[&relation, &conditions, &roles, &claims])
        .await
        .expect("the truth");
    let answers: Vec<Truth> = row
        .get::<_, &str>(0)
        .bytes()
        .map(|answer| match answer {
            b'f' => Truth::Found,
            b'h' => Truth::Hidden,
            _ => Truth::Raised,
        })
        .collect();
    assert_eq!(answers.len(), callers.len() * conditions.len());
    answers.chunks(conditions.len()).map(<[Truth]>::to_vec).collect()
}

/// The same about one row, in plain statements, as anybody would ask. `client` has an open transaction.
pub(crate) async fn plain_truth(client: &Client, relation: &str, condition: &str, caller: &Caller) -> Truth {
    client.batch_execute("savepoint plainly").await.expect("a savepoint");
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let backslashes = "set local standard_conforming_strings = on";
    let sql = format!(
        "{backslashes}; select set_config('request.jwt.claims', {}, true); set local role {};
         select exists (select from {relation} where {condition})",
        quoted(&caller.claims),
        quoted(&caller.role)
    );
    let answer = match client.simple_query(&sql).await {
        Ok(messages) => {
            let rows: Vec<_> = messages
                .iter()
                .filter_map(|message| match message {
                    SimpleQueryMessage::Row(row) => row.get(0),
                    _ => None,
                })
                .collect();
            if rows.last() == Some(&"t") { Truth::Found } else { Truth::Hidden }
        }
        Err(error) => {
            assert!(error.code().is_some(), "{error:?}");
            Truth::Raised
        }
    };
    client.batch_execute("rollback to plainly; release plainly").await.expect("the savepoint");
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy_oracle::callers::{odd, user};
    use crate::policy_oracle::court::Court;
    use crate::support::majors;

    /// Answers that a planner or an executor could keep from one caller to the next.
    const POLICIES: &[&str] = &[
        "own = (select auth.uid())",
        "own = auth.uid()",
        "(select auth.uid() is not null) and own is not null",
        "exists (select from people where who = (select auth.uid()))",
        "own in (select who from people where who = auth.uid())",
        "(select mine()) = own",
        "takes_part()",
        "own = statement()",
        "remembers(id) and own = statement()",
    ];

    const SCHEMA: &str = "
        create table t (id int primary key, own uuid);
        insert into t select n, lpad(n::text, 32, '0')::uuid from generate_series(1, 3) n;
        create table people (who uuid); insert into people select own from t; grant select on people to public;
        create function mine() returns uuid language sql stable as $$ select auth.uid() $$;
        create function takes_part() returns bool language sql stable security definer set search_path = public
            as $$ select exists (select from people where who = (select auth.uid())) $$;
        create function statement() returns uuid language plpgsql stable as $$ begin return (select auth.uid()); end $$;
        create function remembers(n int) returns bool language plpgsql stable security definer
            as $$ begin return exists (select from people where who = auth.uid() and n > 0); end $$;
        alter table t enable row level security;";

    #[tokio::test]
    async fn one_callers_answer_is_never_anothers() {
        for major in majors() {
            let court = Court::open(major).await;
            court.execute(SCHEMA).await;
            let mut callers: Vec<Caller> = (1..=3).map(user).collect();
            callers.extend(odd("authenticated", 2));
            callers.push(Caller::new("anon", "{}"));
            callers.push(Caller::new("nobody_at_all", "{}"));
            let conditions: Vec<String> = (1..=3).map(|id| format!("id = {id}")).collect();
            for policy in POLICIES {
                court
                    .execute(&format!("drop policy if exists p on t; create policy p on t using ({policy})"))
                    .await;
                let client = &court.database.client;
                client.batch_execute("begin isolation level repeatable read").await.unwrap();
                let mut plain = Vec::new();
                for caller in &callers {
                    for condition in &conditions {
                        plain.push(plain_truth(client, "t", condition, caller).await);
                    }
                }
                let found = plain.iter().filter(|truth| **truth == Truth::Found).count();
                assert!(found > 0 && found < plain.len(), "{found} of {policy}");
                let forward = truth(client, "t", &conditions, &callers).await;
                assert_eq!(forward.concat(), plain, "{policy} on {major}");
                // The other way round, and each after itself.
                let backward: Vec<Caller> =
                    callers.iter().rev().flat_map(|it| [it.clone(), it.clone()]).collect();
                let answers = truth(client, "t", &conditions, &backward).await;
                let expected: Vec<Vec<Truth>> =
                    forward.iter().rev().flat_map(|it| [it.clone(), it.clone()]).collect();
                assert_eq!(answers, expected, "{policy} on {major}");
                client.batch_execute("rollback").await.unwrap();
            }
        }
    }
}
