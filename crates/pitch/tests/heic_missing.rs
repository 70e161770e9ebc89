//! HEIC on a machine without libheif. A test binary of its own: a process looks for the library once.

use std::path::Path;

use pitch::photo::{self, Limits, PhotoErrorKind, heic};

#[test]
fn names_the_remedy() {
    let error = heic::preload_from(Path::new("/nonexistent/libheif.so.1")).unwrap_err();
    assert_eq!(error.kind(), PhotoErrorKind::HeicUnavailable);

    let bytes = include_bytes!("photos/plain.heic");
    let error = photo::open(bytes, &Limits::default()).unwrap_err();
    assert_eq!(error.kind(), PhotoErrorKind::HeicUnavailable);
    let message = error.to_string();
    assert!(message.contains("apt-get install libheif1"), "{message}");
    assert!(message.contains("convert the photo to JPEG"), "{message}");

    // Other formats do not care.
    let bytes = include_bytes!("photos/base420.jpg");
    assert!(photo::open(bytes, &Limits::default()).is_ok());
}
