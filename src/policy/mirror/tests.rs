//! The mirror against a model: a list of rows, changed as the log says.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::change::{Column, ReplicaIdentity, Table, TableColumn, Types};
use crate::wal::tuple::{Datum, Tuple as LogTuple};

const TABLE: RelationId = RelationId(7);

/// `a int, b uuid, c text, ignored text`
fn table() -> Arc<Table> {
    let column = |name: &str, number, type_id| TableColumn {
        name: name.into(),
        type_id,
        number,
        primary_key: false,
        generated: None,
        collation: 0,
        deterministic_collation: true,
        c_collation: true,
    };
    Arc::new(Table {
        id: TABLE,
        schema: "public".into(),
        name: "t".into(),
        columns: [column("a", 1, 23), column("b", 3, 2950), column("c", 4, 25), column("ignored", 5, 600)]
            .into(),
        replica_identity: ReplicaIdentity::Default,
        row_security: false,
        row_security_forced: false,
        owner: 10,
    })
}

fn needed() -> Needed {
    Needed { table: table(), columns: [1, 2].into(), keys: [1].into(), hindrance: None }
}

fn layout(identity: Identity) -> Arc<Layout> {
    Arc::new(Layout::new(&needed(), identity, &Types::default()).unwrap())
}

/// As the stream describes it: the columns in its own order, without a catalog's places.
fn relation(identity: &Identity) -> Arc<Relation> {
    let column = |name: &str, number, type_id| Column {
        name: name.into(),
        type_id,
        type_modifier: -1,
        identity: false,
        number,
    };
    Arc::new(Relation {
        id: TABLE,
        schema: "public".into(),
        name: "t".into(),
        replica_identity: match identity {
            Identity::Whole => ReplicaIdentity::Full,
            Identity::Columns(_) => ReplicaIdentity::Default,
        },
        columns: [column("a", 1, 23), column("b", 3, 2950), column("c", 4, 25), column("ignored", 5, 600)]
            .into(),
    })
}

/// One row: few values, so that rows collide.
type Model = (i64, Option<u8>, Option<String>);

fn uuid(value: u8) -> Uuid {
    Uuid::from_u128(u128::from(value))
}

fn text(value: impl ToString) -> Datum {
    Datum::Text(Bytes::from(value.to_string()))
}

fn tuple(row: &Model) -> LogTuple {
    let (a, b, c) = row;
    let or_null = |value: Option<Datum>| value.unwrap_or(Datum::Null);
    let b = or_null(b.map(|b| text(uuid(b))));
    LogTuple { values: [text(a), b, or_null(c.as_ref().map(text)), text("(1,2)")].into() }
}

/// What the log has of an old row.
fn old(row: &Model, identity: &Identity) -> Old {
    match identity {
        Identity::Whole => Old::Full(tuple(row)),
        Identity::Columns(places) => {
            let mut tuple = tuple(row);
            for (place, value) in tuple.values.iter_mut().enumerate() {
                if !places.contains(&place) {
                    *value = Datum::Absent;
                }
            }
            Old::Key(tuple)
        }
    }
}

/// The kept columns of a row, as values.
fn values(row: &Model, places: &[usize]) -> Vec<Value> {
    let (a, b, c) = row;
    let all = [
        Value::Int(*a),
        b.map_or(Value::Null, |b| Value::Uuid(uuid(b))),
        c.as_ref().map_or(Value::Null, |c| Value::Text(c.as_str().into())),
    ];
    places.iter().map(|place| all[*place].clone()).collect()
}

/// Values as something that sorts and prints, for comparisons.
fn printed(values: &[Value]) -> Vec<String> {
    let print = |value: &Value| match value {
        Value::Null => "null".to_owned(),
        Value::Int(value) => value.to_string(),
        Value::Text(text) => format!("{text:?}"),
        Value::Uuid(uuid) => uuid.to_string(),
        other => format!("{other:?}"),
    };
    values.iter().map(print).collect()
}

fn bag(rows: impl IntoIterator<Item = Vec<Value>>) -> BTreeMap<Vec<String>, usize> {
    let mut bag = BTreeMap::new();
    for row in rows {
        *bag.entry(printed(&row)).or_default() += 1;
    }
    bag
}

fn scanned(view: View<'_>, places: &[usize], key: Option<(usize, &Value)>) -> BTreeMap<Vec<String>, usize> {
    let mut rows = Vec::new();
    view.scan(TABLE, key, &mut |row| {
        rows.push(places.iter().map(|place| row.value(*place).unwrap()).collect());
        ControlFlow::Continue(())
    })
    .unwrap();
    bag(rows)
}

#[derive(Clone, Debug)]
enum Step {
    Insert(Model),
    /// The row in this place, and what becomes of it; whether unchanged texts are left out of the log.
    Update(prop::sample::Index, Model, bool),
    Delete(prop::sample::Index),
    Truncate,
}

fn row() -> impl Strategy<Value = Model> {
    (0_i64..6, prop::option::of(0_u8..4), prop::option::of("[xy]{0,2}"))
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => row().prop_map(Step::Insert),
        4 => (any::<prop::sample::Index>(), row(), any::<bool>()).prop_map(|(at, row, toast)| Step::Update(at, row, toast)),
        3 => any::<prop::sample::Index>().prop_map(Step::Delete),
        1 => Just(Step::Truncate),
    ]
}

fn identity() -> impl Strategy<Value = Identity> {
    prop_oneof![
        Just(Identity::Whole),
        Just(Identity::Columns([0].into())),
        Just(Identity::Columns([0, 1].into())),
    ]
}

/// Whether the table's own unique index, if any, lets the row in.
fn fits(rows: &[Model], row: &Model, identity: &Identity) -> bool {
    let Identity::Columns(places) = identity else { return true };
    let key = values(row, places);
    !key.iter().any(Value::is_null) && rows.iter().all(|other| values(other, places) != key)
}

/// Does a step to the model, and says what the log has of it.
fn log(step: Step, rows: &mut Vec<Model>, identity: &Identity) -> Option<Row> {
    Some(match step {
        Step::Insert(new) => {
            fits(rows, &new, identity).then_some(())?;
            rows.push(new.clone());
            Row::Insert { new: tuple(&new) }
        }
        Step::Update(at, new, toast) => {
            (!rows.is_empty()).then_some(())?;
            let place = at.index(rows.len());
            let before = rows.remove(place);
            if !fits(rows, &new, identity) {
                rows.push(before);
                return None;
            }
            rows.push(new.clone());
            let same_key = match identity {
                Identity::Columns(places) => values(&before, places) == values(&new, places),
                Identity::Whole => false,
            };
            let mut image = tuple(&new);
            // With a full old row the assembler has filled it in.
            if toast && before.2 == new.2 && *identity != Identity::Whole {
                image.values[2] = Datum::Absent;
            }
            Row::Update { old: (!same_key).then(|| old(&before, identity)), new: image }
        }
        Step::Delete(at) => {
            (!rows.is_empty()).then_some(())?;
            let place = at.index(rows.len());
            Row::Delete { old: old(&rows.remove(place), identity) }
        }
        Step::Truncate => {
            rows.clear();
            Row::Truncate
        }
    })
}

fn load(layout: &Arc<Layout>, rows: &[Model]) -> Rows {
    let places: Vec<usize> = layout.places().collect();
    let mut loaded = Rows::new(Arc::clone(layout));
    for row in rows {
        let tuple = tuple(row);
        loaded.load(places.iter().map(|place| tuple.values[*place].text())).unwrap();
    }
    loaded
}

fn check(mirror: &Mirror, state: State, layout: &Layout, rows: &[Model]) {
    let places: Vec<usize> = layout.places().collect();
    let expected = |rows: &[&Model]| bag(rows.iter().map(|row| values(row, &places)));
    let all: Vec<&Model> = rows.iter().collect();
    assert_eq!(scanned(mirror.view(state), &places, None), expected(&all), "{state:?}");
    for place in [1, 2] {
        let keys = rows.iter().map(|row| values(row, &[place]).remove(0)).filter(|key| !key.is_null());
        for key in keys.chain([Value::Uuid(uuid(200))]) {
            let equal: Vec<&Model> = rows.iter().filter(|row| values(row, &[place])[0] == key).collect();
            let found = scanned(mirror.view(state), &places, Some((place, &key)));
            assert_eq!(found, expected(&equal), "{state:?} by column {place}");
        }
    }
}

proptest! {
    /// After each transaction of any history the mirror equals a fresh load, before it the mirror of the one before.
    #[test]
    fn any_history_leads_to_what_is_there(
        identity in identity(),
        transactions in prop::collection::vec(prop::collection::vec(step(), 0..12), 1..12),
        loaded_at in 0_usize..12,
        seen_ahead in 0_usize..4,
    ) {
        let (layout, relation) = (layout(identity.clone()), relation(&identity));
        let mut mirror = Mirror::default();
        let mut rows: Vec<Model> = Vec::new();
        let mut history: Vec<(Vec<Change>, Vec<Model>)> = Vec::new();
        for steps in transactions {
            let changes = steps.into_iter().filter_map(|step| log(step, &mut rows, &identity));
            let change = |row| Change { relation: Arc::clone(&relation), row };
            let changes = changes.map(change).collect();
            history.push((changes, rows.clone()));
        }
        // The load begins before one transaction and sees some of those that the stream sends after it.
        let loaded_at = loaded_at.min(history.len());
        let seen = (loaded_at + seen_ahead).min(history.len());
        let installed_at = (loaded_at + 2).min(history.len());
        let from = Lsn::new(100 * (seen as u64) + 50);
        let before = |number: usize| number.checked_sub(1).map_or(&[][..], |last| &history[last].1);
        for number in 0..=history.len() {
            if number == loaded_at {
                mirror.expect(Arc::clone(&layout));
            }
            if number == installed_at {
                let loaded = load(&layout, before(seen));
                mirror.install(loaded, move |xid| (xid as usize) < seen, from).unwrap();
            }
            let Some((changes, after)) = history.get(number) else { break };
            // Transaction `number` commits at this position; what the load sees is before `from`.
            mirror.take(u32::try_from(number).unwrap(), Lsn::new(100 * (number as u64 + 1)), true, changes);
            if number < installed_at || number < seen {
                prop_assert!(!mirror.is_readable(TABLE));
                continue;
            }
            prop_assert_eq!(mirror.status(TABLE), Status::Ready { from });
            check(&mirror, State::After, &layout, after);
            check(&mirror, State::Before, &layout, before(number));
            prop_assert_eq!(mirror.census().rows, after.len() as u64);
        }
    }
}

fn change(row: Row, identity: &Identity) -> Change {
    Change { relation: relation(identity), row }
}

/// A mirror with these rows, by their first column.
fn mirror_of(rows: &[Model]) -> (Mirror, Identity) {
    let identity = Identity::Columns([0].into());
    let mut mirror = Mirror::default();
    mirror.insert(load(&layout(identity.clone()), rows));
    (mirror, identity)
}

#[test]
fn what_the_log_lacks_makes_a_relation_unusable() {
    let row: Model = (1, Some(1), Some("x".to_owned()));
    let mut absent = tuple(&row);
    absent.values[2] = Datum::Absent;
    let mut garbled = tuple(&row);
    garbled.values[1] = text("no uuid");
    let unknown = Row::Delete { old: Old::Key(tuple(&(2, None, None))) };
    let no_identity = |mut tuple: LogTuple| {
        tuple.values[0] = Datum::Absent;
        Row::Delete { old: Old::Key(tuple) }
    };
    for (change_of, expected) in [
        (Row::Insert { new: absent }, Unusable::Absent),
        (Row::Insert { new: tuple(&row) }, Unusable::Inconsistent),
        (Row::Update { old: None, new: garbled }, Unusable::Undecodable { column: "b".into() }),
        (unknown, Unusable::Inconsistent),
        (no_identity(tuple(&row)), Unusable::Absent),
    ] {
        let (mut mirror, identity) = mirror_of(std::slice::from_ref(&row));
        assert!(mirror.is_readable(TABLE));
        mirror.take(1, Lsn::new(1), true, &[change(change_of, &identity)]);
        assert_eq!(mirror.status(TABLE), Status::Unusable(expected));
        let scan = mirror.view(State::After).scan(TABLE, None, &mut |_| ControlFlow::Continue(()));
        assert_eq!(scan, Err(Doubt::NotMirrored));
    }
}

#[test]
fn a_column_that_became_another_makes_it_unusable() {
    let (mut mirror, identity) = mirror_of(&[(1, Some(1), None)]);
    let mut changed = Relation::clone(&relation(&identity));
    changed.columns[1].type_id = 25;
    let changed =
        Change { relation: Arc::new(changed), row: Row::Insert { new: tuple(&(2, Some(1), None)) } };
    mirror.take(1, Lsn::new(1), true, &[changed]);
    assert_eq!(mirror.status(TABLE), Status::Unusable(Unusable::Redescribed));
}

#[test]
fn nothing_is_shown_in_the_middle_of_a_transaction_in_parts() {
    let (mut mirror, identity) = mirror_of(&[(1, Some(1), None)]);
    mirror.take(1, Lsn::new(1), false, []);
    assert!(!mirror.is_readable(TABLE));
    mirror.take(2, Lsn::new(2), true, []);
    assert!(mirror.is_readable(TABLE), "it was not touched");
    let insert = change(Row::Insert { new: tuple(&(2, None, None)) }, &identity);
    mirror.take(3, Lsn::new(3), false, &[insert]);
    mirror.take(4, Lsn::new(4), true, []);
    assert_eq!(mirror.status(TABLE), Status::Unusable(Unusable::InParts));
}

#[test]
fn the_largest_relation_makes_room() {
    let identity = Identity::Columns([0].into());
    let rows: Vec<Model> = (0..1000).map(|a| (a, Some(1), None)).collect();
    let loaded = load(&layout(identity.clone()), &rows);
    let mut mirror = Mirror::new(loaded.bytes() - 1);
    mirror.insert(loaded);
    assert_eq!(mirror.status(TABLE), Status::Unusable(Unusable::TooLarge));
    assert_eq!(mirror.census(), Census { unusable: 1, ..Census::default() });
    let loaded = load(&layout(identity.clone()), &rows[..10]);
    let mut mirror = Mirror::new(loaded.bytes() * 2);
    mirror.insert(loaded);
    assert!(mirror.is_readable(TABLE));
    let inserts: Vec<Change> =
        rows[10..].iter().map(|row| change(Row::Insert { new: tuple(row) }, &identity)).collect();
    mirror.take(1, Lsn::new(1), true, &inserts);
    assert_eq!(mirror.status(TABLE), Status::Unusable(Unusable::TooLarge));
}

#[test]
fn changes_that_are_kept_for_a_load_have_a_bound() {
    let identity = Identity::Columns([0].into());
    let mut mirror = Mirror::new(10_000);
    mirror.expect(layout(identity.clone()));
    let inserts: Vec<Change> =
        (0..1000).map(|a| change(Row::Insert { new: tuple(&(a, None, None)) }, &identity)).collect();
    mirror.take(1, Lsn::new(1), true, &inserts);
    let rows = Rows::new(layout(identity));
    assert_eq!(mirror.install(rows, |_| false, Lsn::ZERO), Err(Unusable::TooLarge));
}

#[test]
fn rows_that_come_and_go_leave_nothing_behind() {
    let (mut mirror, identity) = mirror_of(&[]);
    let mut sizes = HashMap::new();
    for round in 0..20_u32 {
        let rows: Vec<Model> =
            (0..500).map(|a| (i64::from(round) * 1000 + a, None, Some(a.to_string()))).collect();
        let insert = |row: &Model| change(Row::Insert { new: tuple(row) }, &identity);
        let delete = |row: &Model| change(Row::Delete { old: old(row, &identity) }, &identity);
        mirror.take(1, Lsn::new(1), true, &rows.iter().map(insert).collect::<Vec<_>>());
        mirror.take(2, Lsn::new(2), true, &rows.iter().map(delete).collect::<Vec<_>>());
        mirror.take(3, Lsn::new(3), true, []);
        sizes.insert(round, mirror.bytes());
    }
    assert_eq!(mirror.census().rows, 0);
    assert_eq!(sizes[&3], sizes[&19], "memory is used again");
}

/// What `docs` promise of the memory of a table of participants: two columns of uuids, both looked up by.
#[test]
fn a_participant_takes_few_bytes() {
    let uuid_column = |name: &str, number| TableColumn {
        name: name.into(),
        type_id: 2950,
        number,
        primary_key: true,
        generated: None,
        collation: 0,
        deterministic_collation: true,
        c_collation: true,
    };
    let table = Table {
        columns: [uuid_column("conversation_id", 1), uuid_column("user_id", 2)].into(),
        ..Table::clone(&table())
    };
    let needed =
        Needed { table: Arc::new(table), columns: [0, 1].into(), keys: [0, 1].into(), hindrance: None };
    let layout = Layout::new(&needed, Identity::Columns([0, 1].into()), &Types::default()).unwrap();
    let mut rows = Rows::new(Arc::new(layout));
    let count = 100_000_u128;
    for number in 0..count {
        let (conversation, user) = (number / 5, number * 7919 % 20_000);
        let texts =
            [Uuid::from_u128(conversation).to_string(), Uuid::from_u128(user + (1 << 100)).to_string()];
        rows.load(texts.iter().map(|text| Some(text.as_str()))).unwrap();
    }
    rows.shrink();
    let each = rows.bytes() / 100_000;
    assert!(each <= 64, "{each} bytes a row");
}
