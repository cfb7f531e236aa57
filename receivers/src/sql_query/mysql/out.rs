//! What is said to the server (dev.mysql.com, "Command Phase").

/// Statements of ours, whose answer is that they were run.
pub(super) fn query(sql: &str) -> Vec<u8> {
    [&[0x03], sql.as_bytes()].concat()
}

/// Has a statement read. Exactly one: several in one text are a syntax error to the server.
pub(super) fn prepare(sql: &str) -> Vec<u8> {
    [&[0x16], sql.as_bytes()].concat()
}

/// A parameter of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Parameter<'a> {
    Null,
    Int(i64),
    /// The server makes it what it is compared with.
    Text(&'a str),
}

/// Runs it.
pub(super) fn execute(statement: u32, parameters: &[Parameter<'_>]) -> Vec<u8> {
    let mut out = vec![0x17];
    out.extend(statement.to_le_bytes());
    // No cursor: rows come as fast as they are read. Then how often to run it, which is always once.
    out.extend([0, 1, 0, 0, 0]);
    if !parameters.is_empty() {
        let nulls = parameters.chunks(8).map(|eight| {
            eight.iter().enumerate().fold(0, |bits, (at, value)| bits | u8::from(*value == Parameter::Null) << at)
        });
        out.extend(nulls);
        out.push(1);
        for parameter in parameters {
            out.extend([if matches!(parameter, Parameter::Int(_)) { BIGINT } else { VAR_STRING }, 0]);
        }
        for parameter in parameters {
            match parameter {
                Parameter::Null => {}
                Parameter::Int(int) => out.extend(int.to_le_bytes()),
                Parameter::Text(text) => counted(&mut out, text.as_bytes()),
            }
        }
    }
    out
}

/// Has a prepared statement forgotten. There is no answer.
pub(super) fn forget(statement: u32) -> Vec<u8> {
    [&[0x19], &statement.to_le_bytes()[..]].concat()
}

/// Makes the connection one that was opened just now.
pub(super) const RESET: [u8; 1] = [0x1f];

/// Good-bye. There is no answer.
pub(super) const QUIT: [u8; 1] = [0x01];

const BIGINT: u8 = 0x08;
const VAR_STRING: u8 = 0xfd;

/// Bytes behind their length.
pub(super) fn counted(out: &mut Vec<u8>, bytes: &[u8]) {
    match bytes.len() {
        short @ 0..=250 => out.push(short as u8),
        medium @ ..=0xffff => {
            out.push(0xfc);
            out.extend((medium as u16).to_le_bytes());
        }
        long => {
            out.push(0xfe);
            out.extend((long as u64).to_le_bytes());
        }
    }
    out.extend(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql_query::mysql::bytes::Bytes;

    #[test]
    fn lengths_are_read_as_they_are_written() {
        for length in [0, 1, 250, 251, 255, 256, 65_535, 65_536, 70_000] {
            let mut out = Vec::new();
            counted(&mut out, &vec![7; length]);
            let mut read = Bytes(&out);
            assert_eq!(read.counted().unwrap().len(), length);
            assert!(read.0.is_empty(), "{length}");
        }
    }

    #[test]
    fn parameters_are_texts_and_nulls_bits() {
        use Parameter::{Int, Null, Text};
        let nine = [Text("a"), Null, Text(""), Null, Null, Null, Null, Null, Int(-2)];
        let sent = execute(0x0102_0304, &nine);
        let head = [0x17, 4, 3, 2, 1, 0, 1, 0, 0, 0, 0b1111_1010, 0, 1];
        assert_eq!(sent[..13], head);
        assert_eq!(sent[13..31], [&[0xfd, 0].repeat(8)[..], &[8, 0]].concat());
        assert_eq!(sent[31..], [1, b'a', 0, 0xfe, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(execute(1, &[]).len(), 10);
    }
}
