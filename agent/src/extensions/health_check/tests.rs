use http_body_util::BodyExt;
use pdata::UnixNanos;
use pipeline::Clock;

use super::*;

async fn ask(config: &Config, path: &str, vitals: &Vitals) -> (u16, String) {
    let (head, body) = answer(config, path, vitals).into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status.as_u16(), String::from_utf8(body.to_vec()).unwrap())
}

fn vitals() -> Vitals {
    // 2026-11-21T09:30:00Z
    Vitals::new(Clock::stepped(UnixNanos(1_795_253_400_000_000_000)))
}

#[tokio::test(start_paused = true)]
async fn an_agent_that_starts_or_stops_is_alive_and_not_ready() {
    let (config, vitals) = (Config::default(), vitals());
    for reason in ["starting", "stopping"] {
        for path in ["/", "/livez"] {
            assert_eq!(ask(&config, path, &vitals).await.0, 200);
        }
        let (status, body) = ask(&config, "/readyz", &vitals).await;
        let expected = format!(
            r#"{{"status":"Server not available","upSince":"0001-01-01T00:00:00Z","uptime":"","reason":"{reason}"}}"#
        );
        assert_eq!((status, body), (503, expected));
        vitals.stopping();
    }
}

#[tokio::test(start_paused = true)]
async fn a_running_agent_says_since_when_it_is_up() {
    let (config, vitals) = (Config::default(), vitals());
    vitals.running(Vec::new());
    tokio::time::sleep(Duration::from_millis(61_500)).await;
    let expected = r#"{"status":"Server available","upSince":"2026-11-21T09:30:00.000Z","uptime":"1m1.5s"}"#;
    assert_eq!(ask(&config, "/readyz", &vitals).await, (200, expected.to_owned()));
    assert_eq!(ask(&config, "/metrics", &vitals).await.0, 404);
}

#[tokio::test(start_paused = true)]
async fn own_bodies_and_path_replace_the_defaults() {
    let section = Section::from_yaml(
        "health_check",
        "{path: /health, response_body: {healthy: fine, unhealthy: wait}, check_collector_pipeline: {enabled: false}}",
    );
    let config: Config = section.as_ref().unwrap().decode().unwrap();
    let vitals = vitals();
    assert_eq!(ask(&config, "/health", &vitals).await, (200, "fine".to_owned()));
    assert_eq!(ask(&config, "/readyz", &vitals).await, (503, "wait".to_owned()));
    assert_eq!(ask(&config, "/", &vitals).await.0, 404);
    let plan = plan(&section.unwrap()).ok().unwrap();
    assert_eq!(plan.warnings().iter().count(), 1);
}

#[test]
fn mistakes_are_told_all_at_once() {
    let section = Section::from_yaml("health_check", "{endpoint: nowhere, path: readyz}").unwrap();
    let problems = plan(&section).err().unwrap();
    assert_eq!(problems.iter().count(), 2, "{problems}");
    let section = Section::from_yaml("health_check", "{path: /readyz}").unwrap();
    assert!(plan(&section).err().unwrap().to_string().contains("choose another path"));
}

#[test]
fn spans_look_as_go_prints_them() {
    let text = |millis| go_duration(Duration::from_millis(millis));
    assert_eq!(text(0), "0s");
    assert_eq!(text(1_500), "1.5s");
    assert_eq!(text(60_000), "1m0s");
    assert_eq!(text(3_723_500), "1h2m3.5s");
}
