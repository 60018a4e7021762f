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
