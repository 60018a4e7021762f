//! Policies: how conditions are made of what applications really write.

use std::fmt::Write;

use super::dice::Dice;

/// What conditions are made of, most of it taken from the policies of messaging applications.
pub(crate) const ATOMS: &[&str] = &[
    // A join table.
    "exists (select 1 from people p where p.conv = doc.conv and p.who = auth.uid())",
    "exists (select 1 from people where people.conv = doc.conv and who = (select auth.uid()) and left_at is null)",
    "exists (select 1 from people p where p.conv = doc.conv and p.who = auth.uid() and (p.left_at is null or p.left_at > now()))",
    "conv in (select conv from people where who = auth.uid())",
    "conv in (select p.conv from people p where p.who = (select auth.uid()) and p.role in ('admin', 'owner'))",
    "conv = any (array(select conv from people where who = auth.uid()))",
    "not exists (select from people p where p.conv = doc.conv and p.role = 'banned')",
    "conv not in (select conv from people where role = 'banned')",
    "exists (select from people p, convs c where p.conv = c.id and c.id = doc.conv and p.who = auth.uid() and not c.hidden)",
    "exists (select from people p join convs c on c.id = p.conv where c.id = doc.conv and p.who = auth.uid() and c.org = doc.org)",
    "exists (select from people p left join profiles f on f.id = p.who where p.conv = doc.conv and f.id is null)",
    // Two parties.
    "auth.uid() = own or auth.uid() = peer",
    "own = (select auth.uid())",
    "auth.uid() in (own, peer)",
    "own <> auth.uid()",
    "own is not distinct from auth.uid()",
    "coalesce(own, peer) = auth.uid()",
    "nullif(own, peer) = auth.uid()",
    "own::text = auth.jwt() ->> 'sub'",
    "own = me()",
    "own = (select me())",
    // A parent row.
    "exists (select 1 from convs c where c.id = conv and (c.u1 = auth.uid() or c.u2 = auth.uid()))",
    "conv in (select id from convs)",
    "conv in (select id from convs where auth.uid() in (u1, u2))",
    "(select c.hidden from convs c where c.id = doc.conv)",
    "(select c.u1 from convs c where c.id = conv) = auth.uid()",
    "exists (select from convs c where c.id = doc.conv and exists (select from people p where p.conv = c.id and p.who = auth.uid()))",
    // Arrays.
    "auth.uid() = any (members)",
    "auth.uid() = any (coalesce(members, '{}'))",
    "auth.uid()::text = any (names)",
    "members @> array[auth.uid()]",
    "members && array[auth.uid(), own]",
    "not (auth.uid() = any (members))",
    "auth.uid() <> all (members)",
    "(auth.jwt() ->> 'email') = any (names)",
    "cardinality(members) > 1",
    // Helpers.
    "takes_part(conv)",
    "(select takes_part(conv))",
    "is_member_of(conv, auth.uid())",
    "conv in (select my_convs())",
    "org in (select my_orgs())",
    "org = any (array(select my_orgs()))",
    "has_duty(auth.uid(), 'agent'::duty)",
    "has_duty(own, 'admin')",
    "not takes_part(conv)",
    "strictly(level, amount)",
    "is_staff()",
    // Staff, by claim, by lookup and by label.
    "(auth.jwt() ->> 'role') in ('authenticated', 'service_role')",
    "auth.role() = 'authenticated'",
    "(auth.jwt() -> 'app_metadata' ->> 'role') = 'admin'",
    "(auth.jwt() -> 'app_metadata') @> '{\"role\": \"admin\"}'",
    "exists (select 1 from profiles where id = auth.uid() and duty in ('agent', 'admin'))",
    "(select duty from profiles where id = auth.uid()) >= 'agent'",
    "kind = 'agent'",
    "kind > 'customer'",
    "kind::text = (auth.jwt() ->> 'duty')",
    "email = (auth.jwt() ->> 'email')",
    "lower(email) = lower(auth.jwt() ->> 'email')",
    // Tenants.
    "org = (auth.jwt() ->> 'org_id')::uuid",
    "org::text = (auth.jwt() ->> 'org_id')",
    "(auth.jwt() -> 'app_metadata' -> 'tenants') ? status",
    "exists (select from profiles f where f.id = auth.uid() and f.org = doc.org)",
    "(meta ->> 'org') = (auth.jwt() ->> 'org_id')",
    // Rows by themselves.
    "open",
    "not open",
    "open is not true",
    "true",
    "null::bool",
    "deleted_at is null",
    "coalesce(status, 'ready') <> 'processing'",
    "status in ('ready', 'sent')",
    "status not in ('ready', null)",
    "status like 're%'",
    "status = fixed",
    "level > 1",
    "level = amount",
    "price = 1",
    "price < amount",
    "amount between 1 and 2",
    "(level, amount) in ((1, 1), (2, 2))",
    "conv::text = '1'",
    "at > now() - interval '1 day'",
    "at <= now()",
    "at is null",
    "meta ? 'a'",
    "meta -> 'a' = '1'",
    "(meta ->> 'open')::bool",
    "case when kind = 'admin' then open when level > 1 then not open else true end",
    // Callers by themselves.
    "auth.uid() is not null",
    "auth.uid() is null",
    "(auth.jwt() ->> 'aal') = 'aal2'",
    "(auth.jwt() ->> 'staff')::bool",
    "current_user = 'authenticated'",
    // What is asked of Postgres.
    "random() >= 0",
    "doc is not null",
    "10 / nullif(level, 0) > 1",
    "(select count(*) from people p where p.conv = doc.conv) > 1",
    "exists (select from people p where p.conv = doc.conv order by p.left_at limit 1)",
];

const COMMANDS: &[&str] = &["select", "select", "all", "all", "update", "insert", "delete"];
const TO: &[&str] = &[
    "public",
    "public",
    "authenticated",
    "authenticated",
    "anon, authenticated",
    "gen_heir",
    "anon",
    "gen_stranger, gen_declined",
];

/// One condition; `depth` is how often it may be joined with others. Says which atoms went into it.
fn condition(dice: &mut Dice, depth: usize, used: &mut Vec<usize>) -> String {
    if depth == 0 || dice.once_in(4) {
        let atom = dice.below(ATOMS.len());
        used.push(atom);
        return ATOMS[atom].to_owned();
    }
    let mut inner = || condition(dice, depth - 1, used);
    let (one, other, third) = (inner(), inner(), inner());
    match dice.below(16) {
        0..=4 => format!("({one}) and ({other})"),
        5..=9 => format!("({one}) or ({other})"),
        10 => format!("not ({one})"),
        11 => format!(
            "({one}) is {}",
            dice.pick(&["true", "not true", "false", "not false", "unknown", "not unknown"])
        ),
        12 => format!("case when ({one}) then ({other}) else ({third}) end"),
        13 => format!("coalesce(({one}), ({other}))"),
        14 => format!("({one}) is distinct from ({other})"),
        _ => format!("({one}) = ({other})"),
    }
}

/// A condition on a table `t` that is like `doc`.
pub(crate) fn condition_of(dice: &mut Dice) -> String {
    let depth = dice.below(3);
    condition(dice, depth, &mut Vec::new()).replace("doc.", "t.").replace("doc is", "t is")
}

/// A set of policies on `doc`, and which atoms are in them.
pub(crate) fn policies(dice: &mut Dice, number: usize) -> (String, Vec<usize>) {
    let mut used = Vec::new();
    let mut sql = String::from(
        "do $$ declare name text; begin
             for name in select polname from pg_policy where polrelid = 'public.doc'::regclass
             loop execute format('drop policy %I on public.doc', name); end loop;
         end $$;\n",
    );
    // Each atom comes first by itself, then anyhow.
    if let Some(atom) = ATOMS.get(number) {
        used.push(number);
        let _ = writeln!(sql, "create policy alone on doc for select using ({atom});");
        return (sql, used);
    }
    let count = dice.pick(&[0, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6]);
    for place in 0..count {
        let depth = dice.pick(&[0, 0, 1, 1, 2, 2, 3, 4]);
        let (command, to) = (dice.pick(COMMANDS), dice.pick(TO));
        let kind = if place > 0 && dice.once_in(5) { "restrictive" } else { "permissive" };
        let condition = condition(dice, depth, &mut used);
        let clause = match command {
            "insert" => format!("with check ({condition})"),
            "all" | "update" if dice.once_in(3) => format!("using ({condition}) with check (false)"),
            _ => format!("using ({condition})"),
        };
        let _ = writeln!(sql, "create policy p{place} on doc as {kind} for {command} to {to} {clause};");
    }
    (sql, used)
}
