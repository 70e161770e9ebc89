//! A folder as a store, for one machine.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use tempfile::NamedTempFile;
use tokio::task::spawn_blocking;
use tokio_util::io::ReaderStream;

use crate::error::{StoreError, StoreErrorKind};
use crate::port::{ByteStream, Object, ObjectInfo, Page, PresignedPut, Store, key_is_valid};

/// Marks files that are being written; no key may end so.
const UNFINISHED: &str = ".pitchfleet-part";

/// Keys are paths below a root folder. Files appear whole: each is written beside its place and renamed into it.
#[derive(Clone, Debug)]
pub struct FolderStore {
    root: PathBuf,
}

impl FolderStore {
    /// A store in `root`, which is made when the first object is written.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn path(&self, operation: &'static str, key: &str) -> Result<PathBuf, StoreError> {
        if key_is_valid(key) && !key.ends_with(UNFINISHED) {
            Ok(self.root.join(key))
        } else {
            Err(StoreError::new(StoreErrorKind::InvalidKey, operation, key))
        }
    }
}

fn failed(operation: &'static str, key: &str, error: io::Error) -> StoreError {
    let kind = match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::IsADirectory => StoreErrorKind::NotFound,
        io::ErrorKind::NotADirectory if operation != "write" => StoreErrorKind::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::Full,
        io::ErrorKind::InvalidFilename | io::ErrorKind::NotADirectory => StoreErrorKind::InvalidKey,
        _ => StoreErrorKind::Unavailable,
    };
    StoreError::new(kind, operation, key).because(error)
}

fn info(key: &str, metadata: &std::fs::Metadata) -> ObjectInfo {
    let modified = metadata
        .modified()
        .ok()
        .and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    let nanoseconds = modified.unwrap_or_default().as_nanos();
    ObjectInfo {
        key: key.to_owned(),
        size: metadata.len(),
        etag: format!("{:x}-{nanoseconds:x}", metadata.len()),
    }
}

fn create_beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder)?;
    tempfile::Builder::new().suffix(UNFINISHED).tempfile_in(folder)
}

#[async_trait]
impl Store for FolderStore {
    async fn get(&self, key: &str) -> Result<Object, StoreError> {
        let path = self.path("read", key)?;
        let file = tokio::fs::File::open(&path)
            .await
            .map_err(|e| failed("read", key, e))?;
        let metadata = file.metadata().await.map_err(|e| failed("read", key, e))?;
        if !metadata.is_file() {
            return Err(StoreError::new(StoreErrorKind::NotFound, "read", key));
        }
        Ok(Object {
            info: info(key, &metadata),
            body: Box::pin(ReaderStream::with_capacity(file, 64 * 1024)),
        })
    }

    async fn put(&self, key: &str, content: Bytes, _content_type: &str) -> Result<(), StoreError> {
        let path = self.path("write", key)?;
        let write = move || {
            let mut file = create_beside(&path)?;
            file.write_all(&content)?;
            file.persist(&path).map_err(|e| e.error)?;
            Ok(())
        };
        blocking(write).await.map_err(|e| failed("write", key, e))
    }

    async fn put_stream(
        &self,
        key: &str,
        mut content: ByteStream,
        _content_type: &str,
    ) -> Result<(), StoreError> {
        let path = self.path("write", key)?;
        let beside = path.clone();
        let mut file = blocking(move || create_beside(&beside))
            .await
            .map_err(|e| failed("write", key, e))?;
        while let Some(chunk) = content.next().await {
            let chunk = chunk.map_err(|e| failed("write", key, e))?;
            let write = move || file.write_all(&chunk).map(|()| file);
            file = blocking(write).await.map_err(|e| failed("write", key, e))?;
        }
        let finish = move || file.persist(&path).map(drop).map_err(|e| e.error);
        blocking(finish).await.map_err(|e| failed("write", key, e))
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        let path = self.path("look up", key)?;
        match tokio::fs::metadata(&path).await {
            Ok(metadata) if metadata.is_file() => Ok(Some(info(key, &metadata))),
            Ok(_) => Ok(None),
            Err(error) => match failed("look up", key, error) {
                error if error.kind == StoreErrorKind::NotFound => Ok(None),
                error => Err(error),
            },
        }
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let mut listing = Listing {
            prefix: prefix.to_owned(),
            after: after.map(str::to_owned),
            limit: limit.clamp(1, 1000),
            page: Page::default(),
        };
        let root = self.root.clone();
        let walk = move || listing.walk(&root, "").map(|()| listing.page);
        blocking(walk).await.map_err(|e| failed("list", prefix, e))
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let path = self.path("delete", key)?;
        match tokio::fs::remove_file(&path)
            .await
            .map_err(|e| failed("delete", key, e))
        {
            Err(error) if error.kind != StoreErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    async fn presign_put(
        &self,
        key: &str,
        _size: u64,
        _valid_for: Duration,
    ) -> Result<PresignedPut, StoreError> {
        Err(StoreError::new(StoreErrorKind::Unsupported, "presign", key))
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// A walk of the tree in the order of whole keys, which skips what cannot be on the page.
struct Listing {
    prefix: String,
    after: Option<String>,
    limit: usize,
    page: Page,
}

impl Listing {
    fn walk(&mut self, folder: &Path, key: &str) -> io::Result<()> {
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        // A folder sorts by its name with the slash that its keys have there: "a.txt" stands before "a/b".
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            if !name.ends_with(UNFINISHED) {
                let is_folder = entry.file_type()?.is_dir();
                names.push(if is_folder {
                    format!("{key}{name}/")
                } else {
                    format!("{key}{name}")
                });
            }
        }
        names.sort_unstable();
        for name in names {
            if self.page.more {
                break;
            }
            let path = folder.join(name[key.len()..].trim_end_matches('/'));
            if name.ends_with('/') {
                if self.may_hold(&name) {
                    self.walk(&path, &name)?;
                }
            } else if name.starts_with(&self.prefix)
                && self.after.as_deref().is_none_or(|after| *name > *after)
            {
                if self.page.objects.len() == self.limit {
                    self.page.more = true;
                } else if let Ok(metadata) = std::fs::metadata(&path) {
                    self.page.objects.push(info(&name, &metadata));
                }
            }
        }
        Ok(())
    }

    /// Whether any key in the folder `name` can have the prefix and sort after the last page.
    fn may_hold(&self, name: &str) -> bool {
        let on_the_way = name.starts_with(&self.prefix) || self.prefix.starts_with(name);
        let already_listed = self
            .after
            .as_deref()
            .is_some_and(|after| *name < *after && !after.starts_with(name));
        on_the_way && !already_listed
    }
}
