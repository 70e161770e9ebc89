//! Photos on their way into a lane's hands: as a stream of pieces, or as an open file that the lane reads itself.

use std::fs::File;

use pitch::analysis::Options;
use rustix::buffer::spare_capacity;
use rustix::fs::{Advice, fadvise};
use rustix::io::pread;

use crate::failure::{PhotoFailure, code};

/// Bytes that are made room for when a file has more than it said.
const GROWTH: u64 = 256 << 10;

/// A photo that is being received.
pub(super) struct Partial {
    pub(super) options: Options,
    bytes: Vec<u8>,
    max_bytes: u64,
    /// Why the rest is thrown away.
    refused: Option<PhotoFailure>,
}

impl Partial {
    /// Of a photo that is said to have so many bytes, of which no more than the limit is kept.
    pub(super) fn new(options: Options, expected: u64, max_bytes: u64) -> Self {
        let mut partial = Self {
            options,
            bytes: Vec::new(),
            max_bytes,
            refused: None,
        };
        partial.reserve(expected.min(max_bytes.saturating_add(1)));
        partial
    }

    pub(super) fn take(&mut self, body: &[u8]) {
        // One byte over the limit is kept: the decoder then says that there are too many.
        let room = self
            .max_bytes
            .saturating_add(1)
            .saturating_sub(self.bytes.len() as u64);
        let taken = &body[..body.len().min(usize::try_from(room).unwrap_or(usize::MAX))];
        if self.refused.is_none() && self.reserve(taken.len() as u64) {
            self.bytes.extend_from_slice(taken);
        }
    }

    /// All of it.
    ///
    /// # Errors
    /// When there was no memory for it.
    pub(super) fn complete(self) -> Result<(Photo, Options), PhotoFailure> {
        match self.refused {
            Some(failure) => Err(failure),
            None => Ok((Photo::Bytes(self.bytes), self.options)),
        }
    }

    fn reserve(&mut self, more: u64) -> bool {
        let reserved = self
            .bytes
            .try_reserve(usize::try_from(more).unwrap_or(usize::MAX));
        if reserved.is_err() {
            self.refused = Some(no_memory_for(self.bytes.len() as u64 + more));
            self.bytes = Vec::new();
        }
        reserved.is_ok()
    }
}

/// A photo that has arrived.
pub(super) enum Photo {
    /// All of it.
    Bytes(Vec<u8>),
    /// Where it can be read from, and how many bytes of it are.
    File(File, u64),
}

impl Photo {
    /// In an open file, of which no more than the limit is read. The kernel begins to fetch it, and the lane that reads it
    /// later need not wait for a disk.
    pub(super) fn in_file(file: File, max_bytes: u64) -> Self {
        // Advice that is not taken, as that on a file in memory, costs time and nothing else.
        let _ = fadvise(&file, 0, None, Advice::WillNeed);
        Self::File(file, max_bytes)
    }

    /// Its bytes. One over the limit is kept: the decoder then says that there are too many.
    ///
    /// # Errors
    /// When it cannot be read, or there is no memory for it.
    pub(super) fn read(self) -> Result<Vec<u8>, PhotoFailure> {
        let (file, max_bytes) = match self {
            Self::Bytes(bytes) => return Ok(bytes),
            Self::File(file, max_bytes) => (file, max_bytes),
        };
        let metadata = file
            .metadata()
            .map_err(|error| PhotoFailure::unreadable(&error))?;
        let most = max_bytes.saturating_add(1);
        let mut bytes = Vec::new();
        // With room for the read that finds the end. What the length says may be wrong: files change, and some of the
        // kernel's and of user space's file systems say 0.
        let mut more = metadata.len().saturating_add(1);
        while (bytes.len() as u64) < most {
            if bytes.len() == bytes.capacity() {
                let wanted = more.min(most - bytes.len() as u64);
                bytes
                    .try_reserve_exact(usize::try_from(wanted).unwrap_or(usize::MAX))
                    .map_err(|_| no_memory_for(bytes.len() as u64 + wanted))?;
                more = GROWTH;
            }
            // By position: whoever else has the file open shares its cursor.
            let offset = bytes.len() as u64;
            match pread(&file, spare_capacity(&mut bytes), offset) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(PhotoFailure::unreadable(&error.into())),
            }
        }
        bytes.truncate(usize::try_from(most).unwrap_or(usize::MAX));
        Ok(bytes)
    }
}

fn no_memory_for(bytes: u64) -> PhotoFailure {
    PhotoFailure::new(
        code::ENGINE_OUT_OF_MEMORY,
        false,
        format!("there is no memory for the {bytes} bytes of this photo"),
    )
}
