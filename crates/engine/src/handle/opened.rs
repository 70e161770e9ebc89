//! Photos that are about to go to an engine process.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::AsyncReadExt as _;
use tokio::task::spawn_blocking;

use crate::request::{PhotoReader, PhotoSource};

/// A photo whose bytes can be had.
pub(super) enum Opened {
    /// The process reads them.
    File(Arc<File>),
    /// They are streamed into the process; their number, if it is known.
    Stream(PhotoReader, Option<u64>),
}

impl Opened {
    /// Opens what is not open yet.
    ///
    /// # Errors
    /// When it is not there, or not readable.
    pub(super) async fn from(source: &PhotoSource) -> io::Result<Self> {
        match source {
            PhotoSource::Bytes(bytes) => {
                let length = bytes.len() as u64;
                let reader = io::Cursor::new(bytes.clone());
                Ok(Self::Stream(Box::pin(reader), Some(length)))
            }
            PhotoSource::File(path) => {
                let path = path.clone();
                let opened = spawn_blocking(move || open_file(&path));
                let file = opened.await.map_err(io::Error::other)??;
                Ok(Self::File(Arc::new(file)))
            }
            PhotoSource::Opened(file) => Ok(Self::File(file.clone())),
            PhotoSource::Open(source) => Ok(Self::Stream(source.open().await?, None)),
        }
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    let file = File::open(path)?;
    // Opening a folder succeeds; a pipe may never end.
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    Ok(file)
}

/// Reads until `chunk` is full or the source ends; gives the number of bytes read.
///
/// # Errors
/// When the source breaks.
pub(super) async fn fill(source: &mut PhotoReader, chunk: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < chunk.len() {
        match source.read(&mut chunk[length..]).await? {
            0 => break,
            n => length += n,
        }
    }
    Ok(length)
}
