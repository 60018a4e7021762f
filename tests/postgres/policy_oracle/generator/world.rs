//! Worlds: tables, rows, helpers, owners and rights that policies are tried in.

use std::fmt::Write;

use super::super::callers::{Caller, odd, signed, uuid};
use super::dice::Dice;

use serde_json::{Value, json};

/// How many rows the judged table has.
pub(crate) const ROWS: usize = 26;

/// Roles of a cluster, made once: an heir, one without the rights of its roles, a stranger, an owner, one who bypasses.
pub(crate) const ROLES: &str = "
    do $$ declare name text; options text; begin
        for name, options in values
            ('gen_heir', 'inherit in role authenticated'), ('gen_cold', 'noinherit in role authenticated'),
            ('gen_stranger', ''), ('gen_keeper', 'inherit'), ('gen_free', 'bypassrls'), ('gen_declined', 'inherit')
        loop
            begin
                execute format('create role %I %s', name, options);
                if name = 'gen_declined' and current_setting('server_version_num')::int >= 160000 then
                    execute 'grant authenticated to gen_declined with inherit false';
                end if;
            exception when duplicate_object or unique_violation then null;
            end;
        end loop;
    end $$;";

/// A value that is NULL once in a while.
fn value(dice: &mut Dice, values: &[&str]) -> String {
    if dice.once_in(6) { "null".to_owned() } else { dice.pick(values).to_owned() }
}

fn user(dice: &mut Dice) -> String {
    if dice.once_in(6) { "null".to_owned() } else { format!("'{}'", uuid(1 + dice.below(4))) }
}

fn org(dice: &mut Dice) -> String {
    if dice.once_in(6) { "null".to_owned() } else { format!("'{}'", uuid(7 + dice.below(2))) }
}

/// A list of users, some of them NULL.
fn users(dice: &mut Dice, r#type: &str) -> String {
    if dice.once_in(7) {
        return "null".to_owned();
    }
    let elements: Vec<String> = (0..dice.below(4)).map(|_| user(dice)).collect();
    format!("array[{}]::{type}[]", elements.join(", "))
}

const MOMENTS: &[&str] = &[
    "now() - interval '1 hour'",
    "now() + interval '1 hour'",
    "now() - interval '2 days'",
    "'infinity'",
    "'-infinity'",
    "'2001-02-03 04:05:06.789+01'",
];

/// Everything but the policies on the judged table.
pub(crate) fn world(dice: &mut Dice) -> String {
    let mut sql = format!(
        "{ROLES}
         grant usage on schema public, auth to gen_heir, gen_cold, gen_stranger, gen_keeper, gen_free, gen_declined;
         create type duty as enum ('customer', 'agent', 'admin');\n"
    );
    relations(dice, &mut sql);
    functions(dice, &mut sql);
    guards(dice, &mut sql);
    judged(dice, &mut sql);
    sql.push_str("select publish('doc');\n");
    sql
}

fn relations(dice: &mut Dice, sql: &mut String) {
    let gone = if dice.once_in(2) { "gone int, " } else { "" };
    let _ = writeln!(
        sql,
        "create table people ({gone}conv int, who uuid, left_at timestamptz, role text, n serial{});
         create table convs (id int primary key, u1 uuid, u2 uuid, hidden bool, org uuid);
         create table profiles (id uuid primary key, duty duty, org uuid, email text, tags text[]);",
        dice.pick(&[" primary key", "", ", unique (n)"]),
    );
    if !gone.is_empty() {
        sql.push_str("alter table people drop column gone;\n");
    }
    for _ in 0..14 {
        let left = if dice.once_in(2) { "null" } else { dice.pick(MOMENTS) };
        let (conv, role) =
            (value(dice, &["1", "2", "3", "4"]), value(dice, &["'admin'", "'owner'", "'banned'", "'x'"]));
        let _ = writeln!(
            sql,
            "insert into people (conv, who, left_at, role) values ({conv}, {}, {left}, {role});",
            user(dice)
        );
    }
    for id in 1..=4 {
        let hidden = value(dice, &["true", "false", "false"]);
        let _ = writeln!(
            sql,
            "insert into convs values ({id}, {}, {}, {hidden}, {});",
            user(dice),
            user(dice),
            org(dice)
        );
    }
    for number in 1..=4 {
        let duty = value(dice, &["'customer'", "'agent'", "'admin'"]);
        let _ = writeln!(
            sql,
            "insert into profiles values ('{}', {duty}, {}, 'ann@x.test', '{{a,b}}');",
            uuid(number),
            org(dice)
        );
    }
    if dice.once_in(4) {
        sql.push_str("alter table people replica identity full;\n");
    }
}

/// A helper with this body, of one of the many kinds that are written.
fn function(dice: &mut Dice, sql: &mut String, signature: &str, result: &str, body: &str) {
    let is_set = result.starts_with("setof");
    // Without a search path names are looked up in the caller's; with an empty one they are qualified.
    let path = dice.pick(&[
        "",
        "",
        "set search_path = public",
        "set search_path = ''",
        "set search_path to 'public', 'pg_temp'",
    ]);
    let body = if path.ends_with("''") {
        ["people", "convs", "profiles"].iter().fold(body.to_owned(), |body, table| {
            body.replace(&format!("from {table}"), &format!("from public.{table}"))
        })
    } else {
        body.to_owned()
    };
    let text = match dice.below(5) {
        0 | 1 if !is_set => format!("language plpgsql as $$ begin return ({body}); end $$"),
        2 => format!("language sql as $$ {body}; $$"),
        3 if path != "set search_path = ''" => format!("language sql begin atomic {body}; end"),
        _ => format!("language sql as $$ {body} $$"),
    };
    let volatility = dice.pick(&["stable", "stable", "stable", "stable", "stable", "volatile"]);
    let security = dice.pick(&["security definer", "security definer", "security invoker"]);
    let strict = dice.pick(&["", "", "", "strict"]);
    let name = signature.split('(').next().unwrap_or_default();
    let _ = writeln!(
        sql,
        "create function {signature} returns {result} {volatility} {security} {strict} {path} {text};"
    );
    if dice.once_in(2) {
        let _ = writeln!(sql, "alter function {name} owner to gen_keeper;");
    }
    if dice.once_in(16) {
        let _ = writeln!(
            sql,
            "revoke execute on function {name} from public; grant execute on function {name} to authenticated;"
        );
    }
}

fn functions(dice: &mut Dice, sql: &mut String) {
    let active = dice.pick(&["", " and left_at is null"]);
    let (signature, argument) = dice.pick(&[
        ("takes_part(place int)", "place"),
        ("takes_part(conv int)", "conv"),
        ("takes_part(conv int)", "takes_part.conv"),
        ("takes_part(int)", "$1"),
    ]);
    function(
        dice,
        sql,
        signature,
        "bool",
        &format!("select exists (select 1 from people where conv = {argument} and who = auth.uid(){active})"),
    );
    function(
        dice,
        sql,
        "is_member_of(c int, u uuid)",
        "bool",
        "select exists (select 1 from people p where p.conv = c and p.who = u)",
    );
    function(
        dice,
        sql,
        "my_convs()",
        "setof int",
        &format!("select conv from people where who = auth.uid(){active}"),
    );
    function(dice, sql, "my_orgs()", "setof uuid", "select org from profiles where id = (select auth.uid())");
    function(
        dice,
        sql,
        "has_duty(who uuid, wanted duty)",
        "bool",
        "select exists (select from profiles where id = $1 and duty = $2)",
    );
    function(
        dice,
        sql,
        "is_staff()",
        "bool",
        "select duty in ('agent', 'admin') from profiles where id = auth.uid()",
    );
    function(dice, sql, "strictly(a int, b bigint)", "bool", "select a is null or a < b");
    function(dice, sql, "me()", "uuid", dice_me(&mut Dice::of(u64::try_from(sql.len()).unwrap_or(0))));
}

fn dice_me(dice: &mut Dice) -> &'static str {
    dice.pick(&[
        "select auth.uid()",
        "select nullif(current_setting('request.jwt.claims', true)::json ->> 'sub', '')::uuid",
        "select (auth.jwt() ->> 'sub')::uuid",
    ])
}

/// Owners, rights and row level security of what policies read.
fn guards(dice: &mut Dice, sql: &mut String) {
    let conditions: [(&str, &[&str]); 3] = [
        (
            "people",
            &[
                "who = auth.uid()",
                "who = (select auth.uid()) and left_at is null",
                "true",
                "conv in (select id from convs)",
                "role is distinct from 'banned'",
                "is_member_of(conv, auth.uid())",
                "exists (select from convs c where c.id = people.conv and not c.hidden)",
            ],
        ),
        (
            "convs",
            &[
                "u1 = auth.uid() or u2 = auth.uid()",
                "not hidden",
                "org = (auth.jwt() ->> 'org_id')::uuid",
                "exists (select from profiles p where p.org = convs.org)",
                "true",
            ],
        ),
        ("profiles", &["id = auth.uid()", "true", "org is not null", "auth.role() = 'authenticated'"]),
    ];
    for (table, conditions) in conditions {
        if dice.once_in(2) {
            let _ = writeln!(sql, "alter table {table} owner to gen_keeper;");
        }
        match dice.below(14) {
            0 => {
                let _ = writeln!(sql, "revoke all on {table} from anon, authenticated;");
            }
            1 => {
                let columns = dice.pick(&["conv, who", "who, left_at"]);
                let columns = if table == "people" { columns } else { "id, org" };
                let _ = writeln!(
                    sql,
                    "revoke all on {table} from authenticated; grant select ({columns}) on {table} to authenticated;"
                );
            }
            _ => {
                let _ = writeln!(sql, "grant select on {table} to public;");
            }
        }
        if dice.once_in(2) {
            let force = if dice.once_in(3) { ", force row level security" } else { "" };
            let _ = writeln!(sql, "alter table {table} enable row level security{force};");
            for number in 0..dice.pick(&[1, 1, 1, 2, 0]) {
                let kind = if number > 0 && dice.once_in(2) { "restrictive" } else { "permissive" };
                let to = dice.pick(&["public", "public", "authenticated", "gen_keeper, authenticated"]);
                let condition = dice.pick(conditions);
                let _ = writeln!(
                    sql,
                    "create policy g{number} on {table} as {kind} for select to {to} using ({condition});"
                );
            }
        }
    }
}

/// The table whose rows are judged.
fn judged(dice: &mut Dice, sql: &mut String) {
    let key = dice.pick(&[
        "id int primary key, part int default 7",
        "part int default 7, id int, primary key (id, part)",
    ]);
    let gone = if dice.once_in(2) { "gone text default 'x', " } else { "" };
    let _ = writeln!(
        sql,
        "create table doc ({gone}{key}, own uuid, peer uuid, conv int, org uuid, members uuid[], names text[], kind duty,
             level int2, amount int8, price numeric, status text, email varchar(40), fixed char(8), open bool, at timestamptz,
             meta jsonb);"
    );
    if !gone.is_empty() {
        sql.push_str("alter table doc drop column gone;\n");
    }
    for id in 1..=ROWS {
        // The last column comes when most rows are there.
        if id == ROWS - 5 {
            sql.push_str("alter table doc add column deleted_at timestamptz;\n");
        }
        let row = row(dice);
        let columns = "own, peer, conv, org, members, names, kind, level, amount, price, status, email, fixed, open, at, meta";
        let _ = writeln!(sql, "insert into doc (id, {columns}) values ({id}, {row});");
    }
    sql.push_str(
        "update doc set deleted_at = now() where id % 4 = 0;\nalter table doc enable row level security;\n",
    );
    if dice.once_in(5) {
        sql.push_str("alter table doc owner to gen_keeper;\n");
    }
    if dice.once_in(6) {
        sql.push_str("alter table doc force row level security;\n");
    }
    sql.push_str(
        "grant select on doc to gen_heir, gen_cold, gen_stranger, gen_keeper, gen_free, gen_declined;\n",
    );
    if dice.once_in(7) {
        sql.push_str("revoke select on doc from anon; grant select (id, part, own, conv) on doc to anon;\n");
    }
    sql.push_str(dice.pick(&["", "", "alter table doc replica identity full;\n"]));
}

/// The values of a row of the judged table, but for its key.
pub(crate) fn row(dice: &mut Dice) -> String {
    let values = [
        user(dice),
        user(dice),
        value(dice, &["1", "2", "3", "4"]),
        org(dice),
        users(dice, "uuid"),
        users(dice, "text"),
        value(dice, &["'customer'", "'agent'", "'admin'"]),
        value(dice, &["0", "1", "2", "3"]),
        value(dice, &["1", "2", "3"]),
        value(dice, &["1", "1.0", "2.50", "'NaN'", "0.1"]),
        value(dice, &["'ready'", "'processing'", "'sent'", "'a'", "''"]),
        value(dice, &["'ann@x.test'", "'Ann@x.test'", "'bob@x.test'"]),
        value(dice, &["'ready'", "'sent'", "'a'"]),
        value(dice, &["true", "false"]),
        value(dice, MOMENTS),
        value(
            dice,
            &[
                "'{}'",
                "'{\"a\": 1, \"open\": true}'",
                "'{\"a\": 1.0, \"open\": \"no\"}'",
                "'[\"a\"]'",
                "'\"a\"'",
                "'{\"org\": \"00000000-0000-0000-0000-000000000007\", \"open\": null}'",
            ],
        ),
    ];
    values.join(", ")
}

/// Those who ask: users with and without the usual claims, odd ones, and roles of every kind.
pub(crate) fn callers(dice: &mut Dice) -> Vec<Caller> {
    let mut callers = Vec::new();
    for number in 1..=4 {
        callers.push(signed("authenticated", json!({ "sub": uuid(number) })));
        callers.push(signed("authenticated", members(dice, number)));
        callers.push(signed("authenticated", members(dice, number)));
    }
    let odd = odd("authenticated", 1);
    for _ in 0..8 {
        callers.push(odd[dice.below(odd.len())].clone());
    }
    callers.push(signed("anon", json!({})));
    for role in [
        "anon",
        "gen_heir",
        "gen_heir",
        "gen_cold",
        "gen_stranger",
        "gen_keeper",
        "gen_free",
        "gen_declined",
        "service_role",
    ] {
        let number = 1 + dice.below(4);
        callers.push(signed(role, members(dice, number)));
    }
    callers.push(Caller::new("nobody_at_all", "{}"));
    callers
}

fn members(dice: &mut Dice, number: usize) -> Value {
    let mut body =
        json!({ "sub": uuid(number), "email": dice.pick(&["ann@x.test", "ANN@x.test", "bob@x.test"]) });
    let lists: [(&str, Vec<Value>); 4] = [
        (
            "org_id",
            vec![json!(uuid(7)), json!(uuid(8)), json!(null), json!("bad"), json!(uuid(7)), json!(uuid(8))],
        ),
        (
            "app_metadata",
            vec![
                json!({"role": "admin", "tenants": ["ready", "a"]}),
                json!({"tenants": {"sent": 1}}),
                json!(null),
                json!("admin"),
            ],
        ),
        ("staff", vec![json!(true), json!("false"), json!("no"), json!(1), json!("maybe")]),
        ("aal", vec![json!("aal1"), json!("aal2")]),
    ];
    for (name, values) in lists {
        if !dice.once_in(3) {
            body[name] = values[dice.below(values.len())].clone();
        }
    }
    body["duty"] = json!(dice.pick(&["agent", "customer"]));
    body
}
