use std::fs;

use super::*;
use crate::testing::{REGISTRY, journal, source, source_with};
use config::MapEnvironment;

const SERVICE: &str = "service: {pipelines: {metrics: {receivers: [source], exporters: [sink]}}}";

fn agent(yaml: &str) -> Agent {
    Agent::from_source(source(yaml)).unwrap_or_else(|rejected| panic!("{rejected}"))
}

/// A port that is free now.
#[cfg(feature = "extension-health-check")]
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[cfg(feature = "extension-health-check")]
async fn get(port: u16, path: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

/// Waits until `happened`, in real time: for tests with sockets.
async fn eventually(happened: impl Fn() -> bool) {
    for _ in 0..500 {
        if happened() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it did not happen within five seconds");
}

#[tokio::test(start_paused = true)]
async fn a_fault_of_one_component_stops_the_agent_and_is_its_result() {
    let agent = agent(&format!("receivers: {{source: {{then: fault}}}}\nexporters: {{sink: }}\n{SERVICE}"));
    let (_stopper, stop) = Stop::pair();
    assert_eq!(agent.run(stop).await.unwrap_err().to_string(), "source: the spring is dry");
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_is_asked_to_stop_drains() {
    let agent =
        agent(&format!("receivers: {{source: {{batches: 100}}}}\nexporters: {{sink: {{journal: drain}}}}\n{SERVICE}"));
    let (stopper, stop) = Stop::pair();
    let running = tokio::spawn(agent.run(stop));
    tokio::time::sleep(Duration::from_secs(30)).await;
    stopper.stop();
    assert!(running.await.unwrap().unwrap().is_clean());
    assert_eq!(journal("drain").last().unwrap(), "ended sink with 100");
}

#[tokio::test(start_paused = true)]
async fn a_component_that_cannot_be_built_is_named_and_nothing_starts() {
    let agent =
        agent(&format!("receivers: {{source: {{journal: broken}}}}\nexporters: {{sink: {{broken: true}}}}\n{SERVICE}"));
    let (_stopper, stop) = Stop::pair();
    assert_eq!(agent.run(stop).await.unwrap_err().to_string(), "sink: the sink has a hole");
    assert_eq!(journal("broken"), [] as [&str; 0]);
}

#[tokio::test]
async fn a_port_in_use_is_a_fault_that_names_who_wants_it() {
    let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = other.local_addr().unwrap();
    let (_stopper, stop) = Stop::pair();
    let wanted = format!("receivers: {{source: }}\nexporters: {{sink: {{endpoint: '{address}'}}}}\n{SERVICE}");
    let fault = agent(&wanted).run(stop.clone()).await.unwrap_err().to_string();
    assert!(fault.starts_with(&format!("exporters::sink: cannot listen on {address}")), "{fault}");
    let own = format!("receivers: {{source: }}\nexporters: {{sink: }}
service: {{telemetry: {{metrics: {{level: basic, address: '{address}'}}}}, pipelines: {{metrics: {{receivers: [source], exporters: [sink]}}}}}}");
    let fault = agent(&own).run(stop).await.unwrap_err().to_string();
    assert!(fault.starts_with(&format!("service::telemetry: cannot listen on {address}")), "{fault}");
}

#[cfg(feature = "extension-health-check")]
#[tokio::test]
async fn own_metrics_and_health_are_served_while_it_runs() {
    let (metrics, health) = (free_port(), free_port());
    let agent = agent(&format!(
        "receivers: {{source: {{batches: 4}}}}
exporters: {{sink: }}
extensions: {{health_check: {{endpoint: '127.0.0.1:{health}'}}}}
service:
  extensions: [health_check]
  telemetry: {{metrics: {{level: normal, address: '127.0.0.1:{metrics}'}}}}
  pipelines: {{metrics: {{receivers: [source], exporters: [sink]}}}}"
    ));
    let (stopper, stop) = Stop::pair();
    let running = tokio::spawn(agent.run(stop));
    eventually(|| std::net::TcpStream::connect(("127.0.0.1", health)).is_ok()).await;
    assert!(get(health, "/readyz").await.starts_with("HTTP/1.1 200 OK"));
    let text = get(metrics, "/metrics").await;
    assert!(text.contains("text/plain; version=0.0.4; charset=utf-8"), "{text}");
    assert!(text.contains("otelcol_exporter_sent_metric_points{exporter=\"sink\"} 4"), "{text}");
    assert!(text.contains("otelcol_exporter_queue_capacity{exporter=\"sink\"} 64"), "{text}");
    assert!(get(metrics, "/").await.starts_with("HTTP/1.1 404"));
    stopper.stop();
    assert!(running.await.unwrap().unwrap().is_clean());
}

#[tokio::test]
async fn a_reload_keeps_the_old_graph_on_mistakes_and_swaps_on_success() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weir.yaml");
    let write = |exporter: &str| {
        let yaml = format!("receivers: {{source: {{journal: reload}}}}\nexporters: {{sink: {exporter}}}\n{SERVICE}");
        fs::write(&path, yaml + "\n").unwrap();
    };
    write("{journal: reload}");
    let mut source = source("{}");
    source.sources.configs.pop();
    source.sources.configs.push(path.to_str().unwrap().to_owned());
    let agent = Agent::from_source(source).unwrap();
    let (reload, (stopper, stop)) = (agent.reload(), Stop::pair());
    let running = tokio::spawn(agent.run(stop));
    eventually(|| journal("reload").contains(&"started sink".to_owned())).await;

    // A mistake, a sink that cannot be built, the same in other words.
    for no_reason in ["{jornal: x}", "{broken: true}", "{'journal': \"reload\"} # as before"] {
        write(no_reason);
        reload.ask();
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(!running.is_finished() && !journal("reload").iter().any(|line| line.starts_with("ended")));
    }
    write("{journal: reload, refuse_every: 9}");
    reload.ask();
    eventually(|| journal("reload").iter().filter(|line| *line == "started source").count() == 2).await;
    let lines = journal("reload");
    let last_built = lines.iter().rposition(|line| line.starts_with("built sink")).unwrap();
    let ended = lines.iter().position(|line| line.starts_with("ended")).unwrap();
    assert!(last_built < ended, "the new graph is built before the old one is touched: {lines:?}");
    stopper.stop();
    assert!(running.await.unwrap().unwrap().is_clean());
}

#[tokio::test(start_paused = true)]
async fn running_once_collects_prints_and_ends() {
    let yaml = "receivers: {source/a: {then: collect}, source/logs: {then: fault}}
exporters: {sink: {broken: true}}
service: {pipelines: {metrics: {receivers: [source/a], exporters: [sink]}}}";
    let collected = agent(yaml).run_once(Duration::from_secs(5)).await.unwrap();
    assert_eq!(collected.text, "m{from=\"source/a\"} Int(0)\n");
    assert_eq!(collected.failures, [] as [&str; 0]);
    let failing = yaml.replace("then: collect", "then: collect_badly");
    let collected = agent(&failing).run_once(Duration::from_secs(5)).await.unwrap();
    assert_eq!(collected.failures, ["source/a: the read failed"]);
}

#[test]
fn secrets_are_in_no_problem_and_no_printed_configuration() {
    const CANARY: &str = "c4n4ry-s3cr3t";
    let env = || MapEnvironment::new().with("CANARY", CANARY);
    let source = source_with(
        &format!(
            "receivers:
  source/env: {{password: '${{env:CANARY}}', batches: '${{env:CANARY}}'}}
  source/plain: {{password: {CANARY}, items: 0}}
  source/wrong: {{password: [{CANARY}]}}
exporters: {{sink: }}
{SERVICE}"
        ),
        env(),
    );
    let examined = source.examine();
    let files = &examined.loaded.files;
    let shown = [
        examined.problems.render(files),
        examined.problems.to_json(files).to_string(),
        examined.problems.to_string(),
        format!("{examined:?}"),
        config::print(&examined.loaded, true),
    ];
    assert!(examined.problems.has_errors());
    for text in shown {
        assert!(!text.contains(CANARY), "{text}");
    }
    assert!(config::print(&examined.loaded, false).contains(CANARY));
    assert!(REGISTRY.receivers.find("source").is_some());
}

#[tokio::test(start_paused = true)]
async fn secrets_are_in_no_line_of_the_log() {
    const CANARY: &str = "c4n4ry-s3cr3t";
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("weir.log");
    let yaml = format!(
        "receivers: {{source: {{password: '${{env:CANARY}}', then: fault}}, source/spare: {{password: {CANARY}}}}}
exporters: {{sink: }}
service:
  telemetry: {{logs: {{level: debug, output_paths: ['{}']}}}}
  pipelines: {{metrics: {{receivers: [source], exporters: [sink]}}}}",
        log.display()
    );
    let agent = Agent::from_source(source_with(&yaml, MapEnvironment::new().with("CANARY", CANARY))).unwrap();
    let debugged = format!("{agent:?}");
    let (subscriber, _) = crate::telemetry::log::subscriber(agent.log_settings(), Clock::system()).unwrap();
    let guard = tracing::subscriber::set_default(subscriber);
    let (_stopper, stop) = Stop::pair();
    agent.run(stop).await.unwrap_err();
    drop(guard);
    let written = fs::read_to_string(log).unwrap();
    assert!(written.contains("the spring is dry") && written.contains("Everything is ready"), "{written}");
    assert!(written.contains("is configured but not used"), "warnings are told in the log: {written}");
    assert!(!written.contains(CANARY) && !debugged.contains(CANARY), "{written}");
}
