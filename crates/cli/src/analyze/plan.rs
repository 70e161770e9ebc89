//! What is to be done: the item list of a batch, made anew on every run and reconciled with what an earlier run left.
//!
//! A photo keeps its index for as long as the batch lives, so that its result stays where it is when photos are added
//! before it. The invariant after planning: a result that lies in the folder belongs to the photo as it is now.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};

use fleet::layout;
use fleet::manifest::Item;
use fleet::result::{Digest, Outcome, PhotoResult};
use sha2::{Digest as _, Sha256};

use crate::out_dir::{OutDir, WriteError};
use crate::sources::{Skipped, Sources};

/// What planning found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    /// Photos of the batch.
    pub(crate) photos: u64,
    /// What was passed over.
    pub(crate) skipped: Skipped,
}

/// What is remembered of a photo while planning: 100,000 of them take some 6 MB, for as long as it lasts.
struct Known {
    index: u64,
    version: u64,
    listed: bool,
}

/// Lists the photos and writes `items.ndjson`.
///
/// # Errors
/// When the output cannot be written.
pub(crate) fn plan(out: &OutDir, sources: &Sources) -> Result<Plan, WriteError> {
    let mut known: HashMap<u128, Known> = HashMap::new();
    let mut next = 0;
    for item in items(out) {
        next = next.max(item.index + 1);
        let version = version_of(item.size, item.etag.as_deref());
        let index = item.index;
        known.insert(
            name_of(&item.key),
            Known {
                index,
                version,
                listed: false,
            },
        );
    }

    let mut plan = Plan::default();
    let mut list = out.create(layout::ITEMS)?;
    let written = sources.list(|found| {
        let version = version_of(found.size, found.etag.as_deref());
        let entry = known.entry(name_of(&found.key)).or_insert_with(|| {
            next += 1;
            Known {
                index: next - 1,
                version,
                listed: false,
            }
        });
        if std::mem::replace(&mut entry.listed, true) {
            return Ok(()); // Named twice.
        }
        if entry.version != version {
            entry.version = version;
            forget(out, entry.index)?;
        }
        plan.photos += 1;
        let item = Item {
            index: entry.index,
            key: found.key,
            bucket: None,
            size: found.size,
            etag: found.etag,
            group: found.group,
            sha256: None,
            archive: found.archive,
        };
        let line = serde_json::to_string(&item).unwrap_or_default();
        writeln!(list, "{line}").map_err(|error| list.fault(error))
    });
    plan.skipped = written?;
    list.commit()?;

    for gone in known.values().filter(|known| !known.listed) {
        forget(out, gone.index)?;
    }
    Ok(plan)
}

/// The photos of the batch in the order of the listing; none when there is no list.
pub(crate) fn items(out: &OutDir) -> impl Iterator<Item = Item> {
    let file = File::open(out.path(layout::ITEMS)).ok();
    let lines = file.into_iter().flat_map(|file| BufReader::new(file).lines());
    lines
        .map_while(Result::ok)
        .filter_map(|line| serde_json::from_str(&line).ok())
}

/// The result of `item`, if the folder has one that need not be computed again: it is an analysis, and made with the
/// same models, options and algorithm, and in `precision` if that is known; its pictures are there. The digest covers the
/// precision that was asked for, and `auto` runs another one on another machine.
pub(crate) fn reusable(
    out: &OutDir,
    item: &Item,
    digest: &Digest,
    precision: Option<&str>,
) -> Option<PhotoResult> {
    let result = read_result(out, item)?;
    let whole = result.outcome == Outcome::Ok
        && result.digest == *digest
        && precision.is_none_or(|precision| result.worker.precision == precision)
        && result.photo.bytes == item.size
        && result.overlays.values().all(|key| out.path(key).is_file());
    whole.then_some(result)
}

/// The result of `item`, whatever it says.
pub(crate) fn read_result(out: &OutDir, item: &Item) -> Option<PhotoResult> {
    let content = std::fs::read(out.path(&layout::result_key(item.index))).ok()?;
    let result: PhotoResult = serde_json::from_slice(&content).ok()?;
    (result.photo.key == item.key).then_some(result)
}

/// Removes what was written about a photo.
pub(crate) fn forget(out: &OutDir, index: u64) -> Result<(), WriteError> {
    out.remove(&layout::result_key(index))?;
    out.remove(&layout::overlays_key(index))
}

fn name_of(key: &str) -> u128 {
    let hash = Sha256::digest(key.as_bytes());
    hash.iter()
        .take(16)
        .fold(0, |name, &byte| name << 8 | u128::from(byte))
}

fn version_of(size: Option<u64>, etag: Option<&str>) -> u64 {
    let text = format!("{size:?} {etag:?}");
    Sha256::digest(text.as_bytes())
        .iter()
        .take(8)
        .fold(0, |version, &byte| version << 8 | u64::from(byte))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    fn planned(out: &OutDir, photos: &Path) -> Vec<(u64, String)> {
        let sources = Sources::new(&[photos.to_owned()]).unwrap();
        let plan = plan(out, &sources).unwrap();
        let listed: Vec<_> = items(out)
            .map(|item| (item.index, item.key.rsplit('/').next().unwrap().to_owned()))
            .collect();
        assert_eq!(plan.photos, listed.len() as u64);
        listed
    }

    fn named(list: &[(u64, &str)]) -> Vec<(u64, String)> {
        list.iter()
            .map(|&(index, name)| (index, name.to_owned()))
            .collect()
    }

    #[test]
    fn photos_keep_their_index_and_stale_results_go() {
        let dir = tempfile::tempdir().unwrap();
        let photos = dir.path().join("photos");
        fs::create_dir(&photos).unwrap();
        let out = OutDir::open(&dir.path().join("out")).unwrap();
        for name in ["b.jpg", "d.jpg"] {
            fs::write(photos.join(name), name).unwrap();
        }
        assert_eq!(planned(&out, &photos), named(&[(0, "b.jpg"), (1, "d.jpg")]));
        for index in [0, 1] {
            out.write(&layout::result_key(index), b"{}").unwrap();
        }

        // One is added before the others, one is changed.
        fs::write(photos.join("a.jpg"), "new").unwrap();
        fs::write(photos.join("d.jpg"), "changed").unwrap();
        assert_eq!(
            planned(&out, &photos),
            named(&[(2, "a.jpg"), (0, "b.jpg"), (1, "d.jpg")])
        );
        assert!(out.path(&layout::result_key(0)).exists());
        assert!(!out.path(&layout::result_key(1)).exists());

        // One goes away, and takes its result with it.
        fs::remove_file(photos.join("b.jpg")).unwrap();
        assert_eq!(planned(&out, &photos), named(&[(2, "a.jpg"), (1, "d.jpg")]));
        assert!(!out.path(&layout::result_key(0)).exists());
    }

    #[test]
    fn a_photo_that_is_named_twice_is_one_photo() {
        let dir = tempfile::tempdir().unwrap();
        let photo = dir.path().join("a.jpg");
        fs::write(&photo, "x").unwrap();
        let out = OutDir::open(&dir.path().join("out")).unwrap();
        let sources = Sources::new(&[photo.clone(), photo]).unwrap();
        assert_eq!(plan(&out, &sources).unwrap().photos, 1);
    }
}
