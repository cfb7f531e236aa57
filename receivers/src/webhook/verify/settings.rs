//! The key `verify` of a source, and what can be wrong with it.

use std::path::PathBuf;

use config::{Duration, Problems, Secret, Section, StringList};
use http::header::HeaderName;
use schemars::JsonSchema;
use serde::Deserialize;

use super::encoding::Encoding;
use super::keys::{Algorithm, Token};
use super::ring::{KEYS_MAX, Made, Make, Ring, look};
use super::scheme::{Scheme, TOLERANCE, TimeUnit};
use super::template::{self, Part};
use super::{Verifier, Way};

/// How requests of a source are verified.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct VerifySettings {
    /// How the sender signs. Required.
    pub(crate) scheme: Option<SchemeName>,
    /// The secret that is shared with the sender; under `standard_webhooks` and `svix` perhaps its public key, `whpk_…`.
    pub(crate) secret: Secret,
    /// Several secrets, all of them active, for the time in which a sender changes its own. At most 8 with all others.
    pub(crate) secrets: Vec<Secret>,
    /// Files with active secrets, one a line; read again when they change. A path or a list of paths.
    pub(crate) secret_file: StringList,
    /// How old, or how far in the future, a signed time may be: 5m by default where the scheme signs one. 0s: any time will do.
    pub(crate) tolerance: Option<Duration>,
    /// `hmac`, `token`: the header with the code or the token.
    pub(crate) header: Option<String>,
    /// `hmac`, `token`: what stands before it in the header, such as `sha256=`. Nothing by default.
    pub(crate) prefix: Option<String>,
    /// `hmac`: the hash; sha256 by default.
    pub(crate) algorithm: Option<Algorithm>,
    /// `hmac`: how the code is written; hex by default.
    pub(crate) encoding: Option<Encoding>,
    /// `hmac`: what is signed, `{body}` by default; also `{timestamp}`, `{id}` and `{header:name}`, with texts between.
    pub(crate) signed_content: Option<String>,
    /// `hmac`: the header with `{timestamp}`.
    pub(crate) timestamp_header: Option<String>,
    /// `hmac`: the unit of `{timestamp}`, `s` (default) or `ms` since 1970.
    pub(crate) timestamp_unit: Option<TimeUnit>,
    /// `hmac`: the header with `{id}`.
    pub(crate) id_header: Option<String>,
}

/// Who signs, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SchemeName {
    /// `X-Cycles-Signature: sha256=<hex>` over the body.
    Cycles,
    /// `webhook-signature: v1,<base64>` over id, timestamp and body, or `v1a,<base64>`, as standardwebhooks.com says.
    StandardWebhooks,
    /// The same in headers that begin with `svix-`.
    Svix,
    /// `X-Hub-Signature-256: sha256=<hex>` over the body.
    Github,
    /// `Stripe-Signature: t=<seconds>,v1=<hex>` over timestamp and body.
    Stripe,
    /// `X-Slack-Signature: v0=<hex>` over `v0`, timestamp and body.
    Slack,
    /// An HMAC by the other keys.
    Hmac,
    /// A secret that is sent along in a header: proves the sender, and nothing about the body.
    Token,
    /// Nothing is verified.
    None,
}

/// A shorter secret can be guessed; 16 random bytes are what NIST asks of a session secret.
const SECRET_BYTES_MIN: usize = 16;

/// Collects what is wrong while the key is read.
struct Reader<'a> {
    section: &'a Section,
    path: &'a str,
    settings: &'a VerifySettings,
    problems: Problems,
}

impl Verifier {
    /// Checks the settings that stand at `path` of a section; reads the files they name. `loopback` says whether only this
    /// machine can reach the door: then the key may be left out and nothing is verified.
    ///
    /// # Errors
    /// All problems of the key, with their places.
    pub(crate) fn plan(
        section: &Section,
        path: &str,
        settings: Option<&VerifySettings>,
        loopback: bool,
    ) -> Result<Self, Problems> {
        let Some(settings) = settings else {
            if loopback {
                return Ok(Self::new(Way::Open, Problems::new()));
            }
            let what = "'verify' is missing: whoever reaches this door could send events";
            let help = "name the sender's scheme and secret; or write verify: {scheme: none} to believe everybody";
            return Err(section.error(path, what).with_help(help).into());
        };
        let mut reader = Reader { section, path, settings, problems: Problems::new() };
        let way = reader.way(loopback);
        match way {
            Some(way) if !reader.problems.has_errors() => {
                let verifier = Self::new(way, reader.problems);
                // Whatever was written, and whatever becomes of this code: a door that lets nobodies in does not open.
                if settings.scheme != Some(SchemeName::None) && verifier.lets_nobodies_in() {
                    return Err(section.error(path, "a request without any header would be believed").into());
                }
                Ok(verifier)
            }
            _ => Err(reader.problems),
        }
    }
}

impl Reader<'_> {
    fn way(&mut self, loopback: bool) -> Option<Way> {
        let Some(name) = self.settings.scheme else {
            let help = "one of cycles, standard_webhooks, svix, github, stripe, slack, hmac, token, none";
            self.error("scheme", "'scheme' is missing: senders sign in different ways", help);
            return None;
        };
        self.check_keys(name);
        let way = match name {
            SchemeName::None => {
                self.unverified(loopback);
                Some(Way::Open)
            }
            SchemeName::Token => {
                let header = self.header("header", "the token");
                let ring = self.ring(Box::new(token), "the token");
                let prefix = self.settings.prefix.as_deref().unwrap_or_default().into();
                header.zip(ring).map(|(header, ring)| Way::Token { header, prefix, ring })
            }
            SchemeName::Hmac => self.hmac().and_then(|scheme| self.signed(scheme)),
            SchemeName::Cycles => self.signed(Scheme::cycles()),
            SchemeName::StandardWebhooks => self.signed(Scheme::standard_webhooks()),
            SchemeName::Svix => self.signed(Scheme::svix()),
            SchemeName::Github => self.signed(Scheme::github()),
            SchemeName::Stripe => self.signed(Scheme::stripe()),
            SchemeName::Slack => self.signed(Scheme::slack()),
        };
        way.filter(|_| !self.problems.has_errors())
    }

    /// Keys that say nothing under this scheme are refused: who writes them believes that they do something.
    fn check_keys(&mut self, name: SchemeName) {
        let settings = self.settings;
        let hmac = name == SchemeName::Hmac;
        let shown = hmac || name == SchemeName::Token;
        for (key, written, used, whose) in [
            ("header", settings.header.is_some(), shown, "hmac and token"),
            ("prefix", settings.prefix.is_some(), shown, "hmac and token"),
            ("algorithm", settings.algorithm.is_some(), hmac, "hmac"),
            ("encoding", settings.encoding.is_some(), hmac, "hmac"),
            ("signed_content", settings.signed_content.is_some(), hmac, "hmac"),
            ("timestamp_header", settings.timestamp_header.is_some(), hmac, "hmac"),
            ("timestamp_unit", settings.timestamp_unit.is_some(), hmac, "hmac"),
            ("id_header", settings.id_header.is_some(), hmac, "hmac"),
        ] {
            if written && !used {
                let help = "remove it, or use the scheme hmac";
                self.error(key, format!("'{key}' belongs to {whose}; this scheme says it itself"), help);
            }
        }
        if matches!(name, SchemeName::Token | SchemeName::None) && settings.tolerance.is_some() {
            self.error("tolerance", "'tolerance' has nothing to bound: this scheme signs no time", "remove it");
        }
    }

    fn unverified(&mut self, loopback: bool) {
        let VerifySettings { secret, secrets, secret_file, .. } = self.settings;
        if !(secret.is_empty() && secrets.is_empty() && secret_file.is_empty()) {
            let what = "scheme none verifies nothing, but a secret is given";
            self.error("scheme", what, "name the sender's scheme, or remove the secret");
        }
        if !loopback {
            let what = "nothing is verified here: whoever reaches this door can send events";
            let problem = self.section.warning(&self.at("scheme"), what);
            self.problems.push(problem.with_help("let the sender sign, set gates, or listen on localhost"));
        }
    }

    fn signed(&mut self, mut scheme: Scheme) -> Option<Way> {
        match self.settings.tolerance {
            Some(_) if !scheme.signs_time() => {
                let what = "'tolerance' has nothing to bound: this scheme signs no time";
                self.error("tolerance", what, "remove it; repeated deliveries are recognised by their ids");
            }
            Some(zero) if zero.is_zero() => scheme.tolerance = None,
            Some(tolerance) => scheme.tolerance = Some(tolerance.get()),
            None => {}
        }
        let (form, algorithm) = (scheme.secret, scheme.algorithm);
        let ring = self.ring(Box::new(move |secret| form.key(algorithm, secret)), "the secret")?;
        Some(Way::Signed { scheme, ring })
    }

    fn hmac(&mut self) -> Option<Scheme> {
        let settings = self.settings;
        let content = settings.signed_content.as_deref().unwrap_or("{body}");
        let signed = template::parse(content).unwrap_or_else(|what| {
            let what = format!("'signed_content' cannot be used: {what}");
            self.error("signed_content", what, "such as '{timestamp}.{body}', in quotes");
            Vec::new()
        });
        let timestamp = self.signed_header("timestamp_header", "{timestamp}", signed.contains(&Part::Timestamp));
        let id = self.signed_header("id_header", "{id}", signed.contains(&Part::Id));
        if settings.timestamp_unit.is_some() && timestamp.is_none() {
            self.error("timestamp_unit", "'timestamp_unit' needs 'timestamp_header'", "remove it");
        }
        let header = self.header("header", "the code")?;
        Some(Scheme {
            tolerance: timestamp.is_some().then_some(TOLERANCE),
            timestamp,
            unit: settings.timestamp_unit.unwrap_or_default(),
            id,
            signed,
            algorithm: settings.algorithm.unwrap_or_default(),
            encoding: settings.encoding.unwrap_or_default(),
            ..Scheme::over_body(header, settings.prefix.as_deref().unwrap_or_default())
        })
    }

    /// A header that is named exactly when the template holds what stands in it: else it would not be signed.
    fn signed_header(&mut self, key: &str, placeholder: &str, used: bool) -> Option<HeaderName> {
        let written = if key == "id_header" { &self.settings.id_header } else { &self.settings.timestamp_header };
        match (written, used) {
            (None, false) => None,
            (Some(_), false) => {
                let what = format!("'{key}' is named, but 'signed_content' holds no {placeholder}: it is not signed");
                self.error(key, what, "only what is signed can be believed");
                None
            }
            (_, true) => self.header(key, placeholder),
        }
    }

    fn header(&mut self, key: &str, what: &str) -> Option<HeaderName> {
        let settings = self.settings;
        let name = match key {
            "header" => settings.header.as_deref(),
            "id_header" => settings.id_header.as_deref(),
            _ => settings.timestamp_header.as_deref(),
        };
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            self.error(key, format!("'{key}' is missing: {what} stands in a header"), "such as X-Signature");
            return None;
        };
        name.parse()
            .map_err(|_| self.error(key, format!("{name:?} is no name of a header"), "such as X-Signature"))
            .ok()
    }

    /// The keys of all secrets, written ones first.
    fn ring<K: Clone>(&mut self, make: Make<K>, what: &str) -> Option<Ring<K>> {
        let VerifySettings { secret, secrets, secret_file, .. } = self.settings;
        let mut written = Vec::new();
        let one = (!secret.is_empty() || self.section.has(&self.at("secret"))).then_some(("secret".to_owned(), secret));
        let many = secrets.iter().enumerate().map(|(at, secret)| (format!("secrets[{at}]"), secret));
        if !secrets.is_empty() && !self.section.has(&self.at("secrets[0]")) {
            self.error("secrets", "'secrets' is a list", "write - before each of them; one alone is 'secret'");
            return None;
        }
        for (key, secret) in one.into_iter().chain(many) {
            let text = secret.expose();
            // ${file:…} brings the file's last line break along.
            let text = text.strip_suffix('\n').map_or(text, |text| text.strip_suffix('\r').unwrap_or(text));
            match make(text) {
                Ok(made) => written.push(self.checked(&key, made, what)),
                Err(error) if text.starts_with("wh") => self.error(&key, error, "copy it from the sender's settings"),
                Err(error) => self.error(&key, error, "make one with: openssl rand -hex 32"),
            }
        }
        let mut count = written.len();
        for (at, path) in secret_file.iter().enumerate() {
            let key = format!("secret_file[{at}]");
            match look(path.as_ref(), &make) {
                Ok(made) => {
                    count += made.len();
                    for made in made {
                        self.checked(&key, made, what);
                    }
                }
                Err(error) => self.error(&key, error, "one secret a line"),
            }
        }
        if count > KEYS_MAX {
            self.error(
                "",
                format!("{count} secrets are active, at most {KEYS_MAX}"),
                "remove those that no sender uses",
            );
        }
        if count == 0 && !self.problems.has_errors() {
            self.error("secret", format!("{what} is missing: nothing could be verified"), "set secret or secret_file");
        }
        let files = secret_file.iter().map(PathBuf::from).collect();
        (!self.problems.has_errors()).then(|| Ring::new(make, written, files))
    }

    /// The key, with a warning when it could be guessed.
    fn checked<K>(&mut self, key: &str, made: Made<K>, what: &str) -> K {
        if made.bytes < SECRET_BYTES_MIN {
            let text = format!("{what} has {} bytes; fewer than {SECRET_BYTES_MIN} can be guessed", made.bytes);
            let problem = self.section.warning(&self.at(key), text);
            self.problems.push(problem.with_help("make one with: openssl rand -hex 32"));
        }
        made.key
    }

    fn at(&self, key: &str) -> String {
        format!("{}.{key}", self.path)
    }

    fn error(&mut self, key: &str, message: impl Into<String>, help: &str) {
        let problem = self.section.error(&self.at(key), message).with_help(help);
        self.problems.push(problem);
    }
}

/// A token as it can stand in a header.
fn token(token: &str) -> Result<Made<Token>, &'static str> {
    if token.is_empty() {
        return Err("the token is empty");
    }
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err("the token holds a space, a line break or a character that is not ASCII: no sender could show it");
    }
    Ok(Made { key: Token::new(token.as_bytes()), bytes: token.len() })
}
