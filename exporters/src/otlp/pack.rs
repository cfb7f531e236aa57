//! Batch → the body of a request, encoded and compressed once for all its tries.

use std::io::Read as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use config::{Problems, Section, Signal};
use flate2::read::GzDecoder;
use flate2::{Compress, Crc, FlushCompress, Status};
use pdata::otlp::{
    Malformed, MetricsEncoder, encode_logs, encode_traces, logs_to_json, metrics_to_json, traces_to_json,
};
use pipeline::spool::Encoding;
use pipeline::{Fault, Payload, Refusal};
use schemars::JsonSchema;
use serde::Deserialize;

/// The key `compression`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Compression {
    /// RFC 1952; every OTLP server must take it.
    #[default]
    Gzip,
    /// RFC 8878; a third of the CPU time, and not every server takes it.
    Zstd,
    /// None at all.
    #[serde(alias = "")]
    None,
}

/// The key `compression_params`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct CompressionParams {
    /// gzip: 1 (default) to 9, or -1 for gzip's own default of 6. zstd: 1 (default) to 22.
    pub(super) level: Option<i32>,
}

/// What a body is on the wire, before it is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A request in protobuf.
    Protobuf,
    /// The same as a gRPC message, with its flag and length before it.
    Message,
    /// A request in OTLP's JSON form.
    Json,
}

/// Makes bodies. One at a time: an exporter hands batches over from one task.
#[derive(Debug)]
pub(super) struct Packer {
    form: Form,
    compression: Compression,
    level: i32,
    state: Mutex<State>,
}

struct State {
    encoder: MetricsEncoder,
    compressor: Compressor,
    /// What is to be compressed.
    plain: Vec<u8>,
    /// Bytes of the last body that leaves as it is encoded: the next one gets about as many at once.
    written: usize,
}

enum Compressor {
    None,
    Gzip(Compress),
    Zstd {
        zstd: zstd::bulk::Compressor<'static>,
        /// What comes out, for which room is needed that would hold it unpacked.
        packed: Vec<u8>,
    },
}

/// The most bytes of a request before compression: OTLP clients must not send more.
const BODY_MAX: usize = 64 << 20;
/// A buffer larger than this is given back after use: one large batch is not to be remembered for ever.
const BUFFER_KEPT: usize = 8 << 20;
/// A gRPC message's flag and length.
const FRAME: usize = 5;

impl Compression {
    const fn encoding(self) -> Encoding {
        match self {
            Self::Gzip => Encoding::Gzip,
            Self::Zstd => Encoding::Zstd,
            Self::None => Encoding::Identity,
        }
    }
}

/// The name of an encoding in `Content-Encoding` and `grpc-encoding`.
pub(super) const fn name(encoding: Encoding) -> Option<&'static str> {
    match encoding {
        Encoding::Gzip => Some("gzip"),
        Encoding::Zstd => Some("zstd"),
        Encoding::Identity => None,
    }
}

impl CompressionParams {
    /// What is wrong with it beside this compression.
    pub(super) fn problems(&self, section: &Section, compression: Compression) -> Problems {
        let Some(level) = self.level else { return Problems::new() };
        let what = match compression {
            Compression::Gzip if !(level == -1 || (1..=9).contains(&level)) => {
                format!("unsupported compression level {level} for gzip: write 1 to 9, or -1")
            }
            Compression::Zstd if !(1..=22).contains(&level) => {
                format!("unsupported compression level {level} for zstd: write 1 to 22")
            }
            Compression::None => "a level means nothing without compression".to_owned(),
            _ => return Problems::new(),
        };
        section.error("compression_params.level", what).into()
    }
}

impl Packer {
    /// Level 1 unless said otherwise: on telemetry it takes a quarter of level 6's time for twice the bytes, and bytes are rarely
    /// what runs out.
    pub(super) fn new(compression: Compression, params: &CompressionParams, form: Form) -> std::io::Result<Self> {
        Self::with_level(compression, params.level.unwrap_or(1), form)
    }

    /// Another one that packs alike. What it remembers of series is its own: ids mean something within one series table only.
    pub(super) fn twin(&self) -> std::io::Result<Self> {
        Self::with_level(self.compression, self.level, self.form)
    }

    fn with_level(compression: Compression, level: i32, form: Form) -> std::io::Result<Self> {
        let compressor = match compression {
            Compression::None => Compressor::None,
            Compression::Gzip => {
                let level = u32::try_from(level).unwrap_or(6);
                Compressor::Gzip(Compress::new(flate2::Compression::new(level), false))
            }
            Compression::Zstd => Compressor::Zstd { zstd: zstd::bulk::Compressor::new(level)?, packed: Vec::new() },
        };
        let state = State { encoder: MetricsEncoder::default(), compressor, plain: Vec::new(), written: 0 };
        Ok(Self { form, compression, level, state: Mutex::new(state) })
    }

    /// What bodies are.
    pub(super) const fn form(&self) -> Form {
        self.form
    }

    /// How bodies are compressed.
    pub(super) const fn encoding(&self) -> Encoding {
        self.compression.encoding()
    }

    /// The body of a request for a batch.
    ///
    /// # Errors
    /// When it would be larger than OTLP allows.
    pub(super) fn pack(&self, payload: &Payload) -> Result<Bytes, Refusal> {
        self.pack_as(payload, self.form)
    }

    /// The same in protobuf and without a frame, whatever leaves, for a queue on disk; [`dress`](Self::dress) makes a request's body
    /// of it.
    ///
    /// # Errors
    /// As above.
    pub(super) fn pack_bare(&self, payload: &Payload) -> Result<Bytes, Refusal> {
        self.pack_as(payload, Form::Protobuf)
    }

    /// The body of a request from a bare one, and how it is compressed.
    ///
    /// # Errors
    /// Why a bare one has no form as JSON, or how it is broken.
    pub(super) fn dress(&self, signal: Signal, bare: Bytes, encoding: Encoding) -> Result<(Bytes, Encoding), String> {
        match self.form {
            Form::Protobuf => Ok((bare, encoding)),
            Form::Message => {
                let mut out = vec![0; FRAME];
                out.extend_from_slice(&bare);
                put_frame(&mut out, encoding != Encoding::Identity);
                Ok((out.into(), encoding))
            }
            Form::Json => {
                let request = unpacked(&bare, encoding).map_err(|fault| fault.to_string())?;
                let text = as_json(signal, &request)?;
                let mut state = self.lock();
                let body = state.compressor.compressed(text).map_err(|error| cannot_compress(&error))?;
                Ok((body.into(), self.encoding()))
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pack_as(&self, payload: &Payload, form: Form) -> Result<Bytes, Refusal> {
        let mut state = self.lock();
        let State { encoder, compressor, plain, written: before } = &mut *state;
        let head = if form == Form::Message { FRAME } else { 0 };
        let mut out = vec![0; head];
        let compressed = !matches!(compressor, Compressor::None);
        let direct = !compressed && form != Form::Json;
        let written = if direct {
            out.reserve(before.saturating_add(*before / 16).min(BUFFER_KEPT));
            encode(encoder, payload, &mut out);
            *before = out.len() - head;
            *before
        } else {
            plain.clear();
            encode(encoder, payload, plain);
            plain.len()
        };
        if written > BODY_MAX {
            *plain = Vec::new();
            let why = format!("a batch of {written} bytes is larger than the {BODY_MAX} that OTLP allows in a request");
            return Err(Refusal::Reject { why });
        }
        let refused = |why| Refusal::Reject { why };
        if form == Form::Json {
            let text = as_json(payload.signal(), plain).map_err(refused)?;
            out = compressor.compressed(text).map_err(|error| refused(cannot_compress(&error)))?;
        } else if compressed {
            compressor.append(plain, &mut out).map_err(|error| refused(cannot_compress(&error)))?;
        }
        if plain.capacity() > BUFFER_KEPT {
            *plain = Vec::new();
        }
        if head > 0 {
            put_frame(&mut out, compressed);
        }
        Ok(out.into())
    }

    /// Forgets series that left.
    pub(super) fn turn(&self) {
        self.lock().encoder.turn();
    }
}

/// A request in OTLP's JSON form, for `weir queue export`.
///
/// # Errors
/// When it is none in protobuf, or nests values too deep.
pub fn json_of(signal: Signal, request: &[u8]) -> Result<Vec<u8>, Malformed> {
    json_within(signal, request, usize::MAX)
}

fn json_within(signal: Signal, request: &[u8], most: usize) -> Result<Vec<u8>, Malformed> {
    match signal {
        Signal::Metrics => metrics_to_json(request, most),
        Signal::Logs => logs_to_json(request, most),
        Signal::Traces => traces_to_json(request, most),
    }
}

/// The body of a request in JSON; JSON takes two to five times what protobuf does.
fn as_json(signal: Signal, request: &[u8]) -> Result<Vec<u8>, String> {
    let too_large = || format!("a batch in JSON is larger than the {BODY_MAX} bytes that OTLP allows in a request");
    match json_within(signal, request, BODY_MAX) {
        Ok(text) if text.len() > BODY_MAX => Err(too_large()),
        Err(Malformed::TooMuch) => Err(too_large()),
        text => text.map_err(|why| format!("a batch cannot be written as JSON: {why}")),
    }
}

fn cannot_compress(error: &std::io::Error) -> String {
    format!("cannot compress a batch: {error}")
}

/// A request as it was before it was compressed, for `weir queue export`.
///
/// # Errors
/// When it is not what it says, or larger than OTLP allows.
pub fn unpacked(body: &[u8], encoding: Encoding) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    let read = match encoding {
        Encoding::Identity => return Ok(body.to_vec()),
        Encoding::Gzip => GzDecoder::new(body).take(BODY_MAX as u64 + 1).read_to_end(&mut out),
        Encoding::Zstd => {
            zstd::stream::Decoder::new(body).and_then(|decoder| decoder.take(BODY_MAX as u64 + 1).read_to_end(&mut out))
        }
    };
    read.map_err(|error| Fault::new("cannot unpack a request").caused_by(error))?;
    if out.len() > BODY_MAX {
        return Err(Fault::new(format!("a request has more than {BODY_MAX} bytes")));
    }
    Ok(out)
}

fn put_frame(out: &mut [u8], compressed: bool) {
    let length = u32::try_from(out.len() - FRAME).expect("a body stays below 64 MiB, compressed or not");
    out[0] = u8::from(compressed);
    out[1..FRAME].copy_from_slice(&length.to_be_bytes());
}

fn encode(encoder: &mut MetricsEncoder, payload: &Payload, out: &mut Vec<u8>) {
    match payload {
        Payload::Metrics(metrics) => encoder.encode(metrics, out),
        Payload::Logs(logs) => encode_logs(logs, out),
        Payload::Traces(traces) => encode_traces(traces, out),
    }
}

impl Compressor {
    fn compressed(&mut self, plain: Vec<u8>) -> std::io::Result<Vec<u8>> {
        if matches!(self, Self::None) {
            return Ok(plain);
        }
        let mut out = Vec::new();
        self.append(&plain, &mut out)?;
        Ok(out)
    }

    fn append(&mut self, plain: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
        match self {
            Self::None => out.extend_from_slice(plain),
            Self::Gzip(deflate) => gzip(deflate, plain, out)?,
            Self::Zstd { zstd, packed } => {
                packed.clear();
                packed.reserve(zstd::zstd_safe::compress_bound(plain.len()));
                zstd.compress_to_buffer(plain, packed)?;
                out.extend_from_slice(packed);
                if packed.capacity() > BUFFER_KEPT {
                    *packed = Vec::new();
                }
            }
        }
        Ok(())
    }
}

/// One gzip member (RFC 1952) with a deflate state that is kept between batches: a new one costs 300 KiB of memory to clear.
fn gzip(deflate: &mut Compress, plain: &[u8], out: &mut Vec<u8>) -> std::io::Result<()> {
    // Magic, deflate, no flags, no time, no hints, system unknown.
    out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    deflate.reset();
    // Telemetry shrinks to a tenth or less.
    out.reserve(plain.len() / 8 + 1024);
    loop {
        let consumed = usize::try_from(deflate.total_in()).expect("what was consumed is part of a slice");
        match deflate.compress_vec(&plain[consumed..], out, FlushCompress::Finish).map_err(std::io::Error::other)? {
            Status::StreamEnd => break,
            Status::Ok | Status::BufError => out.reserve(out.capacity().max(4096) / 2),
        }
    }
    let mut crc = Crc::new();
    crc.update(plain);
    out.extend_from_slice(&crc.sum().to_le_bytes());
    out.extend_from_slice(&crc.amount().to_le_bytes());
    Ok(())
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").finish_non_exhaustive()
    }
}
