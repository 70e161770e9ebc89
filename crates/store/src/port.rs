//! The port: what the rest of the program may ask of a store.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tokio::io::AsyncRead;
use tokio_util::io::StreamReader;

use crate::error::{StoreError, StoreErrorKind};

/// The bytes of an object as they come, a chunk at a time.
pub type ByteStream = Pin<Box<dyn Stream<Item = std::io::Result<Bytes>> + Send>>;

/// What is known of an object without reading it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its key.
    pub key: String,
    /// Its size in bytes.
    pub size: u64,
    /// Changes when the content changes; opaque otherwise.
    pub etag: String,
}

/// An object that is being read.
pub struct Object {
    /// Size and tag as they were when reading began.
    pub info: ObjectInfo,
    /// The content. A connection that breaks in the middle is an error item, never a silent end.
    pub body: ByteStream,
}

impl Object {
    /// The content as a reader.
    pub fn into_reader(self) -> impl AsyncRead + Send + Unpin {
        StreamReader::new(self.body)
    }

    /// The whole content in memory: for documents, not for photos.
    ///
    /// # Errors
    /// When reading breaks off.
    pub async fn into_bytes(self) -> std::io::Result<Vec<u8>> {
        self.body
            .try_fold(Vec::new(), |mut all, chunk| async move {
                all.extend_from_slice(&chunk);
                Ok(all)
            })
            .await
    }
}

/// Part of a listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// In the order of their keys, byte by byte.
    pub objects: Vec<ObjectInfo>,
    /// More may follow: list again after the last key.
    pub more: bool,
}

/// Part of a listing of folders.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FolderPage {
    /// Prefixes that end with `/` and hold at least one object, in order, byte by byte.
    pub folders: Vec<String>,
    /// More may follow: list again after the last folder.
    pub more: bool,
}

/// A request that a browser or client may send to the bucket by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PresignedPut {
    /// Where to PUT.
    pub url: String,
    /// Headers that must be sent exactly so; they are signed.
    pub headers: Vec<(String, String)>,
}

/// A bucket, or something that behaves like one.
///
/// Keys are UTF-8, segments separated by `/`, no empty, `.` or `..` segment. Writing replaces. A reader sees an object
/// whole or not at all, never half written.
#[async_trait]
pub trait Store: Send + Sync {
    /// Starts to read an object.
    ///
    /// # Errors
    /// [`NotFound`](crate::StoreErrorKind::NotFound) when there is none.
    async fn get(&self, key: &str) -> Result<Object, StoreError>;

    /// Writes an object whose content is in memory.
    ///
    /// # Errors
    /// When it could not be written whole; an older object under this key then stands as it was.
    async fn put(&self, key: &str, content: Bytes, content_type: &str) -> Result<(), StoreError>;

    /// Writes an object of unknown size from a stream, holding a bounded piece of it at a time.
    ///
    /// # Errors
    /// As [`put`](Store::put), and when the stream itself fails.
    async fn put_stream(&self, key: &str, content: ByteStream, content_type: &str) -> Result<(), StoreError>;

    /// Looks an object up; `None` when there is none.
    ///
    /// # Errors
    /// When the store does not answer.
    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError>;

    /// The objects whose keys begin with `prefix` and sort after `after`, at most `limit` (1..=1000) of them.
    ///
    /// # Errors
    /// When the store does not answer.
    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, StoreError>;

    /// Every object whose key begins with `prefix` and sorts after `after`, in order, a bounded number in memory at a
    /// time. One walk, where repeated [`list`](Store::list) would look at a folder again for every page. Ends after
    /// the first error.
    fn objects(&self, prefix: &str, after: Option<&str>) -> BoxStream<'_, Result<ObjectInfo, StoreError>> {
        let start = Some((prefix.to_owned(), after.map(str::to_owned)));
        stream::try_unfold(start, move |from| async move {
            let Some((prefix, after)) = from else {
                return Ok::<_, StoreError>(None);
            };
            let page = self.list(&prefix, after.as_deref(), LARGEST_PAGE).await?;
            // A page that is empty and yet not the last would start over for ever.
            let last = page.objects.last().filter(|_| page.more);
            let next = last.map(|last| (prefix, Some(last.key.clone())));
            Ok(Some((stream::iter(page.objects.into_iter().map(Ok)), next)))
        })
        .try_flatten()
        .boxed()
    }

    /// The folders directly below `prefix` (empty, or ending with `/`) that sort after the folder `after`, at most
    /// `limit` (1..=1000) of them. What lies in them is not walked through.
    ///
    /// # Errors
    /// [`InvalidKey`](crate::StoreErrorKind::InvalidKey) for another `prefix`; when the store does not answer.
    async fn list_folders(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<FolderPage, StoreError>;

    /// Removes an object; one that is not there is no error.
    ///
    /// # Errors
    /// When the store does not answer.
    async fn delete(&self, key: &str) -> Result<(), StoreError>;

    /// Removes every object below `prefix`, which must end with `/`: nobody empties a whole bucket by an empty string.
    /// What is written meanwhile may stay.
    ///
    /// # Errors
    /// [`InvalidKey`](crate::StoreErrorKind::InvalidKey) for another `prefix`; when the store does not answer: some
    /// may then be gone and some not, and the same call continues.
    async fn delete_below(&self, prefix: &str) -> Result<(), StoreError> {
        checked_folder("delete below", prefix)?;
        if prefix.is_empty() {
            return Err(StoreError::new(StoreErrorKind::InvalidKey, "delete below", ""));
        }
        let deletions = self
            .objects(prefix, None)
            .map_ok(|object| async move { self.delete(&object.key).await });
        deletions
            .try_buffer_unordered(DELETIONS_AT_A_TIME)
            .try_collect()
            .await
    }

    /// A PUT of exactly `size` bytes to `key` that works until `valid_for` has passed.
    ///
    /// # Errors
    /// [`Unsupported`](crate::StoreErrorKind::Unsupported) where there is no server that could check a signature.
    async fn presign_put(
        &self,
        key: &str,
        size: u64,
        valid_for: Duration,
    ) -> Result<PresignedPut, StoreError>;
}

/// S3's limit for one page of a listing.
pub(crate) const LARGEST_PAGE: usize = 1000;

const DELETIONS_AT_A_TIME: usize = 16;

/// S3's limit, in bytes of UTF-8.
const LONGEST_KEY: usize = 1024;

/// Whether every store takes this key and none could be led out of its root by it.
pub(crate) fn key_is_valid(key: &str) -> bool {
    key.len() <= LONGEST_KEY
        && !key.contains(['\0', '\\'])
        && key.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

/// Refuses a prefix that is neither the root's nor that of a folder in it.
///
/// # Errors
/// [`InvalidKey`](crate::StoreErrorKind::InvalidKey).
pub(crate) fn checked_folder(operation: &'static str, prefix: &str) -> Result<(), StoreError> {
    if prefix_is_folder(prefix) {
        Ok(())
    } else {
        Err(StoreError::new(StoreErrorKind::InvalidKey, operation, prefix))
    }
}

/// Whether this is the root or names a folder in it.
pub(crate) fn prefix_is_folder(prefix: &str) -> bool {
    prefix.is_empty() || prefix.strip_suffix('/').is_some_and(key_is_valid)
}

#[cfg(test)]
mod tests {
    use super::key_is_valid;

    #[test]
    fn keys_cannot_leave_the_root() {
        for good in [
            "a",
            "a/b.json",
            "acme/batches/01K/photos/00000001-DSC 04.JPG",
            "é/..jpg",
        ] {
            assert!(key_is_valid(good), "{good}");
        }
        for bad in [
            "",
            "/a",
            "a/",
            "a//b",
            "..",
            "a/../b",
            "./a",
            "a\0b",
            "a\\..\\b",
            &"x".repeat(1025),
        ] {
            assert!(!key_is_valid(bad), "{bad}");
        }
    }
}
