//! Folders and globs.

use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

use super::{Found, Skipped, file, group, has_extension, identity, is_hidden, is_photo};
use crate::exit::Fatal;

/// Deeper than any collection of photos, shallow enough for the stack.
const MAX_DEPTH: usize = 64;

/// A pattern and the folder below which its matches lie.
#[derive(Debug)]
pub(super) struct Glob {
    /// The part before the first component with a wildcard.
    pub(super) base: PathBuf,
    matcher: GlobMatcher,
    /// Components below the base that can match; without `**` no deeper folder is read.
    depth: usize,
}

impl Glob {
    /// Reads `path` as a pattern; `None` when it has no wildcard.
    pub(super) fn parse(path: &Path) -> Result<Option<Self>, Fatal> {
        let Some(text) = path.to_str().filter(|text| text.contains(['*', '?', '[', '{'])) else {
            return Ok(None);
        };
        let wild = |component: &Component<'_>| {
            component
                .as_os_str()
                .to_string_lossy()
                .contains(['*', '?', '[', '{'])
        };
        let base: PathBuf = path
            .components()
            .take_while(|component| !wild(component))
            .collect();
        let below = path.components().count() - base.components().count();
        let glob = GlobBuilder::new(text)
            .literal_separator(true)
            .build()
            .map_err(|error| Fatal::usage(format!("{text} is no pattern: {}", error.kind())))?;
        Ok(Some(Self {
            base,
            matcher: glob.compile_matcher(),
            depth: if text.contains("**") { MAX_DEPTH } else { below },
        }))
    }
}

/// A folder to be read with everything below it.
pub(super) struct Folder<'a> {
    pub(super) root: &'a Path,
    /// First part of the photos' groups.
    pub(super) group_prefix: Option<&'a str>,
    pub(super) filter: Option<&'a Glob>,
    /// Device and inode of a folder to leave out.
    pub(super) excluded: Option<(u64, u64)>,
}

impl Folder<'_> {
    pub(super) fn walk<E>(
        &self,
        skipped: &mut Skipped,
        take: &mut impl FnMut(Found) -> Result<(), E>,
    ) -> Result<(), E> {
        self.descend(Path::new(""), 1, skipped, take)
    }

    fn descend<E>(
        &self,
        relative: &Path,
        depth: usize,
        skipped: &mut Skipped,
        take: &mut impl FnMut(Found) -> Result<(), E>,
    ) -> Result<(), E> {
        let folder = self.root.join(relative);
        let Ok(entries) = fs::read_dir(if folder.as_os_str().is_empty() {
            Path::new(".")
        } else {
            &folder
        }) else {
            // It stands in the listing as itself: that its photos are missing must not go unnoticed.
            return take(file(&folder, group(self.group_prefix, relative)));
        };
        let mut names: Vec<OsString> = entries
            .flatten()
            .map(|entry| entry.file_name())
            .filter(|name| !is_hidden(name))
            .collect();
        names.sort_unstable();

        for name in names {
            let path = folder.join(&name);
            let link = fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_symlink());
            let metadata = fs::metadata(&path).ok();
            match metadata.filter(fs::Metadata::is_dir) {
                // Links to folders can lead in circles.
                Some(_) if link => {}
                Some(inner) if self.excluded == Some(identity(&inner)) => {}
                Some(_)
                    if path.join(fleet::layout::MANIFEST).is_file()
                        && path.join(fleet::layout::RESULTS).is_dir() =>
                {
                    skipped.batches += 1;
                }
                Some(_) if depth >= self.filter.map_or(MAX_DEPTH, |glob| glob.depth) => {}
                Some(_) => self.descend(&relative.join(&name), depth + 1, skipped, take)?,
                None if self.filter.is_some_and(|glob| !glob.matcher.is_match(&path)) => {}
                None if is_photo(&path) => take(file(&path, group(self.group_prefix, relative)))?,
                None if has_extension(&path, &["zip"]) => skipped.archives += 1,
                None => skipped.other_files += 1,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::path_key;

    #[test]
    fn the_base_of_a_glob_is_its_literal_part() {
        let glob = Glob::parse(Path::new("photos/day-1/*/IMG_[0-9].jpg"))
            .unwrap()
            .unwrap();
        assert_eq!((glob.base.as_path(), glob.depth), (Path::new("photos/day-1"), 2));
        let glob = Glob::parse(Path::new("**/*.jpg")).unwrap().unwrap();
        assert_eq!((glob.base.as_path(), glob.depth), (Path::new(""), MAX_DEPTH));
        assert!(Glob::parse(Path::new("photos")).unwrap().is_none());
    }

    #[test]
    fn keys_of_a_relative_glob_have_no_dot_in_front() {
        assert_eq!(path_key::to_key(&Path::new("").join("a.jpg")), "a.jpg");
    }
}
