//! Where model bundles lie on this machine.

use std::env;
use std::path::{Path, PathBuf};

use crate::exit::Fatal;

/// The file that makes a folder a bundle.
pub(crate) const BUNDLE_FILE: &str = "bundle.toml";

/// The bundle that is taken when none is asked for.
pub(crate) const DEFAULT: &str = "demo";

/// Folders that are searched for bundles, the first one that has a name wins:
/// 1. `$XDG_DATA_HOME/pitchfleet/bundles` (`~/.local/share/…`), where `models pull` puts them,
/// 2. `bundles` beside the executable and `../share/pitchfleet/bundles` from it, where packages put them,
/// 3. `bundles` of the checkout that the executable was built in, or that is the current folder.
pub(crate) fn search_path() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    folders.extend(user_folder());
    if let Some(beside) = env::current_exe().ok().as_deref().and_then(Path::parent) {
        folders.push(beside.join("bundles"));
        folders.extend(
            beside
                .parent()
                .map(|prefix| prefix.join("share/pitchfleet/bundles")),
        );
        let checkouts = beside
            .ancestors()
            .skip(1)
            .filter(|folder| folder.join("Cargo.lock").is_file());
        folders.extend(checkouts.map(|folder| folder.join("bundles")));
    }
    folders.push(PathBuf::from("bundles"));
    folders
}

/// The user's own folder of bundles; `None` without a home.
pub(crate) fn user_folder() -> Option<PathBuf> {
    let absolute = |name: &str| {
        env::var_os(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")))?;
    Some(data.join("pitchfleet/bundles"))
}

/// The folder of the bundle `wanted`: a path to it or to its `bundle.toml`, or a name in the [`search_path`].
///
/// # Errors
/// When there is none, with the places that were searched.
pub(crate) fn find(wanted: Option<&Path>) -> Result<PathBuf, Fatal> {
    find_in(wanted, &search_path())
}

fn find_in(wanted: Option<&Path>, folders: &[PathBuf]) -> Result<PathBuf, Fatal> {
    let name = wanted.unwrap_or(Path::new(DEFAULT));
    if wanted.is_some() && name.join(BUNDLE_FILE).is_file() {
        return Ok(name.to_owned());
    }
    if name.ends_with(BUNDLE_FILE) && name.is_file() {
        return Ok(name
            .parent()
            .filter(|folder| *folder != Path::new(""))
            .unwrap_or(Path::new("."))
            .to_owned());
    }
    if name.components().count() == 1
        && let Some(folder) = folders
            .iter()
            .find(|folder| folder.join(name).join(BUNDLE_FILE).is_file())
    {
        return Ok(folder.join(name));
    }
    let searched: Vec<_> = folders
        .iter()
        .map(|folder| format!("\n  {}", folder.display()))
        .collect();
    Err(Fatal::set_up(format!(
        "there is no model bundle `{}`: give a folder that holds a {BUNDLE_FILE} with --bundle, or fetch one with \
         `pitchfleet models pull`. Searched for it by name in:{}",
        name.display(),
        searched.concat()
    )))
}

/// Every bundle in the search path as name and folder, by name; of one name only the one that [`find`] takes.
pub(crate) fn all() -> Vec<(String, PathBuf)> {
    let mut found: Vec<(String, PathBuf)> = Vec::new();
    for folder in search_path() {
        let entries = folder.read_dir().into_iter().flatten().flatten();
        for path in entries
            .map(|entry| entry.path())
            .filter(|path| path.join(BUNDLE_FILE).is_file())
        {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if !name.starts_with('.') && !found.iter().any(|(known, _)| *known == name) {
                found.push((name, path));
            }
        }
    }
    found.sort();
    found
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn make(folder: &Path) {
        fs::create_dir_all(folder).unwrap();
        fs::write(folder.join(BUNDLE_FILE), "").unwrap();
    }

    #[test]
    fn the_first_folder_with_the_name_wins() {
        let dir = tempfile::tempdir().unwrap();
        let folders = [dir.path().join("a"), dir.path().join("b")];
        make(&folders[1].join("demo"));
        assert_eq!(find_in(None, &folders).unwrap(), folders[1].join("demo"));
        make(&folders[0].join("demo"));
        assert_eq!(find_in(None, &folders).unwrap(), folders[0].join("demo"));
        assert_eq!(
            find_in(Some(Path::new("demo")), &folders).unwrap(),
            folders[0].join("demo")
        );
    }

    #[test]
    fn a_folder_or_its_file_is_taken_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("own");
        make(&own);
        assert_eq!(find_in(Some(&own), &[]).unwrap(), own);
        assert_eq!(find_in(Some(&own.join(BUNDLE_FILE)), &[]).unwrap(), own);
    }

    #[test]
    fn what_is_missing_is_said_with_the_places_searched() {
        let error = find_in(Some(Path::new("mine")), &[PathBuf::from("/some/place")]).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("`mine`") && text.contains("/some/place") && text.contains("models pull"),
            "{text}"
        );
    }
}
