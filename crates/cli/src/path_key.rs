//! Paths as keys. A key is a string that stands on the wire; a path on Unix is bytes.
//!
//! The rule: bytes that are not UTF-8 are written `%XX`; a `%` that would read as such an escape is written `%25`.
//! Every other character stands for itself, so that nearly every key looks like its path, and [`to_path`] always gives
//! the path back.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// The key of a path.
pub(crate) fn to_key(path: &Path) -> String {
    bytes_to_key(path.as_os_str().as_bytes())
}

/// The key of a path in bytes, such as a name in an archive.
pub(crate) fn bytes_to_key(bytes: &[u8]) -> String {
    let mut key = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        let text = chunk.valid();
        for (place, character) in text.char_indices() {
            if character == '%' && escape_at(text.as_bytes(), place).is_some() {
                key.push_str("%25");
            } else {
                key.push(character);
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(key, "%{byte:02X}");
        }
    }
    key
}

/// The path of a key.
pub(crate) fn to_path(key: &str) -> PathBuf {
    let bytes = key.as_bytes();
    let mut path = Vec::with_capacity(bytes.len());
    let mut place = 0;
    while let Some(&byte) = bytes.get(place) {
        if let Some(escaped) = escape_at(bytes, place) {
            path.push(escaped);
            place += 3;
        } else {
            path.push(byte);
            place += 1;
        }
    }
    PathBuf::from(OsString::from_vec(path))
}

/// The byte that `%XX` at `place` stands for.
fn escape_at(bytes: &[u8], place: usize) -> Option<u8> {
    let [b'%', high, low] = *bytes.get(place..place + 3)? else {
        return None;
    };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

/// A key or message made safe for a terminal: control characters cannot move the cursor.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ordinary_paths_stand_for_themselves() {
        for path in [
            "day-1/north end/IMG_0001.JPG",
            "Übung/пейзаж 50%.jpg",
            "100%.jpg",
            "%.jpg",
            "",
        ] {
            assert_eq!(to_key(Path::new(path)), path);
        }
    }

    #[test]
    fn foreign_bytes_and_lookalikes_are_escaped() {
        let path = PathBuf::from(OsString::from_vec(b"caf\xe9/%41.jpg".to_vec()));
        assert_eq!(to_key(&path), "caf%E9/%2541.jpg");
        assert_eq!(to_path("caf%E9/%2541.jpg"), path);
    }

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\x1b[2Jb\n"), "a\u{fffd}[2Jb\u{fffd}");
    }

    proptest! {
        #[test]
        fn every_path_comes_back(bytes in proptest::collection::vec(prop_oneof![
            any::<u8>(), Just(b'%'), Just(b'4'), Just(b'f'), Just(0xff),
        ], 0..24)) {
            let path = PathBuf::from(OsString::from_vec(bytes));
            prop_assert_eq!(to_path(&to_key(&path)), path);
        }
    }
}
