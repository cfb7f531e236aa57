//! What may be written, and what is told.

use super::*;

fn told(yaml: &str) -> Vec<String> {
    let section = Section::from_yaml(ID, yaml).unwrap();
    match Checked::of(&section) {
        Ok(checked) => checked.warnings.iter().map(|problem| format!("warning: {}", problem.message)).collect(),
        Err(problems) => problems.iter().map(|problem| format!("{}: {}", problem.path, problem.message)).collect(),
    }
}

#[test]
fn protocols_without_a_word_listen_where_senders_look_for_them() {
    let plan = checked("protocols:\n  grpc:\n  http:\n");
    let doors: Vec<_> = plan.doors.iter().map(|door| (&*door.address, door.words(), door.largest_body())).collect();
    assert_eq!(doors, [("localhost:4317", "grpc", (64 << 20) + 5), ("localhost:4318", "http", 64 << 20)]);
}

#[test]
fn one_address_is_one_port_for_both() {
    let plan = checked(BOTH);
    let doors: Vec<_> = plan.doors.iter().map(|door| (&*door.address, door.words())).collect();
    assert_eq!(doors, [("127.0.0.1:0", "grpc and http")]);
    let different =
        "protocols: {grpc: {endpoint: 'localhost:1', limits: {connections: 5}}, http: {endpoint: 'localhost:1'}}";
    assert_eq!(
        told(different),
        ["receivers::otlp/x::protocols::http::limits: \"localhost:1\" serves both protocols, so 'limits' must be the same for both"
            .replace("receivers::", "")]
    );
}

#[test]
fn mistakes_are_told_at_their_key() {
    let one = |yaml: &str| {
        let mut told = told(yaml);
        assert_eq!(told.len(), 1, "{told:?}");
        told.remove(0)
    };
    assert_eq!(one("{}"), "otlp/x::protocols: must specify at least one protocol when using the OTLP receiver");
    assert_eq!(
        one("protocols: {grpc: {endpoint: localhost}}"),
        "otlp/x::protocols::grpc::endpoint: address localhost: missing port in address: write host:port, such as localhost:9464"
    );
    assert_eq!(
        one("protocols: {grpc: {auth: {authenticator: bearertokenauth}}}"),
        "otlp/x::protocols::grpc::auth: `auth` is not supported yet".replace("`auth`", "`protocols.grpc.auth`")
    );
    assert_eq!(
        one("protocols: {http: {logs_url_path: /v1/metrics}}"),
        "otlp/x::protocols::http::logs_url_path: \"/v1/metrics\" is the path of another signal already"
    );
    assert_eq!(
        one("protocols: {http: {metrics_url_path: metrics}}"),
        "otlp/x::protocols::http::metrics_url_path: 'metrics_url_path' must be a path that begins with '/', got \"metrics\""
    );
    assert_eq!(
        one("protocols: {grpc: {max_recv_msg_size_mib: 0}}"),
        "otlp/x::protocols::grpc::max_recv_msg_size_mib: 'max_recv_msg_size_mib' must be 1 to 1024"
    );
    assert_eq!(
        one("protocols: {http: {cors: {allowed_headers: [a]}}}"),
        "otlp/x::protocols::http::cors::allowed_origins: 'allowed_origins' is empty: no page could send"
    );
    assert_eq!(
        one("{reply_timeout: 1ms, protocols: {grpc: {}}}"),
        "otlp/x::reply_timeout: 'reply_timeout' must be at least 100ms"
    );
}

#[test]
fn a_port_for_strangers_without_gates_is_warned_of() {
    assert_eq!(told("protocols: {grpc: {endpoint: '0.0.0.0:4317'}}").len(), 1);
    assert!(told(BOTH).is_empty());
}
