//! From what the user wrote to the database that is to be read.

use super::check::Check;
use super::driver::{self, DRIVERS, Database};
use super::settings::Settings;

/// The drivers of the Collector that this version does not have.
const OTHER_DRIVERS: &[&str] = &["mysql", "snowflake", "sqlserver", "hdb", "oracle", "tds", "clickhouse"];

impl Check<'_> {
    /// The database, if driver and place are in order.
    pub(super) fn database(&mut self) -> Option<Database> {
        self.driver_specific();
        let driver = self.settings.driver.as_str();
        if let Some((_, feature, built)) = DRIVERS.iter().find(|(known, ..)| *known == driver) {
            if !built {
                let help = format!("build weir with the feature {feature}");
                self.help("driver", format!("unsupported driver: {driver} is not in this build of weir"), help);
            }
        } else {
            self.unknown_driver(driver);
        }
        match driver {
            "postgres" => self.server(),
            // Mistakes in an unknown driver's datasource are found as those of a file, which needs one.
            _ => self.file(),
        }
    }

    fn unknown_driver(&mut self, driver: &str) {
        let near = |part: &str| driver.to_ascii_lowercase().contains(part);
        let did_you_mean = match driver {
            _ if near("sqlite") => Some("did you mean `sqlite`?"),
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
        let is_postgres = self.settings.driver == "postgres";
        if !is_postgres && !self.settings.session.is_empty() {
            self.help("session", "'session' needs the driver postgres", "leave it out");
        }
        if !is_postgres && self.settings.password_file.is_some() {
            self.help("password_file", "'password_file' needs the driver postgres", "leave it out");
        }
        for (index, statement) in self.settings.session.iter().enumerate() {
            let first = statement.split_whitespace().next().unwrap_or("").to_ascii_lowercase();
            let sets = first == "set" || first == "select" && statement.contains("set_config");
            let characteristics = statement.to_ascii_lowercase().contains("characteristics");
            if !sets || characteristics || statement.contains('\0') {
                self.help(
                    &format!("session[{index}]"),
                    "'session' holds a statement that sets nothing",
                    "write `SET name = value` or `select set_config('name', 'value', true)`; each holds for one collection",
                );
            }
        }
    }

    /// The keys beside `datasource` that were written.
    fn parts(&self) -> Vec<&'static str> {
        let Settings { host, port, database, username, password, additional_params, .. } = self.settings;
        let written = [
            ("host", !host.is_empty()),
            ("port", *port != 0),
            ("database", !database.is_empty()),
            ("username", !username.is_empty()),
            ("password", !password.is_empty()),
            ("additional_params", !additional_params.is_empty()),
        ];
        written.into_iter().filter(|(_, written)| *written).map(|(key, _)| key).collect()
    }

    fn excluded_by_datasource(&mut self) {
        for key in self.parts() {
            self.error(key, format!("'{key}' cannot be set when 'datasource' is specified"));
        }
    }

    fn file(&mut self) -> Option<Database> {
        let datasource = self.settings.datasource.expose();
        if datasource.is_empty() {
            for key in self.parts() {
                let message = format!("'{key}' means nothing to the driver sqlite");
                self.help(key, message, "set 'datasource' to the path of the file");
            }
            let help = "the driver sqlite reads a file: set 'datasource' to its path";
            self.help("datasource", "'host' or 'datasource' must be specified", help);
            return None;
        }
        self.excluded_by_datasource();
        #[cfg(feature = "sql-sqlite")]
        match super::sqlite::DatabasePath::parse(datasource) {
            Ok(path) => return Some(Database::Sqlite(path)),
            Err((message, Some(help))) => self.help("datasource", message, help),
            Err((message, None)) => self.error("datasource", message),
        }
        None
    }

    #[cfg(feature = "sql-postgres")]
    fn server(&mut self) -> Option<Database> {
        use super::postgres::{Dsn, Mistake, Written};
        let settings = self.settings;
        if !settings.datasource.is_empty() {
            self.excluded_by_datasource();
        } else {
            let mut missing = Vec::new();
            for (key, written) in [("host", !settings.host.is_empty()), ("database", !settings.database.is_empty())] {
                if !written {
                    missing.push(key);
                }
            }
            for key in &missing {
                let message = format!("'{key}' or 'datasource' must be specified");
                self.help(key, message, "such as datasource: postgres://user@host/database");
            }
            if !missing.is_empty() {
                return None;
            }
        }
        let dsn = Dsn::parse(Written {
            datasource: &settings.datasource,
            host: &settings.host,
            port: settings.port,
            database: &settings.database,
            username: &settings.username,
            password: &settings.password,
            password_file: settings.password_file.as_deref().map(std::path::Path::new),
            additional_params: &settings.additional_params,
        });
        match dsn {
            Ok(dsn) => Some(Database::Postgres(Box::new(dsn))),
            Err(Mistake { key, message, help }) => {
                self.help(key, message, help);
                None
            }
        }
    }

    #[cfg(not(feature = "sql-postgres"))]
    fn server(&mut self) -> Option<Database> {
        None
    }
}
