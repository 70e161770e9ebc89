//! Names on the wire of what has no `name` of its own.

use fleet::result::Outcome;
use pitch::analysis::PhotoFormat;

pub(crate) const fn photo_format(format: PhotoFormat) -> &'static str {
    match format {
        PhotoFormat::Jpeg => "jpeg",
        PhotoFormat::Png => "png",
        PhotoFormat::Webp => "webp",
        PhotoFormat::Tiff => "tiff",
        PhotoFormat::Heic => "heic",
    }
}

pub(crate) const fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Ok => "ok",
        Outcome::Failed => "failed",
    }
}
