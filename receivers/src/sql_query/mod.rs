//! x
mod intake;
mod source;
mod sqlite;
use pipeline::*;
pub(crate) const FACTORY: Factory<dyn Receiver> = Factory {
    kind: "sql_query",
    aliases: &[],
    about: "",
    plan: |_| Err(config::Problems::new()),
    schema: || schemars::json_schema!({}),
};
