"""What the restic-manager page must show for a database, worked out without weir: rules in Python, not in SQL.

usage: restic_manager.py DATABASE VERSION COMMIT GO_VERSION     prints a JSON list of [name, {label: value}, "number"]
"""

import datetime
import json
import sqlite3
import sys

SEVERITIES = ("info", "warning", "critical")
ENDED = ("succeeded", "failed", "cancelled")


def seconds(at):
    """Whole seconds since 1970, or None for what is no time."""
    if isinstance(at, (int, float)):
        return int(at)
    try:
        read = datetime.datetime.fromisoformat(at)
    except (TypeError, ValueError):
        return None
    return int((read if read.tzinfo else read.replace(tzinfo=datetime.timezone.utc)).timestamp() // 1)


def samples(path, version, commit, go_version):
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    database.row_factory = sqlite3.Row
    database.execute("begin")
    hosts, jobs, alerts = ([*database.execute(f"select * from {table}")] for table in ("hosts", "jobs", "alerts"))
    enrolled = [host for host in hosts if host["status"] != "pending"]
    still_open = [alert for alert in alerts if alert["resolved_at"] is None]

    yield "rm_hosts_total", {}, len(enrolled)
    yield "rm_hosts_online", {}, sum(host["status"] == "online" for host in hosts)
    yield "rm_build_info", {"version": version, "commit": commit, "go_version": go_version}, 1
    for severity in SEVERITIES:
        yield "rm_active_alerts", {"severity": severity}, sum(alert["severity"] == severity for alert in still_open)
    for host in enrolled:
        labels = {"host_id": host["id"], "host": host["name"]}
        yield "rm_host_agent_online", labels, int(host["status"] == "online")
        if host["repo_size_bytes"] is not None:
            yield "rm_host_repo_size_bytes", labels, host["repo_size_bytes"]
        yield "rm_host_snapshot_count", labels, host["snapshot_count"]
        yield "rm_host_open_alerts", labels, sum(alert["host_id"] == host["id"] for alert in still_open)
        status = host["repo_status"] if host["repo_status"] in ("ready", "init_failed") else "unknown"
        yield "rm_host_repo_status", labels | {"status": status}, 1
        backups = [
            (seconds(job["finished_at"]), job["id"], job["status"])
            for job in jobs
            if job["host_id"] == host["id"] and job["kind"] == "backup" and job["status"] in ENDED
        ]
        backups = sorted(backup for backup in backups if backup[0] is not None)
        if backups:
            at, _, status = backups[-1]
            yield "rm_host_last_backup_timestamp_seconds", labels, at
            yield "rm_host_last_backup_success", labels, int(status == "succeeded")


if __name__ == "__main__":
    json.dump([[name, labels, repr(value)] for name, labels, value in samples(*sys.argv[1:5])], sys.stdout)
