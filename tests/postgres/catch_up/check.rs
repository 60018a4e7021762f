//! What one check answers, and the next.

use super::*;

#[tokio::test]
async fn another_time_gives_what_was_sent_after_it() {
    for major in majors() {
        let school = School::open(major).await;
        school.bob.send(&school.threads[0], "before").await;
        let sql = "select to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";
        let time: String = school.database.client.query_one(sql, &[]).await.unwrap().get(0);
        school.bob.send(&school.threads[0], "after").await;
        school.bob.send(&school.other, "to eve").await;
        school.ann.send(&school.threads[1], "own, of another device").await;
        assert_eq!(school.ann.check(EVER).await.contents, ["before", "after", "own, of another device"]);
        assert_eq!(school.ann.check(&time).await.contents, ["after", "own, of another device"]);
        // Bob, who takes part everywhere, gets it all.
        assert_eq!(school.bob.check(EVER).await.contents.len(), 4);
    }
}

#[tokio::test]
async fn what_commits_after_a_check_is_in_the_next_however_old_it_is() {
    for major in majors() {
        let school = School::open(major).await;
        // A transaction that began before the check, and whose message is older than it.
        let long = Device::of(&school.database, BOB, 9).await;
        long.client.batch_execute("begin").await.unwrap();
        long.send(&school.threads[0], "long").await;
        school.bob.send(&school.threads[1], "short").await;
        let first = school.ann.check(EVER).await;
        assert_eq!(first.contents, ["short"]);
        assert_eq!(school.ann.check(&first.time).await.contents, Vec::<String>::new());
        long.client.batch_execute("commit").await.unwrap();
        let second = school.ann.check(&first.time).await;
        assert_eq!(second.contents, ["long"]);
        assert!(school.ann.check(&second.time).await.contents.is_empty());
        // One that is rolled back has never been.
        long.client.batch_execute("begin").await.unwrap();
        long.send(&school.threads[0], "never").await;
        let third = school.ann.check(&second.time).await;
        long.client.batch_execute("rollback").await.unwrap();
        assert!(school.ann.check(&third.time).await.contents.is_empty());
    }
}

#[tokio::test]
async fn the_same_check_again_gives_the_same_and_what_has_come_since() {
    for major in majors() {
        let school = School::open(major).await;
        school.bob.send(&school.threads[0], "1").await;
        let first = school.ann.check(EVER).await;
        school.bob.send(&school.threads[0], "2").await;
        assert_eq!(school.ann.check(&first.time).await.contents, ["2"]);
        assert_eq!(school.ann.check(&first.time).await.contents, ["2"]);
        school.bob.send(&school.threads[0], "3").await;
        assert_eq!(school.ann.check(&first.time).await.contents, ["2", "3"]);
        assert_eq!(school.ann.check(EVER).await.contents, ["1", "2", "3"]);
    }
}

#[tokio::test]
async fn a_time_is_found_in_every_form_and_is_in_whole_milliseconds() {
    for major in majors() {
        let school = School::open(major).await;
        let long = Device::of(&school.database, BOB, 9).await;
        long.client.batch_execute("begin").await.unwrap();
        long.send(&school.threads[0], "long").await;
        let mut times = Vec::new();
        for _ in 0..5 {
            times.push(school.ann.check(EVER).await.time);
        }
        assert!(times.is_sorted_by(|a, b| a < b), "one of their own each: {times:?}");
        assert!(times.iter().all(|time| time.len() == "2024-01-01T00:00:00.000Z".len()), "{times:?}");
        long.client.batch_execute("commit").await.unwrap();
        let time = times[0].strip_suffix('Z').unwrap();
        for form in [format!("{time}Z"), format!("{time}+00:00"), format!("{time}000-00:00")] {
            assert_eq!(school.ann.check(&form).await.contents, ["long"], "{form} on {major}");
        }
    }
}

#[tokio::test]
async fn many_come_in_pages_without_a_gap() {
    for major in majors() {
        let school = School::open(major).await;
        let mut expected = Vec::new();
        for number in 0..25 {
            school.bob.send(&school.threads[number % 2], &number.to_string()).await;
            expected.push(number.to_string());
        }
        let (mut since, mut given, mut pages) = (EVER.to_owned(), Vec::new(), 0);
        loop {
            let page = school.ann.try_check(&since, 10).await.unwrap();
            assert_eq!(
                u64::try_from(expected.len() - given.len() - page.contents.len()).unwrap(),
                page.remaining
            );
            given.extend(page.contents);
            pages += 1;
            since = page.time;
            if page.remaining == 0 {
                break;
            }
            // What comes meanwhile is after what is owed.
            expected.push(format!("while {pages}"));
            school.bob.send(&school.threads[0], &format!("while {pages}")).await;
        }
        assert_eq!(given, expected, "on {major}");
        assert!(school.ann.check(&since).await.contents.is_empty());
    }
}

#[tokio::test]
async fn long_contents_make_short_pages() {
    for major in majors() {
        let school = School::open(major).await;
        let content = "x".repeat(60_000);
        for _ in 0..100 {
            school.bob.send(&school.threads[0], &content).await;
        }
        let first = school.ann.check(EVER).await;
        assert!((1..100).contains(&first.contents.len()), "{} on {major}", first.contents.len());
        let second = school.ann.check(&first.time).await;
        assert_eq!(first.contents.len() + second.contents.len(), 100);
        assert_eq!(second.remaining, 0);
    }
}

#[tokio::test]
async fn what_is_deleted_or_left_is_not_given() {
    for major in majors() {
        let school = School::open(major).await;
        let first = school.ann.check(EVER).await;
        let deleted = school.bob.send(&school.threads[0], "deleted").await;
        school.bob.send(&school.threads[0], "kept").await;
        school.bob.send(&school.threads[1], "of a thread that is left").await;
        school
            .bob
            .json(&format!("select to_jsonb(m) from public.delete_message('{deleted}') m"))
            .await
            .unwrap();
        let leave = format!("select to_jsonb(l) from public.leave_conversation('{}') l", school.threads[1]);
        school.ann.json(&leave).await.unwrap();
        assert_eq!(school.ann.check(&first.time).await.contents, ["kept"], "on {major}");
    }
}

#[tokio::test]
async fn staff_are_given_every_thread_and_others_their_own() {
    for major in majors() {
        let school = School::open(major).await;
        let claims =
            format!(r#"{{"sub":"{STAFF}","role":"authenticated","app_metadata":{{"role":"staff"}}}}"#);
        let staff = Device::with(&school.database, &claims, 3).await;
        let first = staff.check(EVER).await;
        school.bob.send(&school.threads[0], "to ann").await;
        school.bob.send(&school.other, "to eve").await;
        assert_eq!(staff.check(&first.time).await.contents, ["to ann", "to eve"]);
        // The same word where users may write it makes nobody staff.
        let claims =
            format!(r#"{{"sub":"{STAFF}","role":"authenticated","user_metadata":{{"role":"staff"}}}}"#);
        let user = Device::with(&school.database, &claims, 4).await;
        assert!(user.check(EVER).await.contents.is_empty(), "on {major}");
    }
}
