//! Listings of a tree of files in the order that a bucket has: of whole keys, byte by byte.

use std::fs::DirEntry;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use super::{UNFINISHED, info};
use crate::port::{FolderPage, ObjectInfo, Page, key_is_valid, prefix_is_folder};

/// A walk of the tree that skips what cannot be asked for.
pub(super) struct Walk<'a> {
    pub(super) root: &'a Path,
    pub(super) prefix: &'a str,
    pub(super) after: Option<&'a str>,
}

impl Walk<'_> {
    /// Up to `limit` objects.
    pub(super) fn page(&self, limit: usize) -> io::Result<Page> {
        let mut page = Page::default();
        self.objects(&mut |object| {
            if page.objects.len() == limit {
                page.more = true;
                return ControlFlow::Break(());
            }
            page.objects.push(object);
            ControlFlow::Continue(())
        })?;
        Ok(page)
    }

    /// Gives every object to `take` until it breaks.
    pub(super) fn objects(&self, take: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>) -> io::Result<()> {
        // No need to look at what lies beside the way to the prefix.
        let start = self.prefix.rfind('/').map_or("", |slash| &self.prefix[..=slash]);
        if prefix_is_folder(start) {
            self.folder(&self.root.join(start), start, take).map(drop)
        } else {
            Ok(())
        }
    }

    fn folder(
        &self,
        folder: &Path,
        key: &str,
        take: &mut dyn FnMut(ObjectInfo) -> ControlFlow<()>,
    ) -> io::Result<ControlFlow<()>> {
        let mut names = names(folder, key)?;
        names.retain(|name| self.may_matter(name));
        names.sort_unstable();
        for name in names {
            let path = folder.join(name[key.len()..].trim_end_matches('/'));
            let flow = if name.ends_with('/') {
                self.folder(&path, &name, take)?
            } else {
                match std::fs::metadata(&path) {
                    Ok(metadata) if metadata.is_file() => take(info(&name, &metadata)),
                    // Deleted a moment ago, or a link to something else.
                    _ => ControlFlow::Continue(()),
                }
            };
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Whether this is an object that is asked for, or a folder that may hold one.
    fn may_matter(&self, name: &str) -> bool {
        if name.ends_with('/') {
            let on_the_way = name.starts_with(self.prefix) || self.prefix.starts_with(name);
            on_the_way
                && self
                    .after
                    .is_none_or(|after| name > after || after.starts_with(name))
        } else {
            name.starts_with(self.prefix) && self.after.is_none_or(|after| name > after)
        }
    }
}

/// Up to `limit` folders directly below `prefix` that sort after `after` and hold an object.
pub(super) fn folders(
    root: &Path,
    prefix: &str,
    after: Option<&str>,
    limit: usize,
) -> io::Result<FolderPage> {
    let mut names = names(&root.join(prefix), prefix)?;
    names.retain(|name| name.ends_with('/') && after.is_none_or(|after| name.as_str() > after));
    names.sort_unstable();
    let mut page = FolderPage::default();
    for name in names {
        let walk = Walk {
            root,
            prefix: &name,
            after: None,
        };
        if walk.page(1)?.objects.is_empty() {
            continue;
        }
        if page.folders.len() == limit {
            page.more = true;
            break;
        }
        page.folders.push(name);
    }
    Ok(page)
}

/// The keys of what lies in `folder`, whose own key is `key`; those of folders end with `/`. A folder sorts by its name
/// with the slash that its keys have there: "a.txt" stands before "a/b".
fn names(folder: &Path, key: &str) -> io::Result<Vec<String>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(error),
    };
    let name = |entry: io::Result<DirEntry>| -> io::Result<Option<String>> {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            return Ok(None);
        };
        if !key_is_valid(&name) || name.ends_with(UNFINISHED) {
            return Ok(None);
        }
        let slash = if entry.file_type()?.is_dir() { "/" } else { "" };
        Ok(Some(format!("{key}{name}{slash}")))
    };
    entries.filter_map(|entry| name(entry).transpose()).collect()
}
