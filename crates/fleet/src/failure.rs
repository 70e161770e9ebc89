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
    /// The engine process ended while it had the photo in hand, twice.
    EngineCrashed,
    /// The photo was not done within its deadline, twice.
    PhotoDeadline,
    /// Host or device ran out of memory.
    OutOfMemory,
    /// A network could not be run on the photo.
    InferenceFailed,
}

impl FailureCode {
    /// Every code.
    pub const ALL: [Self; 9] = [
        Self::Unreadable,
        Self::ZipCorrupt,
        Self::ZipEncrypted,
        Self::ZipUnsupported,
        Self::ZipTooManyEntries,
        Self::EngineCrashed,
        Self::PhotoDeadline,
        Self::OutOfMemory,
        Self::InferenceFailed,
    ];

    /// The code on the wire.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::ZipCorrupt => "zip_corrupt",
            Self::ZipEncrypted => "zip_encrypted",
            Self::ZipUnsupported => "zip_unsupported",
            Self::ZipTooManyEntries => "zip_too_many_entries",
            Self::EngineCrashed => "engine_crashed",
            Self::PhotoDeadline => "photo_deadline",
            Self::OutOfMemory => "out_of_memory",
            Self::InferenceFailed => "inference_failed",
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
        assert!(codes.iter().all(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')));
    }
}
