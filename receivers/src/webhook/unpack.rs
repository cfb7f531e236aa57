//! Bodies, unpacked to a bound.

use std::io::Read;

use bytes::Bytes;
use http::{HeaderMap, header};

use super::reason::Reason;

/// How a body is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Identity,
    Gzip,
    /// RFC 9110 calls the zlib form so.
    Deflate,
    Zstd,
}

/// The largest window a zstd frame may ask for, as a power of two: 8 MiB, what RFC 9659 allows for HTTP.
const ZSTD_WINDOW_LOG: u32 = 23;

impl Coding {
    /// What the request says; one coding, and not two.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Self, Reason> {
        let mut codings = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(coding) = codings.next() else { return Ok(Self::Identity) };
        let is = |name: &str| coding.as_bytes().trim_ascii().eq_ignore_ascii_case(name.as_bytes());
        match () {
            () if codings.next().is_some() => Err(Reason::Encoding),
            () if is("identity") => Ok(Self::Identity),
            () if is("gzip") || is("x-gzip") => Ok(Self::Gzip),
            () if is("deflate") => Ok(Self::Deflate),
            () if is("zstd") => Ok(Self::Zstd),
            () => Err(Reason::Encoding),
        }
    }

    /// The body as its sender meant it, of at most `limit` bytes. Not more than one byte above it is ever made.
    pub(crate) fn unpack(self, body: Bytes, limit: usize) -> Result<Bytes, Reason> {
        let mut packed = &*body;
        match self {
            Self::Identity => Ok(body),
            Self::Gzip => read(flate2::read::MultiGzDecoder::new(packed), limit),
            Self::Deflate => read(flate2::read::ZlibDecoder::new(packed), limit),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(&mut packed).map_err(|_| Reason::Body)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(|_| Reason::Body)?;
                read(decoder, limit)
            }
        }
    }
}

fn read(decoder: impl Read, limit: usize) -> Result<Bytes, Reason> {
    let mut body = Vec::new();
    decoder.take(limit as u64 + 1).read_to_end(&mut body).map_err(|_| Reason::Body)?;
    if body.len() > limit { Err(Reason::TooLarge) } else { Ok(body.into()) }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn packed(coding: Coding, text: &[u8]) -> Bytes {
        let level = flate2::Compression::fast();
        match coding {
            Coding::Identity => text.to_vec().into(),
            Coding::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap().into()
            }
            Coding::Deflate => {
                let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), level);
                encoder.write_all(text).unwrap();
                encoder.finish().unwrap().into()
            }
            Coding::Zstd => zstd::bulk::compress(text, 1).unwrap().into(),
        }
    }

    const PACKED: [Coding; 3] = [Coding::Gzip, Coding::Deflate, Coding::Zstd];

    #[test]
    fn a_body_within_the_bound_is_unpacked_and_one_byte_more_is_refused() {
        for coding in PACKED {
            let body = packed(coding, &[b'x'; 1000]);
            assert_eq!(coding.unpack(body.clone(), 1000).unwrap().len(), 1000, "{coding:?}");
            assert_eq!(coding.unpack(body.clone(), 999), Err(Reason::TooLarge), "{coding:?}");
            let half = body.slice(..body.len() / 2);
            assert_eq!(coding.unpack(half, 1000), Err(Reason::Body), "{coding:?} cut off");
            assert_eq!(coding.unpack(Bytes::from_static(b"nonsense"), 1000), Err(Reason::Body), "{coding:?}");
        }
        let twice = [packed(Coding::Gzip, b"ab"), packed(Coding::Gzip, b"cd")].concat();
        assert_eq!(Coding::Gzip.unpack(twice.into(), 9).unwrap(), "abcd", "members that stand behind one another");
    }

    #[test]
    fn a_bomb_is_refused_at_the_bound_long_before_it_has_gone_off() {
        for coding in PACKED {
            let bomb = packed(coding, &vec![0; 16 << 20]);
            assert!(bomb.len() < 256 << 10, "{coding:?}: {}", bomb.len());
            let began = tokio::time::Instant::now();
            assert_eq!(coding.unpack(bomb, 256 << 10), Err(Reason::TooLarge), "{coding:?}");
            assert!(began.elapsed().as_millis() < 100, "{coding:?}: {:?}", began.elapsed());
        }
    }

    #[test]
    fn a_coding_is_known_by_its_name_and_stands_alone() {
        let of = |values: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::CONTENT_ENCODING, value.parse().unwrap());
            }
            Coding::of(&headers)
        };
        assert_eq!(of(&[]), Ok(Coding::Identity));
        assert_eq!(of(&["GZip"]), Ok(Coding::Gzip));
        assert_eq!(of(&["zstd"]), Ok(Coding::Zstd));
        for wrong in [&["br"][..], &["gzip, gzip"], &["gzip", "gzip"], &[""]] {
            assert_eq!(of(wrong), Err(Reason::Encoding), "{wrong:?}");
        }
    }
}
