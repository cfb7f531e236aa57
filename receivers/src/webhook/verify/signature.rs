//! Signature headers, taken apart.

use super::Refused;

/// How a header holds signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A prefix, which may be empty, and one code: `sha256=<code>`.
    Prefixed(Box<str>),
    /// Codes by version, space between: `v1,<code> v1,<code>`. Other versions are passed over.
    Versions(&'static str),
    /// Fields with a time: `t=<seconds>,v1=<code>,v1=<code>`. Other fields are passed over.
    Fields {
        /// The field with the time.
        time: &'static str,
        /// The field with a code.
        code: &'static str,
    },
}

/// Signatures of the wanted version in one header at most: senders that change their secret send two. Past it a header is
/// malformed, so that nobody makes us compare for long.
pub(super) const SIGNATURES_MAX: usize = 8;

impl Form {
    /// Gives each signature of the wanted version to `each`; returns the time, where this form holds one.
    ///
    /// # Errors
    /// When the header is not of this form, holds no signature or too many, or holds two times.
    pub(super) fn read<'a>(&self, value: &'a str, mut each: impl FnMut(&'a str)) -> Result<Option<&'a str>, Refused> {
        let mut found = 0;
        let mut signature = |code: &'a str| {
            found += 1;
            if found <= SIGNATURES_MAX {
                each(code);
            }
        };
        let mut time = None;
        match self {
            Self::Prefixed(prefix) => signature(value.strip_prefix(&**prefix).ok_or(Refused::Malformed)?),
            Self::Versions(version) => {
                value.split(' ').filter_map(|entry| under(version, ',', entry)).for_each(&mut signature);
            }
            // No sender writes spaces here. Who joins two headers to one does, and two are refused.
            Self::Fields { .. } if value.contains(' ') => return Err(Refused::Malformed),
            Self::Fields { time: time_field, code } => {
                for entry in value.split(',') {
                    if let Some(value) = under(code, '=', entry) {
                        signature(value);
                    } else if let Some(value) = under(time_field, '=', entry)
                        && time.replace(value).is_some()
                    {
                        return Err(Refused::Repeated);
                    }
                }
                time.ok_or(Refused::Malformed)?;
            }
        }
        if (1..=SIGNATURES_MAX).contains(&found) { Ok(time) } else { Err(Refused::Malformed) }
    }
}

/// What stands behind `key` and the separator, when the entry begins so.
fn under<'a>(key: &str, separator: char, entry: &'a str) -> Option<&'a str> {
    entry.split_once(separator).and_then(|(found, value)| (found == key).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(form: &Form, value: &'a str) -> Result<(Vec<&'a str>, Option<&'a str>), Refused> {
        let mut codes = Vec::new();
        let time = form.read(value, |code| codes.push(code))?;
        Ok((codes, time))
    }

    #[test]
    fn headers_are_taken_apart_by_their_form() {
        let prefixed = Form::Prefixed("sha256=".into());
        let versions = Form::Versions("v1");
        let fields = Form::Fields { time: "t", code: "v1" };
        for (form, value, expected) in [
            (&prefixed, "sha256=ab", Ok((vec!["ab"], None))),
            (&prefixed, "sha256=", Ok((vec![""], None))),
            (&prefixed, "SHA256=ab", Err(Refused::Malformed)),
            (&prefixed, "ab", Err(Refused::Malformed)),
            (&versions, "v1,a= v2,b v1,c", Ok((vec!["a=", "c"], None))),
            (&versions, "  v1,a ", Ok((vec!["a"], None))),
            (&versions, "v1a,a", Err(Refused::Malformed)),
            (&versions, "V1,a", Err(Refused::Malformed)),
            (&versions, "v1", Err(Refused::Malformed)),
            (&fields, "t=1,v1=a,v0=b,v1=c", Ok((vec!["a", "c"], Some("1")))),
            (&fields, "v1=a,t=1", Ok((vec!["a"], Some("1")))),
            (&fields, "t=1, v1=a", Err(Refused::Malformed)),
            (&fields, "t=1,v1=a, t=1,v1=a", Err(Refused::Malformed)),
            (&fields, "v1=a", Err(Refused::Malformed)),
            (&fields, "t=1", Err(Refused::Malformed)),
            (&fields, "t=1,t=1,v1=a", Err(Refused::Repeated)),
        ] {
            assert_eq!(read(form, value), expected, "{value:?}");
        }
    }

    #[test]
    fn more_signatures_than_a_sender_ever_sends_are_malformed() {
        let fields = Form::Fields { time: "t", code: "v1" };
        let header = |signatures: usize| format!("t=1{}", ",v1=00".repeat(signatures));
        assert_eq!(read(&fields, &header(SIGNATURES_MAX)).unwrap().0.len(), SIGNATURES_MAX);
        assert_eq!(read(&fields, &header(SIGNATURES_MAX + 1)), Err(Refused::Malformed));
        assert_eq!(read(&fields, &header(1_000)), Err(Refused::Malformed));
    }
}
