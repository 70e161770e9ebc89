//! Why a photo cannot be decoded.

use serde::{Deserialize, Serialize};

/// Why a photo cannot be decoded: the matchable half of a [`PhotoError`]. The serialised names are the stable failure
/// codes of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PhotoErrorKind {
    /// The file has no bytes.
    EmptyFile,
    /// Not one of the formats, or a variant of one that is not read.
    UnsupportedFormat,
    /// The data ends before the picture does.
    Truncated,
    /// The data contradicts its format.
    Corrupt,
    /// The file is larger than [`Limits::max_bytes`](super::Limits::max_bytes).
    TooManyBytes,
    /// Width times height is more than [`Limits::max_pixels`](super::Limits::max_pixels).
    TooManyPixels,
    /// A side is longer than [`Limits::max_side`](super::Limits::max_side).
    SideTooLong,
    /// A side is zero.
    ZeroDimension,
    /// Several frames in time.
    Animated,
    /// Decoding would hold more than [`Limits::max_memory`](super::Limits::max_memory).
    TooMuchMemory,
    /// Decoding took longer than [`Limits::decode_time`](super::Limits::decode_time).
    DecodeTimeout,
    /// HEIC, and libheif is not installed.
    HeicUnavailable,
    /// The allocator refused.
    OutOfMemory,
    /// The rectangle to crop does not touch the photo.
    EmptyCrop,
}

impl PhotoErrorKind {
    /// Every kind.
    pub const ALL: [Self; 14] = [
        Self::EmptyFile,
        Self::UnsupportedFormat,
        Self::Truncated,
        Self::Corrupt,
        Self::TooManyBytes,
        Self::TooManyPixels,
        Self::SideTooLong,
        Self::ZeroDimension,
        Self::Animated,
        Self::TooMuchMemory,
        Self::DecodeTimeout,
        Self::HeicUnavailable,
        Self::OutOfMemory,
        Self::EmptyCrop,
    ];

    /// The stable code, the same as the serialised name.
    pub const fn code(self) -> &'static str {
        match self {
            Self::EmptyFile => "empty_file",
            Self::UnsupportedFormat => "unsupported_format",
            Self::Truncated => "truncated",
            Self::Corrupt => "corrupt",
            Self::TooManyBytes => "too_many_bytes",
            Self::TooManyPixels => "too_many_pixels",
            Self::SideTooLong => "side_too_long",
            Self::ZeroDimension => "zero_dimension",
            Self::Animated => "animated",
            Self::TooMuchMemory => "too_much_memory",
            Self::DecodeTimeout => "decode_timeout",
            Self::HeicUnavailable => "heic_unavailable",
            Self::OutOfMemory => "out_of_memory",
            Self::EmptyCrop => "empty_crop",
        }
    }
}

/// A photo that cannot be decoded, with what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PhotoError {
    /// See [`PhotoErrorKind::EmptyFile`].
    #[error("the file is empty: copy or upload it again")]
    EmptyFile,
    /// See [`PhotoErrorKind::UnsupportedFormat`].
    #[error("{what} is not a format that is read: convert it to JPEG, PNG, WebP, TIFF or HEIC")]
    UnsupportedFormat {
        /// What the bytes look like.
        what: String,
    },
    /// See [`PhotoErrorKind::Truncated`].
    #[error("the file ends before the picture does: copy or upload it again")]
    Truncated,
    /// See [`PhotoErrorKind::Corrupt`].
    #[error("the picture's data is damaged ({reason}): copy it again from the camera")]
    Corrupt {
        /// What the decoder stumbled over.
        reason: String,
    },
    /// See [`PhotoErrorKind::TooManyBytes`].
    #[error("the file has {bytes} bytes, the limit is {limit}: raise max_bytes or save it smaller")]
    TooManyBytes {
        /// Size of the file.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// See [`PhotoErrorKind::TooManyPixels`].
    #[error("{width}x{height} is more than {limit} pixels: raise max_pixels or save it smaller")]
    TooManyPixels {
        /// Columns.
        width: u64,
        /// Rows.
        height: u64,
        /// The limit.
        limit: u64,
    },
    /// See [`PhotoErrorKind::SideTooLong`].
    #[error("a side of {side} pixels is over the limit of {limit}: raise max_side or save it smaller")]
    SideTooLong {
        /// The longer side in pixels.
        side: u64,
        /// The limit.
        limit: u64,
    },
    /// See [`PhotoErrorKind::ZeroDimension`].
    #[error("the picture has no pixels: its header says a width or height of zero")]
    ZeroDimension,
    /// See [`PhotoErrorKind::Animated`].
    #[error("the picture is an animation: save one frame of it as a still picture")]
    Animated,
    /// See [`PhotoErrorKind::TooMuchMemory`].
    #[error(
        "decoding would take {bytes} bytes of memory, the limit is {limit}: raise max_memory or save it smaller"
    )]
    TooMuchMemory {
        /// What it would take.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// See [`PhotoErrorKind::DecodeTimeout`].
    #[error("decoding took longer than {limit_ms} ms: raise decode_time or save the picture again")]
    DecodeTimeout {
        /// The limit in milliseconds.
        limit_ms: u64,
    },
    /// See [`PhotoErrorKind::HeicUnavailable`].
    #[error(
        "HEIC needs libheif ({reason}): install it (apt-get install libheif1) or convert the photo to JPEG"
    )]
    HeicUnavailable {
        /// Why it could not be used.
        reason: String,
    },
    /// See [`PhotoErrorKind::OutOfMemory`].
    #[error("no memory left to decode the picture: analyse fewer photos at once or save it smaller")]
    OutOfMemory,
    /// See [`PhotoErrorKind::EmptyCrop`].
    #[error("the rectangle {rect:?} holds no pixel of the photo")]
    EmptyCrop {
        /// Corners of the rectangle.
        rect: [usize; 4],
    },
}

impl PhotoError {
    /// The kind to match on.
    pub const fn kind(&self) -> PhotoErrorKind {
        match self {
            Self::EmptyFile => PhotoErrorKind::EmptyFile,
            Self::UnsupportedFormat { .. } => PhotoErrorKind::UnsupportedFormat,
            Self::Truncated => PhotoErrorKind::Truncated,
            Self::Corrupt { .. } => PhotoErrorKind::Corrupt,
            Self::TooManyBytes { .. } => PhotoErrorKind::TooManyBytes,
            Self::TooManyPixels { .. } => PhotoErrorKind::TooManyPixels,
            Self::SideTooLong { .. } => PhotoErrorKind::SideTooLong,
            Self::ZeroDimension => PhotoErrorKind::ZeroDimension,
            Self::Animated => PhotoErrorKind::Animated,
            Self::TooMuchMemory { .. } => PhotoErrorKind::TooMuchMemory,
            Self::DecodeTimeout { .. } => PhotoErrorKind::DecodeTimeout,
            Self::HeicUnavailable { .. } => PhotoErrorKind::HeicUnavailable,
            Self::OutOfMemory => PhotoErrorKind::OutOfMemory,
            Self::EmptyCrop { .. } => PhotoErrorKind::EmptyCrop,
        }
    }

    pub(super) fn corrupt(reason: impl Into<String>) -> Self {
        Self::Corrupt {
            reason: reason.into(),
        }
    }

    pub(super) fn unsupported(what: impl Into<String>) -> Self {
        Self::UnsupportedFormat { what: what.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_serialised_names() {
        for kind in PhotoErrorKind::ALL {
            assert_eq!(
                serde_json::to_string(&kind).unwrap(),
                format!("\"{}\"", kind.code())
            );
        }
    }
}
