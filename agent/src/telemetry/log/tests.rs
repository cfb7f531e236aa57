use super::*;
use crate::telemetry::Settings;
use pdata::UnixNanos;

/// What a log with these settings writes while `speak` speaks.
fn written(logs: &str, speak: impl FnOnce(&LogHandle)) -> String {
    let yaml = format!("logs: {{{logs}}}");
    let section = ::config::Section::from_yaml("telemetry", &yaml).unwrap();
    let (settings, _) = Settings::plan(&section).unwrap();
    let memory = Arc::default();
    // 2026-11-21T09:30:00.123Z
    let clock = Clock::stepped(UnixNanos(1_795_253_400_123_000_000));
    let (subscriber, level) = subscriber_to(&settings.logs, clock, Sinks::memory(&memory));
    tracing::subscriber::with_default(subscriber, || speak(&level));
    let bytes = memory.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_console_line_has_time_level_caller_message_and_fields() {
    let text = written("", |_| {
        let span = tracing::error_span!("component", otelcol.component.id = "debug/a");
        span.in_scope(|| tracing::info!(items = 3, name = %"x", "hello"));
    });
    let parts: Vec<_> = text.split('\t').collect();
    assert_eq!(parts[..2], ["2026-11-21T09:30:00.123Z", "info"]);
    assert!(parts[2].starts_with("log/tests.rs:"), "{text}");
    assert_eq!(parts[3..], ["hello", "{\"otelcol.component.id\": \"debug/a\", \"items\": 3, \"name\": \"x\"}\n"]);
}

#[tokio::test(start_paused = true)]
async fn a_json_line_is_one_json_object() {
    let text = written("encoding: json, initial_fields: {cluster: a}", |_| {
        tracing::warn!(error = "say \"no\"\n", ratio = f64::NAN, "a \"quoted\" \\ line\n");
    });
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["level"], "warn");
    assert_eq!(value["ts"], "2026-11-21T09:30:00.123Z");
    assert_eq!(value["cluster"], "a");
    assert_eq!(value["error"], "say \"no\"\n");
    assert_eq!(value["ratio"], "NaN");
    assert_eq!(value["msg"], "a \"quoted\" \\ line\\n");
}

#[tokio::test(start_paused = true)]
async fn nobody_can_forge_a_line() {
    let text = written("disable_caller: true", |_| {
        tracing::info!(from = "a\nb\u{1b}[2J\u{85}", "one\ntwo\u{1b}[31m\u{202e}");
    });
    assert_eq!(text.lines().count(), 1);
    assert!(text.contains("one\\ntwo\\u001b[31m\\u202e"), "{text}");
    assert!(text.contains("\"a\\nb\\u001b[2J\\u0085\""), "{text}");
}

#[tokio::test(start_paused = true)]
async fn the_level_can_be_changed_while_it_runs() {
    let text = written("level: warn", |level| {
        for step in 0..2 {
            tracing::info!(step, "quiet");
            level.set(Some(Level::DEBUG));
        }
    });
    assert_eq!(text.matches("quiet").count(), 1);
}

#[tokio::test(start_paused = true)]
async fn libraries_speak_from_warn_on() {
    let text = written("level: debug", |_| {
        tracing::debug!(target: "h2::proto", "chatter");
        tracing::warn!(target: "h2::proto", "trouble");
    });
    assert!(text.contains("trouble") && !text.contains("chatter"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn spans_of_libraries_are_not_even_opened_and_those_of_the_house_at_every_level() {
    written("level: error", |_| {
        assert!(tracing::error_span!(target: "h2::proto", "poll").is_disabled());
        assert!(tracing::trace_span!(target: "hyper::proto", "poll").is_disabled());
        assert!(!tracing::trace_span!("component").is_disabled());
    });
}

#[tokio::test(start_paused = true)]
async fn a_repeated_line_is_shown_first_and_then_every_so_many_th_by_component() {
    let text = written("sampling: {initial: 2, thereafter: 10}", |log| {
        for component in ["a", "b"] {
            let span = tracing::error_span!("component", component);
            span.in_scope(|| (0..22).for_each(|round| tracing::info!(round, "again")));
        }
        assert_eq!(log.left_out(), 36);
    });
    let rounds = ["\"round\": 0}", "\"round\": 1}", "\"round\": 11}", "\"round\": 21}"];
    assert_eq!(text.lines().count(), 8, "{text}");
    assert!(rounds.iter().all(|round| text.matches(round).count() == 2), "{text}");
}
