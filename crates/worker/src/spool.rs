//! A photo on its way from the store to the engine: in a file without a name, so that this process's memory does not
//! grow with the photo and a killed worker leaves nothing behind.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::StreamExt;
use sha2::{Digest, Sha256};
use store::{Store, StoreError};
use thiserror::Error;
use tokio::task::spawn_blocking;

/// What is taken from the network before it goes to the file: small photos in one piece.
const WRITE: usize = 256 << 10;

/// A photo that has arrived.
#[derive(Clone, Debug)]
pub(crate) struct Spooled {
    /// Open for reading only: the engine gets it.
    pub(crate) file: Arc<File>,
    /// Number of its bytes.
    pub(crate) bytes: u64,
    /// SHA-256 of them, hexadecimal.
    pub(crate) sha256: String,
}

/// Why a photo has not arrived.
#[derive(Debug, Error)]
pub(crate) enum FetchError {
    /// The store does not hand it out.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It broke off.
    #[error("reading the photo broke off: {0}")]
    Broken(#[source] io::Error),
    /// The spool takes no more.
    #[error("the worker cannot keep the photo in {}: {source}", folder.display())]
    Spool {
        /// Where.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is larger than is read.
    #[error("the photo has more bytes than are read")]
    TooLarge {
        /// Its size, or what had come of it by then.
        bytes: u64,
    },
}

/// Takes the object `key` into a file in `folder`, hashing on the way. Nothing of a photo that is known to be larger than
/// `limit` is read, and never more than `limit` of one that is not.
pub(crate) async fn fetch(
    store: &dyn Store,
    key: &str,
    folder: &Path,
    limit: u64,
) -> Result<Spooled, FetchError> {
    let object = store.get(key).await?;
    if object.info.size > limit {
        return Err(FetchError::TooLarge {
            bytes: object.info.size,
        });
    }
    let mut body = object.body;
    let spool_failed = |source| FetchError::Spool {
        folder: folder.to_owned(),
        source,
    };
    let mut sink = Sink::create(folder.to_owned()).await.map_err(spool_failed)?;
    let mut waiting: Vec<Bytes> = Vec::new();
    let (mut arrived, mut pending) = (0, 0);
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(FetchError::Broken)?;
        arrived += chunk.len() as u64;
        if arrived > limit {
            return Err(FetchError::TooLarge { bytes: arrived });
        }
        pending += chunk.len();
        waiting.push(chunk);
        if pending >= WRITE {
            sink = sink
                .write(std::mem::take(&mut waiting))
                .await
                .map_err(spool_failed)?;
            pending = 0;
        }
    }
    let (file, hash) = sink.finish(waiting).await.map_err(spool_failed)?;
    Ok(Spooled {
        file: Arc::new(file),
        bytes: arrived,
        sha256: hex(&hash.finalize()),
    })
}

/// Where the bytes go. It moves to a thread that may wait for a disk and comes back.
struct Sink {
    file: File,
    hash: Sha256,
}

impl Sink {
    async fn create(folder: PathBuf) -> io::Result<Self> {
        blocking(move || {
            Ok(Self {
                file: tempfile::tempfile_in(folder)?,
                hash: Sha256::new(),
            })
        })
        .await
    }

    async fn write(mut self, chunks: Vec<Bytes>) -> io::Result<Self> {
        blocking(move || {
            self.put(chunks)?;
            Ok(self)
        })
        .await
    }

    /// Writes the last chunks, and opens the file once more, for reading only.
    async fn finish(mut self, chunks: Vec<Bytes>) -> io::Result<(File, Sha256)> {
        blocking(move || {
            self.put(chunks)?;
            let file = File::open(format!("/proc/self/fd/{}", self.file.as_raw_fd()))?;
            Ok((file, self.hash))
        })
        .await
    }

    fn put(&mut self, chunks: Vec<Bytes>) -> io::Result<()> {
        for chunk in chunks {
            self.file.write_all(&chunk)?;
            self.hash.update(&chunk);
        }
        Ok(())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    spawn_blocking(work)
        .await
        .unwrap_or_else(|error| Err(io::Error::other(error)))
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use store::FolderStore;

    use super::*;

    fn photo(length: usize) -> Vec<u8> {
        (0..length).map(|n| (n * 7 % 251) as u8).collect()
    }

    async fn store(content: Vec<u8>) -> (tempfile::TempDir, FolderStore) {
        let folder = tempfile::tempdir().unwrap();
        let store = FolderStore::new(folder.path());
        store.put("p.jpg", content.into(), "image/jpeg").await.unwrap();
        (folder, store)
    }

    #[tokio::test]
    async fn what_was_fetched_can_be_read_and_not_written() {
        for length in [0, 1, WRITE, 3 * WRITE + 5] {
            let (_folder, store) = store(photo(length)).await;
            let spool = tempfile::tempdir().unwrap();
            let fetched = fetch(&store, "p.jpg", spool.path(), u64::MAX).await.unwrap();
            assert_eq!(fetched.bytes, length as u64);
            assert_eq!(fetched.sha256, hex(&Sha256::digest(photo(length))));
            let mut content = vec![0; length];
            fetched.file.read_exact_at(&mut content, 0).unwrap();
            assert_eq!(content, photo(length));
            assert_eq!(fetched.file.metadata().unwrap().len(), length as u64);
            assert!(fetched.file.write_all_at(b"x", 0).is_err());
            let left = std::fs::read_dir(spool.path()).unwrap().count();
            assert_eq!(left, 0, "a killed worker leaves nothing");
        }
        // printf '' | sha256sum
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(hex(&Sha256::digest("")), empty);
    }

    #[tokio::test]
    async fn what_is_too_large_is_not_fetched() {
        let (folder, store) = store(photo(1001)).await;
        let refused = fetch(&store, "p.jpg", folder.path(), 1000).await;
        assert!(
            matches!(refused, Err(FetchError::TooLarge { bytes: 1001 })),
            "{refused:?}"
        );
        assert!(fetch(&store, "p.jpg", folder.path(), 1001).await.is_ok());
    }

    #[tokio::test]
    async fn a_spool_that_is_not_there_is_the_machines_trouble() {
        let (folder, store) = store(photo(10)).await;
        let refused = fetch(&store, "p.jpg", &folder.path().join("gone"), 1000).await;
        assert!(matches!(refused, Err(FetchError::Spool { .. })), "{refused:?}");
    }
}
