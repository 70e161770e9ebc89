//! Settings from environment variables.

use std::collections::BTreeMap;
use std::env;
use std::fs;

use super::keys::{KEYS, Kind, OTHER_VARIABLES, PREFIX, nearest};
use crate::exit::Fatal;

/// The environment, as a map, so that tests need not change the process's own.
#[derive(Clone, Debug, Default)]
pub(super) struct Environment {
    variables: BTreeMap<String, String>,
}

/// What the environment says about settings.
#[derive(Debug, Default)]
pub(super) struct Read {
    /// Path of the key and its value.
    pub(super) values: Vec<(String, ::config::Value)>,
    /// Names of the variables that were used.
    pub(super) variables: Vec<String>,
    /// Variables that are probably slips.
    pub(super) doubts: Vec<String>,
}

impl Environment {
    /// Of this process. A value that is not UTF-8 counts as absent: none of ours can be meant by it.
    pub(super) fn of_process() -> Self {
        env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect()
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.variables.contains_key(name)
    }

    /// The settings in it.
    ///
    /// # Errors
    /// When a secret's file cannot be read, a secret is given twice, or a list of tables is not TOML.
    pub(super) fn read(&self) -> Result<Read, Fatal> {
        let mut read = Read::default();
        for key in KEYS {
            let variable = key.variable();
            let mut text = self.get(&variable).map(str::to_owned);
            let mut used = variable.clone();
            if key.kind == Kind::Secret {
                let file_variable = format!("{variable}_FILE");
                if let Some(path) = self.get(&file_variable) {
                    if text.is_some() {
                        return Err(Fatal::set_up(format!(
                            "{variable} and {file_variable} are both set: keep the one that is meant"
                        )));
                    }
                    let content = fs::read_to_string(path).map_err(|error| {
                        Fatal::set_up(format!("{file_variable}: {path} cannot be read: {error}"))
                    })?;
                    text = Some(content.trim_end_matches(['\r', '\n']).to_owned());
                    used = file_variable;
                }
            }
            if let Some(text) = text {
                let value = match key.kind {
                    Kind::List => ::config::Value::from(
                        text.split(',')
                            .map(|entry| entry.trim().to_owned())
                            .filter(|entry| !entry.is_empty())
                            .collect::<Vec<_>>(),
                    ),
                    Kind::Plain | Kind::Secret => text.into(),
                };
                read.values.push((key.path(), value));
                read.variables.push(used);
            }
        }
        self.read_sources(&mut read)?;
        if let Some(bundle) = self.get(&format!("{PREFIX}BUNDLE"))
            && !self.has(&format!("{PREFIX}MODELS_BUNDLE"))
        {
            read.values.push(("models.bundle".to_owned(), bundle.into()));
            read.variables.push(format!("{PREFIX}BUNDLE"));
        }
        read.doubts = self.doubts();
        Ok(read)
    }

    fn read_sources(&self, read: &mut Read) -> Result<(), Fatal> {
        let variable = format!("{PREFIX}SOURCES");
        let Some(text) = self.get(&variable) else {
            return Ok(());
        };
        let unreadable = || {
            Fatal::set_up(format!(
                "{variable} is not an array of tables such as [{{ bucket = \"match-photos\" }}]"
            ))
        };
        let document = format!("sources = {text}");
        let source = ::config::File::from_str(&document, ::config::FileFormat::Toml);
        let parsed = ::config::Config::builder().add_source(source).build();
        let value = parsed.and_then(|parsed| parsed.get::<::config::Value>("sources"));
        read.values
            .push(("sources".to_owned(), value.map_err(|_| unreadable())?));
        read.variables.push(variable);
        Ok(())
    }

    /// Variables with our prefix that are none of ours and much like one. Others are left alone: a cluster puts
    /// addresses of services into the environment under such names (`PITCHFLEET_API_PORT=tcp://…`).
    fn doubts(&self) -> Vec<String> {
        let mut known: Vec<String> = OTHER_VARIABLES.iter().map(|name| (*name).to_owned()).collect();
        known.push("SOURCES".to_owned());
        for key in KEYS {
            let name = key.variable().split_off(PREFIX.len());
            if key.kind == Kind::Secret {
                known.push(format!("{name}_FILE"));
            }
            known.push(name);
        }
        let names = self.variables.keys().filter_map(|name| name.strip_prefix(PREFIX));
        names
            .filter(|name| !known.iter().any(|other| other == name))
            .filter_map(|name| {
                let meant = nearest(name, known.iter().map(String::as_str))?;
                Some(format!(
                    "the variable {PREFIX}{name} means nothing; did you mean {PREFIX}{meant}?"
                ))
            })
            .collect()
    }
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self {
            variables: variables.into_iter().collect(),
        }
    }
}
