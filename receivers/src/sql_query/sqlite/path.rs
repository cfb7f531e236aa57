//! Which file a datasource names: a path, or a `file:` URI (sqlite.org/uri.html) with parameters that only read.

use std::path::PathBuf;

/// The path of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DatabasePath(PathBuf);

impl DatabasePath {
    /// Reads a datasource.
    ///
    /// # Errors
    /// What is wrong, and what would be right.
    pub(crate) fn parse(datasource: &str) -> Result<Self, (String, Option<&'static str>)> {
        let path = match datasource.strip_prefix("file:") {
            Some(uri) => from_uri(uri)?,
            None => PathBuf::from(datasource),
        };
        match path.to_str() {
            Some("") => Err(("'datasource' names no file".to_owned(), Some("write the path of the database"))),
            Some(":memory:") => Err((
                "':memory:' is an empty database of this process".to_owned(),
                Some("write the path of the database that is to be read"),
            )),
            _ if path.as_os_str().as_encoded_bytes().contains(&0) => {
                Err(("'datasource' holds a NUL byte".to_owned(), None))
            }
            _ => Ok(Self(path)),
        }
    }

    /// The file as an absolute path: SQLite would take a relative one that begins with `file:` for a URI.
    pub(crate) fn absolute(&self) -> PathBuf {
        std::path::absolute(&self.0).unwrap_or_else(|_| self.0.clone())
    }
}

/// `//host/path?parameters#fragment` or `path?parameters`.
fn from_uri(uri: &str) -> Result<PathBuf, (String, Option<&'static str>)> {
    let uri = uri.split_once('#').map_or(uri, |(uri, _)| uri);
    let (path, parameters) = uri.split_once('?').unwrap_or((uri, ""));
    for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
        check(parameter)?;
    }
    let path = match path.strip_prefix("//") {
        None => path,
        Some(rest) => match rest.find('/') {
            Some(slash) if matches!(&rest[..slash], "" | "localhost") => &rest[slash..],
            _ => {
                return Err((
                    format!("a database on another host cannot be opened: 'file:{path}'"),
                    Some("write file:///absolute/path or a plain path"),
                ));
            }
        },
    };
    decode(path).ok_or_else(|| (format!("'file:{path}' holds a bad percent escape"), None))
}

fn check(parameter: &str) -> Result<(), (String, Option<&'static str>)> {
    match parameter {
        "mode=ro" | "cache=private" | "immutable=0" | "immutable=false" => Ok(()),
        _ if parameter.starts_with("immutable=") => Err((
            "'immutable' in 'datasource' would give stale rows: it makes SQLite ignore the write-ahead log".to_owned(),
            Some("leave it out; weir opens the file read-only anyway"),
        )),
        _ if parameter.starts_with("mode=") => {
            Err((format!("'{parameter}' in 'datasource': weir only reads"), Some("leave it out, or write mode=ro")))
        }
        _ => Err((
            format!("'{parameter}' in 'datasource' is not supported"),
            Some("mode=ro and cache=private are known; weir needs neither"),
        )),
    }
}

fn decode(path: &str) -> Option<PathBuf> {
    let mut bytes = Vec::with_capacity(path.len());
    let mut rest = path.as_bytes();
    while let Some((byte, tail)) = rest.split_first() {
        rest = tail;
        if *byte != b'%' {
            bytes.push(*byte);
            continue;
        }
        let (digits, tail) = rest.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
        rest = tail;
    }
    Some(PathBuf::from(std::ffi::OsString::from(String::from_utf8(bytes).ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(datasource: &str) -> Result<String, String> {
        DatabasePath::parse(datasource).map(|path| path.0.display().to_string()).map_err(|(message, _)| message)
    }

    #[test]
    fn a_path_or_a_uri_names_the_file() {
        for (datasource, expected) in [
            ("/data/cb.db", "/data/cb.db"),
            ("cb.db", "cb.db"),
            ("file:cb.db", "cb.db"),
            ("file:/data/cb.db?mode=ro", "/data/cb.db"),
            ("file:///data/a%20b%3f.db?cache=private&mode=ro#x", "/data/a b?.db"),
            ("file://localhost/data/cb.db", "/data/cb.db"),
            ("/data/100%.db?x", "/data/100%.db?x"),
        ] {
            assert_eq!(path(datasource).as_deref(), Ok(expected), "{datasource}");
        }
    }

    #[test]
    fn what_would_not_read_the_file_as_it_is_is_refused() {
        for (datasource, start) in [
            ("", "'datasource' names no file"),
            ("file:", "'datasource' names no file"),
            (":memory:", "':memory:' is an empty database"),
            ("file::memory:", "':memory:' is an empty database"),
            ("file:cb.db?immutable=1", "'immutable' in 'datasource' would give stale rows"),
            ("file:cb.db?mode=rwc", "'mode=rwc' in 'datasource': weir only reads"),
            ("file:cb.db?vfs=unix-none", "'vfs=unix-none' in 'datasource' is not supported"),
            ("file:cb.db?nolock=1", "'nolock=1' in 'datasource' is not supported"),
            ("file://server/cb.db", "a database on another host cannot be opened"),
            ("file:%zz", "'file:%zz' holds a bad percent escape"),
            ("file:a%00b", "'datasource' holds a NUL byte"),
        ] {
            let message = path(datasource).unwrap_err();
            assert!(message.starts_with(start), "{datasource}: {message}");
        }
    }
}
