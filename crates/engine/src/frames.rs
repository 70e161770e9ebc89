//! What travels between a worker and its engine process, and how it is written.
//!
//! A frame is two little-endian `u32` lengths, a header in JSON, and a body of raw bytes:
//!
//! ```text
//! header length | body length | header | body
//! ```
//!
//! A photo in a file goes as an open file beside its frame, and the worker never sees its bytes; any other arrives in
//! chunks, so that several can be sent at once and neither side holds more than it must. The process on the other side may
//! have been taken over by a hostile photo: every length is checked before anything is allocated.

use std::io::{self, Read, Write};

use pitch::analysis::{Analysis, Options, OverlayKind};
use pitch::photo::Limits;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use crate::config::{CardConfig, Device, PrecisionChoice};
use crate::failure::{EngineError, PhotoFailure};
use crate::request::{Admission, EngineFacts};

/// Longest header: an analysis in which every anchor of a 1280-pixel detector is a box has about three megabytes.
const MAX_HEADER: u32 = 8 << 20;
/// Longest body: a picture of the report at full size.
const MAX_BODY: u32 = 16 << 20;
/// Bytes of a photo that go in one frame.
pub(crate) const CHUNK: usize = 128 << 10;

/// From the worker to the engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ToEngine {
    /// The first one: what to load.
    Load(LoadRequest),
    /// A photo begins.
    Photo {
        id: u64,
        options: Options,
        /// Number of bytes, if it is known.
        bytes: Option<u64>,
    },
    /// More of a photo: the body.
    Chunk { id: u64 },
    /// A photo is complete.
    End { id: u64 },
    /// A photo in an open file, which comes beside the frame's first byte.
    File { id: u64, options: Options },
    /// A photo whose end will not come.
    Abandon { id: u64 },
    /// Finish what is in hand and end.
    Shutdown,
}

/// From the engine to the worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum FromEngine {
    /// Loaded.
    Ready(EngineFacts),
    /// Not loaded; the process ends.
    LoadFailed(EngineError),
    /// A lane could not be prepared; the others go on.
    LaneFailed { lane: usize, error: EngineError },
    /// A lane takes a photo in hand. Whoever is in hand when the process dies is a suspect.
    Started { id: u64, lane: usize },
    /// The lane waits until there is memory for the photo.
    Waits { id: u64 },
    /// The photo has its share of the memory budget, and the lane goes on.
    Admitted { id: u64, admission: Admission },
    /// So many times the card's memory did not suffice for a batch, which was run in halves.
    Halved { halvings: u64 },
    /// One picture of a photo: the body. They come before its `Done`.
    Picture { id: u64, kind: OverlayKind },
    /// A photo is analysed.
    Done {
        id: u64,
        analysis: Box<Analysis>,
        sha256: String,
        bytes: u64,
    },
    /// A photo has no analysis.
    Failed { id: u64, failure: PhotoFailure },
}

/// What an engine process is told at first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LoadRequest {
    /// Folder of the bundle.
    pub bundle: PathBuf,
    /// The ONNX Runtime library.
    pub library: PathBuf,
    /// What is asked to run the networks.
    pub device: Device,
    /// Whether the CPU may replace a card that is not there.
    pub allow_cpu_fallback: bool,
    /// Which models.
    pub precision: PrecisionChoice,
    /// How a card takes photos.
    pub card: CardConfig,
    /// Photos at the same time.
    pub lanes: usize,
    /// Bytes that decoded photos may hold at the same time.
    pub memory_budget: u64,
    /// What a photo may cost.
    pub limits: Limits,
    /// Whether the process fences itself in.
    pub isolate: bool,
}

/// A frame cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("the stream broke: {0}")]
    Io(#[from] io::Error),
    #[error("a frame has a {part} of {length} bytes, over the limit")]
    TooLong { part: &'static str, length: u64 },
    #[error("a frame's header is not understood: {0}")]
    Header(#[from] serde_json::Error),
}

/// The part of a frame that comes before its body.
///
/// # Errors
/// When header or body are too long for one frame.
pub(crate) fn head<H: Serialize>(header: &H, body: usize) -> Result<Vec<u8>, FrameError> {
    let mut bytes = vec![0; 8];
    serde_json::to_writer(&mut bytes, header)?;
    let header_length = check("header", bytes.len() as u64 - 8, MAX_HEADER)?;
    let body_length = check("body", body as u64, MAX_BODY)?;
    bytes[..4].copy_from_slice(&header_length.to_le_bytes());
    bytes[4..8].copy_from_slice(&body_length.to_le_bytes());
    Ok(bytes)
}

/// Writes one frame.
///
/// # Errors
/// When it is too long or the stream broke.
pub(crate) fn write<H: Serialize>(
    stream: &mut impl Write,
    header: &H,
    body: &[u8],
) -> Result<(), FrameError> {
    stream.write_all(&head(header, body.len())?)?;
    stream.write_all(body)?;
    Ok(())
}

/// Reads one frame; `None` when the stream ends before it.
///
/// # Errors
/// When the stream breaks or ends within the frame, or the frame is not understood.
pub(crate) fn read<H: DeserializeOwned>(stream: &mut impl Read) -> Result<Option<(H, Vec<u8>)>, FrameError> {
    let mut lengths = [0; 8];
    if let Err(error) = stream.read_exact(&mut lengths[..1]) {
        return ended(error);
    }
    stream.read_exact(&mut lengths[1..])?;
    let (header_length, body_length) = parse_lengths(lengths)?;
    let mut header = vec![0; header_length];
    stream.read_exact(&mut header)?;
    let header = serde_json::from_slice(&header)?;
    let mut body = vec![0; body_length];
    stream.read_exact(&mut body)?;
    Ok(Some((header, body)))
}

/// As [`read`], from an asynchronous stream. Not to be cancelled between frames' beginnings and ends.
///
/// # Errors
/// As [`read`].
pub(crate) async fn read_async<H: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin),
) -> Result<Option<(H, Vec<u8>)>, FrameError> {
    let mut lengths = [0; 8];
    if let Err(error) = stream.read_exact(&mut lengths[..1]).await {
        return ended(error);
    }
    stream.read_exact(&mut lengths[1..]).await?;
    let (header_length, body_length) = parse_lengths(lengths)?;
    let mut header = vec![0; header_length];
    stream.read_exact(&mut header).await?;
    let header = serde_json::from_slice(&header)?;
    let mut body = vec![0; body_length];
    stream.read_exact(&mut body).await?;
    Ok(Some((header, body)))
}

fn ended<T>(error: io::Error) -> Result<Option<T>, FrameError> {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => Ok(None),
        _ => Err(error.into()),
    }
}

fn parse_lengths(lengths: [u8; 8]) -> Result<(usize, usize), FrameError> {
    let [a, b, c, d, e, f, g, h] = lengths;
    let header = check("header", u32::from_le_bytes([a, b, c, d]).into(), MAX_HEADER)?;
    let body = check("body", u32::from_le_bytes([e, f, g, h]).into(), MAX_BODY)?;
    Ok((header as usize, body as usize))
}

fn check(part: &'static str, length: u64, limit: u32) -> Result<u32, FrameError> {
    u32::try_from(length)
        .ok()
        .filter(|&short| short <= limit)
        .ok_or(FrameError::TooLong { part, length })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in() {
        let mut stream = Vec::new();
        let messages = [
            (
                ToEngine::Photo {
                    id: 7,
                    options: Options::default(),
                    bytes: Some(3),
                },
                &b""[..],
            ),
            (ToEngine::Chunk { id: 7 }, b"abc"),
            (ToEngine::End { id: 7 }, b""),
            (ToEngine::Shutdown, b""),
        ];
        for (header, body) in &messages {
            write(&mut stream, header, body).unwrap();
        }
        let mut rest = stream.as_slice();
        for (header, body) in &messages {
            let (read_header, read_body) = read::<ToEngine>(&mut rest).unwrap().unwrap();
            assert_eq!((&read_header, read_body.as_slice()), (header, *body));
        }
        assert!(read::<ToEngine>(&mut rest).unwrap().is_none());
    }

    #[test]
    fn what_is_cut_short_or_too_long_is_an_error() {
        let mut stream = Vec::new();
        write(&mut stream, &ToEngine::Chunk { id: 1 }, b"abc").unwrap();
        for end in 1..stream.len() {
            assert!(read::<ToEngine>(&mut &stream[..end]).is_err(), "{end}");
        }
        for lengths in [[255; 8], [1, 0, 0, 0, 255, 255, 255, 255]] {
            let error = read::<ToEngine>(&mut &lengths[..]).unwrap_err();
            assert!(matches!(error, FrameError::TooLong { .. }), "{error}");
        }
        assert!(head(&ToEngine::Shutdown, (16 << 20) + 1).is_err());
        let unknown = [&[2, 0, 0, 0, 0, 0, 0, 0], &b"{}"[..]].concat();
        assert!(matches!(
            read::<ToEngine>(&mut &unknown[..]),
            Err(FrameError::Header(_))
        ));
    }

    #[tokio::test]
    async fn both_readers_agree() {
        let mut stream = Vec::new();
        write(&mut stream, &ToEngine::Chunk { id: 1 }, &[5; 1000]).unwrap();
        let mut rest = stream.as_slice();
        let frame = read_async::<ToEngine>(&mut rest).await.unwrap();
        assert_eq!(frame, read::<ToEngine>(&mut &stream[..]).unwrap());
        assert!(read_async::<ToEngine>(&mut rest).await.unwrap().is_none());
    }
}
