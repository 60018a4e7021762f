//! Every metric there is: its name, what it means, and its one label where it has one.
//!
//! `docs/metrics.md` lists the same; a test compares them. A label's values are a closed list: never a topic,
//! a subject or anything else that a client or a row chose.

/// How a value moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// It only rises, from 0 at the start of the process.
    Counter,
    /// It rises and falls.
    Gauge,
    /// How often values were how large.
    Histogram {
        /// How many of what was recorded are one of the metric's own unit.
        per_unit: f64,
    },
}

impl Kind {
    /// The word for it on the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram { .. } => "histogram",
        }
    }
}

/// Whose metric it is, which decides on the labels that say where it comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Ours: none.
    Own,
    /// The stock server's, of a whole server: `region`, `host` and `id`.
    Global,
    /// The stock server's, of one tenant: `tenant` as well.
    Tenant,
}

/// One metric.
#[derive(Debug, PartialEq)]
pub struct Metric {
    /// Its name on the page.
    pub name: &'static str,
    /// How it moves.
    pub kind: Kind,
    /// Whose it is.
    pub scope: Scope,
    /// Its own label.
    pub label: Option<&'static str>,
    /// What it means.
    pub help: &'static str,
}

const COUNTER: Kind = Kind::Counter;
const GAUGE: Kind = Kind::Gauge;
/// Bytes, recorded as such.
const BYTES: Kind = Kind::Histogram { per_unit: 1.0 };
/// Durations, recorded in microseconds.
const SECONDS: Kind = Kind::Histogram { per_unit: 1e6 };
/// The same on a page that has milliseconds.
const MILLISECONDS: Kind = Kind::Histogram { per_unit: 1e3 };

macro_rules! metrics {
    ($($constant:ident = $scope:ident $kind:ident $name:literal $([$label:literal])? $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $constant: Metric = Metric {
                name: $name,
                kind: $kind,
                scope: Scope::$scope,
                label: metrics!(@label $($label)?),
                help: $help,
            };
        )*

        /// All of them, in the order of the page.
        pub static METRICS: &[&Metric] = &[$(&$constant),*];
    };
    (@label) => { None };
    (@label $label:literal) => { Some($label) };
}

metrics! {
    BUILD_INFO = Own GAUGE "rowcast_build_info" ["version"] "1; the label says which program this is.";
    FEED_LIVE = Own GAUGE "rowcast_feed_live" "1 while database changes flow, else 0.";

    SOCKETS_OPEN = Own GAUGE "rowcast_sockets_open" ["dialect"] "Sockets open now, by the version of the protocol they speak.";
    SOCKETS_OPENED = Own COUNTER "rowcast_sockets_opened_total" "Sockets opened.";
    SOCKETS_CLOSED = Own COUNTER "rowcast_sockets_closed_total" ["reason"] "Sockets that have ended, by what ended them.";
    MESSAGES_RECEIVED = Own COUNTER "rowcast_messages_received_total" "Messages from clients.";
    MESSAGES_MALFORMED = Own COUNTER "rowcast_messages_malformed_total" "Messages from clients that could not be decoded and were dropped.";
    MESSAGES_DENIED = Own COUNTER "rowcast_messages_denied_total" "Messages on private channels that policies did not allow, or that they were not asked about in time.";
    RECEIVED_BYTES = Own COUNTER "rowcast_received_bytes_total" "Bytes from clients on sockets, headers of frames included.";
    FRAMES_SENT = Own COUNTER "rowcast_frames_sent_total" "Frames written to sockets whole.";
    SENT_BYTES = Own COUNTER "rowcast_sent_bytes_total" "Bytes written to sockets, headers of frames included.";
    WRITES = Own COUNTER "rowcast_writes_total" "Calls to the kernel that wrote them.";
    BACKLOG_BYTES = Own GAUGE "rowcast_backlog_bytes" "Bytes that wait for clients that do not read.";
    COMMANDS_REFUSED = Own COUNTER "rowcast_commands_refused_total" "Commands between threads that found a full inbox; what must not be lost is sent again.";
    PANICS = Own COUNTER "rowcast_panics_total" "Faults of the program that ended the sockets they concerned.";

    USERS = Own GAUGE "rowcast_users_joined" "Sockets that have joined a channel, as concurrent_users_max counts them.";
    CHANNELS_OPEN = Own GAUGE "rowcast_channels_open" "Channels joined now.";
    JOINS_GRANTED = Own COUNTER "rowcast_joins_granted_total" "Joins granted.";
    JOINS_REFUSED = Own COUNTER "rowcast_joins_refused_total" "Joins refused; rowcast_errors_total says why.";
    CHANNELS_REVOKED = Own COUNTER "rowcast_channels_revoked_total" "Private channels that were ended because they may read less than before.";
    CHANNELS_REVOKED_IN_ORDER = Own COUNTER "rowcast_channels_revoked_in_order_total" "Of those, the ones that a commit has ended by what it changed for compiled policies, before anything that was committed later.";
    CHANNEL_READS = Own COUNTER "rowcast_channel_reads_total" ["by"] "Joins and new tokens of private channels, by who said what they may read: compiled policies (memory) or Postgres.";
    CHANNEL_WRITES = Own COUNTER "rowcast_channel_writes_total" ["by"] "The same for what they may send.";
    BROADCASTS_ACCEPTED = Own COUNTER "rowcast_broadcasts_accepted_total" "Broadcasts accepted from clients.";
    BROADCASTS_DROPPED = Own COUNTER "rowcast_broadcasts_dropped_total" "Broadcasts that a thread of this server missed because its inbox was full.";
    HTTP_BROADCASTS = Own COUNTER "rowcast_http_broadcasts_total" "Broadcasts accepted over HTTP.";
    HTTP_BROADCASTS_DROPPED = Own COUNTER "rowcast_http_broadcasts_dropped_total" "Private broadcasts of batches over HTTP that policies did not let through.";
    PRESENCE_DELAYED = Own COUNTER "rowcast_presence_delayed_total" "Presence messages between threads that had to wait for a full inbox.";
    INQUIRIES = Own COUNTER "rowcast_inquiries_total" "Questions about what policies let callers do on private channels.";
    INQUIRIES_REMEMBERED = Own COUNTER "rowcast_inquiries_remembered_total" "Those that were answered from memory.";
    INQUIRIES_FAILED = Own COUNTER "rowcast_inquiries_failed_total" "Those that ended with an error, and so with a denial.";
    INQUIRIES_DROPPED = Own COUNTER "rowcast_inquiries_dropped_total" "Answers that a thread of this server did not take in time.";
    AUTHORIZATION_BATCHES = Own COUNTER "rowcast_authorization_batches_total" "Batches of such questions that were put to Postgres.";
    AUTHORIZATION_QUESTIONS = Own COUNTER "rowcast_authorization_questions_total" "Distinct questions in them.";
    AUTHORIZATION_STATEMENTS = Own COUNTER "rowcast_authorization_statements_total" "Statements sent to Postgres for them.";
    AUTHORIZATION_ROUND_TRIPS = Own COUNTER "rowcast_authorization_round_trips_total" "Flights of such statements that were waited for.";
    AUTHORIZATION_PROBES = Own COUNTER "rowcast_authorization_probes_total" "Questions that took a row which was inserted and rolled back.";
    POLICY_CHANGES = Own COUNTER "rowcast_policy_changes_total" "Changes of policies, roles or rights after which private channels were asked about again.";
    AUTHORIZATION_TIME = Own SECONDS "rowcast_authorization_seconds" ["question"] "How long such questions waited for their answers.";
    TRANSACTIONS = Own COUNTER "rowcast_transactions_total" "Transactions fanned out whole.";
    CHANGES = Own COUNTER "rowcast_changes_total" "Changes in them, of tables with and without subscribers.";
    CHANGES_DELIVERED = Own COUNTER "rowcast_changes_delivered_total" "Changes put into the queue of a channel, each once for each frame.";
    DECISIONS = Own COUNTER "rowcast_decisions_total" ["decision"] "What was decided of a change for a role: permit, deny, refuse with a reason, or leave it to the policies of its rows (ask).";
    MOVED_OUT = Own COUNTER "rowcast_moved_out_total" "Deliveries that tell of an update as a delete, because it took the row out of the subscriber's sight.";
    POLICY_DECISIONS = Own COUNTER "rowcast_policy_decisions_total" ["decision"] "What compiled policies decided of a change for callers whom they cannot tell apart: permit or deny. Callers whom an index ruled out are not among them.";
    POLICY_QUESTIONS = Own COUNTER "rowcast_policy_questions_total" ["reason"] "Questions about row level security that went to Postgres, by why they were not decided in memory.";
    POLICY_CHECKS = Own COUNTER "rowcast_policy_checks_total" ["result"] "Decisions of compiled policies that were put to Postgres too: it agreed, what was judged changed meanwhile (moot), it could not be asked (failed), or there were too many (dropped).";
    POLICY_DISAGREEMENTS = Own COUNTER "rowcast_policy_disagreements_total" "Decisions of compiled policies that Postgres contradicted; must stay 0.";
    POLICY_TABLES_DISTRUSTED = Own GAUGE "rowcast_policy_tables_distrusted" "Tables about which Postgres is asked because it contradicted a compiled policy.";
    QUESTIONS = Own COUNTER "rowcast_questions_total" "Questions about row level security and filters put to Postgres.";
    QUESTION_TIME = Own SECONDS "rowcast_question_batch_seconds" "How long Postgres took over a batch of questions.";
    DELIVERIES_WAITING = Own GAUGE "rowcast_deliveries_waiting" "Deliveries that wait for Postgres's answers, or behind one that does.";
    SUBSCRIBERS = Own GAUGE "rowcast_subscribers_joined" "Channels with postgres_changes.";
    DATABASE_BROADCASTS = Own COUNTER "rowcast_database_broadcasts_total" "Rows of realtime.messages that are broadcasts.";
    DATABASE_BROADCASTS_PUBLISHED = Own COUNTER "rowcast_database_broadcasts_published_total" "Of those, how many had somebody in their room.";
    DATABASE_BROADCASTS_SKIPPED = Own COUNTER "rowcast_database_broadcasts_skipped_total" ["reason"] "Rows of realtime.messages that were not sent: incomplete or too_large.";
    RECHECKS = Own COUNTER "rowcast_channel_rechecks_total" "Commits after which private channels were judged again in memory.";
    INTERRUPTIONS = Own COUNTER "rowcast_feed_interruptions_total" "How often the replication stream was interrupted.";
    THROTTLED = Own COUNTER "rowcast_feed_throttled_total" "How often the stream was not read on for a while because of db_events_per_second_max.";
    LAG_BYTES = Own GAUGE "rowcast_feed_lag_bytes" ["stage"] "How much of Postgres's log has not been received, fanned out or acknowledged.";
    LAG_TIME = Own GAUGE "rowcast_feed_lag_seconds" ["stage"] "How long ago that log was written, looked at every 5 seconds.";
    SLOT_STATE = Own GAUGE "rowcast_slot_state" ["state"] "1 for the wal_status that the replication slot has.";
    SLOT_RETAINED = Own GAUGE "rowcast_slot_retained_bytes" "How much log the slot keeps on the database's disk.";
    SLOT_SAFE = Own GAUGE "rowcast_slot_safe_bytes" "How much more log may be written before the slot is invalidated; missing where there is no bound.";
    MIRRORED = Own GAUGE "rowcast_mirror_tables" ["state"] "Tables that policies read and memory is to hold: ready, loading or unusable.";
    MIRROR_ROWS = Own GAUGE "rowcast_mirror_rows" "Their rows in memory.";
    MIRROR_BYTES = Own GAUGE "rowcast_mirror_bytes" "About how many bytes they have there.";
    MIRROR_LOADS = Own COUNTER "rowcast_mirror_loads_total" "How often such a table was loaded.";
    MIRROR_LOSSES = Own COUNTER "rowcast_mirror_losses_total" "How often one was given up until it is loaded again; the log says why.";
    MESSAGING_LEADS = Own GAUGE "rowcast_messaging_leads" "1 while this server ends typing and presence that have expired, for all servers of the database.";
    MESSAGING_PEOPLE = Own GAUGE "rowcast_messaging_people" "People who are connected to this server, each once whatever their devices.";
    MESSAGING_PEOPLE_REFUSED = Own COUNTER "rowcast_messaging_people_refused_total" "Devices of people who have no presence because there were too many.";
    MESSAGING_TYPING_EXPIRED = Own COUNTER "rowcast_messaging_typing_expired_total" "Typing indicators that this server has removed because they had expired.";
    MESSAGING_PRESENCE_EXPIRED = Own COUNTER "rowcast_messaging_presence_expired_total" "People whom this server has made away or offline because they did nothing or were gone.";
    MESSAGING_DELIVERIES = Own COUNTER "rowcast_messaging_deliveries_total" "Messages that became delivered because this server sent them to a socket of their recipient, each once for each recipient.";
    MESSAGING_DELIVERIES_WAITING = Own GAUGE "rowcast_messaging_deliveries_waiting" "Such deliveries that wait to be written.";
    MESSAGING_DELIVERIES_DROPPED = Own COUNTER "rowcast_messaging_deliveries_dropped_total" "Those that were not written, because too many waited or the database did not take them.";
    MESSAGING_FAILURES = Own COUNTER "rowcast_messaging_failures_total" "Statements of this upkeep that failed, and sessions that could not be had.";
    ADAPTER_SOCKETS = Own GAUGE "rowcast_adapter_sockets_open" "Sockets of apps open now.";
    ADAPTER_EVENTS = Own COUNTER "rowcast_adapter_events_total" "Live events handed to sockets of apps, each once for each socket.";
    ADAPTER_UNREADABLE = Own COUNTER "rowcast_adapter_events_unreadable_total" "Changes of the messaging schema's tables that could not be read, and were handed to no app.";
    ADAPTER_BEHIND = Own COUNTER "rowcast_adapter_sockets_behind_total" "Sockets of apps that were closed because changes came faster than they were read.";
    RPC_CALLS = Own COUNTER "rowcast_rpc_calls_total" ["result"] "Calls of functions, by how they ended: success, refused by Postgres, not_found (none fits, or several do), busy, or failed.";
    RPC_TIME = Own SECONDS "rowcast_rpc_seconds" "How long calls took, the wait for a session included.";
    RPC_WAITING = Own GAUGE "rowcast_rpc_waiting" "Calls that wait for a session.";
    RPC_SESSIONS_BUSY = Own GAUGE "rowcast_rpc_sessions_busy" "Sessions that make a call.";
    RPC_SESSIONS_OPENED = Own COUNTER "rowcast_rpc_sessions_opened_total" "Sessions opened for calls.";
    RPC_SESSIONS_LOST = Own COUNTER "rowcast_rpc_sessions_lost_total" "Those that were given up in the midst of a call.";
    RPC_CATALOG_READINGS = Own COUNTER "rowcast_rpc_catalog_readings_total" "How often the functions of a schema were listed.";
    RATE = Own GAUGE "rowcast_rate_per_second" ["of"] "The average rate that a limit of the whole server is held against.";
    RATE_LIMIT = Own GAUGE "rowcast_rate_limit_per_second" ["of"] "That limit; 0 is none.";
    ERRORS = Own COUNTER "rowcast_errors_total" ["code"] "Refusals, ended channels and failures, by their code.";

    PROCESS_CPU = Own COUNTER "process_cpu_seconds_total" "Processor time used, in and for this process.";
    PROCESS_MEMORY = Own GAUGE "process_resident_memory_bytes" "Memory in use.";
    PROCESS_FDS = Own GAUGE "process_open_fds" "File descriptors open; each socket is one.";
    PROCESS_FDS_MAX = Own GAUGE "process_max_fds" "File descriptors that may be open.";
    PROCESS_START = Own GAUGE "process_start_time_seconds" "When the process began, since 1970.";

    STOCK_CONNECTED = Tenant GAUGE "realtime_connections_connected" "As rowcast_users_joined.";
    STOCK_CONNECTED_CLUSTER = Tenant GAUGE "realtime_connections_connected_cluster" "As rowcast_users_joined.";
    STOCK_GLOBAL_CONNECTED = Global GAUGE "realtime_connections_global_connected" "As rowcast_users_joined.";
    STOCK_GLOBAL_CONNECTED_CLUSTER = Global GAUGE "realtime_connections_global_connected_cluster" "As rowcast_users_joined.";
    STOCK_TENANTS = Global GAUGE "realtime_tenants_connected" "1: the database is the only tenant.";
    STOCK_EVENTS = Tenant COUNTER "realtime_channel_events" "Broadcasts accepted and delivered, as events_per_second_max counts them.";
    STOCK_PRESENCE_EVENTS = Tenant COUNTER "realtime_channel_presence_events" "Presence messages, as presence_events_per_second_max counts them.";
    STOCK_DB_EVENTS = Tenant COUNTER "realtime_channel_db_events" "Deliveries of database changes, as db_events_per_second_max counts them.";
    STOCK_JOINS = Tenant COUNTER "realtime_channel_joins" "Joins tried, as joins_per_second_max counts them.";
    STOCK_INPUT_BYTES = Tenant COUNTER "realtime_channel_input_bytes" "As rowcast_received_bytes_total.";
    STOCK_OUTPUT_BYTES = Tenant COUNTER "realtime_channel_output_bytes" "As rowcast_sent_bytes_total.";
    STOCK_GLOBAL_EVENTS = Global COUNTER "realtime_channel_global_events" "As realtime_channel_events.";
    STOCK_GLOBAL_PRESENCE_EVENTS = Global COUNTER "realtime_channel_global_presence_events" "As realtime_channel_presence_events.";
    STOCK_GLOBAL_DB_EVENTS = Global COUNTER "realtime_channel_global_db_events" "As realtime_channel_db_events.";
    STOCK_GLOBAL_JOINS = Global COUNTER "realtime_channel_global_joins" "As realtime_channel_joins.";
    STOCK_GLOBAL_INPUT_BYTES = Global COUNTER "realtime_channel_global_input_bytes" "As rowcast_received_bytes_total.";
    STOCK_GLOBAL_OUTPUT_BYTES = Global COUNTER "realtime_channel_global_output_bytes" "As rowcast_sent_bytes_total.";
    STOCK_ERROR = Tenant COUNTER "realtime_channel_error" ["code"] "As rowcast_errors_total.";
    STOCK_GLOBAL_ERROR = Global COUNTER "realtime_channel_global_error" ["code"] "As rowcast_errors_total.";
    TENANT_PAYLOAD_SIZE = Tenant BYTES "realtime_tenants_payload_size" ["message_type"] "Sizes of the payloads of accepted broadcasts, in bytes.";
    PAYLOAD_SIZE = Global BYTES "realtime_payload_size" ["message_type"] "As realtime_tenants_payload_size.";
    STOCK_READ_CHECK = Tenant MILLISECONDS "realtime_tenants_read_authorization_check" "How long it took to find out what a caller may read on a private channel, in milliseconds.";
    STOCK_WRITE_CHECK = Tenant MILLISECONDS "realtime_tenants_write_authorization_check" "The same for sending.";
    STOCK_SUBSCRIBERS = Tenant GAUGE "realtime_subscriptions_manager_subscribers" "As rowcast_subscribers_joined.";
    STOCK_SOCKETS = Global COUNTER "phoenix_connections_total" "As rowcast_sockets_opened_total.";
    STOCK_SOCKETS_OPEN = Global GAUGE "phoenix_connections_active" "As rowcast_sockets_open.";
    STOCK_SOCKETS_MAX = Global GAUGE "phoenix_connections_max" "The setting connections_max.";
    STOCK_CHANNELS_JOINED = Global COUNTER "phoenix_channel_joined_total" "As rowcast_joins_granted_total.";
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = include_str!("../../docs/metrics.md");

    fn row(metric: &Metric) -> String {
        let label = metric.label.map_or_else(|| "–".to_owned(), |label| format!("`{label}`"));
        format!("| `{}` | {} | {label} | {} |", metric.name, metric.kind.as_str(), metric.help)
    }

    #[test]
    fn the_page_lists_the_same_metrics() {
        // Other tables of the page have other columns.
        let is_metric = |line: &&str| line.starts_with("| `") && line.matches(" | ").count() == 3;
        let rows: Vec<_> = PAGE.lines().filter(is_metric).collect();
        let expected: Vec<_> = METRICS.iter().map(|metric| row(metric)).collect();
        let lacking: Vec<_> = expected.iter().filter(|row| !rows.contains(&row.as_str())).cloned().collect();
        assert!(lacking.is_empty(), "docs/metrics.md lacks:\n{}", lacking.join("\n"));
        assert_eq!(rows, expected, "the order is that of the page");
    }

    #[test]
    fn names_are_unique_and_say_their_unit() {
        let units = ["_bytes", "_seconds", "_total", "_per_second", "_info", "_fds"];
        for (index, metric) in METRICS.iter().enumerate() {
            let again = METRICS[index + 1..].iter().any(|other| other.name == metric.name);
            assert!(!again, "{} is there twice", metric.name);
            if metric.scope == Scope::Own && metric.kind == Kind::Counter {
                assert!(metric.name.ends_with("_total"), "{}", metric.name);
            }
            let says_unit = units.iter().any(|unit| metric.name.ends_with(unit));
            let is_level = metric.kind == Kind::Gauge;
            assert!(says_unit || is_level || metric.scope != Scope::Own, "{}", metric.name);
        }
    }
}
