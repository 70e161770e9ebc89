//! Where the photos of a batch are found: one stream of items for each kind of source, in the order of their indices.

use std::collections::BTreeMap;
use std::sync::Arc;

use fleet::api::{NewUpload, NewUploads};
use fleet::batch::Reason;
use fleet::layout::BatchKeys;
use fleet::manifest::{Item, Source};
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use store::{Buckets, ObjectInfo, Store, StoreError, StoreErrorKind};

use super::trouble::Trouble;
use crate::objects;

/// Extensions of what may be a photo; what it really is decides the decoder.
const EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "tif", "tiff", "heic"];

/// Declarations read at the same time. Some servers take 40 ms to hand out a small object, waiting for an acknowledgement
/// that the client's kernel delays (RFC 9293, 3.7.4): one after the other, a thousand photos took a second.
const READ_AT_A_TIME: usize = 16;

/// Why a source gives no photos.
pub(super) enum Refusal {
    /// Another try does not help: the batch fails.
    Reason(Reason),
    /// It may pass.
    Trouble(Trouble),
}

impl<T: Into<Trouble>> From<T> for Refusal {
    fn from(trouble: T) -> Self {
        Self::Trouble(trouble.into())
    }
}

/// A [`Refusal::Reason`].
pub(super) fn refuse(code: &str, message: impl Into<String>) -> Refusal {
    Refusal::Reason(reason(code, message))
}

/// Why a batch fails.
pub(super) fn reason(code: &str, message: impl Into<String>) -> Reason {
    Reason {
        code: code.to_owned(),
        message: message.into(),
    }
}

/// Photos as they are found.
pub(super) type Items<'a> = BoxStream<'a, Result<Item, Refusal>>;

/// The photos of a batch whose items are not written yet. `None` when whoever submitted it has written them.
pub(super) async fn items<'a>(
    buckets: &'a Buckets,
    keys: &BatchKeys,
    source: &'a Source,
    max_photos: u64,
) -> Result<Option<Items<'a>>, Refusal> {
    match source {
        Source::Prefix { bucket, prefix } => {
            let store = allowed(buckets, bucket)?;
            Ok(Some(below_prefix(store, bucket, prefix)))
        }
        Source::Keys { bucket } => allowed(buckets, bucket).map(|_| None),
        Source::Upload => uploaded(buckets.home(), keys, max_photos).await.map(Some),
        Source::Paths { .. } => Err(refuse(
            "unsupported_source",
            "Paths of another machine cannot be read by a fleet. Upload the photos, or name a bucket.",
        )),
    }
}

fn allowed<'a>(buckets: &'a Buckets, bucket: &str) -> Result<&'a Arc<dyn Store>, Refusal> {
    buckets.of(Some(bucket)).ok_or_else(|| {
        let message = format!(
            "Photos may not be read from the bucket `{bucket}`. Ask the operator to allow it, or upload the photos."
        );
        refuse("forbidden_bucket", message)
    })
}

fn below_prefix<'a>(store: &'a Arc<dyn Store>, bucket: &'a str, prefix: &'a str) -> Items<'a> {
    let photos = store
        .objects(prefix, None)
        .map_err(|error| listing_failed(bucket, prefix, error))
        .try_filter(|object| std::future::ready(object.size > 0 && is_photo(&object.key)));
    let numbered = photos.scan(0_u64, move |next, object| {
        let item = object.map(|object| {
            let index = *next;
            *next += 1;
            item_below(bucket, prefix, index, object)
        });
        std::future::ready(Some(item))
    });
    numbered.boxed()
}

fn item_below(bucket: &str, prefix: &str, index: u64, object: ObjectInfo) -> Item {
    Item {
        index,
        group: group(prefix, &object.key),
        key: object.key,
        bucket: Some(bucket.to_owned()),
        size: Some(object.size),
        etag: Some(object.etag),
        sha256: None,
        archive: None,
    }
}

fn listing_failed(bucket: &str, prefix: &str, error: StoreError) -> Refusal {
    let place = format!("`{prefix}` in the bucket `{bucket}`");
    match error.kind {
        StoreErrorKind::Denied => refuse(
            "denied",
            format!(
                "The fleet is not allowed to list {place}. Grant its credentials that, and submit again."
            ),
        ),
        StoreErrorKind::NotFound => refuse(
            "no_such_bucket",
            format!("There is no bucket `{bucket}`. Check its name, and submit again."),
        ),
        StoreErrorKind::InvalidKey => refuse("bad_prefix", format!("No key can begin with {place}.")),
        StoreErrorKind::Unsupported | StoreErrorKind::Full | StoreErrorKind::Unavailable => error.into(),
    }
}

/// Whether the key's extension is that of a photo, and its name does not say that it is hidden.
fn is_photo(key: &str) -> bool {
    let name = key.rsplit('/').next().unwrap_or_default();
    let Some((stem, extension)) = name.rsplit_once('.') else {
        return false;
    };
    // macOS leaves `._photo.jpg` beside `photo.jpg` on strangers' disks.
    !stem.is_empty()
        && !stem.starts_with("._")
        && EXTENSIONS
            .iter()
            .any(|known| known.eq_ignore_ascii_case(extension))
}

/// The folder of `key` below the folder that `prefix` names or lies in.
fn group(prefix: &str, key: &str) -> Option<String> {
    let base = prefix.rfind('/').map_or(0, |slash| slash + 1);
    let (folder, _) = key.get(base..)?.rsplit_once('/')?;
    (!folder.is_empty()).then(|| folder.to_owned())
}

/// A declared photo, and what the bucket knows of it.
struct Declared {
    upload: NewUpload,
    found: Option<ObjectInfo>,
}

/// The declared photos, uploaded or not: one that was not is the photo's failure, not the batch's.
async fn uploaded<'a>(
    home: &'a Arc<dyn Store>,
    keys: &BatchKeys,
    max_photos: u64,
) -> Result<Items<'a>, Refusal> {
    let mut declared = BTreeMap::new();
    let declarations = home.objects(&keys.uploads(), None).map(|object| async move {
        let uploads = objects::read::<NewUploads>(home, &object?.key).await?;
        Ok::<_, Refusal>(uploads)
    });
    // In the order of their keys: a later declaration of an index replaces an earlier one.
    let mut declarations = declarations.buffered(READ_AT_A_TIME).boxed();
    while let Some(uploads) = declarations.try_next().await? {
        for upload in uploads.into_iter().flat_map(|uploads| uploads.photos) {
            declared.insert(upload.index, Declared { upload, found: None });
        }
        too_many(declared.len() as u64, max_photos)?;
    }
    let mut photos = home.objects(&keys.photos(), None).boxed();
    while let Some(object) = photos.try_next().await? {
        // What was uploaded under an earlier declaration of the same index has another name.
        if let Some(declared) = uploaded_index(&object.key).and_then(|index| declared.get_mut(&index))
            && keys.photo(declared.upload.index, &declared.upload.name) == object.key
        {
            declared.found = Some(object);
        }
    }
    let items = declared.into_values().map(|Declared { upload, found }| Item {
        index: upload.index,
        key: keys.photo(upload.index, &upload.name),
        bucket: None,
        size: Some(found.as_ref().map_or(upload.size, |found| found.size)),
        etag: found.map(|found| found.etag),
        group: upload.group,
        sha256: upload.sha256,
        archive: None,
    });
    let items: Vec<Item> = items.collect();
    Ok(stream::iter(items.into_iter().map(Ok)).boxed())
}

/// The index in a key that [`BatchKeys::photo`] made.
fn uploaded_index(key: &str) -> Option<u64> {
    key.rsplit('/').next()?.split('-').next()?.parse().ok()
}

/// Refuses a batch with more than `max_photos`.
pub(super) fn too_many(photos: u64, max_photos: u64) -> Result<(), Refusal> {
    if photos <= max_photos {
        return Ok(());
    }
    Err(refuse(
        "too_many_photos",
        format!("The batch has more than {max_photos} photos. Submit it in parts."),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_are_known_by_their_extension() {
        for photo in ["a.jpg", "x/y/B.JPEG", "p.heic", "two.dots.png", "a b.tiff"] {
            assert!(is_photo(photo), "{photo}");
        }
        for other in [
            "a",
            "jpg",
            ".jpg",
            "a.jpg/",
            "a.jpg.txt",
            "x/._a.jpg",
            "a.gif",
            "",
        ] {
            assert!(!is_photo(other), "{other}");
        }
    }

    #[test]
    fn a_photo_s_group_is_its_folder_below_the_prefix() {
        for (prefix, key, expected) in [
            ("day-1/", "day-1/a.jpg", None),
            ("day-1/", "day-1/north/a.jpg", Some("north")),
            ("day-1/", "day-1/north/am/a.jpg", Some("north/am")),
            ("", "a.jpg", None),
            ("", "day-1/a.jpg", Some("day-1")),
            ("match/da", "match/day-1/a.jpg", Some("day-1")),
            ("match/day-1", "match/day-1/a.jpg", Some("day-1")),
        ] {
            assert_eq!(group(prefix, key).as_deref(), expected, "{prefix} {key}");
        }
    }
}
