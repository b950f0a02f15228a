"""The option files of the members: text only. Every setting that is not the server's default says why."""

from __future__ import annotations

from collections.abc import Iterable

from bench.sandbox.record import Member, Mode, NetworkKind, Record

# Seconds. XCom calls a member suspicious after 5 s (fixed in the server); these come on top.
UNREACHABLE_MAJORITY_TIMEOUT = 4
AUTOREJOIN_TRIES = 3

type_of_section = tuple[str, tuple[tuple[str, str], ...]]


def initialise_text(home: str) -> str:
    """Return the option file with which the data directory is made.

    Args:
        home: the member's directory as the server sees it.
    """
    return _render(
        "What `mysqld --initialize-insecure` needs; the member's own file is my.cnf.",
        (
            _place(home, "data.partial"),
            ("Accounts are made on every member alike: no transaction of theirs may differ.", (("skip_log_bin", "1"),)),
            ("The sandbox has its own authority.", (("auto_generate_certs", "OFF"),)),
            ("Passwords cross TLS or a Unix socket only.", (("caching_sha2_password_auto_generate_rsa_keys", "OFF"),)),
            ("Nothing is lost if this is repeated.", (("innodb_flush_log_at_trx_commit", "0"),)),
            ("Small, since each member has a copy.", (("innodb_redo_log_capacity", "32M"),)),
        ),
    )


def member_text(record: Record, member: Member, home: str) -> str:
    """Return a member's my.cnf.

    Args:
        record: the sandbox.
        member: the one of its members that the file is for.
        home: the member's directory as the server sees it.
    """
    return _render(
        f"{member.name}: written anew by every `fairlead sandbox up`.",
        (
            _place(home, "data"),
            *_addresses(record, member, home),
            *_encryption(home),
            *_replication(member),
            *(_semi_sync() if record.mode is Mode.REPLICATION else _group(record, member)),
            *_memory(),
        ),
    )


def _place(home: str, data: str) -> type_of_section:
    return (
        "All that the server writes is in its own directory; it neither reads nor writes files for SQL statements.",
        (
            ("datadir", f"{home}/{data}"),
            ("tmpdir", f"{home}/scratch"),
            ("log_error", f"{home}/error.log"),
            ("secure_file_priv", "NULL"),
        ),
    )


def _addresses(record: Record, member: Member, home: str) -> Iterable[type_of_section]:
    # In a namespace there is nobody else; on loopback nothing else may be bound.
    bind = "*" if record.network is NetworkKind.NAMESPACES else member.host
    yield (
        "",
        (
            ("bind_address", bind),
            ("port", str(member.port)),
            ("mysqlx_bind_address", bind),
            ("mysqlx_port", str(member.x_port)),
            ("socket", f"{home}/mysqld.sock"),
            ("mysqlx_socket", f"{home}/mysqlx.sock"),
            ("pid_file", f"{home}/mysqld.pid"),
        ),
    )
    yield (
        "The group's view gives these to clients and to members that recover from this one.",
        (("report_host", member.report_host), ("report_port", str(member.port))),
    )
    yield (
        "No name server answers here: a reverse lookup would hold every new connection.",
        (("skip_name_resolve", "1"),),
    )
    yield (
        "Room for a load test. A session that is not used costs little.",
        (("max_connections", "1000"), ("mysqlx_max_connections", "200"), ("back_log", "1000")),
    )


def _encryption(home: str) -> Iterable[type_of_section]:
    yield (
        "TLS everywhere, with the sandbox's own authority.",
        (
            ("ssl_ca", f"{home}/tls/ca.pem"),
            ("ssl_cert", f"{home}/tls/cert.pem"),
            ("ssl_key", f"{home}/tls/key.pem"),
            ("require_secure_transport", "ON"),
            ("auto_generate_certs", "OFF"),
            ("caching_sha2_password_auto_generate_rsa_keys", "OFF"),
        ),
    )


def _replication(member: Member) -> Iterable[type_of_section]:
    yield (
        "What Group Replication demands, and what lets a replica follow any source.",
        (
            ("server_id", str(member.index + 1)),
            ("gtid_mode", "ON"),
            ("enforce_gtid_consistency", "ON"),
            ("log_bin", "binlog"),
            ("relay_log", "relay"),
        ),
    )
    yield (
        "A killed process loses nothing with these, since the kernel has the pages; only a power cut would.",
        (("sync_binlog", "0"), ("innodb_flush_log_at_trx_commit", "2")),
    )
    yield "A member that is started stands by, whatever it missed.", (("binlog_expire_logs_seconds", "604800"),)


def _group(record: Record, member: Member) -> Iterable[type_of_section]:
    single = "ON" if record.mode is Mode.SINGLE_PRIMARY else "OFF"
    peers = record.peers(member.name) or (member,)
    yield (
        "Clone serves a member that lacks too much for binary logs.",
        (("plugin_load_add", "group_replication.so"), ("plugin_load_add", "mysql_clone.so")),
    )
    yield (
        "",
        (
            ("group_replication_group_name", record.group_name),
            ("group_replication_local_address", member.group_address),
            ("group_replication_group_seeds", ",".join(peer.group_address for peer in peers)),
            ("group_replication_single_primary_mode", single),
            ("group_replication_enforce_update_everywhere_checks", "OFF" if single == "ON" else "ON"),
        ),
    )
    if record.network is NetworkKind.NAMESPACES:
        yield (
            "A port of its own for the group, as pods have it; only the sandbox's network may use it.",
            (
                ("group_replication_communication_stack", "XCOM"),
                ("group_replication_ip_allowlist", record.subnet),
            ),
        )
    else:
        yield (
            "XCOM would listen on every address of the machine; this stack stays within bind_address.",
            (("group_replication_communication_stack", "MYSQL"),),
        )
    yield (
        "Group traffic and recovery are encrypted too.",
        (
            ("group_replication_ssl_mode", "REQUIRED"),
            ("group_replication_recovery_use_ssl", "ON"),
            ("group_replication_recovery_ssl_ca", "{ssl_ca}"),
        ),
    )
    yield "A member that died rejoins when it is started.", (("group_replication_start_on_boot", "ON"),)
    yield (
        "A suspicious member is expelled at once (default 5 s more): a new primary comes sooner.",
        (("group_replication_member_expel_timeout", "0"),),
    )
    yield (
        "A cut-off primary fails its blocked writes (default: they hang for ever) and leaves the group.",
        (("group_replication_unreachable_majority_timeout", str(UNREACHABLE_MAJORITY_TIMEOUT)),),
    )
    yield (
        "An expelled member tries at once to come back, then every 5 minutes (fixed); `heal` does not wait for that.",
        (("group_replication_autorejoin_tries", str(AUTOREJOIN_TRIES)),),
    )
    yield (
        "The server's defaults, named because failover depends on them.",
        (
            ("group_replication_exit_state_action", "OFFLINE_MODE"),
            ("group_replication_consistency", "BEFORE_ON_PRIMARY_FAILOVER"),
        ),
    )
    yield (
        "A donor that is not ready yet is asked again after 1 s (default 60 s).",
        (("group_replication_recovery_reconnect_interval", "1"),),
    )
    yield (
        "Leaving a group does not wait longer than this for the member's own threads (default 300 s).",
        (("group_replication_components_stop_timeout", "10"),),
    )
    yield "Several members share one machine.", (("group_replication_message_cache_size", "134217728"),)


def _semi_sync() -> Iterable[type_of_section]:
    yield (
        "A commit waits until one replica has it; any member may become the source, and `up` says which one is.",
        (
            ("plugin_load_add", "rpl_semi_sync_source=semisync_source.so"),
            ("plugin_load_add", "rpl_semi_sync_replica=semisync_replica.so"),
            ("rpl_semi_sync_replica_enabled", "ON"),
        ),
    )
    yield (
        "Without a replica it waits no longer than this many milliseconds (default 10 s).",
        (("rpl_semi_sync_source_timeout", "1000"),),
    )
    yield "A source that comes back may not be the source any more.", (("super_read_only", "ON"),)
    yield (
        "A replica notices a source that is gone without a word after this many seconds (default 60).",
        (("replica_net_timeout", "10"),),
    )


def _memory() -> Iterable[type_of_section]:
    yield (
        "Several members share one machine: caches are as small as they may be.",
        (
            ("innodb_buffer_pool_size", "24M"),
            ("innodb_log_buffer_size", "2M"),
            ("innodb_redo_log_capacity", "64M"),
            ("key_buffer_size", "1M"),
            ("table_open_cache", "400"),
            ("table_definition_cache", "400"),
            ("temptable_max_ram", "16M"),
        ),
    )
    yield (
        "An applier thread takes 8 MB, and 20 MB once it has caught up with something (default 4).",
        (("replica_parallel_workers", "2"),),
    )
    yield (
        "The performance schema is on, with less history and room for fewer names.",
        (
            ("performance_schema_digests_size", "200"),
            ("performance_schema_max_digest_length", "256"),
            ("performance_schema_max_sql_text_length", "256"),
            ("performance_schema_max_memory_classes", "0"),
            ("performance_schema_error_size", "0"),
            ("performance_schema_events_statements_history_size", "2"),
            ("performance_schema_events_stages_history_size", "2"),
            ("performance_schema_events_transactions_history_size", "2"),
            ("performance_schema_events_waits_history_size", "2"),
            ("performance_schema_events_statements_history_long_size", "100"),
            ("performance_schema_events_stages_history_long_size", "100"),
            ("performance_schema_events_transactions_history_long_size", "100"),
            ("performance_schema_events_waits_history_long_size", "100"),
            ("performance_schema_accounts_size", "16"),
            ("performance_schema_hosts_size", "16"),
            ("performance_schema_users_size", "16"),
        ),
    )


def _render(title: str, sections: Iterable[type_of_section]) -> str:
    lines = [f"# {title}", "[mysqld]"]
    values: dict[str, str] = {}
    for reason, settings in sections:
        if reason:
            lines += ["", f"# {reason}"]
        for name, value in settings:
            values[name] = value
            lines.append(f"{name} = {value.format_map(values)}")
    return "\n".join(lines) + "\n"
