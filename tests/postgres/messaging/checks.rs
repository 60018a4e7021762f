//! What a message, a reaction and the rest may consist of, and how large.

use super::{Ann, Stage};
use crate::support::majors;

#[tokio::test]
async fn contents_are_bounded() {
    for major in majors() {
        let stage = Stage::create(major).await;
        for (sql, expected) in [
            ("select length(content) from public.send_message('{direct}', repeat('x', 65536))", "65536"),
            ("select 1 from public.send_message('{direct}', repeat('x', 65537))", "22001"),
            ("select 1 from public.send_message('{direct}', repeat('é', 32769))", "22001"),
            ("select 1 from public.send_message('{direct}', '')", "23514"),
            ("select 1 from public.send_message('{direct}', null)", "23514"),
            ("select 1 from public.send_message('{direct}', 'x', 'video')", "23514"),
            (
                "select 1 from public.send_message('{direct}', 'x', client_message_id => repeat('k', 128))",
                "1",
            ),
            (
                "select 1 from public.send_message('{direct}', 'x', client_message_id => repeat('k', 129))",
                "23514",
            ),
            ("select 1 from public.send_message('{direct}', 'x', client_message_id => '')", "23514"),
            ("select 1 from public.send_message('direct', 'x')", "22P02"),
            ("select 1 from public.edit_message('{d1}', repeat('x', 65537))", "22001"),
            ("select 1 from public.edit_message('{d1}', '')", "23514"),
            ("select 1 from public.add_message_reaction('{d1}', repeat('x', 64))", "1"),
            ("select 1 from public.add_message_reaction('{d1}', repeat('x', 65))", "23514"),
            ("select 1 from public.add_message_reaction('{d1}', '')", "23514"),
            ("select 1 from public.update_user_presence(status => 'invisible')", "23514"),
            ("select 1 from public.update_user_presence(metadata => '7')", "23514"),
            (
                "select 1 from public.update_user_presence(metadata => jsonb_build_object('a', repeat('x', 4096)))",
                "23514",
            ),
            ("select 1 from public.update_typing_indicator('{direct}', expires_in_seconds => 0)", "22023"),
            (
                "select expires_at <= now() + interval '60 seconds'
                 from public.update_typing_indicator('{direct}', expires_in_seconds => 3600)",
                "t",
            ),
            (
                "select expires_at = now() + interval '5 seconds' from public.update_typing_indicator('{direct}')",
                "t",
            ),
            (
                "select public.mark_messages_as_read(array(select gen_random_uuid() from generate_series(1, 1001)))",
                "22023",
            ),
            (
                "select public.mark_messages_as_delivered(array(select gen_random_uuid() from generate_series(1, 1001)))",
                "22023",
            ),
            ("select 1 from public.start_conversation('{{dan}}', title => repeat('x', 1001))", "23514"),
            (
                "select 1 from public.start_conversation(array(select gen_random_uuid() from generate_series(1, 1000)))",
                "22023",
            ),
            ("select count(*) from public.search_messages('')", "0"),
            ("select count(*) from public.search_messages('\"one', page_limit => 0)", "1"),
        ] {
            assert_eq!(stage.probe(Ann, sql).await, expected, "{sql} on {major}");
        }
    }
}

#[tokio::test]
async fn attachments_are_a_short_list_of_links() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let one =
            r#"{"url": "https://example.org/a.png", "name": "a.png", "size": 7, "mime_type": "image/png"}"#;
        let of = |count: usize| format!("[{}]", vec![one; count].join(","));
        for (attachments, is_taken) in [
            (of(1), true),
            (of(10), true),
            (of(11), false),
            (r#"[{"url": "bucket/a.png"}]"#.to_owned(), true),
            (r#"[{"url": "/storage/v1/a:b.png"}]"#.to_owned(), true),
            (r#"[{"url": "a.png", "name": null, "size": null}]"#.to_owned(), true),
            (r#"[{"url": "javascript:alert(1)"}]"#.to_owned(), false),
            (r#"[{"url": "data:text/html,x"}]"#.to_owned(), false),
            (r#"[{"url": ""}]"#.to_owned(), false),
            (r#"[{"name": "a.png"}]"#.to_owned(), false),
            (r#"[{"url": 7}]"#.to_owned(), false),
            (r#"[{"url": "a.png", "size": -1}]"#.to_owned(), false),
            (r#"[{"url": "a.png", "size": "7"}]"#.to_owned(), false),
            (r#"[{"url": "a.png", "size": 1e3}]"#.to_owned(), true),
            (r#"[{"url": "a.png", "size": 1.5}]"#.to_owned(), false),
            (r#"[{"url": "a.png", "size": 1e400}]"#.to_owned(), false),
            (r#"[{"url": "a.png", "mime_type": 7}]"#.to_owned(), false),
            (r#"[{"url": "a.png", "onclick": "x"}]"#.to_owned(), false),
            (r#"["a.png"]"#.to_owned(), false),
            (r#"{"url": "a.png"}"#.to_owned(), false),
            ("null".to_owned(), false),
        ] {
            let sql = format!(
                "select 1 from public.send_message('{{direct}}', '', 'file', attachments => '{attachments}')"
            );
            let expected = if is_taken { "1" } else { "23514" };
            assert_eq!(stage.probe(Ann, &sql).await, expected, "{attachments} on {major}");
        }
        let none = "select 1 from public.send_message('{direct}', '', 'file', attachments => '[]')";
        assert_eq!(stage.probe(Ann, none).await, "23514", "on {major}");
    }
}

#[tokio::test]
async fn delivery_goes_forward_only() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let states = ["sent", "delivered", "read", "failed"];
        let is_forward = |from: &str, to: &str| {
            from == to
                || matches!(
                    (from, to),
                    ("sent", _) | ("failed", "delivered" | "read") | ("delivered", "read")
                )
        };
        for (from, to) in states.iter().flat_map(|from| states.iter().map(move |to| (*from, *to))) {
            let sql = format!(
                "begin;
                 update public.message_delivery_status set status = '{from}' where message_id = '{{d2}}';
                 update public.message_delivery_status set status = '{to}' where message_id = '{{d2}}'
                 returning status || (delivered_at is not null) || (read_at is not null)"
            );
            let found = super::answer(&stage.database.client, &super::with_ids(&sql)).await;
            stage.execute("rollback").await;
            if is_forward(from, to) {
                let is_delivered = [from, to].iter().any(|status| matches!(*status, "delivered" | "read"));
                let expected = format!("{to}{is_delivered}{}", to == "read");
                assert_eq!(found, Ok(expected), "{from} to {to} on {major}");
            } else {
                assert_eq!(found, Err("23514".to_owned()), "{from} to {to} on {major}");
            }
        }
    }
}
