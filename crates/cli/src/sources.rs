//! Finds the photos behind the paths of a command line: files, folders, globs and zip archives.
//!
//! Nothing is decoded and no file is opened but archives; the listing is handed on photo by photo, a folder's names at
//! a time, so that its size costs no memory.

mod archive;
mod walk;

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fleet::manifest::ArchiveEntry;

pub(crate) use archive::{Archive, ArchiveError, Limits};

use crate::exit::Fatal;
use crate::path_key;

/// Extensions that a folder's photos carry, lower case.
const PHOTO_EXTENSIONS: [&str; 9] = ["jpg", "jpeg", "jpe", "jfif", "png", "webp", "tif", "tiff", "heic"];

/// A photo that was found, or something in its place that cannot be read: opening it will say why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// See [`path_key`]; of a photo in an archive the archive's key, a slash and the name in it.
    pub(crate) key: String,
    /// Size of the photo in bytes.
    pub(crate) size: Option<u64>,
    /// Changes when the content does.
    pub(crate) etag: Option<String>,
    /// The folder, relative to the path of the command line.
    pub(crate) group: Option<String>,
    /// Where in an archive it lies.
    pub(crate) archive: Option<ArchiveEntry>,
}

/// What was passed over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Skipped {
    /// Files whose extension is no photo's.
    pub(crate) other_files: u64,
    /// Zip archives inside folders: only those that are named are opened.
    pub(crate) archives: u64,
    /// Folders that are pitchfleet's own output.
    pub(crate) batches: u64,
}

/// The paths of a command line, each known to exist.
#[derive(Debug)]
pub(crate) struct Sources {
    roots: Vec<Root>,
    /// Folder whose content is never taken: the output.
    excluded: Option<(u64, u64)>,
}

#[derive(Debug)]
enum Root {
    Folder(PathBuf),
    Glob(walk::Glob),
    Archive(PathBuf),
    File(PathBuf),
}

impl Sources {
    /// Sorts the paths into their kinds.
    ///
    /// # Errors
    /// When a path does not exist and is no glob, or is a glob that cannot be understood.
    pub(crate) fn new(paths: &[PathBuf]) -> Result<Self, Fatal> {
        let roots = paths
            .iter()
            .map(|path| classify(path))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            roots,
            excluded: None,
        })
    }

    /// Leaves out the folder `out`, which may lie inside a folder that is listed.
    pub(crate) fn without(mut self, out: &Path) -> Self {
        self.excluded = fs::metadata(out).ok().map(|metadata| identity(&metadata));
        self
    }

    /// Hands every photo to `take`: roots in the order given, folders in byte order of names.
    ///
    /// # Errors
    /// Whatever `take` returns.
    pub(crate) fn list<E>(&self, mut take: impl FnMut(Found) -> Result<(), E>) -> Result<Skipped, E> {
        let mut skipped = Skipped::default();
        let common = self.common_parent();
        for root in &self.roots {
            match root {
                Root::Folder(path) => {
                    let prefix = self.group_prefix(path.file_name());
                    let folder = walk::Folder {
                        root: path,
                        group_prefix: prefix.as_deref(),
                        filter: None,
                        excluded: self.excluded,
                    };
                    folder.walk(&mut skipped, &mut take)?;
                }
                Root::Glob(glob) => {
                    let folder = walk::Folder {
                        root: &glob.base,
                        group_prefix: None,
                        filter: Some(glob),
                        excluded: self.excluded,
                    };
                    folder.walk(&mut skipped, &mut take)?;
                }
                Root::Archive(path) => {
                    let prefix = self.group_prefix(path.file_stem());
                    archive::list(path, prefix.as_deref(), &mut skipped, &mut take)?;
                }
                Root::File(path) => {
                    let parent = path.parent().unwrap_or(Path::new(""));
                    let relative = parent.strip_prefix(&common).unwrap_or(parent);
                    take(file(path, group(None, relative)))?;
                }
            }
        }
        Ok(skipped)
    }

    /// Several roots are groups of their own; the folders of a single one are.
    fn group_prefix(&self, name: Option<&OsStr>) -> Option<String> {
        let name = name.filter(|_| self.roots.len() > 1)?;
        Some(path_key::to_key(Path::new(name)))
    }

    /// The deepest folder that holds all photos named one by one, as a shell's expansion of `day-1/*/*.jpg` does.
    fn common_parent(&self) -> PathBuf {
        let mut parents = self.roots.iter().filter_map(|root| match root {
            Root::File(path) => Some(path.parent().unwrap_or(Path::new(""))),
            _ => None,
        });
        let Some(first) = parents.next() else {
            return PathBuf::new();
        };
        parents.fold(first.to_owned(), |common, parent| {
            let shared = common
                .components()
                .zip(parent.components())
                .take_while(|(a, b)| a == b);
            shared.map(|(a, _)| a).collect()
        })
    }
}

fn classify(path: &Path) -> Result<Root, Fatal> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return match walk::Glob::parse(path)? {
            Some(glob) => Ok(Root::Glob(glob)),
            None => Err(Fatal::usage(format!(
                "{} does not exist",
                path_key::printable(&path.display().to_string())
            ))),
        };
    };
    // A link to nothing is a photo that cannot be read, not a typing mistake.
    let metadata = fs::metadata(path).unwrap_or(metadata);
    let path = path.to_owned();
    Ok(if metadata.is_dir() {
        Root::Folder(path)
    } else if has_extension(&path, &["zip"]) {
        Root::Archive(path)
    } else {
        Root::File(path)
    })
}

/// A file on disk as a photo.
fn file(path: &Path, group: Option<String>) -> Found {
    let metadata = fs::metadata(path).ok();
    Found {
        key: path_key::to_key(path),
        size: metadata.as_ref().map(Metadata::len),
        etag: metadata.as_ref().map(file_etag),
        group,
        archive: None,
    }
}

fn file_etag(metadata: &Metadata) -> String {
    format!(
        "{:x}-{:x}-{:x}",
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec()
    )
}

fn identity(metadata: &Metadata) -> (u64, u64) {
    (metadata.dev(), metadata.ino())
}

/// The group of photos in `relative`, a folder below the root; none directly in a lone root.
fn group(prefix: Option<&str>, relative: &Path) -> Option<String> {
    let mut group = prefix.unwrap_or_default().to_owned();
    if !relative.as_os_str().is_empty() {
        if !group.is_empty() {
            group.push('/');
        }
        group.push_str(&path_key::to_key(relative));
    }
    (!group.is_empty()).then_some(group)
}

fn is_photo(path: &Path) -> bool {
    has_extension(path, &PHOTO_EXTENSIONS)
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .is_some_and(|found| extensions.iter().any(|wanted| found.eq_ignore_ascii_case(wanted)))
}

/// Names that begin with a dot, and the folder in which macOS' archives keep resource forks.
fn is_hidden(name: &OsStr) -> bool {
    (name.as_bytes().starts_with(b".") && name != "." && name != "..") || name == "__MACOSX"
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn list(paths: &[PathBuf], out: Option<&Path>) -> (Vec<Found>, Skipped) {
        let mut sources = Sources::new(paths).unwrap();
        if let Some(out) = out {
            sources = sources.without(out);
        }
        let mut found = Vec::new();
        let skipped = sources
            .list(|photo| {
                found.push(photo);
                Ok::<_, ()>(())
            })
            .unwrap();
        (found, skipped)
    }

    /// `key group` relative to `root`, one a photo.
    fn lines(found: &[Found], root: &Path) -> Vec<String> {
        let root = format!("{}/", root.display());
        found
            .iter()
            .map(|photo| {
                let key = photo.key.strip_prefix(&root).unwrap_or(&photo.key);
                format!("{key} {}", photo.group.as_deref().unwrap_or("-"))
            })
            .collect()
    }

    fn touch(path: PathBuf) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, b"x").unwrap();
    }

    fn day() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let names = "b.JPG a.jpeg north/2.png north/1.tiff north/deep/x.webp south/3.HEIC notes.txt .hidden.jpg \
            .cache/y.jpg __MACOSX/z.jpg more.zip";
        for name in names.split_whitespace() {
            touch(dir.path().join(name));
        }
        dir
    }

    #[test]
    fn a_folder_is_listed_in_order_with_its_folders_as_groups() {
        let dir = day();
        let (found, skipped) = list(&[dir.path().to_owned()], None);
        assert_eq!(
            lines(&found, dir.path()),
            [
                "a.jpeg -",
                "b.JPG -",
                "north/1.tiff north",
                "north/2.png north",
                "north/deep/x.webp north/deep",
                "south/3.HEIC south"
            ]
        );
        assert_eq!((skipped.other_files, skipped.archives), (1, 1));
        assert_eq!(found[0].size, Some(1));
    }

    #[test]
    fn several_roots_are_groups_of_their_own() {
        let dir = day();
        let (found, _) = list(&[dir.path().join("south"), dir.path().join("north")], None);
        assert_eq!(
            lines(&found, dir.path()),
            [
                "south/3.HEIC south",
                "north/1.tiff north",
                "north/2.png north",
                "north/deep/x.webp north/deep"
            ]
        );
    }

    #[test]
    fn globs_match_below_their_literal_part() {
        let dir = day();
        let (found, _) = list(&[dir.path().join("*/*.{png,HEIC}")], None);
        assert_eq!(
            lines(&found, dir.path()),
            ["north/2.png north", "south/3.HEIC south"]
        );
        let (found, _) = list(&[dir.path().join("**/*.webp")], None);
        assert_eq!(lines(&found, dir.path()), ["north/deep/x.webp north/deep"]);
        let (found, _) = list(&[dir.path().join("?.*")], None);
        assert_eq!(lines(&found, dir.path()), ["a.jpeg -", "b.JPG -"]);
    }

    #[test]
    fn files_that_are_named_are_taken_whatever_they_are() {
        let dir = day();
        let named = ["north/1.tiff", "south/3.HEIC", "notes.txt"].map(|name| dir.path().join(name));
        let (found, _) = list(&named, None);
        assert_eq!(
            lines(&found, dir.path()),
            ["north/1.tiff north", "south/3.HEIC south", "notes.txt -"]
        );
    }

    #[test]
    fn the_output_inside_a_folder_is_left_out() {
        let dir = day();
        touch(dir.path().join("out/overlays/1/box.jpg"));
        touch(dir.path().join("older/results/1.json"));
        touch(dir.path().join("older/manifest.json"));
        touch(dir.path().join("older/overlays/1/box.jpg"));
        let (found, skipped) = list(&[dir.path().to_owned()], Some(&dir.path().join("out")));
        assert_eq!(found.len(), 6);
        assert_eq!(skipped.batches, 1);
    }

    #[test]
    fn a_link_to_nothing_and_a_name_that_is_not_utf8_are_listed() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("gone.jpg")).unwrap();
        touch(dir.path().join(OsStr::from_bytes(b"caf\xe9.jpg")));
        std::os::unix::fs::symlink(dir.path(), dir.path().join("loop")).unwrap();
        let (found, _) = list(&[dir.path().to_owned()], None);
        assert_eq!(lines(&found, dir.path()), ["caf%E9.jpg -", "gone.jpg -"]);
        assert_eq!(found[1].size, None);
        assert!(path_key::to_path(&found[0].key).exists());
    }

    #[test]
    fn a_path_that_is_not_there_is_a_mistake() {
        let error = Sources::new(&[PathBuf::from("no/such/folder")]).unwrap_err();
        assert!(
            error.to_string().contains("no/such/folder does not exist"),
            "{error}"
        );
        assert!(Sources::new(&[PathBuf::from("a[.jpg")]).is_err());
    }

    #[test]
    fn an_archive_is_listed_like_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("day.zip");
        let mut zip = zip::ZipWriter::new(fs::File::create(&path).unwrap());
        let options = zip::write::SimpleFileOptions::default();
        for name in ["south/b.jpg", "a.jpg", "readme.txt", ".x.jpg", "__MACOSX/a.jpg"] {
            zip.start_file(name, options).unwrap();
            zip.write_all(b"photo").unwrap();
        }
        zip.finish().unwrap();

        let (found, skipped) = list(std::slice::from_ref(&path), None);
        assert_eq!(lines(&found, &path), ["south/b.jpg south", "a.jpg -"]);
        assert_eq!(skipped.other_files, 1);
        assert_eq!(found[1].archive.as_ref().unwrap().entry, 1);
        assert_eq!(found[1].size, Some(5));

        let (found, _) = list(&[path.clone(), dir.path().to_owned()], None);
        assert_eq!(lines(&found, &path), ["south/b.jpg day/south", "a.jpg day"]);
    }

    #[test]
    fn an_archive_that_is_none_stands_for_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("day.zip");
        fs::write(&path, b"no archive").unwrap();
        let (found, _) = list(std::slice::from_ref(&path), None);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].key, path_key::to_key(&path));
        assert!(found[0].archive.is_some());
    }
}
