"""Makes a small fleet to look at: make_database.py FILE

Three hosts with backups that succeeded, failed and were never made, one that waits to be accepted, and two open alerts.
"""

import pathlib
import sqlite3
import sys

HOSTS = [
    ("01J0000000000000000000HIVE", "hive", "online", "ready", 812_345_678_901, 42),
    ("01J0000000000000000000GATE", "gate", "offline", "ready", 1_234_567, 7),
    ("01J00000000000000000000OWL", "owl", "online", "init_failed", None, 0),
    ("01J00000000000000000000NEW", "new", "pending", None, None, 0),
]
JOBS = [
    ("01J1", "01J0000000000000000000HIVE", "backup", "failed", "2026-11-20T02:00:09Z"),
    ("01J2", "01J0000000000000000000HIVE", "backup", "succeeded", "2026-11-21T02:14:31.25Z"),
    ("01J3", "01J0000000000000000000HIVE", "prune", "failed", "2026-11-21T03:00:00Z"),
    ("01J4", "01J0000000000000000000GATE", "backup", "failed", "2026-11-21T03:01:00+01:00"),
    ("01J5", "01J00000000000000000000OWL", "init", "failed", "2026-11-21T02:02:00Z"),
    ("01J6", "01J0000000000000000000GATE", "backup", "running", None),
]
ALERTS = [
    ("01J7", "01J0000000000000000000GATE", "critical", None),
    ("01J8", "01J00000000000000000000OWL", "warning", None),
    ("01J9", "01J0000000000000000000HIVE", "warning", "2026-11-21T02:14:31Z"),
]


def main(path):
    with sqlite3.connect(path) as database:
        database.executescript((pathlib.Path(__file__).parent / "schema.sql").read_text())
        database.executemany(
            "insert into hosts (id, name, status, repo_status, repo_size_bytes, snapshot_count) values (?, ?, ?, ?, ?, ?)", HOSTS
        )
        database.executemany("insert into jobs (id, host_id, kind, status, finished_at) values (?, ?, ?, ?, ?)", JOBS)
        database.executemany("insert into alerts (id, host_id, severity, resolved_at) values (?, ?, ?, ?)", ALERTS)


if __name__ == "__main__":
    if len(sys.argv) != 2 or pathlib.Path(sys.argv[1]).exists():
        sys.exit("usage: make_database.py FILE, and there must be no such file yet")
    main(sys.argv[1])
