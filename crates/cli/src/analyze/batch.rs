//! The batch in the output folder: its manifest, begun anew or continued.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use fleet::ids::Tenant;
use fleet::layout;
use fleet::manifest::{BatchOptions, BundleRef, MANIFEST_SCHEMA, Manifest, Source};
use ulid::Ulid;

use crate::exit::Fatal;
use crate::out_dir::OutDir;
use crate::path_key;

/// What is known of the batch before the models are loaded.
pub(super) struct Draft {
    earlier: Option<Manifest>,
    source: Source,
}

impl Draft {
    /// Looks at what lies in the output folder.
    ///
    /// # Errors
    /// When it is the batch of other photos, or no batch but other files.
    pub(super) fn open(out: &OutDir, paths: &[PathBuf]) -> Result<Self, Fatal> {
        let source = source_of(paths);
        let root = out.root().display();
        let Ok(text) = fs::read(out.path(layout::MANIFEST)) else {
            return if holds_other_files(out.root()) {
                Err(Fatal::usage(format!(
                    "{root} holds other files: choose another folder with --out"
                )))
            } else {
                Ok(Self {
                    earlier: None,
                    source,
                })
            };
        };
        let earlier: Manifest = serde_json::from_slice(&text).map_err(|error| {
            Fatal::usage(format!(
                "{root} holds a {} that cannot be read ({error}): choose another folder with --out",
                layout::MANIFEST
            ))
        })?;
        if earlier.source != source {
            let whence = match &earlier.source {
                Source::Paths { folder, .. } => format!(", in {folder}"),
                _ => String::new(),
            };
            return Err(Fatal::usage(format!(
                "{root} holds the analysis of other photos ({}{whence}): choose another folder with --out",
                earlier.source.title()
            )));
        }
        Ok(Self {
            earlier: Some(earlier),
            source,
        })
    }

    /// Whether an earlier run is continued.
    pub(super) fn continues(&self) -> bool {
        self.earlier.is_some()
    }

    /// The manifest of this run, written to the folder. A continued batch keeps its id and its date.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn begin(
        self,
        out: &OutDir,
        options: BatchOptions,
        bundle: BundleRef,
    ) -> Result<Manifest, Fatal> {
        let (id, created_at) = match self.earlier {
            Some(earlier) => (earlier.id, earlier.created_at),
            None => (Ulid::generate().to_string(), rfc3339(SystemTime::now())),
        };
        let options = options.normalised();
        let manifest = Manifest {
            schema: MANIFEST_SCHEMA.to_owned(),
            id,
            tenant: Tenant::local(),
            name: None,
            created_at,
            program: env!("CARGO_PKG_VERSION").to_owned(),
            digest: options.result_digest(&bundle.digest),
            options,
            bundle,
            source: self.source,
            webhook: None,
            request_digest: None,
        };
        let mut text =
            serde_json::to_vec_pretty(&manifest).map_err(|error| Fatal::output(error.to_string()))?;
        text.push(b'\n');
        out.write(layout::MANIFEST, &text)?;
        Ok(manifest)
    }
}

fn source_of(paths: &[PathBuf]) -> Source {
    let folder = env::current_dir();
    Source::Paths {
        folder: folder.map(|folder| path_key::to_key(&folder)).unwrap_or_default(),
        paths: paths.iter().map(|path| path_key::to_key(path)).collect(),
    }
}

/// The folder for an analysis that names none: `name` if it is free or the analysis of the same photos, else `name-2`
/// and so on.
pub(super) fn default_folder(name: &str, paths: &[PathBuf]) -> PathBuf {
    let source = source_of(paths);
    let fits = |folder: &PathBuf| match fs::read(folder.join(layout::MANIFEST)) {
        Ok(text) => serde_json::from_slice::<Manifest>(&text).is_ok_and(|manifest| manifest.source == source),
        Err(_) => !holds_other_files(folder),
    };
    let first = PathBuf::from(name);
    let others = (2..1_000).map(|number| PathBuf::from(format!("{name}-{number}")));
    let mut candidates = std::iter::once(first.clone()).chain(others);
    candidates.find(fits).unwrap_or(first)
}

/// Whether the folder has more in it than a run leaves that never got as far as its manifest.
fn holds_other_files(root: &Path) -> bool {
    let mut names = root
        .read_dir()
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name());
    names.any(|name| name != layout::ITEMS && !name.as_encoded_bytes().starts_with(b"."))
}

/// `2026-06-14T10:32:11Z`.
pub(super) fn rfc3339(time: SystemTime) -> String {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    let (year, month, date) = civil(day);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of the month of a day counted from 1970-01-01 (Howard Hinnant, `civil_from_days`).
fn civil(day: u64) -> (u64, u64, u64) {
    let shifted = day + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, date)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // date -u -d @SECONDS +%FT%TZ
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_781_433_131, "2026-06-14T10:32:11Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_secs(seconds)), expected);
        }
    }

    fn begun(root: &Path, paths: &[PathBuf]) -> Result<Manifest, Fatal> {
        let out = OutDir::open(root)?;
        let bundle = BundleRef {
            name: "demo".into(),
            digest: "sha256:1".into(),
        };
        Draft::open(&out, paths)?.begin(&out, BatchOptions::default(), bundle)
    }

    #[test]
    fn a_batch_is_continued_under_its_id_and_no_other_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let photos = vec![PathBuf::from("photos")];
        let first = begun(dir.path(), &photos).unwrap();
        let second = begun(dir.path(), &photos).unwrap();
        assert_eq!((&first.id, &first.created_at), (&second.id, &second.created_at));
        let error = begun(dir.path(), &[PathBuf::from("others")])
            .unwrap_err()
            .to_string();
        assert!(error.contains("other photos (photos, in "), "{error}");
    }

    #[test]
    fn the_default_folder_is_that_of_the_same_photos_or_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let name = dir.path().join("out").display().to_string();
        let photos = |text: &str| vec![PathBuf::from(text)];
        assert_eq!(default_folder(&name, &photos("a")), PathBuf::from(&name));
        begun(Path::new(&name), &photos("a")).unwrap();
        assert_eq!(default_folder(&name, &photos("a")), PathBuf::from(&name));
        let second = PathBuf::from(format!("{name}-2"));
        assert_eq!(default_folder(&name, &photos("b")), second);
        begun(&second, &photos("b")).unwrap();
        assert_eq!(default_folder(&name, &photos("b")), second);
    }

    #[test]
    fn a_folder_of_other_things_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.jpg"), "x").unwrap();
        let error = begun(dir.path(), &[PathBuf::from("photos")])
            .unwrap_err()
            .to_string();
        assert!(error.contains("holds other files"), "{error}");
    }
}
