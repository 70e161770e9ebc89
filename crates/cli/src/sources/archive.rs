//! Zip archives, read in place: nothing is unpacked to disk, and what an archive claims is not believed.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use fleet::manifest::ArchiveEntry;
use zip::ZipArchive;
use zip::result::ZipError;

use super::{Found, Skipped, file_etag, group, has_extension, is_hidden, is_photo};
use crate::path_key;

/// Bytes that are unpacked at a time.
const PIECE: usize = 64 << 10;

/// What an archive may cost.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Entries, folders included. Each costs some 300 bytes of memory while the archive is open.
    pub(crate) entries: u64,
    /// Unpacked size of one entry in bytes.
    pub(crate) entry_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            entries: 50_000,
            entry_bytes: 512 << 20,
        }
    }
}

/// Why an archive, or a photo in it, cannot be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// The file itself.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] io::Error),
    /// Its structure or its checksum.
    #[error("the archive is damaged: {0}")]
    Corrupt(String),
    /// Too many entries.
    #[error("the archive has {0} entries, more than the {1} that are read: split it")]
    TooManyEntries(u64, u64),
    /// A password is needed.
    #[error("the archive is encrypted: unpack it, then analyse the folder")]
    Encrypted,
    /// Packed in a way that is not read.
    #[error("packed with a method that is not read ({0}): pack it again with deflate, or unpack it")]
    Unsupported(String),
    /// One photo is too large.
    #[error("{0} bytes unpacked, more than the {1} that are read")]
    TooLarge(u64, u64),
}

impl From<ZipError> for ArchiveError {
    fn from(error: ZipError) -> Self {
        match error {
            ZipError::Io(source) => match source.kind() {
                // The crate reports a directory that points outside of the file in this way.
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput => {
                    Self::Corrupt(source.to_string())
                }
                _ => Self::Unreadable(source),
            },
            ZipError::UnsupportedArchive(ZipError::PASSWORD_REQUIRED) | ZipError::InvalidPassword => {
                Self::Encrypted
            }
            ZipError::UnsupportedArchive(what) => Self::Unsupported(what.to_owned()),
            ZipError::CompressionMethodNotSupported(method) => Self::Unsupported(format!("method {method}")),
            other => Self::Corrupt(other.to_string()),
        }
    }
}

/// An open archive. Clones share the file and the directory, and read independently.
#[derive(Clone)]
pub(crate) struct Archive {
    zip: ZipArchive<SharedFile>,
    limits: Limits,
}

impl Archive {
    /// Opens the archive at `path`.
    ///
    /// # Errors
    /// When it cannot be read, is none, or has too many entries.
    pub(crate) fn open(path: &Path, limits: Limits) -> Result<Self, ArchiveError> {
        let metadata = std::fs::metadata(path).map_err(ArchiveError::Unreadable)?;
        if !metadata.is_file() {
            return Err(ArchiveError::Unreadable(io::Error::other("not a regular file")));
        }
        let file = File::open(path).map_err(ArchiveError::Unreadable)?;
        let entries = declared_entries(&file, metadata.len()).map_err(ArchiveError::Unreadable)?;
        match entries {
            None => return Err(ArchiveError::Corrupt("it has no directory".into())),
            Some(entries) if entries > limits.entries => {
                return Err(ArchiveError::TooManyEntries(entries, limits.entries));
            }
            Some(_) => {}
        }
        let zip = ZipArchive::new(SharedFile::new(file, metadata.len()))?;
        Ok(Self { zip, limits })
    }

    /// Hands the content of an entry to `take`, a piece at a time, until it returns `false`.
    ///
    /// # Errors
    /// When the entry cannot be read, is too large, or holds more or less than it claims.
    pub(crate) fn read(
        &mut self,
        entry: u64,
        take: &mut impl FnMut(Vec<u8>) -> bool,
    ) -> Result<(), ArchiveError> {
        let place = usize::try_from(entry).unwrap_or(usize::MAX);
        let limit = self.limits.entry_bytes;
        let mut file = self.zip.by_index(place)?;
        let claimed = file.size();
        if claimed > limit {
            return Err(ArchiveError::TooLarge(claimed, limit));
        }
        let mut total = 0;
        loop {
            let mut piece = Vec::with_capacity(PIECE);
            let read = file
                .by_ref()
                .take(PIECE as u64)
                .read_to_end(&mut piece)
                .map_err(ZipError::Io)? as u64;
            total += read;
            if total > claimed {
                return Err(ArchiveError::Corrupt(format!(
                    "an entry of {claimed} bytes unpacks to more"
                )));
            }
            if read == 0 {
                break;
            }
            if !take(piece) {
                return Ok(());
            }
        }
        if total < claimed {
            return Err(ArchiveError::Corrupt(format!(
                "an entry of {claimed} bytes unpacks to {total}"
            )));
        }
        Ok(())
    }
}

/// Lists the photos of the archive at `path`. One that cannot be opened is listed as a photo, which will say why.
pub(super) fn list<E>(
    path: &Path,
    group_prefix: Option<&str>,
    skipped: &mut Skipped,
    take: &mut impl FnMut(Found) -> Result<(), E>,
) -> Result<(), E> {
    let archive_key = path_key::to_key(path);
    let metadata = std::fs::metadata(path).ok();
    let archive_etag = metadata.as_ref().map(file_etag);
    let found = |key, entry, size, etag, group| Found {
        key,
        size,
        etag,
        group,
        archive: Some(ArchiveEntry {
            key: archive_key.clone(),
            entry,
        }),
    };
    let Ok(archive) = Archive::open(path, Limits::default()) else {
        let size = metadata.as_ref().map(std::fs::Metadata::len);
        return take(found(
            archive_key.clone(),
            0,
            size,
            archive_etag,
            group(group_prefix, Path::new("")),
        ));
    };
    for place in 0..archive.zip.len() {
        let Ok(entry) = archive.zip.by_index_data(place) else {
            continue;
        };
        let name_key = match entry.name() {
            Ok(name) => path_key::bytes_to_key(name.as_bytes()),
            Err(_) => path_key::bytes_to_key(entry.name_raw()),
        };
        let name = PathBuf::from(&name_key);
        if entry.is_dir() || entry.is_symlink() || name.iter().any(is_hidden) {
            continue;
        }
        if !is_photo(&name) {
            if has_extension(&name, &["zip"]) {
                skipped.archives += 1;
            } else {
                skipped.other_files += 1;
            }
            continue;
        }
        let etag = format!("{:x}-{:08x}", entry.size(), entry.crc32());
        // Only what is a folder's name: a leading slash or `..` says nothing about the photo.
        let folders = name.parent().into_iter().flat_map(Path::components);
        let parent: PathBuf = folders
            .filter(|part| matches!(part, Component::Normal(_)))
            .collect();
        take(found(
            format!("{archive_key}/{name_key}"),
            place as u64,
            Some(entry.size()),
            Some(etag),
            group(group_prefix, &parent),
        ))?;
    }
    Ok(())
}

/// How many entries the end-of-directory record of a file of `length` bytes claims; `None` without such a record.
/// Asked before the directory is read, because reading it costs memory for each. (APPNOTE 6.3.10, 4.3.14 to 4.3.16.)
fn declared_entries(file: &File, length: u64) -> io::Result<Option<u64>> {
    const RECORD: usize = 22;
    const LONGEST_COMMENT: usize = 0xffff;
    let tail_length = length.min((RECORD + LONGEST_COMMENT) as u64);
    let mut tail = vec![0; usize::try_from(tail_length).unwrap_or_default()];
    file.read_exact_at(&mut tail, length - tail_length)?;
    let Some(at) = tail
        .windows(RECORD)
        .rposition(|window| window.starts_with(b"PK\x05\x06"))
    else {
        return Ok(None);
    };
    let short = u16::from_le_bytes([tail[at + 10], tail[at + 11]]);
    if short != u16::MAX {
        return Ok(Some(u64::from(short)));
    }
    let Some(locator) = at.checked_sub(20).map(|start| &tail[start..at]) else {
        return Ok(Some(u64::from(short)));
    };
    let Some((b"PK\x06\x07", rest)) = locator.split_first_chunk::<4>() else {
        return Ok(Some(u64::from(short)));
    };
    let mut offset = [0; 8];
    offset.copy_from_slice(&rest[4..12]);
    let mut record = [0; 56];
    if file
        .read_exact_at(&mut record, u64::from_le_bytes(offset))
        .is_err()
        || !record.starts_with(b"PK\x06\x06")
    {
        return Ok(None);
    }
    let mut entries = [0; 8];
    entries.copy_from_slice(&record[32..40]);
    Ok(Some(u64::from_le_bytes(entries)))
}

/// A file with a position of its own: many readers, one descriptor.
#[derive(Clone)]
struct SharedFile {
    file: Arc<File>,
    length: u64,
    position: u64,
}

impl SharedFile {
    fn new(file: File, length: u64) -> Self {
        Self {
            file: Arc::new(file),
            length,
            position: 0,
        }
    }
}

impl Read for SharedFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

impl Seek for SharedFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(offset) => Some(offset),
            SeekFrom::End(offset) => self.length.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = target.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}
