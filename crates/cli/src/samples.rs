//! Photos for commands that measure: those that are given, else the samples that come with the program.

use std::env;
use std::path::{Path, PathBuf};

use crate::exit::Fatal;
use crate::path_key;
use crate::sources::Sources;

/// The photos behind `paths`; of the samples when there are none. Archives are left out.
///
/// # Errors
/// When there are no photos.
pub(crate) fn photos(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Fatal> {
    let samples = match paths {
        [] => vec![
            sample_folder()
                .ok_or_else(|| Fatal::usage("the sample photos are not there: name some photos"))?,
        ],
        given => given.to_vec(),
    };
    let mut photos = Vec::new();
    Sources::new(&samples)?.list(|found| {
        if found.archive.is_none() {
            photos.push(path_key::to_path(&found.key));
        }
        Ok::<_, Fatal>(())
    })?;
    if photos.is_empty() {
        return Err(Fatal::usage("there are no photos in what was named"));
    }
    Ok(photos)
}

/// `samples` of the checkout, or of the package that the executable came in.
fn sample_folder() -> Option<PathBuf> {
    let executable = env::current_exe().ok();
    let beside = executable.as_deref().and_then(Path::parent).into_iter();
    let packaged = beside
        .clone()
        .filter_map(Path::parent)
        .map(|prefix| prefix.join("share/pitchfleet/samples"));
    let checkouts = beside
        .flat_map(Path::ancestors)
        .filter(|folder| folder.join("Cargo.lock").is_file());
    let candidates = packaged
        .chain(checkouts.map(|folder| folder.join("samples")))
        .chain([PathBuf::from("samples")]);
    candidates.into_iter().find(|folder| folder.is_dir())
}
