//! What is said to the server (postgresql.org/docs/15/protocol-message-formats.html).

/// Messages on their way out.
#[derive(Default)]
pub(super) struct Out(pub(super) Vec<u8>);

/// How a column is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Text = 0,
    Binary = 1,
}

/// Asks whether TLS is spoken.
pub(super) const SSL_REQUEST: [u8; 8] = [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f];

impl Out {
    pub(super) fn startup(&mut self, parameters: &[(&str, &str)]) {
        self.body(|out| {
            out.extend(196_608_i32.to_be_bytes());
            for (key, value) in parameters {
                text(out, key);
                text(out, value);
            }
            out.push(0);
        });
    }

    pub(super) fn cancel(&mut self, process: i32, secret: i32) {
        self.body(|out| [80_877_102, process, secret].iter().for_each(|part: &i32| out.extend(part.to_be_bytes())));
    }

    pub(super) fn password(&mut self, password: &[u8]) {
        self.message(b'p', |out| {
            out.extend(password);
            out.push(0);
        });
    }

    pub(super) fn sasl_initial(&mut self, mechanism: &str, data: &[u8]) {
        self.message(b'p', |out| {
            text(out, mechanism);
            out.extend(length(data.len()));
            out.extend(data);
        });
    }

    pub(super) fn sasl(&mut self, data: &[u8]) {
        self.message(b'p', |out| out.extend(data));
    }

    /// Statements without results that matter.
    pub(super) fn query(&mut self, sql: &str) {
        self.message(b'Q', |out| text(out, sql));
    }

    /// The unnamed statement: nothing of it stays behind for the next user of a pooled connection. A [`query`](Self::query) ends it.
    pub(super) fn parse(&mut self, sql: &str) {
        self.message(b'P', |out| {
            text(out, "");
            text(out, sql);
            out.extend([0, 0]);
        });
    }

    /// And what it gives.
    pub(super) fn parse_and_describe(&mut self, sql: &str) {
        self.parse(sql);
        self.message(b'D', |out| out.extend(b"S\0"));
        self.sync();
    }

    /// Runs the unnamed statement. Parameters go as text: the server has worked out their types.
    /// At most `limit` rows are wanted; 0: all of them.
    pub(super) fn bind_and_execute(
        &mut self,
        parameters: &[Option<Box<str>>],
        formats: impl Iterator<Item = Format>,
        limit: u32,
    ) {
        self.bind(parameters, formats);
        self.message(b'E', |out| {
            out.push(0);
            out.extend(limit.to_be_bytes());
        });
        self.sync();
    }

    /// Plans the unnamed statement with these parameters, and looks at what the role may do, without running it.
    pub(super) fn bind_only(&mut self, parameters: &[Option<Box<str>>]) {
        self.bind(parameters, std::iter::empty());
        self.sync();
    }

    fn bind(&mut self, parameters: &[Option<Box<str>>], formats: impl Iterator<Item = Format>) {
        self.message(b'B', |out| {
            out.extend([0, 0, 0, 0]);
            out.extend(count(parameters.len()));
            for parameter in parameters {
                match parameter {
                    None => out.extend((-1_i32).to_be_bytes()),
                    Some(text) => {
                        out.extend(length(text.len()));
                        out.extend(text.as_bytes());
                    }
                }
            }
            let formats: Vec<Format> = formats.collect();
            out.extend(count(formats.len()));
            formats.iter().for_each(|format| out.extend((*format as i16).to_be_bytes()));
        });
    }

    pub(super) fn sync(&mut self) {
        self.message(b'S', |_| {});
    }

    pub(super) fn terminate(&mut self) {
        self.message(b'X', |_| {});
    }

    fn message(&mut self, tag: u8, write: impl FnOnce(&mut Vec<u8>)) {
        self.0.push(tag);
        self.body(write);
    }

    fn body(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let at = self.0.len();
        self.0.extend([0; 4]);
        write(&mut self.0);
        let written = length(self.0.len() - at);
        self.0[at..at + 4].copy_from_slice(&written);
    }
}

/// A text that ends at its zero byte. Texts with a zero byte of their own were refused when the section was checked.
fn text(out: &mut Vec<u8>, text: &str) {
    out.extend(text.as_bytes());
    out.push(0);
}

fn length(bytes: usize) -> [u8; 4] {
    i32::try_from(bytes).expect("what a configuration says is far smaller than 2 GiB").to_be_bytes()
}

fn count(items: usize) -> [u8; 2] {
    u16::try_from(items).expect("the protocol gives at most 65,535 columns and parameters").to_be_bytes()
}
