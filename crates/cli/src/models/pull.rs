//! `pitchfleet models pull`: a bundle from elsewhere becomes a bundle of this machine, every file checked.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::Context;
use sha2::{Digest, Sha256};
use toml::Table;

use super::hub::Hub;
use super::reference::Reference;
use crate::bundles::{self, BUNDLE_FILE};
use crate::exit::{Ending, Fatal};

const EXAMPLES: &str = "\
Examples:
  pitchfleet models pull hf:acme/pitch-models@v3/bundle       a bundle of the Hugging Face Hub
  pitchfleet models pull file:/mnt/models/club --to models/club
  HF_ENDPOINT=https://hub.example.org pitchfleet models pull hf:acme/pitch-models/bundle

SOURCE is a folder that holds a bundle.toml, or that file. The model files it names may lie beside
it, or be hf: sources themselves. An interrupted pull continues where it stopped.

HF_ENDPOINT names another server, HF_TOKEN a token, HF_HOME the cache.";

/// Fetch a bundle, check every hash, and keep it on this machine.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// hf:OWNER/NAME[@REVISION]/PATH, file:PATH or a path
    source: String,
    /// Folder to put the bundle in [default: its name among the user's bundles]
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
}

pub(super) fn run(args: &Args, progress: bool) -> anyhow::Result<Ending> {
    let named = Reference::parse(&args.source)?;
    let manifest = match &named {
        reference if reference.file_name().ends_with(".toml") => named.clone(),
        _ => named.join(BUNDLE_FILE),
    };
    let folder = manifest.parent();
    let mut fetcher = Fetcher {
        progress,
        hubs: Vec::new(),
    };

    let text = fs::read_to_string(fetcher.fetch(&manifest)?)
        .with_context(|| format!("{manifest} cannot be read"))?;
    let bundle: Table = text.parse().map_err(|error: toml::de::Error| {
        Fatal::set_up(format!("{manifest} is no bundle: {}", error.message()))
    })?;
    let mut models = Vec::new();
    let mut local = bundle.clone();
    collect(&mut local, &folder, &mut models)?;
    if models.is_empty() {
        return Err(Fatal::set_up(format!("{manifest} names no model files")).into());
    }

    let target = match &args.to {
        Some(folder) => folder.clone(),
        None => default_target(&bundle, &manifest)?,
    };
    let staging = Staging::beside(&target)?;
    for model in &models {
        fetcher.fetch_checked(model, &target, &staging.path)?;
    }
    // As it was, comments included, unless a source in it became a file beside it.
    let text = if local == bundle {
        text
    } else {
        toml::to_string(&local)?
    };
    let written = fs::write(staging.path.join(BUNDLE_FILE), text);
    written.map_err(|error| Fatal::output(format!("{}: {error}", staging.path.display())))?;
    staging.move_into(&target)?;
    writeln!(io::stdout(), "{}", target.display())?;
    Ok(Ending::Done)
}

/// A model file that a bundle names.
struct Model {
    source: Reference,
    name: String,
    sha256: String,
}

/// Finds the tables with `file` or `uri` and `sha256`, and makes their files local ones.
fn collect(table: &mut Table, folder: &Reference, models: &mut Vec<Model>) -> Result<(), Fatal> {
    let place = table.get("uri").or_else(|| table.get("file"));
    if let Some(toml::Value::String(file)) = place {
        let source = folder.within(file)?;
        let name = source.file_name().to_owned();
        if name.is_empty() {
            return Err(Fatal::set_up(format!("`{file}` names no file")));
        }
        let Some(toml::Value::String(sha256)) = table.get("sha256") else {
            return Err(Fatal::set_up(format!(
                "`{file}` has no sha256 in the bundle: it could be anything"
            )));
        };
        let sha256 = sha256.to_ascii_lowercase();
        if models
            .iter()
            .any(|known| known.name == name && known.sha256 != sha256)
        {
            return Err(Fatal::set_up(format!(
                "two models of the bundle are called {name}"
            )));
        }
        models.push(Model {
            source,
            name: name.clone(),
            sha256,
        });
        table.remove("uri");
        table.insert("file".into(), name.into());
    }
    for (_, value) in table.iter_mut() {
        if let toml::Value::Table(inner) = value {
            collect(inner, folder, models)?;
        }
    }
    Ok(())
}

fn default_target(bundle: &Table, manifest: &Reference) -> Result<PathBuf, Fatal> {
    let name = bundle
        .get("name")
        .and_then(toml::Value::as_str)
        .unwrap_or_default();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if name.is_empty() || name.starts_with('.') || !name.bytes().all(plain) {
        return Err(Fatal::set_up(format!(
            "{manifest} has no plain name (letters, digits, - _ .): say where to put it with --to"
        )));
    }
    let user = bundles::user_folder();
    Ok(user
        .ok_or_else(|| Fatal::usage("HOME is not set: say where to put the bundle with --to"))?
        .join(name))
}

struct Fetcher {
    progress: bool,
    hubs: Vec<((String, String), Hub)>,
}

impl Fetcher {
    /// The file behind `reference`, on this machine.
    fn fetch(&mut self, reference: &Reference) -> anyhow::Result<PathBuf> {
        match reference {
            Reference::File(path) => {
                if !path.is_file() {
                    return Err(Fatal::set_up(format!("{} does not exist", path.display())).into());
                }
                Ok(path.clone())
            }
            Reference::Hub {
                repository,
                revision,
                path,
            } => {
                let hub = self.hub(repository, revision)?;
                hub.get(path)
                    .map_err(|error| Fatal::set_up(error.to_string()).into())
            }
        }
    }

    /// Puts a model into `staging`: from `present`, an earlier pull, or from its source.
    fn fetch_checked(&mut self, model: &Model, present: &Path, staging: &Path) -> anyhow::Result<()> {
        let target = staging.join(&model.name);
        let earlier = present.join(&model.name);
        if earlier.is_file() && copy_hashed(&earlier, &target)? == model.sha256 {
            return Ok(());
        }
        for last in [false, true] {
            let resumed = match &model.source {
                Reference::Hub {
                    repository, revision, ..
                } => self.hub(repository, revision)?.has_parts(),
                Reference::File(_) => false,
            };
            let file = self.fetch(&model.source)?;
            let actual = copy_hashed(&file, &target)?;
            if actual == model.sha256 {
                return Ok(());
            }
            if let Reference::Hub {
                repository, revision, ..
            } = &model.source
            {
                self.hub(repository, revision)?.forget(&file);
            }
            if last || !resumed {
                return Err(Fatal::set_up(format!(
                    "{} has SHA-256 {actual}, the bundle says {}: it is another file, or was damaged on the way. \
                     Nothing was kept",
                    model.source, model.sha256
                ))
                .into());
            }
        }
        Ok(())
    }

    fn hub(&mut self, repository: &str, revision: &str) -> Result<&Hub, Fatal> {
        let wanted = (repository.to_owned(), revision.to_owned());
        let place = match self.hubs.iter().position(|(name, _)| *name == wanted) {
            Some(place) => place,
            None => {
                let hub = Hub::open(repository, revision, self.progress)
                    .map_err(|error| Fatal::set_up(format!("hf:{repository}: {error}")))?;
                self.hubs.push((wanted, hub));
                self.hubs.len() - 1
            }
        };
        Ok(&self.hubs[place].1)
    }
}

/// Copies a file and gives the SHA-256 of what was copied, in hexadecimal.
fn copy_hashed(from: &Path, to: &Path) -> Result<String, Fatal> {
    let read_error = |error: io::Error| Fatal::set_up(format!("{} cannot be read: {error}", from.display()));
    let write_error =
        |error: io::Error| Fatal::output(format!("{} cannot be written: {error}", to.display()));
    let mut source = File::open(from).map_err(read_error)?;
    let mut target = File::create(to).map_err(write_error)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = source.read(&mut buffer).map_err(read_error)?;
        if read == 0 {
            break;
        }
        hash.update(&buffer[..read]);
        target.write_all(&buffer[..read]).map_err(write_error)?;
    }
    Ok(hash.finalize().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    }))
}

/// A folder that is filled out of sight; its files then take their places, `bundle.toml` last.
struct Staging {
    path: PathBuf,
}

impl Staging {
    fn beside(target: &Path) -> Result<Self, Fatal> {
        let occupied = target
            .read_dir()
            .is_ok_and(|mut entries| entries.next().is_some());
        if occupied && !target.join(BUNDLE_FILE).is_file() {
            return Err(Fatal::usage(format!(
                "{} holds other files: choose another folder with --to",
                target.display()
            )));
        }
        let path = target.join(".pull");
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path)
            .map_err(|error| Fatal::output(format!("{} cannot be made: {error}", path.display())))?;
        Ok(Self { path })
    }

    fn move_into(self, target: &Path) -> Result<(), Fatal> {
        let moved = || -> io::Result<()> {
            for entry in self.path.read_dir()? {
                let name = entry?.file_name();
                if name != BUNDLE_FILE {
                    fs::rename(self.path.join(&name), target.join(&name))?;
                }
            }
            fs::rename(self.path.join(BUNDLE_FILE), target.join(BUNDLE_FILE))
        };
        moved()
            .map_err(|error| Fatal::output(format!("{} cannot be put in place: {error}", target.display())))
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
        // A target that was made for a pull that failed is empty, and only then goes.
        let _ = self.path.parent().map(fs::remove_dir);
    }
}
