"""What the Circuit Breaker page must show for a database, worked out without weir: rules in Python, not in SQL.

usage: circuit_breaker.py DATABASE VERSION     prints a JSON list of [name, {label: value}, "number"]

It reads whole tables with `select *` and applies the page's rules row by row, so that it shares neither code nor SQL with what
it judges.
"""

import json
import sqlite3
import sys
from fractions import Fraction

STATUSES = ("running", "stopped", "degraded", "maintenance")
COUNTED = {
    "hardware": "hardware",
    "services": "services",
    "networks": "networks",
    "hardware_clusters": "hardware_clusters",
    "misc_items": "misc_items",
    "docs": "docs",
    "users": "users",
    "tags": "tags",
    "service_dependencies": "service_dependencies",
}
GROUPED = {
    "compute_units_total": ("compute_units", ("kind",)),
    "storage_items_total": ("storage", ("kind",)),
    "external_nodes_total": ("external_nodes", ("provider", "kind")),
    "audit_log_entries_total": ("logs", ("level", "category")),
}
PER_RESOURCE = {
    "hardware_memory_configured_gb": ("hardware", "memory_gb", ("name", "role")),
    "compute_unit_memory_configured_mb": ("compute_units", "memory_mb", ("name", "kind")),
    "compute_unit_cpu_cores_configured": ("compute_units", "CPU_cores", ("name", "kind")),
    "storage_capacity_gb": ("storage", "capacity_gb", ("name", "kind")),
    "storage_used_gb": ("storage", "used_gb", ("name", "kind")),
}


def number(value):
    """A cell as a number, or None: text in a number column is not one."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def exact_sum(values):
    """An integer while it is one and fits 64 bits, else the nearest double."""
    if any(value == float("inf") for value in values):
        return float("inf")
    total = sum((Fraction(value) for value in values), Fraction(0))
    whole = all(isinstance(value, int) for value in values)
    return int(total) if whole and -(2**63) <= total < 2**63 else float(total)


def samples(database, version):
    """Yields the samples of one database, duplicates settled."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    connection.text_factory = lambda raw: raw.decode("utf-8", errors="replace")
    connection.row_factory = sqlite3.Row
    connection.execute("begin")

    def rows(table):
        return connection.execute(f"select * from {table}").fetchall()

    found = {}

    def put(name, labels, value):
        found[("circuitbreaker_" + name, tuple(sorted(labels.items())))] = value

    put("info", {"version": version}, 1)
    for name, table in COUNTED.items():
        put(name + "_total", {}, len(rows(table)))
    for column in ("capacity_gb", "used_gb"):
        values = [number(row[column]) for row in rows("storage")]
        put(f"storage_{column}_total", {}, exact_sum([value for value in values if value is not None]))
    for name, (table, columns) in GROUPED.items():
        groups = {}
        for row in rows(table):
            key = tuple(row[column] or "unknown" for column in columns)
            groups[key] = groups.get(key, 0) + 1
        for key, count in groups.items():
            put(name, dict(zip(columns, key)), count)

    services = sorted(rows("services"), key=lambda row: row["id"])
    for status in STATUSES:
        put("services_by_status_total", {"status": status}, sum(row["status"] == status for row in services))
    for row in services:
        labels = {column: row[column] or "" for column in ("name", "slug", "environment")}
        for status in STATUSES:
            put("service_status", labels | {"status": status}, int(row["status"] == status))
    for name, (table, column, keys) in PER_RESOURCE.items():
        for row in sorted(rows(table), key=lambda row: row["id"]):
            if number(row[column]) is not None:
                put(name, {key: row[key] or "" for key in keys}, row[column])

    for (name, labels), value in found.items():
        yield [name, dict(labels), repr(value)]


if __name__ == "__main__":
    json.dump(list(samples(sys.argv[1], sys.argv[2])), sys.stdout)
