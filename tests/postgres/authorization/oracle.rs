//! The judge of the judge: over generated sets of policies, every answer is what inserting the row says.
//!
//! Most answers come from conditions that are evaluated without a row. Here each is compared with the true probe, for
//! roles of every kind, on topics and claims that make policies hold, fail and raise errors.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use rowcast::hub::Knowledge;
use rowcast::hub::authorization::{Answer, Asked, AuthorizationError, Rights, Subject, probe};
use rowcast::policy::function::Moment;
use rowcast::postgres::catalog::CatalogReader;
use rowcast::telemetry::clock::unix_time;
use serde_json::{Value, json};

use super::{ALICE, BOB, NOTHING, Office, READ, WRITE, on_each_major, subject};
use crate::support::connect;

/// How many sets of policies are tried on each major version.
const SETS: usize = 90;

/// How many questions are asked of each.
const QUESTIONS: usize = 48;

const SCHEMA: &str = "
    do $$ declare name text; begin
        foreach name in array array['oracle_heir', 'oracle_cold', 'oracle_stranger', 'oracle_columns', 'oracle_owner']
        loop
            begin execute format('create role %I', name); exception when duplicate_object or unique_violation then null; end;
        end loop;
    end $$;
    grant authenticated to oracle_heir;
    alter role oracle_cold noinherit;
    grant authenticated to oracle_cold;
    grant usage on schema realtime, auth, public to oracle_heir, oracle_cold, oracle_stranger, oracle_columns, oracle_owner;
    grant select (id), insert (topic, extension, inserted_at, updated_at) on realtime.messages to oracle_columns;
    grant select, insert on realtime.messages to oracle_heir;

    create table members (room text, user_id uuid, role text, primary key (room, user_id));
    insert into members values ('room', '11111111-1111-1111-1111-111111111111', 'admin'),
        ('room', '22222222-2222-2222-2222-222222222222', 'guest'), ('org:1', '11111111-1111-1111-1111-111111111111', null);
    grant select on members to public;
    create table guarded (like members including all);
    insert into guarded select * from members;
    alter table guarded enable row level security;
    create policy own on guarded for select using (user_id = auth.uid());
    grant select on guarded to public;
    create table secret (room text);
    insert into secret values ('room');
    create view windows as select room, user_id from members;
    grant select on windows to public;

    create function is_member(place text) returns boolean language sql stable security definer set search_path = public as
        $$ select exists (select from members where room = place and user_id = auth.uid()) $$;
    create function is_guest(room text) returns boolean language plpgsql as
        $$ begin return exists (select from members m where m.room = is_guest.room and user_id = auth.uid()); end $$;
    create function counts(place text) returns bigint language sql security definer as
        $$ select count(*) from realtime.messages where topic = place $$;
    create function counts_by_hand(place text) returns bigint language plpgsql security definer as
        $$ begin return counts(place); end $$;
    create function refuses(place text) returns boolean language plpgsql stable as
        $$ begin if place = 'zero' then raise exception 'no' using errcode = 'P1234'; end if; return true; end $$;
    create function forgets() returns boolean language plpgsql as
        $$ begin perform set_config('realtime.topic', 'room', true), set_config('role', 'none', true); return true; end $$;
    create function closed() returns boolean language sql as $$ select true $$;
    revoke execute on function closed() from public;
    create schema private;
    create function private.is_member(place text) returns boolean language sql stable security definer as
        $$ select exists (select from public.members where room = place and user_id = auth.uid()) $$;
    create table private.rooms (name text primary key);
    insert into private.rooms values ('room');
    grant select on private.rooms to public;
    create type private.mood as enum ('room', 'other');";

/// What policies are made of.
const ATOMS: &[&str] = &[
    "true",
    "false",
    "null::boolean",
    "topic = 'room'",
    "realtime.topic() = 'room'",
    "(select realtime.topic()) like 'ro%'",
    "extension = 'broadcast'",
    "realtime.messages.extension in ('presence', 'other')",
    "auth.uid() = '11111111-1111-1111-1111-111111111111'",
    "(select auth.uid()) is not null",
    "auth.role() = 'authenticated'",
    "(select auth.jwt() ->> 'org') = split_part(topic, ':', 2)",
    "(auth.jwt() -> 'app_metadata' ->> 'role') in ('admin', 'staff')",
    "(auth.jwt() -> 'rooms') ? realtime.topic()",
    "exists (select from members m where m.room = messages.topic and m.user_id = auth.uid())",
    "exists (select from members where room = topic and user_id = (select auth.uid()) and role = 'admin')",
    "topic in (select room from members where user_id = (select auth.uid()))",
    "exists (select from guarded g where g.room = realtime.topic())",
    "(select count(*) from guarded) > 1",
    "exists (select from windows w where w.room = topic and w.user_id = auth.uid())",
    "exists (select from secret s where s.room = topic)",
    "is_member(topic)",
    "is_member((select realtime.topic()))",
    "is_guest(topic)",
    "private.is_member(topic)",
    "exists (select from private.rooms r where r.name = topic)",
    "topic::private.mood = 'room'",
    "counts(topic) > 0",
    "counts_by_hand(topic) = 2",
    "refuses(topic)",
    "forgets()",
    "closed()",
    "current_setting('request.headers', true)::json ->> 'x-key' = 'k'",
    "current_setting('request.jwt.claim.sub', true) <> ''",
    "current_setting('request.jwt.claims')::jsonb @> '{\"role\": \"authenticated\"}'",
    "payload is null and event is null and binary_payload is null",
    "private",
    "not private",
    "inserted_at > timezone('utc', now()) - interval '1 minute' and updated_at = inserted_at",
    "id is not null",
    "1 / length(replace(topic, 'zero', '')) > 0",
    "topic::uuid is not null",
    "messages is not null",
    "messages.tableoid is not null",
    "exists (select from realtime.messages o where o.topic = messages.topic)",
    "current_user = 'authenticated'",
    "session_user <> current_user",
    "pg_has_role('authenticated', 'usage')",
    "upper(topic) = 'ROOM'",
    "topic collate \"C\" = any (array['room', 'org:1'])",
    "coalesce(nullif(topic, 'room'), 'x') = 'x'",
    "case when extension = 'broadcast' then true else topic = 'room' end",
    "topic ~ '^(room|org:[0-9]+)$'",
    "position('''' in topic) = 0 and topic <> E'a\\\\b' and 'a;b$$c' <> topic",
];

const COMMANDS: &[&str] = &["select", "insert", "all", "select", "insert"];
const TO: &[&str] =
    &["public", "authenticated", "anon, authenticated", "oracle_heir", "anon", "authenticated"];
const ROLES: &[&str] = &[
    "authenticated",
    "anon",
    "service_role",
    "oracle_heir",
    "oracle_cold",
    "oracle_stranger",
    "oracle_columns",
    "oracle_owner",
    "authenticated",
    "postgres",
    "nobody at all",
    "none",
    "authenticated",
];
const TOPICS: &[&str] =
    &["room", "other", "zero", "org:1", "33333333-3333-3333-3333-333333333333", "it's $1 \\ ☃"];

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn throw(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }

    fn of<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.throw(list.len())]
    }

    fn expression(&mut self) -> String {
        let (one, other) = (self.of(ATOMS), self.of(ATOMS));
        match self.throw(8) {
            0 => format!("not ({one})"),
            1 => format!("({one}) and ({other})"),
            2 => format!("({one}) or ({other})"),
            3 => format!("({one}) is not true"),
            _ => one.to_owned(),
        }
    }

    fn policy(&mut self, number: usize) -> String {
        let (command, to) = (self.of(COMMANDS), self.of(TO));
        let kind = if self.throw(4) == 0 { "restrictive" } else { "permissive" };
        let using = match (command, self.throw(12)) {
            ("insert", _) | (_, 0) => String::new(),
            _ => format!("using ({})", self.expression()),
        };
        let check = match (command, self.throw(3)) {
            ("select", _) | ("all", 0) => String::new(),
            _ => format!("with check ({})", self.expression()),
        };
        format!(
            "create policy p{number} on realtime.messages as {kind} for {command} to {to} {using} {check}"
        )
    }

    fn subject(&mut self) -> Subject {
        let mut claims = json!({ "role": self.of(ROLES) });
        let subs =
            [json!(ALICE), json!(BOB), Value::Null, json!("no uuid"), json!(7), json!(""), json!(ALICE)];
        match self.throw(9) {
            8 => {}
            place => claims["sub"] = subs[place % subs.len()].clone(),
        }
        match self.throw(4) {
            0 => claims["org"] = json!("1"),
            1 => claims["app_metadata"] = json!({ "role": "admin" }),
            2 => claims["rooms"] = json!(["room", "it's $1 \\ ☃"]),
            _ => {}
        }
        let headers = if self.throw(2) == 0 { json!({ "x-key": "k" }) } else { json!({}) };
        subject(claims, self.of(TOPICS), headers)
    }
}

#[tokio::test]
async fn every_answer_is_what_inserting_the_row_says() {
    on_each_major(async |major| {
        let mut office = Office::open(major, SCHEMA).await;
        let mut dice = Dice(u64::from(major));
        // From the first question on, changes are noticed.
        office.ask(dice.subject(), READ).await.unwrap_or_default();
        let (mut compared, mut granted, mut errors, mut inexact, mut wrong) = (0, 0, 0, 0, 0);
        let mut engine = Judge::new(&office).await;
        for set in 0..SETS {
            let policies = format!("{}; {}", table(&mut dice), policies(&mut dice, set));
            office.change(&policies).await;
            let questions: Vec<Asked> = (0..QUESTIONS)
                .map(|number| Asked { subject: dice.subject(), question: [READ, WRITE][number % 2] })
                .collect();
            let asked = questions.iter().map(|asked| office.ask(asked.subject.clone(), asked.question));
            let given = join_all(asked).await;
            let truth = probe::answer(&office.database.client, &questions).await.unwrap();
            engine.compare(&office, &questions, &truth, &policies).await;
            for ((asked, given), truth) in questions.iter().zip(given).zip(truth) {
                let truth = refused(asked).map_or_else(|| rights(truth), Err);
                if given != truth && denies(&given) && denies(&truth) {
                    inexact += 1;
                } else if given != truth {
                    wrong += 1;
                    let Asked { subject: Subject { claims, topic, headers }, question } = asked;
                    eprintln!(
                        "{given:?} is not {truth:?}: {policies}\n{question:?} {topic} {} {headers}",
                        claims.json
                    );
                }
                compared += 1;
                granted +=
                    usize::from(given.as_ref().is_ok_and(|rights| rights.broadcast || rights.presence));
                errors += usize::from(given.is_err());
            }
        }
        let probed = office.count(|counters| &counters.probes);
        eprintln!(
            "{compared} compared, {granted} granted, {errors} errors, {inexact} inexact, {probed} by rows"
        );
        assert_eq!(wrong, 0);
        eprintln!("the engine answered {} of {compared}, granting {}", engine.answered, engine.granted);
        assert_eq!(engine.wrong, 0);
        assert!(engine.answered > compared / 8, "{}", engine.answered);
        assert!(engine.granted > engine.answered / 8 && engine.granted < engine.answered);
        assert!(inexact < compared / 20, "{inexact}");
        assert!(compared == SETS * QUESTIONS && granted > compared / 8 && granted < compared);
        assert!(usize::try_from(probed).unwrap() < compared / 2, "most are answered without a row");
    })
    .await;
}

/// The same questions, put to compiled policies.
struct Judge {
    reader: CatalogReader,
    roles: BTreeSet<Arc<str>>,
    answered: usize,
    granted: usize,
    wrong: usize,
}

impl Judge {
    async fn new(office: &Office) -> Self {
        let client = connect(&office.database.url).await;
        client.batch_execute("set search_path = ''").await.unwrap();
        let reader = CatalogReader::new(client, vec!["supabase_realtime".to_owned()]);
        let roles = ROLES.iter().map(|role| Arc::from(*role)).collect();
        Self { reader, roles, answered: 0, granted: 0, wrong: 0 }
    }

    /// Where the engine has an answer, it is that of the inserted row.
    async fn compare(
        &mut self,
        office: &Office,
        questions: &[Asked],
        truth: &[probe::Outcome],
        policies: &str,
    ) {
        self.reader.fingerprint().await.unwrap();
        let catalog = self.reader.read(&self.roles).await.unwrap();
        let mirror = rowcast::hub::mirror::fill(&office.database.client, &catalog, 1 << 20).await.unwrap();
        let knowledge = Knowledge { catalog: Arc::new(catalog), mirror, is_current: true };
        let now = i64::try_from(unix_time().as_micros()).unwrap() - 946_684_800_000_000;
        for (asked, truth) in questions.iter().zip(truth) {
            let judged = knowledge.judge(&asked.subject, asked.question, Moment { now_micros: now });
            let Some(rights) = judged.rights else { continue };
            self.answered += 1;
            self.granted += usize::from(rights.broadcast || rights.presence);
            let truth = refused(asked).map_or_else(|| self::rights(truth.clone()), Err);
            if Ok(rights) != truth && !(denies(&Ok(rights)) && denies(&truth)) {
                self.wrong += 1;
                let Asked { subject: Subject { claims, topic, headers }, question } = asked;
                eprintln!(
                    "the engine: {rights:?} is not {truth:?}: {policies}\n{question:?} {topic} {} {headers}",
                    claims.json
                );
            }
        }
    }
}

/// Puts the table into one of its states.
fn table(dice: &mut Dice) -> String {
    let security = ["enable", "enable", "enable", "enable", "disable"];
    let force = ["no force", "no force", "force"];
    let owners = ["supabase_realtime_admin", "supabase_realtime_admin", "oracle_owner"];
    format!(
        "alter table realtime.messages {} row level security; alter table realtime.messages {} row level security;
         alter table realtime.messages owner to {}",
        dice.of(&security),
        dice.of(&force),
        dice.of(&owners)
    )
}

fn policies(dice: &mut Dice, set: usize) -> String {
    let mut sql = String::from(
        "do $$ declare name text; begin
             for name in select polname from pg_policy where polrelid = 'realtime.messages'::regclass
             loop execute format('drop policy %I on realtime.messages', name); end loop;
         end $$;",
    );
    // First each kind of expression by itself.
    if let Some(atom) = ATOMS.get(set) {
        sql.push_str(&format!(
            "create policy reads on realtime.messages for select using ({atom});
             create policy writes on realtime.messages for insert with check ({atom});"
        ));
        return sql;
    }
    for number in 0..=dice.throw(5) {
        sql.push_str(&dice.policy(number));
        sql.push(';');
    }
    sql
}

/// Whether somebody may do nothing. Whether that is said as an error can depend on the plan that Postgres has kept of a
/// function in a policy, or on what it tries out while it plans, and differs from session to session.
fn denies(answer: &Result<Rights, AuthorizationError>) -> bool {
    matches!(answer, Ok(NOTHING) | Err(AuthorizationError::Policy(_)))
}

/// Who is refused before Postgres is asked.
fn refused(asked: &Asked) -> Option<AuthorizationError> {
    (&*asked.subject.claims.role == "none").then(|| AuthorizationError::Policy(Arc::from("22023")))
}

fn rights(outcome: probe::Outcome) -> Result<Rights, AuthorizationError> {
    match outcome? {
        Answer::Rights(rights) => Ok(rights),
        Answer::Stored(_) => panic!("nobody asked for stored broadcasts"),
    }
}
