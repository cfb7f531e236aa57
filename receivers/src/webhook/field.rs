//! Fields of an event as the user names them: of its document, and of the envelope that it came in.

use http::HeaderMap;
use http::header::HeaderName;
use pdata::UnixNanos;
use pipeline::mapping::select::{Fields, Selection, Selector};
use pipeline::mapping::{Cell, CellType, Record};

/// Collects the fields that a source's rules name, and gives each a place.
#[derive(Debug)]
pub(super) struct FieldList<'a> {
    body: Vec<Selector>,
    headers: Vec<HeaderName>,
    trusted: &'a [String],
}

/// The fields of a source, ready to be read.
#[derive(Clone, Debug)]
pub(super) struct FieldMap {
    pub(super) selection: Selection,
    headers: Box<[HeaderName]>,
}

/// What is known of a request besides its body.
#[derive(Clone, Debug)]
pub(super) struct Envelope<'a> {
    pub(super) source: &'a str,
    pub(super) path: &'a str,
    pub(super) received: UnixNanos,
    /// The headers that rules name. One that stands twice is none.
    headers: Vec<Option<&'a [u8]>>,
}

/// One event, as rules see it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Event<'a> {
    pub(super) fields: &'a Fields<'a>,
    pub(super) envelope: &'a Envelope<'a>,
}

/// From here on places are those of the envelope.
const ENVELOPE: usize = 1 << 16;
const SOURCE: usize = ENVELOPE;
const PATH: usize = ENVELOPE + 1;
const RECEIVED: usize = ENVELOPE + 2;
const HEADERS: usize = ENVELOPE + 3;

impl<'a> FieldList<'a> {
    /// A list for a source that trusts these headers.
    pub(super) fn new(trusted: &'a [String]) -> Self {
        Self { body: Vec::new(), headers: Vec::new(), trusted }
    }

    /// The place of a field.
    ///
    /// # Errors
    /// What is wrong with its name.
    pub(super) fn place(&mut self, name: &str) -> Result<usize, String> {
        match name {
            "@source" => return Ok(SOURCE),
            "@path" => return Ok(PATH),
            "@received_time" => return Ok(RECEIVED),
            _ => {}
        }
        if let Some(other) = name.strip_prefix('@') {
            return Err(format!(
                "there is no @{other}: @source, @path and @received_time are known; a field of that name is /@{other}"
            ));
        }
        if let Some(header) = name.strip_prefix("header:") {
            return self.header(header);
        }
        let selector: Selector = name.parse()?;
        Ok(self.body.iter().position(|known| *known == selector).unwrap_or_else(|| {
            self.body.push(selector);
            self.body.len() - 1
        }))
    }

    fn header(&mut self, name: &str) -> Result<usize, String> {
        let header: HeaderName = name.parse().map_err(|_| format!("{name:?} is no name of a header"))?;
        if !trusts(self.trusted, header.as_str()) {
            return Err(format!(
                "the header {header} is not signed, so anybody can write into it; list it under 'trusted_headers' if it may be believed all the same"
            ));
        }
        let at = self.headers.iter().position(|known| *known == header).unwrap_or_else(|| {
            self.headers.push(header);
            self.headers.len() - 1
        });
        Ok(HEADERS + at)
    }

    pub(super) fn finish(self) -> FieldMap {
        FieldMap { selection: Selection::new(&self.body), headers: self.headers.into() }
    }
}

impl FieldMap {
    pub(super) fn envelope<'a>(
        &self,
        source: &'a str,
        path: &'a str,
        headers: &'a HeaderMap,
        received: UnixNanos,
    ) -> Envelope<'a> {
        let headers = self.headers.iter().map(|name| {
            let mut values = headers.get_all(name).iter();
            let first = values.next()?;
            values.next().is_none().then_some(first.as_bytes())
        });
        Envelope { source, path, received, headers: headers.collect() }
    }
}

impl Record for Event<'_> {
    fn cell(&self, index: usize) -> Cell<'_> {
        match index {
            SOURCE => Cell::Text(self.envelope.source.as_bytes()),
            PATH => Cell::Text(self.envelope.path.as_bytes()),
            RECEIVED => Cell::Time(self.envelope.received),
            header if header >= HEADERS => self.envelope.headers[header - HEADERS].map_or(Cell::Null, Cell::Text),
            field => self.fields.cell(field),
        }
    }

    fn cell_type(&self, index: usize) -> Option<CellType> {
        match index {
            ENVELOPE.. => (self.cell(index) != Cell::Null).then_some(CellType::String),
            field => self.fields.cell_type(field),
        }
    }
}

/// Whether a list of trusted headers names this one, perhaps by how it begins.
pub(super) fn trusts(trusted: &[String], header: &str) -> bool {
    trusted.iter().any(|known| match known.strip_suffix('*') {
        Some(begin) => header.get(..begin.len()).is_some_and(|head| head.eq_ignore_ascii_case(begin)),
        None => known.eq_ignore_ascii_case(header),
    })
}
