//! Signature headers, taken apart.

use super::Refused;

/// How a header holds signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A prefix, which may be empty, and one code: `sha256=<code>`.
    Prefixed(Box<str>),
    /// Codes and signatures by version, space between: `v1,<code> v1a,<signature>`. Other versions are passed over.
    Versions {
        /// The version of codes.
        code: &'static str,
        /// The version of signatures that a public key checks.
        signature: &'static str,
    },
    /// Fields with a time: `t=<seconds>,v1=<code>,v1=<code>`. Other fields are passed over.
    Fields {
        /// The field with the time.
        time: &'static str,
        /// The field with a code.
        code: &'static str,
    },
}

/// One thing in a header that a key may fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry<'a> {
    /// What a shared secret makes.
    Code(&'a str),
    /// What a public key checks.
    Signature(&'a str),
}

/// Entries of the wanted versions in one header at most: senders that change their secret send two. Past it a header is
/// malformed, so that nobody makes us compare for long.
pub(super) const ENTRIES_MAX: usize = 8;
/// Of these, signatures for public keys: each costs as much as some twenty codes, for every key.
pub(super) const SIGNATURES_MAX: usize = 2;

impl Form {
    /// Gives each entry of the wanted versions to `each`; returns the time, where this form holds one.
    ///
    /// # Errors
    /// When the header is not of this form, holds no entry or too many, or holds two times.
    pub(super) fn read<'a>(&self, value: &'a str, mut each: impl FnMut(Entry<'a>)) -> Result<Option<&'a str>, Refused> {
        let (mut found, mut signatures) = (0, 0);
        let mut entry = |entry: Entry<'a>| {
            found += 1;
            signatures += usize::from(matches!(entry, Entry::Signature(_)));
            if found <= ENTRIES_MAX && signatures <= SIGNATURES_MAX {
                each(entry);
            }
        };
        let mut time = None;
        match self {
            Self::Prefixed(prefix) => entry(Entry::Code(value.strip_prefix(&**prefix).ok_or(Refused::Malformed)?)),
            Self::Versions { code, signature } => {
                for text in value.split(' ') {
                    let signed = || under(signature, ',', text).map(Entry::Signature);
                    under(code, ',', text).map(Entry::Code).or_else(signed).into_iter().for_each(&mut entry);
                }
            }
            // No sender writes spaces here. Who joins two headers to one does, and two are refused.
            Self::Fields { .. } if value.contains(' ') => return Err(Refused::Malformed),
            Self::Fields { time: time_field, code } => {
                for text in value.split(',') {
                    if let Some(value) = under(code, '=', text) {
                        entry(Entry::Code(value));
                    } else if let Some(value) = under(time_field, '=', text)
                        && time.replace(value).is_some()
                    {
                        return Err(Refused::Repeated);
                    }
                }
                time.ok_or(Refused::Malformed)?;
            }
        }
        let fits = (1..=ENTRIES_MAX).contains(&found) && signatures <= SIGNATURES_MAX;
        if fits { Ok(time) } else { Err(Refused::Malformed) }
    }
}

/// What stands behind `key` and the separator, when the entry begins so.
fn under<'a>(key: &str, separator: char, entry: &'a str) -> Option<&'a str> {
    entry.split_once(separator).and_then(|(found, value)| (found == key).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'a>(form: &Form, value: &'a str) -> Result<(Vec<Entry<'a>>, Option<&'a str>), Refused> {
        let mut entries = Vec::new();
        let time = form.read(value, |entry| entries.push(entry))?;
        Ok((entries, time))
    }

    const VERSIONS: Form = Form::Versions { code: "v1", signature: "v1a" };

    #[test]
    fn headers_are_taken_apart_by_their_form() {
        let prefixed = Form::Prefixed("sha256=".into());
        let (code, signature) = (Entry::Code, Entry::Signature);
        let fields = Form::Fields { time: "t", code: "v1" };
        for (form, value, expected) in [
            (&prefixed, "sha256=ab", Ok((vec![code("ab")], None))),
            (&prefixed, "sha256=", Ok((vec![code("")], None))),
            (&prefixed, "SHA256=ab", Err(Refused::Malformed)),
            (&prefixed, "ab", Err(Refused::Malformed)),
            (&VERSIONS, "v1,a= v2,b v1,c", Ok((vec![code("a="), code("c")], None))),
            (&VERSIONS, "  v1,a ", Ok((vec![code("a")], None))),
            (&VERSIONS, "v1a,a v1,b", Ok((vec![signature("a"), code("b")], None))),
            (&VERSIONS, "v1a,a", Ok((vec![signature("a")], None))),
            (&VERSIONS, "v1a=a", Err(Refused::Malformed)),
            (&VERSIONS, "V1,a", Err(Refused::Malformed)),
            (&VERSIONS, "v1", Err(Refused::Malformed)),
            (&fields, "t=1,v1=a,v0=b,v1=c", Ok((vec![code("a"), code("c")], Some("1")))),
            (&fields, "v1=a,t=1", Ok((vec![code("a")], Some("1")))),
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
        assert_eq!(read(&fields, &header(ENTRIES_MAX)).unwrap().0.len(), ENTRIES_MAX);
        assert_eq!(read(&fields, &header(ENTRIES_MAX + 1)), Err(Refused::Malformed));
        assert_eq!(read(&fields, &header(1_000)), Err(Refused::Malformed));
        let signed = |signatures: usize| format!("v1,00{}", " v1a,00".repeat(signatures));
        assert_eq!(read(&VERSIONS, &signed(SIGNATURES_MAX)).unwrap().0.len(), SIGNATURES_MAX + 1);
        assert_eq!(read(&VERSIONS, &signed(SIGNATURES_MAX + 1)), Err(Refused::Malformed));
    }
}
