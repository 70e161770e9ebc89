//! Settings from environment variables.

use std::collections::BTreeMap;
use std::env;
use std::fs;

use super::keys::{KEYS, Kind, OTHER_VARIABLES, PREFIX, TABLES, nearest};
use crate::exit::Fatal;

/// Shorter names of some keys' variables.
const SHORT: &[(&str, &str)] = &[("BUNDLE", "models.bundle"), ("LOG", "log.filter")];

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
            if let Some((variable, text)) = self.text(&key.variable(), key.kind == Kind::Secret)? {
                read.values.push((key.path(), text.into()));
                read.variables.push(variable);
            }
        }
        for tables in TABLES {
            if let Some((variable, text)) = self.text(&tables.variable(), tables.secret)? {
                // The parser's own words would repeat secrets.
                let value = parse(tables.name, &text).map_err(|_| {
                    let example = tables.text.rsplit(": ").next().unwrap_or_default();
                    Fatal::set_up(format!("{variable} is not an array of tables such as {example}"))
                })?;
                read.values.push((tables.name.to_owned(), value));
                read.variables.push(variable);
            }
        }
        for (short, key) in SHORT {
            let (short, full) = (format!("{PREFIX}{short}"), key.replace('.', "_").to_uppercase());
            if let Some(text) = self.get(&short)
                && !self.has(&format!("{PREFIX}{full}"))
            {
                read.values.push(((*key).to_owned(), text.into()));
                read.variables.push(short);
            }
        }
        read.doubts = self.doubts();
        Ok(read)
    }

    /// What `variable` says, or the file that it with `_FILE` names; with the name of the one that was used.
    fn text(&self, variable: &str, may_be_file: bool) -> Result<Option<(String, String)>, Fatal> {
        let file_variable = format!("{variable}_FILE");
        let path = self.get(&file_variable).filter(|_| may_be_file);
        match (self.get(variable), path) {
            (Some(_), Some(_)) => Err(Fatal::set_up(format!(
                "{variable} and {file_variable} are both set: keep the one that is meant"
            ))),
            (Some(text), None) => Ok(Some((variable.to_owned(), text.to_owned()))),
            (None, Some(path)) => {
                let content = fs::read_to_string(path).map_err(|error| {
                    Fatal::set_up(format!("{file_variable}: {path} cannot be read: {error}"))
                })?;
                let text = content.trim_end_matches(['\r', '\n']).to_owned();
                Ok(Some((file_variable, text)))
            }
            (None, None) => Ok(None),
        }
    }

    /// Variables with our prefix that are none of ours and much like one. Others are left alone: a cluster puts
    /// addresses of services into the environment under such names (`PITCHFLEET_API_PORT=tcp://…`).
    fn doubts(&self) -> Vec<String> {
        let mut known: Vec<String> = OTHER_VARIABLES.iter().map(|name| (*name).to_owned()).collect();
        for tables in TABLES {
            known.push(tables.name.to_uppercase());
            known.push(format!("{}_FILE", tables.name.to_uppercase()));
        }
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

/// `text`, an array of tables, as the value of the key `name`.
fn parse(name: &str, text: &str) -> Result<::config::Value, ::config::ConfigError> {
    let document = format!("{name} = {text}");
    let source = ::config::File::from_str(&document, ::config::FileFormat::Toml);
    let parsed = ::config::Config::builder().add_source(source).build()?;
    parsed.get(name)
}

impl FromIterator<(String, String)> for Environment {
    fn from_iter<I: IntoIterator<Item = (String, String)>>(variables: I) -> Self {
        Self {
            variables: variables.into_iter().collect(),
        }
    }
}
