-- The tables of restic-manager that its metrics are read from. Its document does not show them: this is what its metrics imply.
create table hosts (
  id text primary key,               -- a ULID
  name text not null,
  status text not null,              -- online, offline; pending until somebody has accepted the host
  last_seen_at text,
  repo_status text,                  -- unknown, ready, init_failed
  repo_size_bytes integer,           -- null until restic stats has run
  snapshot_count integer not null default 0
);
create table jobs (
  id text primary key,
  host_id text not null references hosts (id),
  kind text not null,                -- backup, forget, prune, check, unlock, restore, diff, init, update
  status text not null,              -- queued, running, succeeded, failed, cancelled
  created_at text,
  started_at text,
  finished_at text,                  -- RFC 3339, or seconds since 1970
  exit_code integer,
  error text
);
create index jobs_by_host on jobs (host_id, kind);
create table alerts (
  id text primary key,
  host_id text references hosts (id),
  severity text not null,            -- info, warning, critical
  kind text,
  message text,
  opened_at text,
  acked_at text,
  resolved_at text                   -- null while the alert is open
);
create index alerts_by_host on alerts (host_id);
