//! Stand-in while the crate is being built.
#![allow(missing_docs, dead_code)]
#[derive(Debug, Default)]
pub struct Problems(Vec<String>);
#[derive(Debug)]
pub struct Section(());
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ComponentId(String);
impl std::str::FromStr for ComponentId {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Ok(Self(s.into()))
    }
}
#[derive(Debug, Clone, Copy)]
pub enum Signal {
    Traces,
    Metrics,
    Logs,
}
