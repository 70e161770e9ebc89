//! From a result on the wire to what the verdict needs of it.

use fleet::result::PhotoResult;
use pitch::verdict::{Observation, VerdictBuilder};

/// Puts a result into the verdict. One that has neither an analysis nor a failure counts as a failure with the code
/// `incomplete`.
pub fn observe(builder: &mut VerdictBuilder, result: &PhotoResult) {
    let group = result.group.as_deref();
    if let (Some(detection), Some(surface), Some(classification)) =
        (&result.detection, &result.surface, &result.classification)
    {
        builder.add(&Observation {
            index: result.index,
            key: &result.photo.key,
            group,
            taken_at: result.photo.taken_at.as_deref(),
            detection_confidence: detection.detected.then(|| detection.confidence.unwrap_or(1.0)),
            surface,
            classification,
        });
    } else {
        let code = result.failure.as_ref().map_or("incomplete", |f| f.code.as_str());
        builder.add_failure(group, code);
    }
}
