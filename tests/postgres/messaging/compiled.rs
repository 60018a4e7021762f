//! Every policy of the set that decides what is seen is decided in memory, and so are those on what is written.

use rowcast::policy::compile::{Command, compile};

use super::Stage;
use crate::policy::reading;
use crate::support::majors;

const TABLES: [&str; 11] = [
    "users",
    "customers",
    "conversations",
    "conversation_participants",
    "messages",
    "message_reactions",
    "message_read_receipts",
    "message_delivery_status",
    "message_typing_indicators",
    "user_presence",
    "notification_preferences",
];

#[tokio::test]
async fn every_policy_compiles() {
    for major in majors() {
        let stage = Stage::create(major).await;
        stage.execute("begin").await;
        let source = reading::read(&stage.database.client, major).await;
        stage.execute("rollback").await;
        let (role, _) = source.roles.iter().find(|(_, role)| &*role.name == "authenticated").unwrap();
        let mut count = 0;
        for name in TABLES {
            let is_it = |schema: &str, table: &str| schema == "public" && table == name;
            let (id, _) =
                source.relations.iter().find(|(_, found)| is_it(&found.schema, &found.name)).unwrap();
            for command in [Command::Select, Command::Insert] {
                let program = compile(&source, *id, *role, command);
                for rule in program.permissive.iter().chain(&program.restrictive) {
                    assert!(
                        rule.condition.is_ok(),
                        "{name}, {:?} on {major}: {:?}",
                        rule.policy,
                        rule.condition
                    );
                    count += 1;
                }
                if command == Command::Select {
                    assert_eq!(program.permissive.len(), 1, "{name} on {major}");
                    // Callers are found by the row, and not each of them judged; and what is looked up on the way is looked
                    // up by a key.
                    let plan = format!("{program:?}");
                    let (_, reach) = plan.split_once("reach: ").unwrap_or_else(|| panic!("{plan}"));
                    for slow in ["Everybody", "When(", "key: None"] {
                        assert!(!reach.contains(slow), "{name} on {major}: {slow} in {reach}");
                    }
                }
            }
        }
        assert_eq!(count, TABLES.len() + 4, "on {major}");
    }
}

#[tokio::test]
async fn all_tables_but_profiles_and_preferences_are_published() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let published = stage
            .value(
                "select tablename || ' ' || relreplident::text from pg_publication_tables
                 join pg_class c on c.oid = format('%I.%I', schemaname, tablename)::regclass
                 where pubname = 'supabase_realtime' order by tablename",
            )
            .await;
        assert_eq!(
            published,
            "conversation_participants f,conversations f,message_delivery_status d,message_reactions f,\
             message_read_receipts f,message_typing_indicators f,messages f,user_presence d",
            "on {major}"
        );
    }
}

/// Every table has row level security and says that it is ours, and so does every function.
#[tokio::test]
async fn nothing_is_open_or_unnamed() {
    for major in majors() {
        let stage = Stage::create(major).await;
        let open = stage
            .value(
                "select relname from pg_class where relkind = 'r'
                     and (relnamespace = 'public'::regnamespace or relname like 'messaging%')
                     and (not relrowsecurity
                         or coalesce(obj_description(oid, 'pg_class') not like '%Made by Rowcast.', true))",
            )
            .await;
        assert_eq!(open, "", "on {major}");
        let functions = stage
            .value(
                "select p.oid::regprocedure from pg_proc p join pg_language l on l.oid = p.prolang
                 where (pronamespace = 'public'::regnamespace
                         -- The upkeep of realtime.messages is the core's, and so is announce_ddl().
                         or pronamespace = 'rowcast'::regnamespace and p.proname !~ '_messages(_partitions?)?$')
                     and (coalesce(obj_description(p.oid, 'pg_proc') not like '%Made by Rowcast.', true)
                         or p.proacl is null or p.proacl::text ~ '[{,]=X/'
                         or l.lanname = 'plpgsql' and p.proname <> 'announce_ddl'
                             and p.proconfig is distinct from array['search_path=pg_catalog, pg_temp'])",
            )
            .await;
        assert_eq!(functions, "", "on {major}");
    }
}
