//! What holds after any history: the unread count is what a recount finds, and no delivery goes back.

use std::collections::HashMap;

use super::{Ann, Bob, Caller, Carl, Cus, Stage, Sue, with_ids};
use crate::support::majors;

/// A small generator of numbers, the same for the same seed.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 33).unwrap() % most
    }

    fn pick<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len())]
    }
}

const PEOPLE: [(Caller, &str); 5] = [
    (Ann, "user_id = '{ann}'"),
    (Bob, "user_id = '{bob}'"),
    (Carl, "user_id = '{carl}'"),
    (Cus, "customer_id = '{cus}'"),
    (Sue, "user_id = '{sue}'"),
];

/// What somebody may do next; most of it is refused to some.
fn step(numbers: &mut Numbers) -> String {
    let conversation = numbers.pick(&["{group}", "{support}", "{direct}"]);
    let message = format!(
        "(select id from public.messages where conversation_id = '{conversation}' order by created_at desc offset {} limit 1)",
        numbers.below(4)
    );
    match numbers.below(14) {
        0..=4 => format!("select id from public.send_message('{conversation}', 'x')"),
        5 | 6 => format!("select id from public.mark_message_as_read({message})"),
        7 => format!(
            "select public.mark_messages_as_read(array(select id from public.messages order by id limit {}))",
            numbers.below(9)
        ),
        8 => format!("select public.mark_conversation_as_read('{conversation}')"),
        9 => format!("select public.mark_messages_as_delivered(array[{message}])"),
        10 => format!("select id from public.delete_message({message})"),
        11 => format!("select id from public.edit_message({message}, 'y')"),
        12 => format!("select public.leave_conversation('{conversation}')"),
        _ => {
            let person = numbers.pick(&["{ann}", "{bob}", "{carl}", "{sue}"]);
            format!("select 1 from public.add_participant('{conversation}', '{person}')")
        }
    }
}

/// What is unread, counted anew from all there is; Sue is staff.
fn recount(person: &str) -> String {
    let own = |table: &str, prefix: &str| {
        let (column, id) = person.split_once(" = ").unwrap();
        format!("{table}.{prefix}{column} = {id}")
    };
    let sender = person.replace("user_id", "m.sender_id").replace("customer_id", "m.sender_customer_id");
    format!(
        "select count(*) from public.messages m
         where m.deleted_at is null and ({sender}) is not true
             and (exists (select from public.conversation_participants p
                     where p.conversation_id = m.conversation_id and p.left_at is null and {})
                 or {} and exists (select from public.conversations c
                     where c.id = m.conversation_id and c.kind = 'support' and not c.is_archived))
             and not exists (select from public.message_read_receipts r where r.message_id = m.id and {})",
        own("p", ""),
        person.contains("{sue}"),
        own("r", "read_by_")
    )
}

#[tokio::test]
async fn unread_count_equals_a_recount_and_no_delivery_goes_back() {
    const STEPS: usize = 200;
    let rank = |status: &str| {
        ["failed", "sent", "delivered", "read"].iter().position(|known| *known == status).unwrap()
    };
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.execute("update rowcast.messaging_settings set value = 0 where name like '%per_minute'").await;
        let mut numbers = Numbers(0x9e37_79b9_7f4a_7c15 ^ u64::from(major));
        let mut known: HashMap<String, usize> = HashMap::new();
        let (mut done, mut unread_max) = (0, 0);
        for number in 0..STEPS {
            let (caller, _) = numbers.pick(&PEOPLE);
            let sql = step(&mut numbers);
            done += usize::from(stage.call(caller, &sql).await.is_ok());
            for (caller, person) in PEOPLE {
                let expected = stage.value(&recount(person)).await;
                let about = format!("{person} after step {number}, {sql} on {major}");
                assert_eq!(
                    stage.probe(caller, "select public.get_unread_message_count()").await,
                    expected,
                    "{about}"
                );
                let sum = "select coalesce(sum(unread_count), 0) from public.get_unread_counts()";
                assert_eq!(stage.probe(caller, sum).await, expected, "{about}");
                unread_max = unread_max.max(expected.parse().unwrap());
            }
            let statuses =
                stage.value("select id || ' ' || status from public.message_delivery_status").await;
            for (id, status) in statuses.split(',').filter_map(|line| line.split_once(' ')) {
                let before = known.insert(id.to_owned(), rank(status)).unwrap_or(0);
                assert!(before <= rank(status), "{id} after step {number}, {sql} on {major}");
            }
        }
        // A history in which nothing happens proves nothing.
        assert!(done > STEPS / 2 && unread_max > 5, "{done} steps, {unread_max} unread on {major}");
        let promise = with_ids(
            "select count(*) from public.conversation_participants p
             join public.messages m on m.conversation_id = p.conversation_id and m.created_at <= p.last_read_at
             where m.deleted_at is null and (m.sender_id = p.user_id or m.sender_customer_id = p.customer_id) is not true
                 and not exists (select from public.message_read_receipts r where r.message_id = m.id
                     and (r.read_by_user_id = p.user_id or r.read_by_customer_id = p.customer_id))",
        );
        assert_eq!(stage.value(&promise).await, "0", "nothing is unread before last_read_at, on {major}");
    }
}

#[tokio::test]
async fn last_read_at_moves_as_far_as_everything_is_read() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let read_until = "select m.content from public.conversation_participants p
            left join public.messages m on m.conversation_id = p.conversation_id and m.created_at = p.last_read_at
            where p.conversation_id = '{group}' and p.user_id = '{bob}'";
        stage.call(Bob, "select id from public.mark_message_as_read('{g2}')").await.unwrap();
        assert_eq!(stage.value(read_until).await, "null", "the first is unread, on {major}");
        stage.call(Bob, "select id from public.mark_message_as_read('{g1}')").await.unwrap();
        assert_eq!(stage.value(read_until).await, "group two", "on {major}");
    }
}

/// Ten thousand at a time are written well within the time that a statement has.
#[tokio::test]
async fn conversation_with_very_many_unread_messages_is_read_by_several_calls() {
    const FILL: &str = "set session_replication_role = replica;
        insert into public.messages (conversation_id, sender_id, sender_type, content, created_at)
            select '{direct}', '{ann}', 'staff', 'm' || i, now() + i * interval '1 ms' from generate_series(1, 12000) i;
        insert into public.message_delivery_status (message_id, conversation_id, recipient_type, recipient_id)
            select id, conversation_id, 'staff', '{bob}' from public.messages where content like 'm%';
        set session_replication_role = default;
        analyze";
    const READ: &str =
        "set local statement_timeout = '8s'; select public.mark_conversation_as_read('{direct}')";
    const LEFT: &str = "select public.get_unread_message_count()";
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.call(Bob, "select public.mark_conversation_as_read('{group}')").await.unwrap();
        stage.execute(FILL).await;
        for (read, left) in [("10000", "2000"), ("2000", "0"), ("0", "0")] {
            assert_eq!(stage.call(Bob, READ).await, Ok(read.to_owned()), "on {major}");
            assert_eq!(stage.probe(Bob, LEFT).await, left, "on {major}");
        }
        let read = "select count(*) from public.message_delivery_status where status = 'read' and recipient_id = '{bob}'";
        assert_eq!(stage.value(read).await, "12003", "on {major}");
        let until = "select last_read_at = (select max(created_at) from public.messages where conversation_id = '{direct}')
            from public.conversation_participants where conversation_id = '{direct}' and user_id = '{bob}'";
        assert_eq!(stage.value(until).await, "t", "on {major}");
    }
}
