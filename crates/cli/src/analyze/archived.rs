//! Photos in archives as streams: a thread unpacks, the engine reads, and a few pieces lie between them.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use engine::{OpenPhoto, PhotoReader};
use fleet::failure::FailureCode;
use fleet::manifest::ArchiveEntry;
use fleet::result::Failure;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::sync::mpsc;
use tokio::task;

use crate::path_key;
use crate::sources::{Archive, ArchiveError, Limits};

/// Pieces of 64 KiB that may wait between the two sides.
const PIECES: usize = 4;

/// The archive that photos were last taken from. Photos of one archive follow each other, so that one is enough.
#[derive(Default)]
pub(super) struct OpenArchive {
    current: Option<(String, Archive)>,
}

impl OpenArchive {
    /// The photo at `entry`.
    ///
    /// # Errors
    /// When the archive cannot be opened.
    pub(super) fn photo(&mut self, entry: &ArchiveEntry) -> Result<Arc<ArchivedPhoto>, Failure> {
        if self.current.as_ref().is_none_or(|(key, _)| *key != entry.key) {
            self.current = None;
            let path = path_key::to_path(&entry.key);
            let archive = Archive::open(&path, Limits::default())
                .map_err(|error| code_of(&error).failure(format!("{}: {error}", file_name(&path))))?;
            self.current = Some((entry.key.clone(), archive));
        }
        let Some((_, archive)) = &self.current else {
            return Err(FailureCode::Unreadable.failure("the archive is not open"));
        };
        Ok(Arc::new(ArchivedPhoto {
            archive: archive.clone(),
            entry: entry.entry,
            fault: Mutex::new(None),
        }))
    }
}

fn file_name(path: &Path) -> String {
    path_key::printable(&path.file_name().unwrap_or_default().to_string_lossy())
}

fn code_of(error: &ArchiveError) -> FailureCode {
    match error {
        ArchiveError::Unreadable(_) => FailureCode::Unreadable,
        ArchiveError::Corrupt(_) => FailureCode::ZipCorrupt,
        ArchiveError::TooManyEntries(..) => FailureCode::ZipTooManyEntries,
        ArchiveError::Encrypted => FailureCode::ZipEncrypted,
        ArchiveError::Unsupported(_) => FailureCode::ZipUnsupported,
        ArchiveError::TooLarge(..) => FailureCode::ZipEntryTooLarge,
    }
}

/// A photo in an archive.
pub(super) struct ArchivedPhoto {
    archive: Archive,
    entry: u64,
    /// Why it could not be read: the engine hands on an [`io::Error`], which has no room for a code.
    fault: Mutex<Option<(FailureCode, String)>>,
}

impl ArchivedPhoto {
    /// The fault of the last reading.
    pub(super) fn fault(&self) -> Option<(FailureCode, String)> {
        self.fault.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn record(&self, error: &ArchiveError) -> io::Error {
        let mut fault = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        *fault = Some((code_of(error), error.to_string()));
        io::Error::other(error.to_string())
    }
}

/// What the engine is given: the photo can be read again while the caller keeps its own hold on it.
pub(super) struct Reopen(pub(super) Arc<ArchivedPhoto>);

impl OpenPhoto for Reopen {
    fn open(&self) -> Pin<Box<dyn Future<Output = io::Result<PhotoReader>> + Send + '_>> {
        let photo = Arc::clone(&self.0);
        Box::pin(async move {
            let (sender, receiver) = mpsc::channel(PIECES);
            task::spawn_blocking(move || {
                let mut archive = photo.archive.clone();
                // That nobody reads any more is no fault of the archive.
                let mut give = |piece: Vec<u8>| sender.blocking_send(Ok(piece)).is_ok();
                if let Err(error) = archive.read(photo.entry, &mut give) {
                    let _ = sender.blocking_send(Err(photo.record(&error)));
                }
            });
            let reader: PhotoReader = Box::pin(Pieces {
                receiver,
                current: Vec::new(),
                used: 0,
            });
            Ok(reader)
        })
    }
}

/// Pieces from a channel, read as a stream.
struct Pieces {
    receiver: mpsc::Receiver<io::Result<Vec<u8>>>,
    current: Vec<u8>,
    used: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.used == self.current.len() {
            match ready!(self.receiver.poll_recv(context)) {
                Some(piece) => {
                    self.current = piece?;
                    self.used = 0;
                }
                None => return Poll::Ready(Ok(())),
            }
        }
        let this = &mut *self;
        let rest = this.current.get(this.used..).unwrap_or_default();
        let taken = rest.len().min(out.remaining());
        out.put_slice(rest.get(..taken).unwrap_or_default());
        this.used += taken;
        Poll::Ready(Ok(()))
    }
}
