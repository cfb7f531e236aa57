//! OTLP in and out: with the SDKs that push it, the servers that take it, and another weir behind the gateway example.

#![allow(clippy::disallowed_types, clippy::disallowed_methods, reason = "real servers live in real time")]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use tests::exposition::Exposition;
use tests::otel::{self, Sdk, Server};
use tests::{PATIENCE, Weir, at_best, best, http, repository, within};

/// A weir that takes OTLP on one port, serves what it has, and tells all of it in a file.
const BACKEND: &str = "
receivers:
  otlp:
    protocols:
      grpc: {endpoint: '${env:OTLP}', max_recv_msg_size_mib: 4}
      http: {endpoint: '${env:OTLP}', max_request_body_size: 4MiB}
exporters:
  prometheus: {endpoint: '${env:METRICS_LISTEN}'}
  debug: {verbosity: detailed, use_internal_logger: false, output_paths: ['${env:TOLD}']}
service:
  telemetry: {metrics: {address: '${env:WEIR_TELEMETRY}'}}
  pipelines:
    metrics: {receivers: [otlp], exporters: [prometheus, debug]}
    logs: {receivers: [otlp], exporters: [debug]}
    traces: {receivers: [otlp], exporters: [debug]}
";

/// The last weir of a chain.
struct Backend {
    weir: Weir,
    otlp: SocketAddr,
    told: PathBuf,
    _folder: tempfile::TempDir,
}

impl Backend {
    fn start() -> Self {
        let folder = tempfile::tempdir_in(repository::target()).expect("target/ is writable");
        let (otlp, told) = (free(), folder.path().join("told"));
        let launch = Weir::run_text(BACKEND).listen("METRICS_LISTEN", "/metrics");
        let weir = launch.env("OTLP", otlp.to_string()).env("TOLD", &told).start();
        Self { weir, otlp, told, _folder: folder }
    }

    fn told(&self) -> String {
        std::fs::read_to_string(&self.told).unwrap_or_default()
    }

    fn url(&self) -> String {
        format!("http://{}", self.otlp)
    }
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("loopback has a free port")
}

/// The gateway example in front of `backend`, and where it takes OTLP over gRPC and HTTP.
fn gateway(backend: &str) -> (Weir, SocketAddr, SocketAddr) {
    let (grpc, over_http) = (free(), free());
    let launch = Weir::run("examples/gateway/weir.yaml").listen("METRICS_LISTEN", "/metrics");
    let launch = launch.env("OTLP_GRPC", grpc.to_string()).env("OTLP_HTTP", over_http.to_string());
    (launch.env("OTLP_BACKEND", backend).start(), grpc, over_http)
}

/// Every way in which SDKs push, with the name under which it does here.
const SDKS: [(&str, Sdk); 7] = [
    ("py_grpc", Sdk::Python("grpc", "none")),
    ("py_grpc_gzip", Sdk::Python("grpc", "gzip")),
    ("py_grpc_deflate", Sdk::Python("grpc", "deflate")),
    ("py_http", Sdk::Python("http", "none")),
    ("py_http_gzip", Sdk::Python("http", "gzip")),
    ("py_http_deflate", Sdk::Python("http", "deflate")),
    ("js_http_json", Sdk::JavaScript),
];

#[test]
fn what_sdks_push_is_relabelled_served_and_pushed_on() {
    let backend = Backend::start();
    let (gateway, grpc, over_http) = gateway(&backend.url());
    for (name, sdk) in SDKS {
        sdk.push(grpc, over_http, name);
        // The SDK was answered when the backend had it: nothing is waited for here.
        for weir in [&gateway, &backend.weir] {
            let shown = Exposition::read(weir.scrape().text());
            let orders = format!("{name}_orders_total");
            let samples: Vec<_> = shown.named(&orders).collect();
            assert_eq!(samples.len(), 1, "{name}: requests add up: {samples:?}");
            assert_eq!((samples[0].number(), samples[0].labels["tenant"].as_str()), (6.0, "acme"), "{name}");
            assert_eq!((&*shown.types[&orders], &*shown.helps[&orders]), ("counter", "Orders taken."));
            let seconds = format!("{name}_duration_seconds");
            assert_eq!(shown.types[&seconds], "histogram");
            assert_eq!(shown.named(&format!("{seconds}_sum")).next().map(|sample| sample.number()), Some(320.5));
        }
        let told = backend.told();
        assert!(told.contains(&format!("{name} says hello")), "{name}: {told}");
        assert!(told.contains(&format!("{name} checks trace_id=")), "{name}: {told}");
    }
    // The SDKs chose the names, and left out a description.
    tests::judges::accept(&gateway, None, tests::judges::Names::Given);
    let own = http::get(gateway.telemetry, "/metrics", &[]).expect("weir answers").text().to_owned();
    for line in [
        "otelcol_receiver_accepted_log_records{receiver=\"otlp\"} 7",
        "otelcol_receiver_accepted_spans{receiver=\"otlp\"} 7",
        "otelcol_exporter_sent_spans{exporter=\"otlp_http\"} 7",
    ] {
        assert!(own.contains(line), "{line}:\n{own}");
    }
}

#[test]
fn what_leaves_in_json_is_at_the_next_weir_what_it_would_be_in_protobuf() {
    let sdk = Sdk::Python("grpc", "none");
    let arrived = ["proto", "json"].map(|encoding| {
        let (backend, otlp) = (Backend::start(), free());
        let yaml = format!(
            "
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '${{env:OTLP}}'}}}}}}}}
exporters:
  otlp_http: {{endpoint: '{}', encoding: {encoding}}}
  prometheus: {{endpoint: '${{env:METRICS_LISTEN}}'}}
service:
  telemetry: {{metrics: {{address: '${{env:WEIR_TELEMETRY}}'}}}}
  pipelines:
    metrics: {{receivers: [otlp], exporters: [otlp_http, prometheus]}}
    logs: {{receivers: [otlp], exporters: [otlp_http]}}
    traces: {{receivers: [otlp], exporters: [otlp_http]}}
",
            backend.url()
        );
        let launch = Weir::run_text(&yaml).listen("METRICS_LISTEN", "/metrics");
        let weir = launch.env("OTLP", otlp.to_string()).start();
        sdk.push(otlp, otlp, "same");
        assert_eq!(weir.stop().code(), 0);
        let shown: BTreeMap<_, _> = Exposition::read(backend.weir.scrape().text())
            .samples
            .into_iter()
            .filter(|sample| sample.name.starts_with("same_"))
            .map(|mut sample| {
                sample.labels.remove("instance");
                (format!("{}{:?}", sample.name, sample.labels), sample.value)
            })
            .collect();
        let told = backend.told();
        assert!(told.contains("same says hello") && told.contains("same checks trace_id="), "{encoding}: {told}");
        shown
    });
    assert!(arrived[0].len() > 5, "{arrived:?}");
    assert_eq!(arrived[0], arrived[1]);
}

#[test]
fn victoria_metrics_takes_what_leaves() {
    let server = Server::victoria_metrics(free());
    let over_http = free();
    let yaml = "
receivers: {otlp: {protocols: {http: {endpoint: '${env:OTLP}'}}}}
exporters:
  otlp_http: {metrics_endpoint: 'http://${env:VICTORIA}/opentelemetry/v1/metrics', compression: '${env:PACKING}'}
  prometheus: {endpoint: '${env:METRICS_LISTEN}'}
service:
  telemetry: {metrics: {address: '${env:WEIR_TELEMETRY}'}}
  pipelines: {metrics: {receivers: [otlp], exporters: [otlp_http, prometheus]}}
";
    for packing in ["gzip", "zstd", "none"] {
        let launch = Weir::run_text(yaml).listen("METRICS_LISTEN", "/metrics").env("OTLP", over_http.to_string());
        let weir = launch.env("VICTORIA", server.address.to_string()).env("PACKING", packing).start();
        let gauge = format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[
                {{"name":"tank.level.{packing}","gauge":{{"dataPoints":[{{"asDouble":4.5,"timeUnixNano":"{now}","attributes":[{{"key":"tank","value":{{"stringValue":"north"}}}}]}}]}}}},
                {{"name":"pumped.{packing}","sum":{{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{{"asInt":"17","startTimeUnixNano":"{now}","timeUnixNano":"{now}"}}]}}}}]}}]}}]}}"#,
            now = now_nanos()
        );
        let answer =
            http::request("POST", over_http, "/v1/metrics", &[("Content-Type", "application/json")], gauge.as_bytes());
        let answer = answer.expect("weir answers");
        assert_eq!(answer.status, 200, "{packing}: {}", answer.text());
        for (query, value) in [
            (format!("{{__name__=\"tank.level.{packing}\",tank=\"north\"}}"), "4.5"),
            (format!("{{__name__=\"pumped.{packing}\"}}"), "17"),
        ] {
            let path = format!("/api/v1/query?query={}", escaped(&query));
            within(PATIENCE, &format!("{query} in VictoriaMetrics: {}", server.stderr()), || {
                let answer = http::get(server.address, &path, &[]).ok()?;
                answer.text().contains(&format!("\"{value}\"")).then_some(())
            });
        }
        assert_eq!(weir.stop().code(), 0);
    }
}

#[test]
fn rotel_takes_what_leaves_and_gives_what_comes() {
    let backend = Backend::start();
    let over_http = free();
    let rotel = Server::rotel(free(), over_http, backend.otlp);
    let grpc = format!("otlp_grpc: {{endpoint: '{}', tls: {{insecure: true}}, compression", rotel.address);
    let json = format!("otlp_http: {{endpoint: 'http://{over_http}', encoding: json, compression");
    let otlp = free();
    for (way, exporter, packing) in
        [("grpc", &grpc, "gzip"), ("grpc", &grpc, "none"), ("json", &json, "none"), ("json", &json, "gzip")]
    {
        let yaml = format!(
            "
receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '${{env:OTLP}}'}}}}}}}}
exporters:
  {exporter}: {packing}}}
  prometheus: {{endpoint: '${{env:METRICS_LISTEN}}'}}
service:
  telemetry: {{metrics: {{address: '${{env:WEIR_TELEMETRY}}'}}}}
  pipelines:
    metrics: {{receivers: [otlp], exporters: [{kind}, prometheus]}}
    logs: {{receivers: [otlp], exporters: [{kind}]}}
    traces: {{receivers: [otlp], exporters: [{kind}]}}
",
            kind = exporter.split(':').next().unwrap_or_default()
        );
        let launch = Weir::run_text(&yaml).listen("METRICS_LISTEN", "/metrics").env("OTLP", otlp.to_string());
        let weir = launch.start();
        let name = format!("rotel_{way}_{packing}");
        Sdk::Python("grpc", "gzip").push(otlp, otlp, &name);
        within(PATIENCE, &format!("{name} behind rotel: {}", rotel.stderr()), || {
            let shown = Exposition::read(backend.weir.scrape().text());
            let orders: f64 = shown.named(&format!("{name}_orders_total")).map(|sample| sample.number()).sum();
            let told = backend.told();
            let all =
                told.contains(&format!("{name} says hello")) && told.contains(&format!("{name} checks trace_id="));
            // Of metrics in JSON rotel's reader drops integers and histograms, of the specification's own examples too.
            ((orders == 6.0 || way == "json") && all).then_some(())
        });
        assert_eq!(weir.stop().code(), 0);
    }
}

#[test]
fn rows_and_signals_leave_with_their_types_units_and_start_times() {
    let backend = Backend::start();
    let signals = free();
    let yaml = "
receivers:
  sql_query:
    driver: sqlite
    datasource: '${env:ROWS}'
    collection_interval: 200ms
    queries:
      - sql: select name, level, pumped, begun from tanks
        metrics:
          - {metric_name: tank.level, value_column: level, value_type: double, unit: m, attribute_columns: [name]}
          - {metric_name: tank.pumped, value_column: pumped, data_type: sum, monotonic: true, aggregation: cumulative, unit: L, attribute_columns: [name]}
  breaker: {endpoint: '${env:SIGNALS}', storage: file_storage, flush_interval: 100ms}
exporters:
  otlp_http: {endpoint: '${env:BACKEND}'}
  prometheus: {endpoint: '${env:METRICS_LISTEN}'}
extensions:
  file_storage: {directory: '${env:STATE}'}
service:
  extensions: [file_storage]
  telemetry: {metrics: {address: '${env:WEIR_TELEMETRY}'}}
  pipelines: {metrics: {receivers: [sql_query, breaker], exporters: [otlp_http, prometheus]}}
";
    let folder = tempfile::tempdir_in(repository::target()).expect("target/ is writable");
    let rows = folder.path().join("tanks.db");
    let database = rusqlite::Connection::open(&rows).expect("a fresh folder is writable");
    database
        .execute_batch("create table tanks(name, level real, pumped integer, begun); insert into tanks values ('north', 4.5, 17, 1)")
        .expect("SQL");
    let launch = Weir::run_text(yaml).listen("METRICS_LISTEN", "/metrics").env("ROWS", &rows);
    let launch = launch.env("SIGNALS", signals.to_string()).env("STATE", folder.path()).env("BACKEND", backend.url());
    let began = now_nanos();
    let weir = launch.start();
    let signal = br#"{"circuit_name":"pay","old_state":"closed","new_state":"open","timestamp":1700000000}"#;
    let json = [("Content-Type", "application/json")];
    let answer = http::request("POST", signals, "/signals", &json, signal).expect("weir answers");
    assert_eq!(answer.status, 200);
    let expected = [
        ("tank.level{name=\"north\"} 4.5", "type=Gauge", "unit=\"m\"", false),
        ("tank.pumped{name=\"north\"} 17", "monotonic: true, temporality: Cumulative", "unit=\"L\"", false),
        (
            "circuit_breaker_state_transition{circuit_name=\"pay\",new_state=\"open\",old_state=\"closed\"} 1",
            "monotonic: true, temporality: Cumulative",
            "",
            true,
        ),
        ("circuit_breaker_state{circuit_name=\"pay\",state=\"open\"} 1", "type=Gauge", "", false),
    ];
    for (point, kind, unit, started) in expected {
        let start = start_of(&backend, point, kind, unit);
        assert!(!started || (began..=now_nanos()).contains(&start), "{point} began at {start}, weir at {began}");
    }
    assert_eq!(weir.stop().code(), 0);
}

/// Waits for this point at the last weir, holds its metric to a type and a unit, and gives its start time.
fn start_of(backend: &Backend, point: &str, kind: &str, unit: &str) -> u128 {
    within(PATIENCE, &format!("{point} at the end of the chain"), || {
        let told = backend.told();
        let (_, after) = told.split_once(&format!("\n{point}\n"))?;
        let mut lines = after.lines();
        let (described, times) = (lines.next()?, lines.next()?);
        assert!(described.contains(kind) && described.contains(unit), "{point}: {described}");
        times.trim().strip_prefix("start=")?.split(' ').next()?.parse().ok()
    })
}

#[test]
fn what_webhooks_count_leaves_with_its_types_units_and_start_times_that_outlive_a_restart() {
    let backend = Backend::start();
    let hooks = free();
    let yaml = "
receivers:
  webhook:
    endpoint: '${env:HOOKS}'
    storage: file_storage
    flush_interval: 100ms
    sources:
      - name: orders
        id: id
        metrics:
          - {metric_name: orders, unit: '{orders}', attributes: [{name: tenant}]}
          - {metric_name: stock, data_type: updowncounter, value: change, unit: '{pieces}', attributes: [{name: tenant}]}
          - {metric_name: balance, data_type: gauge, value: balance, unit: EUR, attributes: [{name: tenant}]}
exporters:
  otlp_http: {endpoint: '${env:BACKEND}'}
  prometheus: {endpoint: '${env:METRICS_LISTEN}'}
extensions:
  file_storage: {directory: '${env:STATE}'}
service:
  extensions: [file_storage]
  telemetry: {metrics: {address: '${env:WEIR_TELEMETRY}'}}
  pipelines: {metrics: {receivers: [webhook], exporters: [otlp_http, prometheus]}}
";
    let folder = tempfile::tempdir_in(repository::target()).expect("target/ is writable");
    let (cumulative, json) = ("temporality: Cumulative", [("Content-Type", "application/json")]);
    let mut starts = Vec::new();
    let began = now_nanos();
    for round in 1..=2 {
        let launch = Weir::run_text(yaml).listen("METRICS_LISTEN", "/metrics").env("HOOKS", hooks.to_string());
        let weir = launch.env("STATE", folder.path()).env("BACKEND", backend.url()).start();
        let event = format!(r#"{{"id":"{round}","tenant":"a","change":-3,"balance":4.5}}"#);
        let answer = http::request("POST", hooks, "/orders", &json, event.as_bytes()).expect("weir answers");
        assert_eq!(answer.status, 200, "{}", answer.text());
        let counter = format!("orders{{tenant=\"a\"}} {round}");
        let start = start_of(&backend, &counter, &format!("monotonic: true, {cumulative}"), "unit=\"{orders}\"");
        let up_and_down = format!("stock{{tenant=\"a\"}} {}", -3 * round);
        start_of(&backend, &up_and_down, &format!("monotonic: false, {cumulative}"), "unit=\"{pieces}\"");
        start_of(&backend, "balance{tenant=\"a\"} 4.5", "type=Gauge", "unit=\"EUR\"");
        starts.push(start);
        assert_eq!(weir.stop().code(), 0);
    }
    assert!((began..=now_nanos()).contains(&starts[0]), "{starts:?}, weir at {began}");
    assert_eq!(starts[0], starts[1], "the counter goes on where it was");
}

#[test]
fn a_bomb_is_refused_at_once_and_leaves_nothing_behind() {
    const EACH_MIB: f64 = 4.0;
    let backend = Backend::start();
    let packed = |bytes: usize| {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&vec![0; bytes]).expect("memory is there");
        gzip.finish().expect("memory is there")
    };
    let (bomb, allowed) = (packed(64 << 20), packed(4 << 20));
    assert!(bomb.len() * 900 < 64 << 20, "{} bytes", bomb.len());
    let headers = [("Content-Type", "application/x-protobuf"), ("Content-Encoding", "gzip")];
    let answered = |body: &[u8], status: u16| {
        let answer = http::request("POST", backend.otlp, "/v1/metrics", &headers, body).expect("weir answers");
        assert_eq!(answer.status, status, "{}", answer.text());
        answer.took
    };
    // Sixteen times what is allowed is in it, and is not unpacked: it takes what the largest body takes that may be, here one that then
    // proves to be no protobuf. In milliseconds the benchmark `gateway` tells it.
    let throw = || answered(&bomb, 413);
    at_best(best(|| answered(&allowed, 400)) * 4 + Duration::from_millis(5), "a bomb", throw);
    let before = backend.weir.resident_mib();
    std::thread::scope(|scope| {
        for _ in 0..10 {
            scope.spawn(throw);
        }
    });
    let grown = backend.weir.resident_mib() - before;
    assert!(grown <= 10.0 * EACH_MIB, "{grown} MiB stay behind");
    Sdk::JavaScript.push(backend.otlp, backend.otlp, "after");
}

#[test]
fn the_page_says_what_was_tried() {
    let page = repository::text("docs/compatibility.md");
    for [registry, name, version] in otel::versions() {
        let row = format!("| `{name}` ({registry}) | {version} |");
        assert!(page.contains(&row), "docs/compatibility.md lacks {row}");
    }
}

fn now_nanos() -> u128 {
    let now = std::time::SystemTime::now();
    now.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_nanos()
}

fn escaped(query: &str) -> String {
    query.bytes().map(|byte| format!("%{byte:02X}")).collect()
}
