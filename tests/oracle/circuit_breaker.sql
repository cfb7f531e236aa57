-- The tables and columns of Circuit Breaker's SQLite database that its metrics are read from.
create table hardware (id integer primary key, name varchar not null, role varchar, memory_gb integer);
create table compute_units (
  id integer primary key, name varchar not null, kind varchar not null, "CPU_cores" integer, memory_mb integer
);
create table services (
  id integer primary key, name varchar not null, slug varchar not null unique, environment varchar, status varchar
);
create table storage (
  id integer primary key, name varchar not null, kind varchar not null, capacity_gb integer, used_gb integer
);
create table networks (id integer primary key);
create table hardware_clusters (id integer primary key);
create table external_nodes (id integer primary key, provider varchar, kind varchar);
create table misc_items (id integer primary key);
create table docs (id integer primary key);
create table users (id integer primary key);
create table tags (id integer primary key, name varchar not null unique);
create table service_dependencies (service_id integer);
create table logs (id integer primary key, level varchar not null default 'info', category varchar not null);
