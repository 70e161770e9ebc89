//! A folder as a store, for one machine.

mod listing;

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use tempfile::NamedTempFile;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tokio_util::io::ReaderStream;

use crate::error::{StoreError, StoreErrorKind};
use crate::port::{
    ByteStream, FolderPage, LARGEST_PAGE, Object, ObjectInfo, Page, PresignedPut, Store, checked_folder,
    key_is_valid,
};
use listing::Walk;

/// Marks files that are being written; no key may end so.
const UNFINISHED: &str = ".pitchfleet-part";
/// Times that a writer makes its folder anew when deleters take it away meanwhile.
const TRIES: usize = 1000;

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
        // A bucket may hold both `a` and `a/b`; a folder cannot.
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory if operation == "write" => {
            StoreErrorKind::InvalidKey
        }
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory => {
            StoreErrorKind::NotFound
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => StoreErrorKind::Denied,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreErrorKind::Full,
        io::ErrorKind::InvalidFilename => StoreErrorKind::InvalidKey,
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
    // Clocks of file systems tick in milliseconds, but a file that replaces another never has its number.
    let (number, size) = (file_number(metadata), metadata.len());
    ObjectInfo {
        key: key.to_owned(),
        size,
        etag: format!("{size:x}-{nanoseconds:x}-{number:x}"),
    }
}

#[cfg(unix)]
fn file_number(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn file_number(_: &std::fs::Metadata) -> u64 {
    0
}

fn create_beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut builder = tempfile::Builder::new();
    builder.suffix(UNFINISHED);
    // Temporary files are private by default; results are as open as the user's umask says.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut tries = 0;
    loop {
        let made = std::fs::create_dir_all(folder).and_then(|()| builder.tempfile_in(folder));
        match made {
            // A deletion took one of the folders away, empty as it was; `create_dir_all` says `AlreadyExists` when it
            // goes between being found and being looked at.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::AlreadyExists
                ) && tries < TRIES =>
            {
                tries += 1;
            }
            result => return result,
        }
    }
}

/// Removes folders from `folder` upwards as long as they are empty: buckets have no empty folders.
fn remove_empty(root: &Path, folder: Option<&Path>) {
    for folder in folder
        .into_iter()
        .flat_map(Path::ancestors)
        .take_while(|folder| *folder != root)
    {
        if std::fs::remove_dir(folder).is_err() {
            break;
        }
    }
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
        let (root, wanted, after) = (self.root.clone(), prefix.to_owned(), after.map(str::to_owned));
        let walk = move || {
            let walk = Walk {
                root: &root,
                prefix: &wanted,
                after: after.as_deref(),
            };
            walk.page(limit.clamp(1, LARGEST_PAGE))
        };
        blocking(walk).await.map_err(|e| failed("list", prefix, e))
    }

    fn objects(&self, prefix: &str, after: Option<&str>) -> BoxStream<'_, Result<ObjectInfo, StoreError>> {
        let (root, wanted, after) = (self.root.clone(), prefix.to_owned(), after.map(str::to_owned));
        let (sender, receiver) = mpsc::channel(64);
        spawn_blocking(move || {
            let walk = Walk {
                root: &root,
                prefix: &wanted,
                after: after.as_deref(),
            };
            let mut send = |object| match sender.blocking_send(Ok(object)) {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            };
            if let Err(error) = walk.objects(&mut send) {
                // Nobody may be listening any more.
                let _ = sender.blocking_send(Err(failed("list", &wanted, error)));
            }
        });
        stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        })
        .boxed()
    }

    async fn list_folders(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<FolderPage, StoreError> {
        checked_folder("list folders of", prefix)?;
        let (root, wanted, after) = (self.root.clone(), prefix.to_owned(), after.map(str::to_owned));
        let list = move || listing::folders(&root, &wanted, after.as_deref(), limit.clamp(1, LARGEST_PAGE));
        blocking(list)
            .await
            .map_err(|e| failed("list folders of", prefix, e))
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        let (root, path) = (self.root.clone(), self.path("delete", key)?);
        let delete = move || {
            std::fs::remove_file(&path)?;
            remove_empty(&root, path.parent());
            Ok(())
        };
        match blocking(delete).await.map_err(|e| failed("delete", key, e)) {
            Err(error) if error.kind != StoreErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes away what writers that were killed left there, too.
    async fn delete_below(&self, prefix: &str) -> Result<(), StoreError> {
        let Some(key) = prefix.strip_suffix('/') else {
            return Err(StoreError::new(
                StoreErrorKind::InvalidKey,
                "delete below",
                prefix,
            ));
        };
        let (root, folder) = (self.root.clone(), self.path("delete below", key)?);
        let delete = move || match std::fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(error),
            _ => {
                remove_empty(&root, folder.parent());
                Ok(())
            }
        };
        match blocking(delete)
            .await
            .map_err(|e| failed("delete below", prefix, e))
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
