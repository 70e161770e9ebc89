//! `pitchfleet token create`: a key for a tenant, kept as its hash only.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ::api::http::tokens::{Scope, TokenFile, Tokens, create_token};
use clap::{Subcommand, ValueEnum};
use fleet::ids::Tenant;
use tempfile::NamedTempFile;

use crate::exit::{Ending, Fatal};
use crate::settings::SettingsArgs;

const EXAMPLES: &str = "\
Examples:
  pitchfleet token create --tenant mcc --scope submit,read
  pitchfleet token create --tenant mcc --scope read --id scoreboard --file tokens.toml
  pitchfleet token create --tenant ops --scope admin > ~/.pitchfleet-token

The token is shown once, on standard output; the file keeps its SHA-256. `api` and `up` read the file that api.tokens
names when they start. To take a token back, delete its [[token]] and start them again.";

/// Make keys for tenants.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Create(CreateArgs),
}

/// Make a token and add it to the token file.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
struct CreateArgs {
    /// Whose batches it opens: lower-case letters, digits and hyphens
    #[arg(long, value_name = "TENANT")]
    tenant: Tenant,
    /// What it allows: submit, read, or admin, which is everything
    #[arg(long, value_name = "LIST", value_delimiter = ',', required = true)]
    scope: Vec<ScopeName>,
    /// Its name in the file and in logs [default: the tenant and a number]
    #[arg(long, value_name = "NAME")]
    id: Option<String>,
    /// The token file [default: api.tokens, else tokens.toml]
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    #[command(flatten)]
    settings: SettingsArgs,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScopeName {
    Submit,
    Read,
    Admin,
}

impl From<ScopeName> for Scope {
    fn from(name: ScopeName) -> Self {
        match name {
            ScopeName::Submit => Self::Submit,
            ScopeName::Read => Self::Read,
            ScopeName::Admin => Self::Admin,
        }
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<Ending> {
    let Command::Create(args) = &args.command;
    let file = match &args.file {
        Some(file) => file.clone(),
        None => {
            let named = args.settings.load()?.settings.api.tokens;
            named.unwrap_or_else(|| PathBuf::from("tokens.toml"))
        }
    };
    let secret = create(args, &file)?;
    writeln!(io::stdout(), "{secret}")?;
    eprintln!(
        "kept as its hash in {}; `api` and `up` accept it when they are started with api.tokens = {:?}",
        file.display(),
        file
    );
    Ok(Ending::Done)
}

fn create(args: &CreateArgs, path: &Path) -> Result<String, Fatal> {
    let unwritable =
        |error: io::Error| Fatal::output(format!("{} cannot be written: {error}", path.display()));
    let unusable = |error: &dyn std::fmt::Display| {
        Fatal::set_up(format!("{} is no token file: {error}", path.display()))
    };
    let mut text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(unusable(&error)),
    };
    let known: TokenFile = toml::from_str(&text).map_err(|error| unusable(&error.message()))?;
    let taken = |id: &str| known.tokens.iter().any(|token| token.id == id);
    let id = match &args.id {
        Some(id) if taken(id) => {
            return Err(Fatal::usage(format!(
                "there is a token `{id}` in {} already: choose another --id, or delete that one",
                path.display()
            )));
        }
        Some(id) => id.clone(),
        None => (1..)
            .map(|number| format!("{}-{number}", args.tenant))
            .find(|id| !taken(id))
            .unwrap_or_default(),
    };
    let scopes: BTreeSet<Scope> = args.scope.iter().map(|&name| name.into()).collect();
    let (secret, entry) =
        create_token(id, args.tenant.clone(), scopes).map_err(|error| Fatal::set_up(error.to_string()))?;
    // Added at the end rather than written anew: what people wrote there stays.
    let added = toml::to_string(&TokenFile { tokens: vec![entry] }).map_err(|error| unusable(&error))?;
    if !text.is_empty() {
        text.push('\n');
    }
    text.push_str(&added);
    Tokens::parse(&text).map_err(|error| unusable(&error))?;
    let folder = path
        .parent()
        .filter(|folder| *folder != Path::new(""))
        .unwrap_or(Path::new("."));
    // A temporary file is readable by its owner alone, which is right for a new one.
    let mut file = NamedTempFile::new_in(folder).map_err(unwritable)?;
    file.write_all(text.as_bytes()).map_err(unwritable)?;
    if let Ok(metadata) = fs::metadata(path) {
        let kept = file.as_file().set_permissions(metadata.permissions());
        kept.map_err(unwritable)?;
    }
    file.persist(path).map_err(|error| unwritable(error.error))?;
    Ok(secret.reveal().to_owned())
}
