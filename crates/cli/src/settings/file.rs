//! The settings file: where it is, and whether everything in it has a meaning.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::Text;
use super::environment::Environment;
use super::keys::{KEYS, SECTIONS, TABLES, nearest};
use crate::exit::Fatal;

const NAME: &str = "pitchfleet.toml";

/// Reads the file that `asked` names, else the first that is there of those that nobody needs to name.
///
/// # Errors
/// When the one that was asked for is missing, or one that is there cannot be read.
pub(super) fn find(asked: Option<&Path>, environment: &Environment) -> Result<Option<Text>, Fatal> {
    if let Some(path) = asked {
        let unreadable = |error| {
            Fatal::set_up(format!(
                "the settings file {} cannot be read: {error}",
                path.display()
            ))
        };
        let text = fs::read_to_string(path).map_err(unreadable)?;
        return Ok(Some((path.to_owned(), text)));
    }
    let absolute = |name: &str| {
        environment
            .get(name)
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
    };
    let user = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    let places = [
        Some(PathBuf::from(NAME)),
        user.map(|folder| folder.join("pitchfleet").join(NAME)),
        Some(Path::new("/etc/pitchfleet").join(NAME)),
    ];
    for path in places.into_iter().flatten() {
        match fs::read_to_string(&path) {
            Ok(text) => return Ok(Some((path, text))),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) => {}
            Err(error) => {
                return Err(Fatal::set_up(format!(
                    "the settings file {} cannot be read: {error}",
                    path.display()
                )));
            }
        }
    }
    Ok(None)
}

/// Refuses keys without a meaning, with the line and the name that was probably meant. Never repeats a value.
///
/// # Errors
/// When there is such a key, or `text` is not TOML.
pub(super) fn check_keys(path: &Path, text: &str) -> Result<(), Fatal> {
    let line_of = |place: usize| text.get(..place).unwrap_or(text).lines().count().max(1);
    // The parser's own text quotes the line, with the secret that may stand in it.
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_of(span.start + 1));
        Fatal::set_up(format!("{}, line {line}: {}", path.display(), error.message()))
    })?;
    let unknown = |name: &str, place: usize, meant: Option<&str>| {
        let remedy = match meant {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => "`pitchfleet config --example` shows every key".to_owned(),
        };
        Fatal::set_up(format!(
            "{}, line {}: there is no setting `{name}`; {remedy}",
            path.display(),
            line_of(place + 1)
        ))
    };
    let paths: Vec<String> = KEYS.iter().map(super::keys::Key::path).collect();
    let sections: Vec<String> = SECTIONS
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .chain(TABLES.iter().map(|tables| tables.name.to_owned()))
        .collect();
    for (section, value) in table.get_ref() {
        let place = section.span().start;
        let section = section.get_ref().as_ref();
        if !sections.iter().any(|known| known == section) {
            // A key above all sections, or a section misspelt.
            let homeless = paths.iter().find(|path| path.ends_with(&format!(".{section}")));
            let meant = homeless
                .map(String::as_str)
                .or_else(|| nearest(section, names(&sections)));
            return Err(unknown(section, place, meant));
        }
        let repeated = TABLES.iter().find(|tables| tables.name == section);
        let inner = repeated.map(|tables| {
            tables
                .keys
                .iter()
                .map(|name| format!("{section}.{name}"))
                .collect()
        });
        let known: &Vec<String> = inner.as_ref().unwrap_or(&paths);
        let tables: Vec<&DeTable<'_>> = match value.get_ref() {
            DeValue::Table(table) => vec![table],
            DeValue::Array(entries) => entries
                .iter()
                .filter_map(|entry| match entry.get_ref() {
                    DeValue::Table(table) => Some(table),
                    _ => None,
                })
                .collect(),
            _ => Vec::new(),
        };
        for (name, _) in tables.into_iter().flatten() {
            let full = format!("{section}.{}", name.get_ref());
            if !known.contains(&full) {
                return Err(unknown(&full, name.span().start, nearest(&full, names(known))));
            }
        }
    }
    Ok(())
}

fn names(of: &[String]) -> impl Iterator<Item = &str> {
    of.iter().map(String::as_str)
}
