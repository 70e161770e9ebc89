//! The folder that holds a batch: every file appears whole or not at all, and one run at a time writes into it.

use std::fs::{self, File, TryLockError};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use crate::exit::Fatal;

/// A file being written carries this prefix until it is whole.
const PARTIAL: &str = ".partial-";
const LOCK: &str = ".lock";

/// The output folder of a batch.
#[derive(Debug)]
pub(crate) struct OutDir {
    root: PathBuf,
    /// Held open: the lock goes with it.
    _lock: File,
}

/// A file of the output could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{}", describe(path, source))]
pub(crate) struct WriteError {
    path: PathBuf,
    source: io::Error,
}

fn describe(path: &Path, source: &io::Error) -> String {
    let path = path.display();
    match source.kind() {
        io::ErrorKind::StorageFull => {
            format!(
                "the disk is full: {path} was not written. What is there is whole; free some space and run the same command again"
            )
        }
        io::ErrorKind::QuotaExceeded => {
            format!(
                "the disk quota is used up: {path} was not written. What is there is whole; free some space and run the same command again"
            )
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            format!("{path} cannot be written ({source}): choose another folder with --out")
        }
        _ => format!("{path} cannot be written: {source}"),
    }
}

impl From<WriteError> for Fatal {
    fn from(error: WriteError) -> Self {
        Self::output(error.to_string())
    }
}

impl OutDir {
    /// Creates the folder where it is missing and takes its lock.
    ///
    /// # Errors
    /// When it cannot be created or written, or another run holds it.
    pub(crate) fn open(root: &Path) -> Result<Self, Fatal> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Fatal::from(WriteError { path, source })
        };
        fs::create_dir_all(root).map_err(failed(root))?;
        let lock_path = root.join(LOCK);
        let lock = File::create(&lock_path).map_err(failed(&lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Fatal::usage(format!(
                    "another run is writing to {}: wait for it, or choose another folder with --out",
                    root.display()
                )));
            }
            Err(TryLockError::Error(source)) => return Err(failed(&lock_path)(source)),
        }
        Ok(Self {
            root: root.to_owned(),
            _lock: lock,
        })
    }

    /// The folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the file of `key` lies.
    pub(crate) fn path(&self, key: &str) -> PathBuf {
        self.root.join(key)
    }

    /// Writes one file whole.
    ///
    /// # Errors
    /// When it cannot; then nothing of it remains.
    pub(crate) fn write(&self, key: &str, content: &[u8]) -> Result<(), WriteError> {
        let mut file = self.create(key)?;
        match file.write_all(content) {
            Ok(()) => file.commit(),
            Err(error) => Err(file.fault(error)),
        }
    }

    /// Begins a file that appears when it is [committed](Partial::commit), and leaves nothing when it is dropped.
    ///
    /// # Errors
    /// When it cannot be created.
    pub(crate) fn create(&self, key: &str) -> Result<Partial, WriteError> {
        let path = self.path(key);
        let mut partial = path.clone();
        partial.set_file_name(format!(
            "{PARTIAL}{}",
            path.file_name().unwrap_or_default().display()
        ));
        match create(&partial) {
            Ok(file) => Ok(Partial {
                path,
                partial,
                writer: Some(BufWriter::new(file)),
                fault: None,
            }),
            Err(source) => Err(WriteError { path, source }),
        }
    }

    /// Removes a file that may be missing.
    ///
    /// # Errors
    /// When it is there and cannot be removed.
    pub(crate) fn remove(&self, key: &str) -> Result<(), WriteError> {
        let path = self.path(key);
        let removed = match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) => Err(error),
        };
        match removed {
            Err(source) if source.kind() != io::ErrorKind::NotFound => Err(WriteError { path, source }),
            _ => Ok(()),
        }
    }

    /// Removes what a run made that found nothing to do; other files stay.
    pub(crate) fn discard(self) {
        for name in [LOCK, fleet::layout::ITEMS] {
            let _ = fs::remove_file(self.path(name));
        }
        let _ = fs::remove_dir(&self.root);
    }

    /// Removes what a killed run left half-written in `folder`.
    ///
    /// # Errors
    /// When something is there that cannot be removed.
    pub(crate) fn sweep(&self, folder: &str) -> Result<(), WriteError> {
        let path = self.path(folder);
        let Ok(entries) = fs::read_dir(&path) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            if entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(PARTIAL.as_bytes())
            {
                let path = entry.path();
                fs::remove_file(&path).map_err(|source| WriteError { path, source })?;
            }
        }
        Ok(())
    }
}

/// A file that is being written.
#[derive(Debug)]
pub(crate) struct Partial {
    path: PathBuf,
    partial: PathBuf,
    /// `None` once committed.
    writer: Option<BufWriter<File>>,
    /// The first error, which libraries in between may have put into other words.
    fault: Option<io::Error>,
}

impl Partial {
    /// Gives the file its name.
    ///
    /// # Errors
    /// When it cannot be written to its end.
    pub(crate) fn commit(mut self) -> Result<(), WriteError> {
        let Some(writer) = self.writer.take() else {
            return Ok(());
        };
        let written = writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|_| fs::rename(&self.partial, &self.path));
        written.map_err(|error| {
            let _ = fs::remove_file(&self.partial);
            self.fault(error)
        })
    }

    /// The error to tell when writing failed with `error`.
    pub(crate) fn fault(&mut self, error: io::Error) -> WriteError {
        WriteError {
            path: self.path.clone(),
            source: self.fault.take().unwrap_or(error),
        }
    }

    fn remember<T>(&mut self, outcome: io::Result<T>) -> io::Result<T> {
        outcome.map_err(|error| {
            let copy = io::Error::new(error.kind(), error.to_string());
            self.fault.get_or_insert(error);
            copy
        })
    }
}

impl Write for Partial {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        let outcome = self.writer.as_mut().map_or(Ok(0), |writer| writer.write(content));
        self.remember(outcome)
    }

    fn flush(&mut self) -> io::Result<()> {
        let outcome = self.writer.as_mut().map_or(Ok(()), Write::flush);
        self.remember(outcome)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            drop(writer.into_parts());
            // The first error is the one to tell; that the remains stay as well adds nothing.
            let _ = fs::remove_file(&self.partial);
        }
    }
}

fn create(path: &Path) -> io::Result<File> {
    match File::create(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            File::create(path)
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_fails_half_way_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let out = OutDir::open(dir.path()).unwrap();
        out.write("results/1.json", b"old").unwrap();
        let mut file = out.create("results/1.json").unwrap();
        file.write_all(b"half").unwrap();
        let error = file.fault(io::ErrorKind::StorageFull.into());
        drop(file);
        assert!(error.to_string().contains("disk is full"), "{error}");
        assert_eq!(fs::read(out.path("results/1.json")).unwrap(), b"old");
        assert_eq!(fs::read_dir(out.path("results")).unwrap().count(), 1);
    }

    #[test]
    fn one_run_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = OutDir::open(dir.path()).unwrap();
        assert!(
            OutDir::open(dir.path())
                .unwrap_err()
                .to_string()
                .contains("another run")
        );
        drop(first);
        OutDir::open(dir.path()).unwrap();
    }

    #[test]
    fn what_a_killed_run_left_is_swept() {
        let dir = tempfile::tempdir().unwrap();
        let out = OutDir::open(dir.path()).unwrap();
        out.write("results/.partial-7.json", b"ha").unwrap();
        out.write("results/7.json", b"whole").unwrap();
        out.sweep("results").unwrap();
        out.sweep("missing").unwrap();
        assert_eq!(fs::read_dir(out.path("results")).unwrap().count(), 1);
    }

    #[test]
    fn removing_what_is_missing_is_fine() {
        let dir = tempfile::tempdir().unwrap();
        let out = OutDir::open(dir.path()).unwrap();
        out.remove("overlays/1").unwrap();
        out.write("overlays/1/box.jpg", b"x").unwrap();
        out.remove("overlays/1").unwrap();
        assert!(!out.path("overlays/1").exists());
    }
}
