//! The fields a server knows in the sections that decide what comes up. One it does not know keeps it from starting.

use crate::report::ServerVersion;

/// A section of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Section {
    Top,
    JetStream,
    JetStreamLimits,
    Account,
    AccountJetStream,
    Cluster,
    Gateway,
}

/// Names, in lower case, and the first line that knows them: 9 of 2.9, which every line known here follows.
type Since = (u16, &'static str);

impl Section {
    fn fields(self) -> &'static [Since] {
        match self {
            Section::Top => TOP,
            Section::JetStream => JETSTREAM,
            Section::JetStreamLimits => JETSTREAM_LIMITS,
            Section::Account => ACCOUNT,
            Section::AccountJetStream => ACCOUNT_JETSTREAM,
            Section::Cluster => CLUSTER,
            Section::Gateway => GATEWAY,
        }
    }

    /// Whether some release of the server's line knows the field; `name` is in lower case.
    pub(super) fn knows(self, name: &str, server: ServerVersion) -> bool {
        let mut lines = self.fields().iter();
        lines.any(|(line, names)| {
            *line <= server.line() && names.split(' ').any(|known| known == name)
        })
    }
}

const TOP: &[Since] = &[
    (
        9,
        "account_resolver accounts accounts_resolver allow_non_tls authorization client_advertise cluster \
         connect_error_reports debug default_js_domain disable_sublist_cache gateway host http http_base_path http_port \
         https https_port jetstream lame_duck_duration lame_duck_grace_period leaf leafnodes listen log_file \
         log_size_limit logfile logfile_size_limit logtime logtime_utc mappings maps max_conn max_connections \
         max_control_line max_payload max_pending max_sub_tokens max_subs max_subscription_tokens max_subscriptions \
         max_traced_msg_len monitor_port mqtt net no_auth_user no_header_support no_sublist_cache no_sys_acc no_system \
         no_system_account ocsp ocsp_cache operator operators pid_file pidfile ping_interval ping_max port \
         ports_file_dir prof_port reconnect_error_reports remote_syslog resolver resolver_pinned_accounts \
         resolver_preload resolver_tls root root_operator root_operators roots server_name server_tags store_dir \
         storedir syslog system system_account tls trace trace_verbose trusted trusted_keys websocket write_deadline ws",
    ),
    (
        10,
        "log_max_num logfile_max_num max_closed_clients no_fast_producer_stall prof_block_rate",
    ),
    (11, "default_sentinel trace_headers write_timeout"),
    (12, "proxies proxy_protocol server_metadata"),
    (14, "feature_flags"),
];

const JETSTREAM: &[Since] = &[
    (
        9,
        "cipher domain ek enable enabled encryption_key extension_hint key limits max_file max_file_store max_mem \
         max_mem_store max_memory_store max_outstanding_catchup store store_dir storedir unique_tag",
    ),
    (
        10,
        "prev_ek prev_encryption_key prev_key request_queue_limit sync sync_interval",
    ),
    (
        11,
        "max_buffered_msgs max_buffered_size meta_compact meta_compact_size strict tpm",
    ),
    (12, "max_concurrent_io meta_compact_sync"),
    (14, "info_queue_limit"),
];

const JETSTREAM_LIMITS: &[Since] = &[
    (
        9,
        "duplicate_window max_ack_pending max_ha_assets max_request_batch",
    ),
    (12, "batch"),
    (15, "default_max_consumers"),
];

const ACCOUNT: &[Since] = &[
    (
        9,
        "default_permissions exports imports jetstream limits mappings maps nkey users",
    ),
    (11, "msg_trace trace_dest"),
];

const ACCOUNT_JETSTREAM: &[Since] = &[
    (
        9,
        "consumers disk disk_max_stream_bytes max_ack_pending max_bytes max_bytes_required max_consumers max_disk \
         max_file max_mem max_memory max_store max_stream_bytes max_streams mem mem_max_stream_bytes memory \
         memory_max_stream_bytes store store_max_stream_bytes streams",
    ),
    (11, "cluster_traffic"),
];

const CLUSTER: &[Since] = &[
    (
        9,
        "advertise authorization cluster_advertise connect_retries host listen name net no_advertise permissions port \
         routes tls",
    ),
    (10, "accounts compression ping_interval ping_max pool_size"),
    (11, "write_deadline write_timeout"),
    (12, "connect_backoff"),
];

const GATEWAY: &[Since] = &[
    (
        9,
        "advertise authorization connect_retries gateways host listen name net port reject_unknown \
         reject_unknown_cluster tls",
    ),
    (11, "write_deadline write_timeout"),
    (12, "connect_backoff"),
    (14, "ping_interval ping_max"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_come_with_their_line() {
        let knows = |name, server: &str| {
            let server = server.parse().expect("a version");
            Section::JetStream.knows(name, server)
        };
        assert!(knows("store_dir", "2.10"));
        assert!(!knows("strict", "2.10") && knows("strict", "2.11"));
        assert!(!knows("max_file_size", "2.15"));
        assert!(!knows("", "2.15"));
    }
}
