//! Debian's Prometheus, scraping what a test wants scraped.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::Command;

use serde_json::Value as Json;

use crate::process::{Process, folder, free_addresses};
use crate::{PATIENCE, Weir, http, judges, within};

/// What to scrape, once a second.
#[derive(Debug, Clone)]
pub struct Target {
    /// The job's name.
    pub job: &'static str,
    /// Where it listens.
    pub address: SocketAddr,
    /// Which path it serves.
    pub path: &'static str,
    /// The bearer token to send, if any.
    pub token: Option<&'static str>,
}

impl Target {
    /// The data endpoint of a running weir, under a job name.
    pub fn weir(job: &'static str, weir: &Weir) -> Self {
        Self { job, address: weir.address, path: weir.path(), token: None }
    }
}

/// A running Prometheus; it ends when this is dropped.
#[derive(Debug)]
pub struct Prometheus {
    process: Process,
    address: SocketAddr,
}

/// One series of an instant query's answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Value {
    /// Its labels, `__name__` included where the query keeps it.
    pub labels: BTreeMap<String, String>,
    /// Its number.
    pub number: f64,
}

impl Prometheus {
    /// Starts one that scrapes these targets, and waits until each is `up`.
    ///
    /// # Panics
    /// When a target does not come up within 30 s; the message carries Prometheus' own reason.
    pub fn scraping(targets: &[Target]) -> Self {
        let folder = folder("prometheus-");
        let config = folder.path().join("prometheus.yml");
        std::fs::write(&config, configuration(targets)).expect("a fresh folder is writable");
        let [address] = free_addresses();
        let mut command = Command::new(judges::program("prometheus"));
        command
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"));
        let mut process = Process::start("prometheus", &mut command, folder);
        process.until(PATIENCE, "being ready", || http::get(address, "/-/ready", &[]).is_ok_and(|r| r.status == 200));
        let prometheus = Self { process, address };
        for target in targets {
            prometheus.wait_until_up(target.job);
        }
        prometheus
    }

    /// The answer to an instant query.
    ///
    /// # Panics
    /// When Prometheus does not accept it.
    pub fn query(&self, expression: &str) -> Vec<Value> {
        let path = format!("/api/v1/query?query={}", percent(expression));
        let answer = self.api(&path);
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        let result = answer["data"]["result"].as_array().expect("an instant vector");
        result.iter().map(value).collect()
    }

    /// The one number of a query.
    ///
    /// # Panics
    /// When the answer is not exactly one series.
    pub fn number(&self, expression: &str) -> f64 {
        let answer = self.query(expression);
        assert_eq!(answer.len(), 1, "{expression} gives {answer:?}");
        answer[0].number
    }

    /// Why the last scrape of a job failed; empty when it did not.
    pub fn last_error(&self, job: &str) -> String {
        let answer = self.api("/api/v1/targets");
        let targets = answer["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
        let target = targets.iter().find(|target| target["labels"]["job"] == job);
        target.and_then(|target| target["lastError"].as_str()).unwrap_or_default().to_owned()
    }

    /// What Prometheus itself logged.
    pub fn log(&self) -> String {
        self.process.output("stderr")
    }

    fn wait_until_up(&self, job: &str) {
        let up = format!("up{{job=\"{job}\"}}");
        let mut error = String::new();
        let seen = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            within(PATIENCE, &format!("up == 1 of job {job}"), || {
                error = self.last_error(job);
                let answer = self.query(&up);
                answer.first().is_some_and(|value| value.number == 1.0).then_some(())
            });
        }));
        assert!(seen.is_ok(), "job {job} is not up: {error:?}");
    }

    fn api(&self, path: &str) -> Json {
        let response = http::get(self.address, path, &[]).expect("prometheus answers");
        serde_json::from_slice(&response.body).expect("its API speaks JSON")
    }
}

fn configuration(targets: &[Target]) -> String {
    let mut yaml = String::from("global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n");
    for Target { job, address, path, token } in targets {
        let token = token.map(|token| format!(", authorization: {{credentials: {token:?}}}")).unwrap_or_default();
        yaml.push_str(&format!(
            "  - {{job_name: {job}, metrics_path: {path}, static_configs: [{{targets: ['{address}']}}]{token}}}\n"
        ));
    }
    yaml
}

fn value(series: &Json) -> Value {
    let labels = series["metric"].as_object().expect("a series has labels");
    let text = |value: &Json| value.as_str().expect("Prometheus writes values as strings").to_owned();
    Value {
        labels: labels.iter().map(|(key, value)| (key.clone(), text(value))).collect(),
        number: text(&series["value"][1]).parse().expect("a number"),
    }
}

fn percent(text: &str) -> String {
    let letter = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(letter).collect()
}
