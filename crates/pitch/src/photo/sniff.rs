//! The container format, from the first bytes alone: file names lie.

use super::error::PhotoError;
use crate::analysis::PhotoFormat;

/// Brands of ISO/IEC 23008-12 and of the AV1 image format that libheif reads as a still picture.
const HEIF_BRANDS: [&[u8; 4]; 8] = [
    b"heic", b"heix", b"heim", b"heis", b"mif1", b"mif2", b"avif", b"miaf",
];

/// Brands of HEIF sequences.
const SEQUENCE_BRANDS: [&[u8; 4]; 4] = [b"hevc", b"hevx", b"msf1", b"avis"];

/// Which format `bytes` are in.
pub(super) fn sniff(bytes: &[u8]) -> Result<PhotoFormat, PhotoError> {
    if bytes.starts_with(&[0xff, 0xd8, 0xff]) {
        return Ok(PhotoFormat::Jpeg);
    }
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Ok(PhotoFormat::Png);
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Ok(PhotoFormat::Webp);
    }
    if bytes.starts_with(b"II*\0") || bytes.starts_with(b"MM\0*") {
        return Ok(PhotoFormat::Tiff);
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return sniff_brands(bytes);
    }
    if starts_a_format(bytes) {
        return Err(PhotoError::Truncated);
    }
    Err(PhotoError::unsupported(name_of(bytes)))
}

/// Whether so few bytes are left that only the format can be guessed.
fn starts_a_format(bytes: &[u8]) -> bool {
    const SIGNATURES: [&[u8]; 5] = [
        &[0xff, 0xd8, 0xff],
        b"\x89PNG\r\n\x1a\n",
        b"RIFF",
        b"II*\0",
        b"MM\0*",
    ];
    let is_prefix = |signature: &[u8]| signature.starts_with(bytes);
    SIGNATURES.into_iter().any(is_prefix) || (bytes.len() < 12 && bytes.starts_with(b"RIFF"))
}

fn sniff_brands(bytes: &[u8]) -> Result<PhotoFormat, PhotoError> {
    let size = match bytes.first_chunk::<4>() {
        Some(size) => u32::from_be_bytes(*size) as usize,
        None => 0,
    };
    let end = size.min(bytes.len()).min(256);
    // The major brand, then the minor version, which is no brand, then the compatible ones.
    let brands = || {
        bytes
            .get(8..end)
            .unwrap_or(&[])
            .chunks_exact(4)
            .enumerate()
            .filter(|(i, _)| *i != 1)
            .map(|(_, brand)| brand)
    };
    let any_of = |known: &[&[u8; 4]]| brands().any(|brand| known.iter().any(|k| k.as_slice() == brand));
    if any_of(&HEIF_BRANDS) {
        return Ok(PhotoFormat::Heic);
    }
    if any_of(&SEQUENCE_BRANDS) {
        return Err(PhotoError::Animated);
    }
    if bytes.len() < 12 {
        return Err(PhotoError::Truncated);
    }
    Err(PhotoError::unsupported("an MP4 or QuickTime film"))
}

/// A name for what is not read, so that a reader knows what they sent.
fn name_of(bytes: &[u8]) -> &'static str {
    const KNOWN: [(&[u8], &str); 10] = [
        (b"GIF8", "GIF"),
        (b"BM", "BMP"),
        (b"%PDF", "PDF"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\0\0\0\x0cjP  ", "JPEG 2000"),
        (b"\xff\x4f\xff\x51", "JPEG 2000"),
        (b"\xff\x0a", "JPEG XL"),
        (b"\0\0\0\x0cJXL ", "JPEG XL"),
        (b"II+\0", "BigTIFF"),
        (b"FUJIFILMCCD-RAW", "Fujifilm raw"),
    ];
    for (magic, name) in KNOWN {
        if bytes.starts_with(magic) {
            return name;
        }
    }
    let head = bytes.get(..512.min(bytes.len())).unwrap_or(bytes);
    if head
        .iter()
        .all(|b| matches!(b, b'\t' | b'\n' | b'\r' | 0x20..=0x7e | 0x80..))
    {
        "text"
    } else {
        "this file"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::photo::PhotoErrorKind;

    #[test]
    fn names_what_is_not_read() {
        let message = |bytes: &[u8]| sniff(bytes).unwrap_err().to_string();
        assert!(message(b"hello\n").starts_with("text is not"));
        assert!(message(b"GIF89a").starts_with("GIF is not"));
        assert!(message(b"\0\0\0\x18ftypisom\0\0\0\0isomavc1").starts_with("an MP4"));
    }

    #[test]
    fn brands_tell_stills_from_sequences() {
        assert_eq!(
            sniff(b"\0\0\0\x18ftypmif1\0\0\0\0heicmiaf"),
            Ok(PhotoFormat::Heic)
        );
        assert_eq!(sniff(b"\0\0\0\x14ftypavif\0\0\0\0mif1"), Ok(PhotoFormat::Heic));
        let kind = sniff(b"\0\0\0\x14ftypmsf1\0\0\0\0hevc").unwrap_err().kind();
        assert_eq!(kind, PhotoErrorKind::Animated);
    }

    #[test]
    fn a_cut_signature_is_truncated() {
        for bytes in [&b"\x89PN"[..], b"\xff\xd8", b"RIFF\0\0\0\0WE", b"II*"] {
            assert_eq!(sniff(bytes), Err(PhotoError::Truncated), "{bytes:?}");
        }
    }
}
