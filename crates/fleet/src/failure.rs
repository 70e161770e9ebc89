//! Why a photo has no analysis: the stable codes beside those of `pitch`'s photo errors.

use std::fmt;

use crate::result::Failure;

/// A failure that is not the decoder's. The decoder's own codes (`truncated`, `too_many_pixels`, …) are those of
/// `pitch::photo::PhotoErrorKind`; both stand in [`Failure::code`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureCode {
    /// The file or object could not be read.
    Unreadable,
    /// The photo lies in an archive that is damaged, or its own data there is.
    ZipCorrupt,
    /// The photo lies in an archive behind a password.
    ZipEncrypted,
    /// The photo is packed with a method that is not read.
    ZipUnsupported,
    /// The archive has more entries than are read.
    ZipTooManyEntries,
    /// The photo is larger unpacked than is read.
    ZipEntryTooLarge,
    /// The engine process ended abnormally on this photo, alone.
    EngineCrashed,
    /// The engine process ran out of memory on this photo, alone.
    EngineOutOfMemory,
    /// This photo, alone, took longer than the photo deadline.
    EngineTimeout,
    /// The analysis panicked.
    EnginePanicked,
    /// ONNX Runtime reported an error.
    InferenceFailed,
    /// The engine does not start; not the photo's fault.
    EngineUnavailable,
    /// The engine was stopped while the photo was in hand; not the photo's fault.
    EngineStopped,
    /// There is no object under the photo's key: it was not uploaded, or removed since.
    NotFound,
    /// The photo's bucket refuses to hand it out.
    AccessDenied,
    /// Tries did not help, or the broker gave up on the job; the message says what the last one said.
    GaveUp,
}

impl FailureCode {
    /// Every code.
    pub const ALL: [Self; 16] = [
        Self::Unreadable,
        Self::ZipCorrupt,
        Self::ZipEncrypted,
        Self::ZipUnsupported,
        Self::ZipTooManyEntries,
        Self::ZipEntryTooLarge,
        Self::EngineCrashed,
        Self::EngineOutOfMemory,
        Self::EngineTimeout,
        Self::EnginePanicked,
        Self::InferenceFailed,
        Self::EngineUnavailable,
        Self::EngineStopped,
        Self::NotFound,
        Self::AccessDenied,
        Self::GaveUp,
    ];

    /// The code on the wire.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::ZipCorrupt => "zip_corrupt",
            Self::ZipEncrypted => "zip_encrypted",
            Self::ZipUnsupported => "zip_unsupported",
            Self::ZipTooManyEntries => "zip_too_many_entries",
            Self::ZipEntryTooLarge => "zip_entry_too_large",
            Self::EngineCrashed => "engine_crashed",
            Self::EngineOutOfMemory => "engine_out_of_memory",
            Self::EngineTimeout => "engine_timeout",
            Self::EnginePanicked => "engine_panicked",
            Self::InferenceFailed => "inference_failed",
            Self::EngineUnavailable => "engine_unavailable",
            Self::EngineStopped => "engine_stopped",
            Self::NotFound => "not_found",
            Self::AccessDenied => "access_denied",
            Self::GaveUp => "gave_up",
        }
    }

    /// A failure with this code.
    pub fn failure(self, message: impl Into<String>) -> Failure {
        Failure {
            code: self.code().to_owned(),
            message: message.into(),
        }
    }
}

impl fmt::Display for FailureCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn codes_are_distinct_and_in_snake_case() {
        let codes: BTreeSet<_> = FailureCode::ALL.iter().map(|code| code.code()).collect();
        assert_eq!(codes.len(), FailureCode::ALL.len());
        assert!(
            codes
                .iter()
                .all(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        );
    }
}
