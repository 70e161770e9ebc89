//! Keys inside one batch, the same in a bucket and in a folder on disk.

use pitch::analysis::OverlayKind;

/// Who, when, options, bundle digest, where the photos come from.
pub const MANIFEST: &str = "manifest.json";
/// Index, key, size and group of every photo, one a line.
pub const ITEMS: &str = "items.ndjson";
/// Folder of the per-photo results.
pub const RESULTS: &str = "results";
/// Folder of the set's documents.
pub const REPORT: &str = "report";

/// `results/<index>.json`, the index with eight digits so that a listing is in order.
pub fn result_key(index: u64) -> String {
    format!("{RESULTS}/{index:08}.json")
}

/// `overlays/<index>`, the folder of one photo's pictures.
pub fn overlays_key(index: u64) -> String {
    format!("overlays/{index:08}")
}

/// `overlays/<index>/<kind>.jpg`.
pub fn overlay_key(index: u64, kind: OverlayKind) -> String {
    format!("{}/{}.jpg", overlays_key(index), kind.name())
}

/// `report/<name>`.
pub fn report_key(name: &str) -> String {
    format!("{REPORT}/{name}")
}
