//! Roles, memberships and privileges.

use super::{Subject, on_each_major};
use std::collections::BTreeSet;

#[tokio::test]
async fn rights_follow_memberships_as_postgres_has_them() {
    on_each_major(async |major| {
        let subject = Subject::create(
            major,
            "create role {user}_near; create role {user}_far; create role {user}_closed;
             grant {user}_near to {user}; grant {user}_far to {user}_near; grant {user}_closed to {other};
             alter role {other} noinherit;
             create table t (id int); alter table t enable row level security;
             create policy p on t to {user}_near, {user}_far, {user}_closed using (true)",
        )
        .await;
        if major >= 16 {
            subject.execute("revoke {user}_closed from {other}; grant {user}_closed to {other} with inherit false").await;
            subject.execute("create role {user}_half; grant {user}_half to {user} with inherit false; alter policy p on t to {user}_near, {user}_far, {user}_closed, {user}_half").await;
        }
        let reading = subject.read("t").await;
        let named = |names: &[String]| -> BTreeSet<u32> {
            reading.root().policies[0].roles.iter().copied().zip(["near", "far", "closed", "half"])
                .filter(|(_, name)| names.iter().any(|wanted| wanted == name)).map(|(id, _)| id).collect()
        };
        // The order of a policy's roles is that in which they were named.
        let (user, rights) = reading.role(&subject.names.user);
        let mut expected = named(&["near".to_owned(), "far".to_owned()]);
        expected.insert(user);
        assert_eq!(rights.has_rights_of, expected, "on {major}");
        let (other, rights) = reading.role(&subject.names.other);
        assert_eq!(rights.has_rights_of, BTreeSet::from([other]), "on {major}");
        assert!(!rights.superuser && !rights.bypasses);
        subject.execute("alter role {other} inherit; alter role {user} bypassrls").await;
        if major >= 16 {
            subject.execute("grant {user}_closed to {other} with inherit true").await;
        }
        let reading = subject.read("t").await;
        assert_eq!(reading.role(&subject.names.other).1.has_rights_of.len(), 2, "on {major}");
        assert!(reading.role(&subject.names.user).1.bypasses);
        subject.execute("drop policy p on t").await;
    })
    .await;
}

#[tokio::test]
async fn privileges_are_read_by_role() {
    on_each_major(async |major| {
        let subject = Subject::create(
            major,
            "create table people (id int primary key, who uuid, secret text);
             create table t (id int);
             create function closed(int) returns boolean language sql stable as 'select true';
             revoke execute on function closed from public; grant execute on function closed to {other};
             create function open(int) returns boolean language sql stable as 'select $1 > 0';
             grant select on t to {user}, {other}; grant select (id, who) on people to {user};
             create policy p on t using (closed(id) and open(id) and id in (select id from people));
             alter table t enable row level security",
        )
        .await;
        let reading = subject.read("t").await;
        let (user, other) = (reading.role(&subject.names.user).0, reading.role(&subject.names.other).0);
        let people = reading.relation("people").unwrap().0;
        assert_eq!(
            reading.source.selectable.get(&(user, people)).map(|columns| columns.to_vec()),
            Some(vec![1, 2])
        );
        assert!(!reading.source.selectable.contains_key(&(other, people)));
        assert_eq!(reading.source.selectable[&(other, reading.root)].to_vec(), [1]);
        assert!(
            reading.may_call(&subject.names.user, "open") && reading.may_call(&subject.names.other, "open")
        );
        assert!(!reading.may_call(&subject.names.user, "closed"));
        assert!(reading.may_call(&subject.names.other, "closed"));
        assert!(reading.body("closed").is_ok(), "one of the callers may look into it");
    })
    .await;
}

#[tokio::test]
async fn a_built_in_function_that_somebody_may_not_call_is_left_out() {
    on_each_major(async |major| {
        let subject = Subject::create(
            major,
            "create table t (id int, who uuid); alter table t enable row level security;
             create policy p on t using (who = auth.uid() and length('x') = id)",
        )
        .await;
        assert!(!subject.read("t").await.functions("uuid_eq").is_empty());
        subject.execute("revoke execute on function uuid_eq from public").await;
        assert!(subject.read("t").await.functions("uuid_eq").is_empty());
        // Whoever else may come to call it, as the owner of a helper for instance, is not known yet.
        subject.execute("grant execute on function uuid_eq to {user}, {other}").await;
        assert!(subject.read("t").await.functions("uuid_eq").is_empty());
        subject.execute("grant execute on function uuid_eq to public").await;
        assert!(!subject.read("t").await.functions("uuid_eq").is_empty());
    })
    .await;
}
