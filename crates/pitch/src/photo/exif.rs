//! The two EXIF fields that matter: which way is up and when it was taken. Never the place.

use exif::{DateTime, Exif, In, Reader, Tag, Value};

use super::orientation::Orientation;

/// What EXIF says; the default when there is none or it is absurd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ExifFacts {
    pub(super) orientation: Orientation,
    /// ISO 8601 local time, `2026-06-14T10:32:11`.
    pub(super) taken_at: Option<String>,
}

impl Default for ExifFacts {
    fn default() -> Self {
        Self {
            orientation: Orientation::UPRIGHT,
            taken_at: None,
        }
    }
}

/// Reads a TIFF structure, the body of an EXIF block. Damage is passed over: a photo is no worse for its metadata.
pub(super) fn read(tiff: Vec<u8>) -> ExifFacts {
    let parsed = Reader::new()
        .continue_on_error(true)
        .read_raw(tiff)
        .or_else(|error| error.distill_partial_result(|_| {}));
    parsed.map(|exif| facts(&exif)).unwrap_or_default()
}

/// Of the primary picture.
pub(super) fn facts(exif: &Exif) -> ExifFacts {
    let orientation = exif
        .get_field(Tag::Orientation, In::PRIMARY)
        .and_then(|field| field.value.get_uint(0))
        .map_or(Orientation::UPRIGHT, Orientation::from_exif);
    let taken_at = exif
        .get_field(Tag::DateTimeOriginal, In::PRIMARY)
        .and_then(|field| match &field.value {
            Value::Ascii(lines) => lines.first(),
            _ => None,
        })
        .and_then(|text| iso_8601(text));
    ExifFacts {
        orientation,
        taken_at,
    }
}

/// `2026:06:14 10:32:11` as ISO 8601; `None` for clocks that were never set and other nonsense.
fn iso_8601(text: &[u8]) -> Option<String> {
    let time = DateTime::from_ascii(text).ok()?;
    let plausible = time.year > 0
        && (1..=12).contains(&time.month)
        && (1..=31).contains(&time.day)
        && time.hour < 24
        && time.minute < 60
        && time.second <= 60;
    plausible.then(|| {
        format!(
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}",
            time.year, time.month, time.day, time.hour, time.minute, time.second
        )
    })
}

/// The EXIF block of a JPEG: the first APP1 segment that says so. Only lengths are followed; nothing is copied.
pub(super) fn find_in_jpeg(bytes: &[u8]) -> Option<&[u8]> {
    const APP1: u8 = 0xe1;
    const SOS: u8 = 0xda;
    let mut rest = bytes.get(2..)?;
    loop {
        let (&[0xff, marker], body) = rest.split_first_chunk::<2>()? else {
            return None;
        };
        if marker == 0xff {
            rest = rest.get(1..)?;
            continue;
        }
        if marker == SOS {
            return None;
        }
        let length = usize::from(u16::from_be_bytes(*body.first_chunk::<2>()?));
        let segment = body.get(2..length)?;
        if marker == APP1
            && let Some(tiff) = segment.strip_prefix(b"Exif\0\0")
        {
            return Some(tiff);
        }
        rest = body.get(length..)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plausible_times_are_reported() {
        assert_eq!(
            iso_8601(b"2026:06:14 10:32:11").as_deref(),
            Some("2026-06-14T10:32:11")
        );
        for nonsense in [
            &b"0000:00:00 00:00:00"[..],
            b"    :  :     :  :  ",
            b"2026:13:14 10:32:11",
            b"2026:06:14 25:32:11",
            b"yesterday",
            b"",
        ] {
            assert_eq!(iso_8601(nonsense), None);
        }
    }

    #[test]
    fn garbage_is_no_exif() {
        for garbage in [
            &b""[..],
            b"II",
            b"II*\0\xff\xff\xff\xff",
            b"MM\0*\0\0\0\x08\xff\xff",
        ] {
            assert_eq!(read(garbage.to_vec()), ExifFacts::default());
        }
    }

    #[test]
    fn segment_lengths_cannot_lead_outside() {
        for bytes in [
            &b"\xff\xd8"[..],
            b"\xff\xd8\xff\xe1\0",
            b"\xff\xd8\xff\xe1\0\0Exif\0\0",
            b"\xff\xd8\xff\xe1\xff\xffExif\0\0II",
            b"\xff\xd8\xff\xff\xff\xff",
            b"\xff\xd8\xff\xda\0\x08Exif\0\0",
        ] {
            assert_eq!(find_in_jpeg(bytes), None);
        }
        assert_eq!(
            find_in_jpeg(b"\xff\xd8\xff\xff\xe0\0\x04ab\xff\xe1\0\x0aExif\0\0II"),
            Some(&b"II"[..])
        );
    }
}
