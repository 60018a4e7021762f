//! Profiles and preferences: made from the token, changed by their owner alone.

use serde_json::{Value, json};

use super::{Ann, Anon, Bob, Cus, Dan, Service, Stage, call, with_ids};
use crate::support::majors;

/// A profile as a token's bearer is answered.
async fn upsert(stage: &Stage, claims: &str, arguments: &str) -> Result<Value, String> {
    let client = stage.connect().await;
    client
        .batch_execute(&format!("set role authenticated; set request.jwt.claims = '{claims}'"))
        .await
        .unwrap();
    let found = super::answer(&client, &format!("select public.upsert_profile({arguments})")).await?;
    Ok(serde_json::from_str(&found).unwrap())
}

#[tokio::test]
async fn profile_is_made_from_the_token_and_kept_where_nothing_is_said() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let id = "e0000000-0000-4000-8000-000000000001";
        let claims = json!({
            "sub": id, "email": "flo@example.org",
            "user_metadata": {"full_name": "Flo", "user_name": "flo", "role": "staff"},
            "app_metadata": {"role": "coach"},
        });
        let made = upsert(&stage, &claims.to_string(), "").await.unwrap();
        assert_eq!(
            made,
            json!({
                "id": id, "kind": "user", "full_name": "Flo", "username": "flo", "email": "flo@example.org",
                "role": "coach", "avatar_url": null,
            })
        );
        let changed =
            upsert(&stage, &claims.to_string(), "avatar_url => 'https://example.org/f.png'").await.unwrap();
        assert_eq!(
            (&changed["full_name"], &changed["avatar_url"]),
            (&"Flo".into(), &"https://example.org/f.png".into())
        );
        let changed = upsert(&stage, &claims.to_string(), "'Florence', 'florence'").await.unwrap();
        assert_eq!((&changed["full_name"], &changed["username"]), (&"Florence".into(), &"florence".into()));
        // A name that the token still has does not undo what was said since, and a later role is taken over.
        let later =
            json!({"sub": id, "user_metadata": {"full_name": "Flo"}, "app_metadata": {"role": "staff"}});
        let kept = upsert(&stage, &later.to_string(), "").await.unwrap();
        assert_eq!(
            (&kept["full_name"], &kept["role"], &kept["email"]),
            (&"Florence".into(), &"staff".into(), &Value::Null),
            "on {major}"
        );
    }
}

#[tokio::test]
async fn nobody_is_shown_as_staff_whose_token_does_not_say_so() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let role = "select role from public.users where id = '{sue}'";
        let demoted = with_ids(r#"{"sub": "{sue}", "app_metadata": {}}"#);
        let again = with_ids(r#"{"sub": "{sue}", "app_metadata": {"role": "staff"}}"#);
        assert_eq!(upsert(&stage, &demoted, "").await.unwrap()["role"], Value::Null, "on {major}");
        assert_eq!(stage.value(role).await, "null", "on {major}");
        assert_eq!(upsert(&stage, &again, "").await.unwrap()["role"], "staff", "on {major}");

        // What somebody does without a word about their profile shows it too.
        stage.execute("select public.add_participant('{group}', '{sue}')").await;
        let client = stage.connect().await;
        for (claims, shown) in [(&demoted, "null"), (&again, "staff")] {
            client
                .batch_execute(&format!("set role authenticated; set request.jwt.claims = '{claims}'"))
                .await
                .unwrap();
            let send = with_ids("select sender_role from public.send_message('{group}', 'x')");
            assert_eq!(super::answer(&client, &send).await, Ok(shown.to_owned()), "on {major}");
            assert_eq!(stage.value(role).await, shown, "on {major}");
        }
        // Another role that a trusted server has given stays.
        let carl = with_ids(r#"{"sub": "{carl}"}"#);
        stage.execute("update public.users set role = 'teacher' where id = '{carl}'").await;
        assert_eq!(upsert(&stage, &carl, "").await.unwrap()["role"], "teacher", "on {major}");
    }
}

#[tokio::test]
async fn address_of_a_token_is_shown_to_nobody_else() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.execute("select public.add_participant('{support}', '{bob}')").await;
        let ann = with_ids(r#"{"sub": "{ann}", "email": "ann@example.org"}"#);
        let cus = with_ids(r#"{"customer_id": "{cus}", "email": "cus@example.org"}"#);
        for (claims, address) in [(&ann, "ann@example.org"), (&cus, "cus@example.org")] {
            assert_eq!(upsert(&stage, claims, "").await.unwrap()["email"], address, "on {major}");
        }
        // Ann, Bob and the customer see who they talk to, with all columns, and no address.
        let people = "select count(*) || ' ' || count(email) from (select * from public.users) u";
        let customers = "select count(*) || ' ' || count(email) from (select * from public.customers) c";
        stage
            .check(&[
                (people, ["2 0", "2 0", "1 0", "2 0", "1 0", "0 0", "6 0", "42501", "6 0"]),
                (customers, ["0 0", "1 0", "0 0", "0 0", "1 0", "1 0", "2 0", "42501", "2 0"]),
            ])
            .await;
        // What a trusted server writes is for all who see the row, and stays.
        stage.execute("update public.users set email = 'team@example.org' where id = '{ann}'").await;
        let email = "select email from public.users where id = '{ann}'";
        assert_eq!(upsert(&stage, &ann, "").await.unwrap()["email"], "ann@example.org", "on {major}");
        assert_eq!(stage.probe(Bob, email).await, "team@example.org", "on {major}");
        assert_eq!(stage.probe(Dan, email).await, "", "on {major}");
    }
}

#[tokio::test]
async fn username_of_somebody_else_is_refused_if_asked_for_and_left_out_if_only_claimed() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let id = "e0000000-0000-4000-8000-000000000001";
        let claims = json!({"sub": id, "user_metadata": {"username": "ann"}}).to_string();
        assert_eq!(upsert(&stage, &claims, "").await.unwrap()["username"], Value::Null, "on {major}");
        assert_eq!(upsert(&stage, &claims, "username => 'ann'").await, Err("23505".to_owned()), "on {major}");
        assert_eq!(upsert(&stage, &claims, "username => 'other'").await.unwrap()["username"], "other");
        for wrong in
            ["username => ''", "full_name => repeat('x', 401)", "avatar_url => 'javascript:alert(1)'"]
        {
            assert_eq!(upsert(&stage, &claims, wrong).await, Err("23514".to_owned()), "{wrong} on {major}");
        }
    }
}

#[tokio::test]
async fn customers_have_profiles_of_their_own_and_nobody_has_none() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let id = "e0000000-0000-4000-8000-000000000002";
        let claims =
            json!({"sub": "no uuid", "customer_id": id, "customer_name": "Portal", "email": "p@example.org"});
        let made = upsert(&stage, &claims.to_string(), "").await.unwrap();
        assert_eq!(
            (&made["kind"], &made["full_name"], &made["id"]),
            (&"customer".into(), &"Portal".into(), &id.into())
        );
        let users = format!("select count(*) from public.users where id = '{id}'");
        assert_eq!(stage.value(&users).await, "0", "on {major}");
        assert_eq!(stage.probe(Service, "select public.upsert_profile()").await, "22023", "on {major}");
        assert_eq!(stage.probe(Anon, "select public.upsert_profile()").await, "42501", "on {major}");
    }
}

#[tokio::test]
async fn those_who_write_for_the_first_time_have_a_profile_from_then_on() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.execute("delete from public.notification_preferences").await;
        let client = stage.connect().await;
        let claims = with_ids(
            r#"{"sub": "e0000000-0000-4000-8000-000000000003", "user_metadata": {"full_name": "Newcomer"}}"#,
        );
        client
            .batch_execute(&format!("set role authenticated; set request.jwt.claims = '{claims}'"))
            .await
            .unwrap();
        for sql in [
            "select public.update_user_presence()",
            "select public.start_conversation('{{ann}}')",
            "select public.update_notification_preferences('{}')",
        ] {
            client.batch_execute("begin").await.unwrap();
            let made = format!("{}; select full_name from public.users where id = auth.uid()", with_ids(sql));
            let name = super::answer(&client, &made).await.unwrap();
            assert!(name.ends_with("Newcomer"), "{sql} on {major}: {name}");
            client.batch_execute("rollback").await.unwrap();
        }
    }
}

#[tokio::test]
async fn preferences_are_changed_one_by_one_by_users_alone() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let get = async |caller| -> Value {
            serde_json::from_str(&stage.probe(caller, "select public.get_notification_preferences()").await)
                .unwrap()
        };
        let defaults = json!({
            "email": true, "push": true, "in_app": true, "new_message": true, "mentions": true,
            "quiet_hours_start": null, "quiet_hours_end": null, "time_zone": "UTC",
        });
        assert_eq!(get(Bob).await, defaults, "on {major}");
        assert_eq!(get(Ann).await["email"], false, "on {major}");
        let change =
            |changes: &str| format!("select public.update_notification_preferences('{changes}') ->> 'push'");
        let quiet = r#"{"push": false, "quiet_hours_start": "22:00", "quiet_hours_end": "07:00", "time_zone": "Europe/Berlin"}"#;
        assert_eq!(stage.call(Bob, &change(quiet)).await, Ok("false".to_owned()), "on {major}");
        assert_eq!(
            stage.call(Bob, &change(r#"{"email": false}"#)).await,
            Ok("false".to_owned()),
            "on {major}"
        );
        let found = get(Bob).await;
        assert_eq!(
            (&found["quiet_hours_start"], &found["email"]),
            (&"22:00:00".into(), &false.into()),
            "on {major}"
        );
        assert_eq!(get(Dan).await["push"], true, "on {major}");
        for (changes, expected) in [
            (r#"{"user_id": "x"}"#, "22023"),
            (r#"{"sms": true}"#, "22023"),
            (r#"[]"#, "22023"),
            (r#"{"email": null}"#, "22023"),
            (r#"{"email": "perhaps"}"#, "22P02"),
            (r#"{"time_zone": "Mars/Olympus"}"#, "22023"),
            (r#"{"quiet_hours_start": "25:00"}"#, "22008"),
            (r#"{"quiet_hours_start": null}"#, "23514"),
        ] {
            assert_eq!(stage.probe(Bob, &change(changes)).await, expected, "{changes} on {major}");
        }
        for (caller, expected) in [(Cus, "42501"), (Anon, "42501"), (Service, "42501")] {
            let client = stage.connect().await;
            for sql in ["select public.get_notification_preferences()", &change("{}")] {
                let found = call(&client, caller, sql, "rollback").await;
                assert_eq!(found, Err(expected.to_owned()), "{sql} as {caller:?} on {major}");
            }
        }
    }
}
