//! The commands that talk to a fleet over its HTTP API.

pub(crate) mod batches;
pub(crate) mod export;
pub(crate) mod fleet;
mod follow;
pub(crate) mod health;
mod http;
pub(crate) mod memory;
mod refusal;
pub(crate) mod results;
mod server_sent;
pub(crate) mod submit;
pub(crate) mod watch;
pub(crate) mod workers;

use std::fs;
use std::path::PathBuf;
use std::str::FromStr;

use ::fleet::api::BatchPage;
use ::fleet::ids::BatchId;

use self::http::{Client, Patience};
pub(crate) use self::refusal::Refusal;
use crate::exit::Fatal;

/// Which fleet, and who asks.
#[derive(clap::Args, Clone)]
#[command(next_help_heading = "Server")]
pub(crate) struct ServerArgs {
    /// The fleet's address
    #[arg(
        long,
        value_name = "URL",
        env = "PITCHFLEET_SERVER",
        default_value = "http://127.0.0.1:8080",
        hide_env_values = true
    )]
    server: String,
    /// The token to show to it; better in the variable or a file, where other users of the machine do
    /// not see it
    #[arg(long, value_name = "TOKEN", env = "PITCHFLEET_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// A file that holds the token
    #[arg(
        long,
        value_name = "FILE",
        env = "PITCHFLEET_TOKEN_FILE",
        hide_env_values = true,
        conflicts_with = "token"
    )]
    token_file: Option<PathBuf>,
}

impl ServerArgs {
    /// A client; nothing is sent yet.
    ///
    /// # Errors
    /// When the address is none, or the token's file cannot be read.
    pub(crate) fn client(&self) -> Result<Client, Fatal> {
        let token = match (&self.token, &self.token_file) {
            (Some(token), _) => Some(token.clone()),
            (None, Some(path)) => Some(fs::read_to_string(path).map_err(|error| {
                Fatal::set_up(format!(
                    "the token's file {} cannot be read: {error}",
                    path.display()
                ))
            })?),
            (None, None) => None,
        };
        Client::new(&self.server, token.as_deref().map(str::trim))
    }
}

/// A batch as a command line names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Named {
    /// By its id.
    Id(BatchId),
    /// The newest one.
    Last,
}

impl FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.eq_ignore_ascii_case("last") {
            return Ok(Self::Last);
        }
        text.to_ascii_uppercase()
            .parse()
            .map(Self::Id)
            .map_err(|_| "26 letters and digits as `pitchfleet batches` shows them, or `last`".to_owned())
    }
}

impl Named {
    /// Its id.
    ///
    /// # Errors
    /// When there is no batch at all, or the server cannot be asked.
    pub(crate) fn find(self, client: &Client) -> anyhow::Result<BatchId> {
        match self {
            Self::Id(id) => Ok(id),
            Self::Last => {
                let page: BatchPage = client.get("/v1/batches?limit=1", Patience::Short)?;
                let newest = page.batches.first().map(|batch| batch.id);
                newest.ok_or_else(|| {
                    Fatal::usage("there are no batches yet: `pitchfleet submit` makes one").into()
                })
            }
        }
    }
}

/// The name that a photo's file had: an uploaded one's key is `…/photos/<index>-<name>`.
fn photo_name(key: &str) -> &str {
    let (folder, name) = key.rsplit_once('/').unwrap_or(("", key));
    match name.split_once('-') {
        Some((index, name))
            if folder.ends_with("/photos")
                && index.len() == 8
                && index.bytes().all(|b| b.is_ascii_digit()) =>
        {
            name
        }
        _ => name,
    }
}

/// `text` as a part of a URL's query.
fn in_query(text: &str) -> impl std::fmt::Display + '_ {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn photos_are_called_as_their_files_were() {
        for (key, name) in [
            ("local/batches/B/photos/00000017-DSC-0412.JPG", "DSC-0412.JPG"),
            ("2026/day-1/00000017-a.jpg", "00000017-a.jpg"),
            ("a.jpg", "a.jpg"),
        ] {
            assert_eq!(photo_name(key), name);
        }
    }

    #[test]
    fn batches_are_named_by_id_or_as_the_last_one() {
        let id = "01KB2Z3C9Q4T7V8W5X6Y0A1B2C";
        assert_eq!(id.parse(), Ok(Named::Id(id.parse().unwrap())));
        assert_eq!(id.to_lowercase().parse(), Ok(Named::Id(id.parse().unwrap())));
        assert_eq!("last".parse(), Ok(Named::Last));
        assert!("../x".parse::<Named>().is_err());
    }
}
