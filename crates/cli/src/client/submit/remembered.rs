//! What is uploaded already, kept in the user's state folder until the batch is submitted.
//!
//! It only saves work: without it everything is uploaded once more, over what is there.

use std::collections::HashSet;
use std::env;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use fleet::api::BatchStatus;

/// Indices of the photos that are in the bucket.
#[derive(Debug, Default)]
pub(super) struct Remembered {
    done: HashSet<u64>,
    file: Option<(PathBuf, File)>,
}

impl Remembered {
    /// What was noted about the batch that `key` names.
    pub(super) fn open(key: &str, batch: &BatchStatus) -> Self {
        folder().map_or_else(Self::default, |folder| Self::open_in(&folder, key, batch))
    }

    fn open_in(folder: &Path, key: &str, batch: &BatchStatus) -> Self {
        // A batch that was deleted and made again under the same key has nothing of what its namesake had.
        let head = format!("{} {}", batch.id, batch.created_at);
        let path = folder.join(key);
        let noted = fs::read_to_string(&path).unwrap_or_default();
        let mut lines = noted.lines();
        let done: HashSet<u64> = if lines.next() == Some(head.as_str()) {
            // A line that a crash cut short may read as another number: it is not ended, and not taken.
            let whole = &noted[..noted.rfind('\n').map_or(0, |at| at + 1)];
            whole
                .lines()
                .skip(1)
                .filter_map(|line| line.parse().ok())
                .collect()
        } else {
            HashSet::new()
        };
        let mut file = fs::create_dir_all(folder)
            .and_then(|()| File::create(&path))
            .map(|file| (path, file))
            .ok();
        if let Some((_, file)) = &mut file {
            let mut text = format!("{head}\n");
            for index in &done {
                text.push_str(&format!("{index}\n"));
            }
            let _ = file.write_all(text.as_bytes());
        }
        Self { done, file }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.done.len()
    }

    /// Whether this one is.
    pub(super) fn has(&self, index: u64) -> bool {
        self.done.contains(&index)
    }

    /// Another one is.
    pub(super) fn add(&mut self, index: u64) {
        self.done.insert(index);
        if let Some((_, file)) = &mut self.file {
            let _ = file.write_all(format!("{index}\n").as_bytes());
        }
    }

    /// The batch is submitted: nothing of this is needed any more.
    pub(super) fn forget(self) {
        if let Some((path, _)) = self.file {
            let _ = fs::remove_file(path);
        }
    }
}

/// `$XDG_STATE_HOME/pitchfleet/uploads`; `None` without a home.
fn folder() -> Option<PathBuf> {
    let absolute = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let state = absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    Some(state.join("pitchfleet/uploads"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(created_at: &str) -> BatchStatus {
        serde_json::from_value(serde_json::json!({
            "id": "01KB2Z3C9Q4T7V8W5X6Y0A1B2C",
            "tenant": "local",
            "name": null,
            "state": "uploading",
            "created_at": created_at,
            "finished_at": null,
            "counts": {"photos": 0, "ok": 0, "failed": 0},
            "rate": null,
            "eta_seconds": null,
            "reason": null,
            "options": {},
            "bundle": {"name": "demo", "digest": "sha256:0"},
            "digest": {"bundle": "sha256:0", "options": "sha256:0", "algorithm": 1},
            "exports": [],
        }))
        .unwrap()
    }

    #[test]
    fn what_is_uploaded_is_known_to_the_next_run() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Remembered::open_in(dir.path(), "k", &batch("a"));
        first.add(3);
        first.add(12);
        drop(first);
        let path = dir.path().join("k");
        // A crash in the middle of a line.
        let noted = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{noted}4")).unwrap();
        let second = Remembered::open_in(dir.path(), "k", &batch("a"));
        assert_eq!((second.count(), second.has(3), second.has(12)), (2, true, true));
        assert!(!second.has(4));
        second.forget();
        assert!(!path.exists());
    }

    #[test]
    fn another_batch_of_the_same_key_starts_from_nothing() {
        let dir = tempfile::tempdir().unwrap();
        Remembered::open_in(dir.path(), "k", &batch("a")).add(3);
        assert_eq!(Remembered::open_in(dir.path(), "k", &batch("b")).count(), 0);
    }

    #[test]
    fn without_a_place_nothing_is_lost_but_time() {
        let mut none = Remembered::open_in(Path::new("/dev/null/x"), "k", &batch("a"));
        none.add(1);
        assert!(none.has(1));
    }
}
