//! The photos behind the paths of a submission.

use std::fs::File;
use std::path::{Path, PathBuf};

use fleet::api::NewBatch;
use fleet::canonical::canonical_digest;
use serde::Serialize;

use crate::exit::Fatal;
use crate::path_key::{self, printable};
use crate::sources::Sources;

/// A photo to upload. Its place in the list is its index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Photo {
    pub(super) path: PathBuf,
    /// File name.
    pub(super) name: String,
    pub(super) size: u64,
    pub(super) group: Option<String>,
    /// Changes when the content does.
    version: String,
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Photos {
    /// In the order of their indices.
    pub(super) list: Vec<Photo>,
    /// Path and reason of what cannot be opened.
    pub(super) unreadable: Vec<(String, String)>,
}

impl Photos {
    /// Lists the photos that `paths` name.
    ///
    /// # Errors
    /// When a path does not exist or is an archive.
    pub(super) fn list(paths: &[PathBuf]) -> Result<Self, Fatal> {
        let mut photos = Self::default();
        Sources::new(paths)?.list(|found| {
            let path = path_key::to_path(&found.key);
            if let Some(entry) = &found.archive {
                return Err(Fatal::usage(format!(
                    "{} is an archive: unpack it and submit the folder (`pitchfleet analyze` reads archives in place)",
                    printable(&entry.key)
                )));
            }
            match (File::open(&path), found.size) {
                (Ok(_), Some(size)) if path.is_file() => photos.list.push(Photo {
                    name: name_of(&path),
                    path,
                    size,
                    group: found.group,
                    version: found.etag.unwrap_or_default(),
                }),
                (Err(error), _) => photos.unreadable.push((printable(&found.key), error.to_string())),
                _ => photos.unreadable.push((printable(&found.key), "it is no file".to_owned())),
            }
            Ok(())
        })?;
        // Named twice is one photo.
        let mut seen = std::collections::HashSet::new();
        photos.list.retain(|photo| seen.insert(photo.path.clone()));
        Ok(photos)
    }

    /// The `Idempotency-Key` of these photos with these choices at this server, wherever they lie on this machine.
    pub(super) fn key(&self, server: &str, request: &NewBatch) -> String {
        #[derive(Serialize)]
        struct Content<'a> {
            server: &'a str,
            request: &'a NewBatch,
            photos: Vec<(&'a str, Option<&'a str>, u64, &'a str)>,
        }
        let digest = canonical_digest(&Content {
            server,
            request,
            photos: self
                .list
                .iter()
                .map(|photo| {
                    (
                        photo.name.as_str(),
                        photo.group.as_deref(),
                        photo.size,
                        photo.version.as_str(),
                    )
                })
                .collect(),
        });
        digest.trim_start_matches("sha256:").to_owned()
    }
}

fn name_of(path: &Path) -> String {
    path_key::to_key(Path::new(path.file_name().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use fleet::api::NewSource;

    use super::*;

    fn request(name: &str) -> NewBatch {
        NewBatch {
            name: Some(name.into()),
            source: NewSource::Upload,
            options: fleet::manifest::BatchOptions::default(),
            webhook: None,
        }
    }

    #[test]
    fn the_same_photos_with_the_same_choices_are_the_same_batch() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("north")).unwrap();
        fs::write(dir.path().join("north/a.jpg"), "one").unwrap();
        fs::write(dir.path().join("b.jpg"), "two").unwrap();
        let list = || Photos::list(&[dir.path().to_owned()]).unwrap();
        let key = |name: &str| list().key("http://h", &request(name));
        let first = key("a");
        assert_eq!(first, key("a"));
        assert_ne!(first, key("b"));
        assert_ne!(first, list().key("http://other", &request("a")));
        assert!(first.len() <= 255);
        fs::write(dir.path().join("b.jpg"), "three").unwrap();
        assert_ne!(first, key("a"));
        let names: Vec<_> = list()
            .list
            .into_iter()
            .map(|photo| (photo.name, photo.group))
            .collect();
        assert_eq!(
            names,
            [
                ("b.jpg".to_owned(), None),
                ("a.jpg".to_owned(), Some("north".to_owned()))
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_told() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.jpg"), "one").unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("gone.jpg")).unwrap();
        let photos = Photos::list(&[dir.path().to_owned()]).unwrap();
        assert_eq!(photos.list.len(), 1);
        assert!(photos.unreadable[0].0.ends_with("gone.jpg"));
    }
}
