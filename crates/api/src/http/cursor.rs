//! Cursors: opaque to clients, so that what is in them may change.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::problem::{ApiError, Code};

/// Where a page ended: the rest of a key behind the listing's prefix, which is not in it, so that nobody can point it
/// at another listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) after: String,
}

impl Cursor {
    /// The text that clients give back.
    pub(crate) fn of(after: &str) -> String {
        URL_SAFE_NO_PAD.encode(after)
    }

    /// # Errors
    /// When it is no cursor of ours.
    pub(crate) fn parse(text: &str) -> Result<Self, ApiError> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok();
        let after = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        after
            .filter(|after| after.len() <= 1024 && !after.contains("..") && !after.contains('\0'))
            .map(|after| Self { after })
            .ok_or_else(|| {
                ApiError::field(
                    Code::InvalidParameter,
                    "cursor",
                    "is not one that this API gave; take `next` of the page before",
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_read_back() {
        let cursor = Cursor::of("00000017.json");
        assert_eq!(Cursor::parse(&cursor).unwrap().after, "00000017.json");
        for bad in ["é", "*", &Cursor::of("../x"), &Cursor::of(&"x".repeat(2000))] {
            assert_eq!(
                Cursor::parse(bad).unwrap_err().code(),
                Code::InvalidParameter,
                "{bad}"
            );
        }
    }
}
