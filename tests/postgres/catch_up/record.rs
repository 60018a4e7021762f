//! What is kept between checks, and whose it is.

use super::*;

#[tokio::test]
async fn a_socket_continues_the_last_check_of_its_token() {
    for major in majors() {
        let school = School::open(major).await;
        assert_eq!(school.ann.resume().await, None);
        let first = school.ann.check(EVER).await;
        assert_eq!(school.ann.resume().await, Some(Vec::new()));
        let between = school.bob.send(&school.threads[0], "between").await;
        assert_eq!(school.ann.resume().await.unwrap(), ["between"]);
        assert!(school.ann.note(&first.time, &[&between]).await);
        assert!(school.ann.resume().await.unwrap().is_empty());
        school.bob.send(&school.threads[0], "later").await;
        assert_eq!(school.ann.resume().await.unwrap(), ["later"]);
        // The next check gives what the socket has not brought.
        assert_eq!(school.ann.check(&first.time).await.contents, ["later"], "on {major}");
    }
}

#[tokio::test]
async fn what_a_socket_has_brought_is_not_given_again_by_any_later_check() {
    for major in majors() {
        let school = School::open(major).await;
        let first = school.ann.check(EVER).await;
        let brought = school.bob.send(&school.threads[0], "brought").await;
        assert!(school.ann.note(&first.time, &[&brought, &brought]).await);
        let second = school.ann.check(&first.time).await;
        assert!(second.contents.is_empty());
        assert!(school.ann.check(&second.time).await.contents.is_empty());
    }
}

#[tokio::test]
async fn two_devices_know_nothing_of_each_other() {
    for major in majors() {
        let school = School::open(major).await;
        let tablet = Device::of(&school.database, ANN, 7).await;
        let phone = school.ann.check(EVER).await;
        assert_eq!(tablet.resume().await, None);
        let first = tablet.check(EVER).await;
        assert_ne!(first.time, phone.time);
        let sent = school.bob.send(&school.threads[0], "for both").await;
        assert!(school.ann.note(&phone.time, &[&sent]).await);
        assert!(school.ann.check(&phone.time).await.contents.is_empty());
        assert_eq!(tablet.check(&first.time).await.contents, ["for both"], "on {major}");
        assert_eq!(tablet.resume().await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test]
async fn a_record_is_its_persons_alone() {
    for major in majors() {
        let school = School::open(major).await;
        let long = Device::of(&school.database, BOB, 9).await;
        long.client.batch_execute("begin").await.unwrap();
        long.send(&school.threads[0], "long").await;
        let first = school.ann.check(EVER).await;
        long.client.batch_execute("commit").await.unwrap();
        // Eve knows time and token: to her it is any other time, and nothing that she could change.
        let eve =
            Device::with(&school.database, &format!(r#"{{"sub":"{EVE}","role":"authenticated"}}"#), 1).await;
        assert_eq!(eve.resume().await, None);
        assert!(eve.check(&first.time).await.contents.is_empty());
        let id: String = school
            .database
            .client
            .query_one("select id::text from public.messages where content = 'long'", &[])
            .await
            .unwrap()
            .get(0);
        let others = Device::of(&school.database, BOB, 1).await;
        assert!(!others.note(&first.time, &[&id]).await);
        let record = "(select id from rowcast.find_catch_up(null, null))";
        assert_eq!(others.json(&format!("to_jsonb({record})")).await.unwrap(), None);
        let sql = "select id from rowcast.catch_ups where user_id = $1::text::uuid";
        let record: i64 = school.database.client.query_one(sql, &[&ANN]).await.unwrap().get(0);
        let update = format!("to_jsonb(rowcast.update_catch_up({record}, '{{{id}}}', null, null))");
        assert_eq!(others.json(&update).await.unwrap(), Some(Value::Bool(false)));
        assert_eq!(school.ann.json(&update).await.unwrap(), Some(Value::Bool(true)), "her own");
        assert!(school.ann.check(&first.time).await.contents.is_empty());
    }
}

#[tokio::test]
async fn nobody_reads_the_table_and_nobody_without_an_account_calls() {
    for major in majors() {
        let school = School::open(major).await;
        school.ann.check(EVER).await;
        for sql in [
            "select to_jsonb(c) from rowcast.catch_ups c limit 1",
            "select to_jsonb(count(*)) from rowcast.catch_ups",
        ] {
            assert_eq!(school.ann.json(sql).await, Err(SqlState::INSUFFICIENT_PRIVILEGE), "{sql} on {major}");
        }
        let nobody = Device::with(&school.database, r#"{"role":"authenticated"}"#, 5).await;
        assert_eq!(nobody.try_check(EVER, 10).await, Err(SqlState::INSUFFICIENT_PRIVILEGE));
        nobody.client.batch_execute("reset role; set role anon").await.unwrap();
        assert_eq!(nobody.try_check(EVER, 10).await, Err(SqlState::INSUFFICIENT_PRIVILEGE));
    }
}

#[tokio::test]
async fn what_cannot_be_a_check_is_refused() {
    for major in majors() {
        let school = School::open(major).await;
        for (token, since, limit) in
            [("", EVER, 10), ("abcd", EVER, 10), (&*token(1), EVER, 0), (&*token(1), EVER, 1001)]
        {
            let sql = format!("rowcast.catch_up('{token}', '{since}', {limit})");
            assert_eq!(
                school.ann.json(&sql).await,
                Err(SqlState::INVALID_PARAMETER_VALUE),
                "{sql} on {major}"
            );
        }
    }
}

#[tokio::test]
async fn a_record_with_too_many_messages_is_made_anew() {
    for major in majors() {
        let school = School::open(major).await;
        let first = school.ann.check(EVER).await;
        let long = Device::of(&school.database, BOB, 9).await;
        long.client.batch_execute("begin").await.unwrap();
        long.send(&school.threads[1], "long").await;
        let brought = school.bob.send(&school.threads[0], "brought").await;
        school.bob.send(&school.threads[0], "not brought").await;
        let many = "array(select gen_random_uuid() from generate_series(1, 9999))";
        for ids in [
            format!("{many} || '{{{brought}}}'::uuid[]"),
            "'{a0000000-0000-4000-8000-00000000000f}'".to_owned(),
        ] {
            let note = format!("to_jsonb(rowcast.note_catch_up('{}', {ids}))", first.time);
            assert_eq!(school.ann.json(&note).await.unwrap(), Some(Value::Bool(true)));
        }
        let sql = "select cardinality(owed) from rowcast.catch_ups where user_id = $1::text::uuid";
        let owed: i32 = school.database.client.query_one(sql, &[&ANN]).await.unwrap().get(0);
        assert_eq!(owed, 1, "on {major}");
        assert_eq!(school.ann.resume().await.unwrap(), ["not brought"]);
        long.client.batch_execute("commit").await.unwrap();
        let mut found = school.ann.check(&first.time).await.contents;
        found.sort();
        assert_eq!(found, ["long", "not brought"]);
    }
}

#[tokio::test]
async fn old_records_go_and_those_in_use_stay() {
    for major in majors() {
        let school = School::open(major).await;
        let count = async || -> i64 {
            let sql = "select count(*) from rowcast.catch_ups";
            school.database.client.query_one(sql, &[]).await.unwrap().get(0)
        };
        let mut since = EVER.to_owned();
        for _ in 0..10 {
            since = school.ann.check(&since).await.time;
        }
        assert!(count().await <= 3, "{} of one device, on {major}", count().await);
        for _ in 0..210 {
            school.ann.check(EVER).await;
        }
        assert_eq!(count().await, 200, "of one person, on {major}");
        let tablet = school.bob.check(EVER).await;
        school.database.execute("update rowcast.catch_ups set created_at = now() - interval '31 days'").await;
        let last = school.bob.check(&tablet.time).await;
        assert!(count().await <= 200 - 20 + 1, "others' old ones go too, on {major}");
        // Its own record was old, and what it had is found by the time.
        school.bob.send(&school.threads[0], "new").await;
        assert_eq!(school.bob.check(&last.time).await.contents, ["new"]);
    }
}

/// Somebody who has missed very much and asks again and again for all of it takes no more room than four such records.
#[tokio::test]
async fn large_records_of_one_person_are_few() {
    for major in majors() {
        let school = School::open(major).await;
        let bob = school.bob.check(EVER).await;
        for _ in 0..6 {
            let known = school.ann.check(EVER).await;
            let owe = format!(
                "update rowcast.catch_ups set owed = array(select gen_random_uuid() from generate_series(1, 100000))
                 where user_id = '{ANN}' and last_check_time = '{}'",
                known.time
            );
            school.database.execute(&owe).await;
        }
        let last = school.ann.check(EVER).await;
        let held =
            "select count(*), sum(cardinality(owed)) from rowcast.catch_ups where user_id = $1::text::uuid";
        let row = school.database.client.query_one(held, &[&ANN]).await.unwrap();
        assert_eq!((row.get(0), row.get(1)), (5_i64, 400_000_i64), "on {major}");
        // The one just made is there, and nobody else's has gone.
        school.bob.send(&school.threads[0], "new").await;
        assert_eq!(school.ann.check(&last.time).await.contents, ["new"], "on {major}");
        assert_eq!(school.bob.check(&bob.time).await.contents, ["new"], "on {major}");
    }
}

#[tokio::test]
async fn a_record_of_another_cluster_counts_by_its_time() {
    for major in majors() {
        let school = School::open(major).await;
        school.bob.send(&school.threads[0], "before").await;
        school.bob.send(&school.threads[0], "owed").await;
        let first = school.ann.try_check(EVER, 1).await.unwrap();
        assert_eq!((first.contents.as_slice(), first.remaining), (["before".to_owned()].as_slice(), 1));
        // As after a dump and a restore: that cluster had come much further with its transactions.
        let restore = "update rowcast.catch_ups set cluster = cluster - 1, seen = '900000000:900000000:'";
        school.database.execute(restore).await;
        let brought = school.bob.send(&school.threads[0], "brought").await;
        school.bob.send(&school.threads[1], "after").await;
        assert_eq!(school.ann.resume().await.unwrap(), ["owed", "brought", "after"], "on {major}");
        let resumed = school.ann.json(&format!("rowcast.resume_catch_up('{}')", school.ann.token)).await;
        assert_eq!(resumed.unwrap().unwrap()["seen"], "1:1:", "a socket is not to take new ones for seen");
        assert!(school.ann.note(&first.time, &[&brought]).await);
        let second = school.ann.check(&first.time).await;
        assert_eq!(second.contents, ["owed", "after"], "on {major}");
        assert!(school.ann.check(&second.time).await.contents.is_empty(), "on {major}");
    }
}

#[tokio::test]
async fn an_old_message_whose_transaction_is_one_of_another_cluster_is_not_given_again() {
    for major in majors() {
        let school = School::open(major).await;
        school.bob.send(&school.threads[0], "old").await;
        let first = school.ann.check(EVER).await;
        school.bob.send(&school.threads[0], "new").await;
        // As if this cluster had come by now to the transaction that the dump has brought.
        let restored = "update public.messages set inserted_in = pg_current_xact_id(), created_at = created_at - interval '2 days'
            where content = 'old'";
        school.database.execute(restored).await;
        assert_eq!(school.ann.check(&first.time).await.contents, ["new"], "on {major}");
    }
}

#[tokio::test]
async fn what_is_owed_of_a_thread_of_others_is_not_given() {
    for major in majors() {
        let school = School::open(major).await;
        let own = school.bob.send(&school.other, "not hers").await;
        let sql =
            format!("to_jsonb(rowcast.missed_since(now(), pg_current_snapshot(), '{{{own}}}', '{{}}'))");
        assert_eq!(school.ann.json(&sql).await.unwrap().unwrap(), serde_json::json!([]), "on {major}");
        assert_eq!(school.bob.json(&sql).await.unwrap().unwrap(), serde_json::json!([own]), "on {major}");
    }
}
