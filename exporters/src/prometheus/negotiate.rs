//! Which format, scheme and encoding a scraper wants.

use http::HeaderMap;
use http::header::{ACCEPT, ACCEPT_ENCODING};
use pdata::prom::Escaping;

use super::kind::Format;

/// What to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) format: Format,
    pub(super) escaping: Escaping,
    pub(super) gzip: bool,
}

/// One clause of an `Accept` that this server can meet.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Offer {
    quality: f32,
    /// Breaks ties: what is asked for by name goes before wildcards, OpenMetrics before text.
    rank: u8,
    format: Format,
    escaping: Escaping,
}

/// Bytes of a header that are looked at; Prometheus sends 350 at most.
const HEADER_MAX: usize = 4096;

impl Answer {
    /// Reads the request's headers. Nothing that is acceptable, or no wish at all, is text 0.0.4 with underscores.
    pub(super) fn to(headers: &HeaderMap, open_metrics: bool) -> Self {
        let best = clauses(headers, &ACCEPT)
            .filter_map(|clause| Offer::read(clause, open_metrics))
            .filter(|offer| offer.quality > 0.0)
            .reduce(|best, offer| if offer.beats(&best) { offer } else { best });
        let (format, escaping) = best.map_or((Format::Text, Escaping::default()), |best| (best.format, best.escaping));
        Self { format, escaping, gzip: takes_gzip(headers) }
    }

    /// The content type, in the one form that every scraper knows.
    pub(super) fn content_type(self) -> String {
        let kind = match self.format {
            Format::Text => "text/plain; version=0.0.4",
            Format::OpenMetrics => "application/openmetrics-text; version=1.0.0",
        };
        format!("{kind}; charset=utf-8; escaping={}", self.escaping.as_str())
    }
}

impl Offer {
    fn read(clause: &str, open_metrics: bool) -> Option<Self> {
        let mut parts = clause.split(';').map(str::trim);
        let media = parts.next()?.to_ascii_lowercase();
        let (mut quality, mut version, mut escaping) = (1.0, None, Escaping::default());
        for (key, value) in parts.filter_map(|part| part.split_once('=')) {
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "q" => quality = value.parse::<f32>().ok().filter(|q| (0.0..=1.0).contains(q))?,
                "version" => version = Some(value),
                "escaping" => escaping = Escaping::from_word(value).unwrap_or_default(),
                _ => {}
            }
        }
        let (format, rank) = match (media.as_str(), version) {
            ("application/openmetrics-text", None | Some("1.0.0")) if open_metrics => (Format::OpenMetrics, 3),
            // Prometheus 3 lists text 1.0.0, which no encoder writes; it reads 0.0.4 with the escaping it asked for.
            ("text/plain", None | Some("0.0.4" | "1.0.0")) => (Format::Text, 2),
            ("text/*", _) => (Format::Text, 1),
            ("*/*", _) => (Format::Text, 0),
            _ => return None,
        };
        Some(Self { quality, rank, format, escaping })
    }

    fn beats(&self, other: &Self) -> bool {
        (self.quality, self.rank) > (other.quality, other.rank)
    }
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut wildcard = None;
    let mut named = None;
    for clause in clauses(headers, &ACCEPT_ENCODING) {
        let (coding, parameter) = clause.split_once(';').unwrap_or((clause, ""));
        let quality = parameter.trim().strip_prefix("q=").map_or(Some(1.0), |q| q.trim().parse::<f32>().ok());
        let accepted = Some(quality.is_some_and(|quality| quality > 0.0));
        match coding.trim().to_ascii_lowercase().as_str() {
            "gzip" | "x-gzip" => named = accepted,
            "*" => wildcard = accepted,
            _ => {}
        }
    }
    named.or(wildcard).unwrap_or(false)
}

fn clauses<'a>(headers: &'a HeaderMap, name: &http::HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.filter(|value| value.len() <= HEADER_MAX).flat_map(|value| value.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(accept: &str, encoding: &str) -> Answer {
        let mut headers = HeaderMap::new();
        for (name, value) in [(ACCEPT, accept), (ACCEPT_ENCODING, encoding)] {
            if !value.is_empty() {
                headers.insert(name, value.parse().unwrap());
            }
        }
        Answer::to(&headers, true)
    }

    #[test]
    fn every_real_scraper_gets_what_it_can_read() {
        use Escaping::{Underscores, Utf8, Values};
        use Format::{OpenMetrics, Text};
        let prometheus_2 = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
        let prometheus_3 = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let native = "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.6,\
            application/openmetrics-text;version=1.0.0;escaping=values;q=0.5,text/plain;version=0.0.4;q=0.2";
        for (accept, format, escaping) in [
            (prometheus_2, OpenMetrics, Underscores),
            (prometheus_3, OpenMetrics, Utf8),
            (native, OpenMetrics, Values),
            ("text/plain;version=0.0.4;q=1,*/*;q=0.1", Text, Underscores),
            ("text/plain;version=1.0.0;escaping=allow-utf-8", Text, Utf8),
            ("application/openmetrics-text", OpenMetrics, Underscores),
            ("application/openmetrics-text;version=2.0.0", Text, Underscores),
            ("application/openmetrics-text;q=0, text/plain", Text, Underscores),
            ("text/plain, application/openmetrics-text", OpenMetrics, Underscores),
            ("application/openmetrics-text;escaping=nonsense", OpenMetrics, Underscores),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Text, Underscores),
            ("image/png", Text, Underscores),
            ("*/*", Text, Underscores),
            ("", Text, Underscores),
            (";;q=,", Text, Underscores),
        ] {
            let answer = answer(accept, "");
            assert_eq!((answer.format, answer.escaping), (format, escaping), "{accept}");
        }
    }

    #[test]
    fn without_open_metrics_the_text_clause_is_met() {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, "application/openmetrics-text,text/plain;version=0.0.4;q=0.1".parse().unwrap());
        let answer = Answer::to(&headers, false);
        assert_eq!(answer.content_type(), "text/plain; version=0.0.4; charset=utf-8; escaping=underscores");
    }

    #[test]
    fn gzip_is_used_only_where_it_is_taken() {
        for (encoding, gzip) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5", true),
            ("gzip;q=0", false),
            ("*", true),
            ("*;q=1, gzip;q=0", false),
            ("identity", false),
            ("zstd, br", false),
            ("", false),
        ] {
            assert_eq!(answer("", encoding).gzip, gzip, "{encoding}");
        }
    }
}
