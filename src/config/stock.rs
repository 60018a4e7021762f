//! Variables of the stock container that mean nothing here, although who sets them expects something of them.
//!
//! All other variables of the stock container have their setting (see [`super::setting`]) or tune what only it has,
//! such as its pools, its cluster of Erlang nodes or the encryption of its tenants' secrets.

use std::collections::BTreeMap;

/// A variable, or with `*` at the end all that begin so; and the values by which nothing is asked for.
struct Unmet(&'static str, &'static [&'static str]);

const UNMET: &[Unmet] = &[
    Unmet("CF_TEAM_DOMAIN", &[]),
    Unmet("CLUSTER_STRATEGIES", &[]),
    Unmet("DASHBOARD_*", &[]),
    // What the stock compose file sets concerns tables that are not here.
    Unmet("DB_AFTER_CONNECT_QUERY", &["SET search_path TO _realtime"]),
    Unmet("DB_IP_VERSION", &[]),
    Unmet("DB_REPLICA_HOST*", &[]),
    // Two quotes, which the stock compose file sets, are no name.
    Unmet("DNS_NODES", &["''"]),
    Unmet("LOGFLARE_*", &[]),
    Unmet("LOGS_ENGINE", &[]),
    Unmet("METRICS_PUSHER_ENABLED", &["false"]),
    Unmet("OTEL_TRACES_EXPORTER", &["none"]),
    Unmet("OTEL_EXPORTER_*", &[]),
    Unmet("REALTIME_IP_VERSION", &[]),
    Unmet("REQUEST_ID_BAGGAGE_KEY", &["request-id"]),
    // Old partitions of realtime.messages are dropped here in any case.
    Unmet("RUN_JANITOR", &["true"]),
    Unmet("TENANT_MAX_BYTES_PER_SECOND", &[]),
    Unmet("WEBSOCKET_MAX_HEAP_SIZE", &[]),
];

/// Those that are set in `environment`, by name.
pub(super) fn unmet(environment: &BTreeMap<String, String>) -> Vec<String> {
    let asks = |name: &str, value: &str| {
        let meant = |unmet: &&Unmet| match unmet.0.strip_suffix('*') {
            Some(start) => name.starts_with(start),
            None => name == unmet.0,
        };
        !value.is_empty() && UNMET.iter().find(meant).is_some_and(|unmet| !unmet.1.contains(&value))
    };
    environment.iter().filter(|(name, value)| asks(name, value)).map(|(name, _)| name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_asks_for_something_is_named() {
        let environment = [
            ("DNS_NODES", "''"),
            ("DB_AFTER_CONNECT_QUERY", "SET search_path TO _realtime"),
            ("LOGFLARE_API_KEY", "secret"),
            ("LOGS_ENGINE", ""),
            ("METRICS_PUSHER_ENABLED", "true"),
            ("RUN_JANITOR", "false"),
            ("OTEL_TRACES_EXPORTER", "none"),
            ("DB_HOST", "db"),
            ("PATH", "/bin"),
        ];
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        assert_eq!(unmet(&environment), ["LOGFLARE_API_KEY", "METRICS_PUSHER_ENABLED", "RUN_JANITOR"]);
    }

    #[test]
    fn page_names_all_of_them() {
        let page =
            std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/configuration.md")).unwrap();
        for Unmet(name, _) in UNMET {
            assert!(page.contains(&format!("`{name}`")), "{name}");
        }
    }
}
