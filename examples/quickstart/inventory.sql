-- What inventory.db was made from: sqlite3 inventory.db < inventory.sql
create table devices (
  id integer primary key,
  name text not null,
  site text not null,
  kind text not null,
  memory_gb real
);
insert into devices (name, site, kind, memory_gb) values
  ('gate', 'cellar', 'router', 1),
  ('mast', 'attic', 'ap', 0.25),
  ('porch', 'garden', 'ap', 0.25),
  ('hive', 'cellar', 'server', 64),
  ('comb', 'cellar', 'server', 32),
  ('drone', 'attic', 'server', 8),
  ('shelf', 'cellar', 'nas', 16),
  ('owl', 'garden', 'camera', null);
