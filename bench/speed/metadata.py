"""As much of an InnoDB Cluster's metadata as MySQL Router 9.7 asks for when it bootstraps and serves: SQL text only.

MySQL Shell makes this schema for its users, and Debian does not have it. Names are those of Router's own questions;
tables hold no more than those want. Cluster sets, read replicas and guidelines are there and empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SCHEMA = "mysql_innodb_cluster_metadata"
CLUSTER = "speed"
# The oldest that has every table which Router writes to.
VERSION = (2, 3, 0)
_CLUSTER_ID = "11111111-1111-4111-8111-111111111111"


@dataclass(frozen=True, slots=True)
class Instance:
    """A member, as clients reach it."""

    uuid: str
    host: str
    port: int
    x_port: int


def statements(group_name: str, instances: Sequence[Instance]) -> list[str]:
    """Return what makes the schema and describes a group in it; for the primary's administrator.

    Args:
        group_name: the group's UUID.
        instances: all of its members.
    """
    return [
        f"CREATE DATABASE {SCHEMA}",
        f"USE {SCHEMA}",
        *(f"CREATE TABLE {table}" for table in _TABLES),
        *(f"CREATE SQL SECURITY INVOKER VIEW {view}" for view in _VIEWS),
        # What is put in is of this module and of the servers themselves.
        f"INSERT INTO clusters VALUES ('{_CLUSTER_ID}', '{CLUSTER}', '{group_name}', NULL, '{{}}')",  # noqa: S608
        *(
            "INSERT INTO instances (cluster_id, mysql_server_uuid, address, endpoint, xendpoint, attributes) VALUES"  # noqa: S608
            f" ('{_CLUSTER_ID}', '{one.uuid}', '{one.host}:{one.port}', '{one.host}:{one.port}',"
            f" '{one.host}:{one.x_port}', '{{}}')"
            for one in instances
        ),
    ]


def account_statements(user: str, password: str) -> list[str]:
    """Return what makes the account that a Router bootstraps with."""
    return [
        f"CREATE USER '{user}'@'%' IDENTIFIED BY '{password}'",
        f"GRANT ALL PRIVILEGES ON *.* TO '{user}'@'%' WITH GRANT OPTION",
    ]


_TABLES = (
    "clusters (cluster_id CHAR(36) PRIMARY KEY, cluster_name VARCHAR(40), group_name CHAR(36),"
    " clusterset_id CHAR(36), router_options JSON)",
    "instances (instance_id INT AUTO_INCREMENT PRIMARY KEY, cluster_id CHAR(36), mysql_server_uuid CHAR(36),"
    " address VARCHAR(265), endpoint VARCHAR(265), xendpoint VARCHAR(265), attributes JSON)",
    "routers (router_id INT AUTO_INCREMENT PRIMARY KEY, router_name VARCHAR(265), product_name VARCHAR(128),"
    " address VARCHAR(256), version VARCHAR(12), last_check_in TIMESTAMP NULL, attributes JSON, cluster_id CHAR(36),"
    " options JSON, clusterset_id CHAR(36), UNIQUE (address, router_name))",
    "router_stats (router_id INT PRIMARY KEY, last_check_in TIMESTAMP NULL)",
    "clustersets (clusterset_id CHAR(36) PRIMARY KEY, domain_name VARCHAR(63), view_id INT, router_options JSON)",
    "clusterset_members (clusterset_id CHAR(36) PRIMARY KEY, cluster_id CHAR(36), member_role VARCHAR(10),"
    " invalidated INT)",
    "routing_guidelines (guideline_id CHAR(36) PRIMARY KEY, guideline JSON)",
)
_VIEWS = (
    f"schema_version (major, minor, patch) AS SELECT {', '.join(map(str, VERSION))}",
    "v2_clusters AS SELECT cluster_id, cluster_name, 'gr' AS cluster_type, clusterset_id, router_options FROM clusters",
    "v2_gr_clusters AS SELECT cluster_id, cluster_name, group_name, clusterset_id, router_options FROM clusters",
    "v2_ar_clusters AS SELECT cluster_id, cluster_name FROM clusters WHERE FALSE",
    "v2_ar_members AS SELECT instance_id, mysql_server_uuid AS member_id, 1 AS view_id, 'PRIMARY' AS member_role"
    " FROM instances WHERE FALSE",
    "v2_instances AS SELECT instance_id, cluster_id, address AS label, mysql_server_uuid, address, endpoint, xendpoint,"
    " attributes, 'group-member' AS instance_type FROM instances",
    "v2_this_instance AS SELECT i.cluster_id, i.instance_id, c.cluster_name, 'gr' AS cluster_type FROM instances i"
    " JOIN clusters c ON c.cluster_id = i.cluster_id"
    # A view may have no variable in it.
    " JOIN performance_schema.global_variables v ON v.variable_name = 'server_uuid'"
    " AND CAST(v.variable_value AS BINARY) = CAST(i.mysql_server_uuid AS BINARY)",
    "v2_routers AS SELECT * FROM routers",
    "v2_router_options AS SELECT router_id, cluster_id, clusterset_id, options AS router_options FROM routers",
    "v2_cs_router_options AS SELECT router_id, cluster_id, clusterset_id, options AS router_options FROM routers",
    "v2_cs_clustersets AS SELECT clusterset_id, domain_name, view_id FROM clustersets",
    "v2_cs_members AS SELECT clusterset_id, cluster_id, member_role, invalidated FROM clusterset_members",
    "v2_router_rest_accounts AS SELECT cluster_id, cluster_name AS user, '' AS authentication_string,"
    " NULL AS privileges, '' AS authentication_method FROM clusters WHERE FALSE",
)
