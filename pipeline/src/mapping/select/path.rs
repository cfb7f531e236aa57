//! Fields by name, as users write them.

use std::str::FromStr;

/// Where a field stands in a document: keys of objects and indices of arrays, from the outside in. No step: the whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Selector(Box<[Box<str>]>);

/// Longest path, in steps: deeper documents are not read.
const STEPS_MAX: usize = super::DEPTH_MAX;

impl Selector {
    /// The keys and indices.
    #[must_use]
    pub fn steps(&self) -> &[Box<str>] {
        &self.0
    }
}

impl FromStr for Selector {
    type Err = String;

    /// Reads a pointer, which begins with `/` (or is empty: the whole document), or a dotted path.
    fn from_str(text: &str) -> Result<Self, String> {
        let steps: Vec<Box<str>> = match text.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(|step| unescape(step, text)).collect::<Result<_, _>>()?,
            None if text.is_empty() => Vec::new(),
            None => {
                if text.split('.').any(str::is_empty) {
                    return Err(format!(
                        "the path {text:?} has an empty step; a key with a dot in it is written as a pointer, such as /a.b/c"
                    ));
                }
                text.split('.').map(Into::into).collect()
            }
        };
        if steps.len() > STEPS_MAX {
            return Err(format!("the path {text:?} has more than {STEPS_MAX} steps"));
        }
        Ok(Self(steps.into()))
    }
}

/// `~1` stands for `/` and `~0` for `~` (RFC 6901, section 3).
fn unescape(step: &str, pointer: &str) -> Result<Box<str>, String> {
    let mut tildes = step.match_indices('~').map(|(at, _)| step.as_bytes().get(at + 1));
    if tildes.any(|next| !matches!(next, Some(b'0' | b'1'))) {
        return Err(format!(
            "in the pointer {pointer:?} a '~' is followed by neither 0 nor 1; '~' itself is written ~0"
        ));
    }
    Ok(step.replace("~1", "/").replace("~0", "~").into())
}

impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|step| write!(f, "/{}", step.replace('~', "~0").replace('/', "~1")))
    }
}
