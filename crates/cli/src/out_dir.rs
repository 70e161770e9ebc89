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
        self.write_with(key, |file| file.write_all(content))
    }

    /// Writes one file whole, by and by.
    ///
    /// # Errors
    /// When it cannot, or `fill` cannot; then nothing of it remains.
    pub(crate) fn write_with(
        &self,
        key: &str,
        fill: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> Result<(), WriteError> {
        let path = self.path(key);
        let mut partial = path.clone();
        partial.set_file_name(format!(
            "{PARTIAL}{}",
            path.file_name().unwrap_or_default().display()
        ));
        let written = create(&partial).and_then(|file| {
            let mut writer = BufWriter::new(file);
            fill(&mut writer)?;
            writer.into_inner().map_err(io::IntoInnerError::into_error)?;
            fs::rename(&partial, &path)
        });
        written.map_err(|source| {
            // The first error is the one to tell; that the remains stay as well adds nothing.
            let _ = fs::remove_file(&partial);
            WriteError { path, source }
        })
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
        let error = out
            .write_with("results/1.json", |file| {
                file.write_all(b"half")?;
                Err(io::ErrorKind::StorageFull.into())
            })
            .unwrap_err();
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
