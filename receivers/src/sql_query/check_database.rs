//! From what the user wrote to the database that is to be read.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use config::Secret;

use super::check::{Check, Target};
use super::check_metric;
use super::driver::{self, DRIVERS, Database};
use super::settings::{Settings, Target as Written};

/// Where a database is, in all the forms in which that can be written.
#[derive(Clone, Copy)]
pub(crate) struct Place<'a> {
    pub(crate) datasource: &'a Secret,
    pub(crate) host: &'a str,
    pub(crate) port: u16,
    pub(crate) database: &'a str,
    pub(crate) username: &'a str,
    pub(crate) password: &'a Secret,
    pub(crate) password_file: Option<&'a Path>,
    pub(crate) additional_params: &'a BTreeMap<String, serde_json::Value>,
}

/// The drivers of the Collector that this version does not have.
const OTHER_DRIVERS: &[&str] = &["snowflake", "sqlserver", "hdb", "oracle", "tds", "clickhouse"];

impl Check<'_> {
    /// The databases. Empty only beside a problem.
    pub(super) fn targets(&mut self) -> Vec<Target> {
        self.driver();
        self.driver_specific();
        let settings = self.settings;
        if settings.targets.is_empty() {
            let one = Place::of(settings);
            return self
                .database("", &one)
                .map(|database| Target { name: None, database, resource: Vec::new() })
                .into_iter()
                .collect();
        }
        for key in Place::of(settings).keys() {
            let help = "write it in each of the targets";
            self.help(key, format!("'{key}' cannot be set when 'targets' is specified"), help);
        }
        let mut names = BTreeSet::new();
        let mut targets = Vec::new();
        for (index, written) in settings.targets.iter().enumerate() {
            let at = format!("targets[{index}].");
            let name = written.name.clone().unwrap_or_else(|| index.to_string());
            if name.is_empty() || !names.insert(name.clone()) {
                self.error(&format!("{at}name"), format!("two targets are called '{name}', or one has no name"));
            }
            if written.resource_attributes.contains_key("") {
                self.error(&format!("{at}resource_attributes"), "'resource_attributes' has an empty key");
            }
            let resource = check_metric::pairs(&written.resource_attributes);
            let database = self.database(&at, &Place::at(written));
            targets.extend(database.map(|database| Target { name: Some(name.into()), database, resource }));
        }
        targets
    }

    fn driver(&mut self) {
        let driver = self.settings.driver.as_str();
        match DRIVERS.iter().find(|(known, ..)| *known == driver) {
            Some((.., true)) => {}
            Some((_, feature, false)) => {
                let help = format!("build weir with the feature {feature}");
                self.help("driver", format!("unsupported driver: {driver} is not in this build of weir"), help);
            }
            None => self.unknown_driver(driver),
        }
    }

    /// The database at a place, if that is in order. `at`: what stands before its keys.
    fn database(&mut self, at: &str, place: &Place<'_>) -> Option<Database> {
        match self.settings.driver.as_str() {
            #[cfg(feature = "sql-postgres")]
            "postgres" => {
                let parsed = self.server(at, place, "postgres://user@host/database", super::postgres::Dsn::parse);
                self.files(at, place, parsed.iter().flat_map(super::postgres::Dsn::unusable));
                parsed.map(|dsn| Database::Postgres(Box::new(dsn)))
            }
            #[cfg(feature = "sql-mysql")]
            "mysql" => {
                let parsed = self.server(at, place, "user@tcp(host:3306)/database", super::mysql::Dsn::parse);
                self.files(at, place, parsed.iter().flat_map(super::mysql::Dsn::unusable));
                parsed.map(|dsn| Database::MySql(Box::new(dsn)))
            }
            "sqlite" if cfg!(feature = "sql-sqlite") => self.file(at, place),
            // It was told already. What its place must look like nobody knows, but that there is none is told at once.
            driver => {
                let known = DRIVERS.iter().any(|(known, ..)| *known == driver);
                if !known && place.datasource.is_empty() && place.host.is_empty() {
                    self.error(&format!("{at}datasource"), "'host' or 'datasource' must be specified");
                }
                None
            }
        }
    }

    /// Files that cannot be used are an outage like another while the agent runs; who checks a configuration wants to hear of them.
    #[cfg(feature = "sql-server")]
    fn files(&mut self, at: &str, place: &Place<'_>, unusable: impl Iterator<Item = (Option<&'static str>, String)>) {
        let parameters = if place.datasource.is_empty() { "additional_params" } else { "datasource" };
        for (key, message) in unusable {
            let help = "no connection can be made without it; it is looked for at each connection";
            self.warn(&format!("{at}{}", key.unwrap_or(parameters)), message, help);
        }
    }

    fn unknown_driver(&mut self, driver: &str) {
        let near = |part: &str| driver.to_ascii_lowercase().contains(part);
        let did_you_mean = match driver {
            _ if near("sqlite") => Some("did you mean `sqlite`?"),
            _ if near("mysql") || near("maria") => Some("did you mean `mysql`?"),
            _ if near("postgres") || near("pgx") || driver == "pg" => Some("did you mean `postgres`?"),
            _ => None,
        };
        let help = did_you_mean.map_or_else(driver::built, str::to_owned);
        match driver {
            "" => self.help("driver", "'driver' cannot be empty", help),
            _ if OTHER_DRIVERS.contains(&driver) => {
                self.help("driver", format!("unsupported driver: {driver} is not in this version of weir yet"), help);
            }
            _ => self.help("driver", format!("unsupported driver: {driver}"), help),
        }
    }

    /// Keys that only some drivers have.
    fn driver_specific(&mut self) {
        let is_server = matches!(self.settings.driver.as_str(), "postgres" | "mysql");
        let files = self.settings.targets.iter().map(|target| &target.password_file);
        let written = [
            ("session", !self.settings.session.is_empty()),
            ("password_file", files.chain([&self.settings.password_file]).any(Option::is_some)),
            ("for_each", self.settings.for_each.is_some()),
        ];
        for (key, _) in written.into_iter().filter(|(_, written)| *written && !is_server) {
            self.help(key, format!("'{key}' needs the driver postgres or mysql"), "leave it out");
        }
        for (index, statement) in self.settings.session.iter().enumerate() {
            let key = format!("session[{index}]");
            let mut parameters = statement.split('$').skip(1);
            if self.settings.for_each.is_none() && parameters.any(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
            {
                let help = "its columns are $1, $2, …; in YAML a dollar is written $$";
                self.help(&key, "'session' has parameters, which come from 'for_each'", help);
            }
            let checked = match self.settings.driver.as_str() {
                #[cfg(feature = "sql-mysql")]
                "mysql" => super::mysql::check_session(statement),
                "postgres" => check_session(statement),
                _ => Ok(()),
            };
            if let Err((message, help)) = checked {
                self.help(&key, message, help);
            }
        }
    }

    fn excluded_by_datasource(&mut self, at: &str, place: &Place<'_>) {
        for key in place.parts() {
            self.error(&format!("{at}{key}"), format!("'{key}' cannot be set when 'datasource' is specified"));
        }
    }

    fn file(&mut self, at: &str, place: &Place<'_>) -> Option<Database> {
        let datasource = place.datasource.expose();
        let key = format!("{at}datasource");
        if datasource.is_empty() {
            for part in place.parts() {
                let message = format!("'{part}' means nothing to the driver sqlite");
                self.help(&format!("{at}{part}"), message, "set 'datasource' to the path of the file");
            }
            let help = "the driver sqlite reads a file: set 'datasource' to its path";
            self.help(&key, "'host' or 'datasource' must be specified", help);
            return None;
        }
        self.excluded_by_datasource(at, place);
        #[cfg(feature = "sql-sqlite")]
        match super::sqlite::DatabasePath::parse(datasource) {
            Ok(path) => return Some(Database::Sqlite(path)),
            Err((message, Some(help))) => self.help(&key, message, help),
            Err((message, None)) => self.error(&key, message),
        }
        None
    }

    #[cfg(feature = "sql-server")]
    fn server<T>(
        &mut self,
        at: &str,
        place: &Place<'_>,
        example: &str,
        parse: impl FnOnce(Place<'_>) -> Result<T, super::server::Mistake>,
    ) -> Option<T> {
        if !place.datasource.is_empty() {
            self.excluded_by_datasource(at, place);
        }
        let needed = [("host", place.host.is_empty()), ("database", place.database.is_empty())];
        let missing = needed.into_iter().filter(|(_, empty)| *empty && place.datasource.is_empty());
        let missing: Vec<&str> = missing.map(|(key, _)| key).collect();
        for key in &missing {
            let message = format!("'{key}' or 'datasource' must be specified");
            self.help(&format!("{at}{key}"), message, format!("such as datasource: {example}"));
        }
        if !missing.is_empty() {
            return None;
        }
        match parse(*place) {
            Ok(dsn) => Some(dsn),
            Err(super::server::Mistake { key, message, help }) => {
                self.help(&format!("{at}{key}"), message, help);
                None
            }
        }
    }
}

/// What is wrong with a statement of `session` for PostgreSQL, and what would do.
fn check_session(statement: &str) -> Result<(), (String, &'static str)> {
    let first = statement.split_whitespace().next().unwrap_or("").to_ascii_lowercase();
    let sets = first == "set" || first == "select" && statement.contains("set_config");
    let characteristics = statement.to_ascii_lowercase().contains("characteristics");
    if sets && !characteristics && !statement.contains('\0') {
        return Ok(());
    }
    Err((
        "'session' holds a statement that sets nothing".to_owned(),
        "write `SET name = value` or `select set_config('name', 'value', true)`; each holds for one collection",
    ))
}

impl<'a> Place<'a> {
    fn of(settings: &'a Settings) -> Self {
        let Settings { datasource, host, port, database, username, password, password_file, additional_params, .. } =
            settings;
        let (port, password_file) = (*port, password_file.as_deref().map(Path::new));
        Self { datasource, host, port, database, username, password, password_file, additional_params }
    }

    fn at(target: &'a Written) -> Self {
        let Written { datasource, host, port, database, username, password, password_file, additional_params, .. } =
            target;
        let (port, password_file) = (*port, password_file.as_deref().map(Path::new));
        Self { datasource, host, port, database, username, password, password_file, additional_params }
    }

    /// The keys beside `datasource` that were written and that it excludes.
    fn parts(&self) -> Vec<&'static str> {
        let written = [
            ("host", !self.host.is_empty()),
            ("port", self.port != 0),
            ("database", !self.database.is_empty()),
            ("username", !self.username.is_empty()),
            ("password", !self.password.is_empty()),
            ("additional_params", !self.additional_params.is_empty()),
        ];
        written.into_iter().filter(|(_, written)| *written).map(|(key, _)| key).collect()
    }

    /// All of them that were written.
    fn keys(&self) -> Vec<&'static str> {
        let mut keys = self.parts();
        keys.extend((!self.datasource.is_empty()).then_some("datasource"));
        keys.extend(self.password_file.map(|_| "password_file"));
        keys
    }
}
