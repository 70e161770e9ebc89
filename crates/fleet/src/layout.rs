//! Keys in the bucket, and in a folder that stands for one.
//!
//! ```text
//! <tenant>/batches/<batch>/      one batch: BatchKeys
//! <tenant>/index/<…>             the batches of a tenant, newest first
//! <tenant>/cache/<…>             its results by content, for reuse
//! active/<tenant>/<batch>        batches that are not finished; swept for lost control messages
//! ```
//! A deployment's own prefix in front of all of them is the store's.

use pitch::analysis::OverlayKind;

use crate::ids::{BatchId, Tenant};

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
    overlay_named(index, kind.name())
}

/// [`overlay_key`] of a kind by its name in a result.
pub fn overlay_named(index: u64, kind: &str) -> String {
    format!("{}/{kind}.jpg", overlays_key(index))
}

/// `report/<name>`.
pub fn report_key(name: &str) -> String {
    format!("{REPORT}/{name}")
}

/// The index in a key that [`BatchKeys::result`] or [`BatchKeys::failure`] made.
pub fn index_of(key: &str) -> Option<u64> {
    let name = key.rsplit('/').next()?;
    name.split('.').next()?.parse().ok()
}

/// Batches that are not finished, of all tenants: `active/`.
pub const ACTIVE: &str = "active/";

/// `active/<tenant>/<batch>`: there from submission until the batch has reached its final state.
pub fn active_key(tenant: &Tenant, batch: BatchId) -> String {
    format!("{ACTIVE}{tenant}/{batch}")
}

/// Tenant and batch of a key that [`active_key`] made.
pub fn active_of(key: &str) -> Option<(Tenant, BatchId)> {
    let (tenant, batch) = key.strip_prefix(ACTIVE)?.split_once('/')?;
    Some((tenant.parse().ok()?, batch.parse().ok()?))
}

/// Every batch of a tenant, newest first: `<tenant>/index/`.
pub fn index_prefix(tenant: &Tenant) -> String {
    format!("{tenant}/index/")
}

/// An empty object `<tenant>/index/<reversed time>-<batch>`; a bucket lists in ascending order only, so the time is
/// counted down. `created_ms` is Unix time in milliseconds.
pub fn index_key(tenant: &Tenant, created_ms: u64, batch: BatchId) -> String {
    const LAST: u64 = 9_999_999_999_999;
    format!("{tenant}/index/{:013}-{batch}", LAST.saturating_sub(created_ms))
}

/// The batch of a key that [`index_key`] made.
pub fn index_batch(key: &str) -> Option<BatchId> {
    key.rsplit_once('-')?.1.parse().ok()
}

/// `<tenant>/cache/<digest>/<sha256>.json`; both hexadecimal, `digest` that of [`Digest::cache`], `sha256` the photo's.
///
/// Below the tenant, so that nobody learns from the speed of an answer which photos another has.
///
/// [`Digest::cache`]: crate::result::Digest::cache
pub fn cache_key(tenant: &Tenant, digest: &str, sha256: &str) -> String {
    format!("{tenant}/cache/{digest}/{sha256}.json")
}

/// The keys of one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchKeys {
    root: String,
}

impl BatchKeys {
    /// Below `<tenant>/batches/<batch>/`.
    pub fn new(tenant: &Tenant, batch: BatchId) -> Self {
        Self {
            root: format!("{tenant}/batches/{batch}/"),
        }
    }

    /// What all of them begin with, with a slash at the end.
    pub fn root(&self) -> &str {
        &self.root
    }

    /// A key relative to the batch, such as those in a result's `overlays`.
    pub fn at(&self, relative: &str) -> String {
        format!("{}{relative}", self.root)
    }

    /// [`Manifest`](crate::manifest::Manifest).
    pub fn manifest(&self) -> String {
        self.at(MANIFEST)
    }

    /// One [`Item`](crate::manifest::Item) a line.
    pub fn items(&self) -> String {
        self.at(ITEMS)
    }

    /// [`Expanded`](crate::batch::Expanded): written when `items.ndjson` is whole, before the first job is published.
    pub fn expanded(&self) -> String {
        self.at("expanded.json")
    }

    /// [`Finished`](crate::batch::Finished): written last. A batch that has it is in its final state.
    pub fn finished(&self) -> String {
        self.at("finished.json")
    }

    /// There when somebody cancelled the batch.
    pub fn cancelled(&self) -> String {
        self.at("cancelled")
    }

    /// Declarations of photos to come, each a [`NewUploads`](crate::api::NewUploads): `uploads/`. In the order of their
    /// keys, a later declaration of an index replaces an earlier one.
    pub fn uploads(&self) -> String {
        self.at("uploads/")
    }

    /// The uploaded photos: `photos/`.
    pub fn photos(&self) -> String {
        self.at("photos/")
    }

    /// `photos/<index>-<name>`; what a key cannot hold in `name` is replaced by `_`.
    pub fn photo(&self, index: u64, name: &str) -> String {
        self.at(&format!("photos/{index:08}-{}", key_segment(name)))
    }

    /// All results: `results/`.
    pub fn results(&self) -> String {
        self.at("results/")
    }

    /// [`PhotoResult`](crate::result::PhotoResult) of one photo.
    pub fn result(&self, index: u64) -> String {
        self.at(&result_key(index))
    }

    /// All failures: `failures/`.
    pub fn failures(&self) -> String {
        self.at("failures/")
    }

    /// There when the photo's result is a failure, so that failures are counted and retried without reading every
    /// result. Written before the failed result, removed when a retry takes the photo up.
    pub fn failure(&self, index: u64) -> String {
        self.at(&format!("failures/{index:08}.json"))
    }

    /// One picture of one photo.
    pub fn overlay(&self, index: u64, kind: OverlayKind) -> String {
        self.at(&overlay_key(index, kind))
    }

    /// One document of the set.
    pub fn report(&self, name: &str) -> String {
        self.at(&report_key(name))
    }
}

/// Longest file name that is kept in a key, in bytes.
const LONGEST_NAME: usize = 120;

/// `name` as one segment of a key: without separators and control characters, at most 120 bytes, its end kept.
fn key_segment(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = name
        .chars()
        .map(|c| if c.is_control() { '_' } else { c })
        .collect();
    let start = clean.ceil_char_boundary(clean.len().saturating_sub(LONGEST_NAME));
    clean[start..].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> (Tenant, BatchId, BatchKeys) {
        let tenant: Tenant = "acme".parse().unwrap();
        let batch: BatchId = "01KB2Z3C9Q4T7V8W5X6Y0A1B2C".parse().unwrap();
        let keys = BatchKeys::new(&tenant, batch);
        (tenant, batch, keys)
    }

    #[test]
    fn keys_are_the_contract() {
        let (_, _, keys) = keys();
        let root = "acme/batches/01KB2Z3C9Q4T7V8W5X6Y0A1B2C";
        assert_eq!(keys.manifest(), format!("{root}/manifest.json"));
        assert_eq!(
            keys.photo(17, "DSC_0412.JPG"),
            format!("{root}/photos/00000017-DSC_0412.JPG")
        );
        assert_eq!(keys.result(17), format!("{root}/results/00000017.json"));
        assert_eq!(
            keys.overlay(17, OverlayKind::Grass),
            format!("{root}/overlays/00000017/grass.jpg")
        );
    }

    #[test]
    fn what_is_in_a_key_is_read_back() {
        let (tenant, batch, keys) = keys();
        assert_eq!(index_of(&keys.result(17)), Some(17));
        assert_eq!(index_of(&keys.failure(123_456_789)), Some(123_456_789));
        assert_eq!(index_of(&keys.manifest()), None);
        assert_eq!(
            active_of(&active_key(&tenant, batch)),
            Some((tenant.clone(), batch))
        );
        assert_eq!(active_of("active/x"), None);
        assert_eq!(index_batch(&index_key(&tenant, 5, batch)), Some(batch));
    }

    #[test]
    fn tenants_share_no_cache() {
        let (tenant, _, _) = keys();
        assert_eq!(cache_key(&tenant, "d1", "5a"), "acme/cache/d1/5a.json");
    }

    #[test]
    fn the_index_lists_the_newest_first() {
        let (tenant, batch, _) = keys();
        let [old, new] = [1_700_000_000_000, 1_700_000_000_001].map(|ms| index_key(&tenant, ms, batch));
        assert!(new < old);
    }

    #[test]
    fn names_of_strangers_stay_one_segment() {
        let (_, _, keys) = keys();
        for (name, kept) in [
            ("../../etc/passwd", "00000000-passwd"),
            ("C:\\photos\\a.jpg", "00000000-a.jpg"),
            ("a\nb.jpg", "00000000-a_b.jpg"),
            ("", "00000000-"),
        ] {
            assert_eq!(keys.photo(0, name), keys.at(&format!("photos/{kept}")), "{name}");
        }
        let long = format!("{}.jpg", "é".repeat(200));
        assert!(keys.photo(0, &long).ends_with(".jpg"));
        assert!(keys.photo(0, &long).len() < 220);
    }
}
