//! Where the ONNX Runtime library is.

use std::env;
use std::path::{Path, PathBuf};

use crate::failure::{EngineError, EngineErrorKind};

/// The version that `scripts/onnxruntime.sh` fetches.
pub const PINNED_VERSION: &str = "1.32.0";
/// The version that `scripts/onnxruntime.sh --gpu` fetches.
pub const PINNED_GPU_VERSION: &str = "1.31.1";

/// Finds the ONNX Runtime library. In this order: `explicit`, the environment's `PITCHFLEET_ONNXRUNTIME` and
/// `ORT_DYLIB_PATH`, the executable's folder and its `lib`, the cache folder of `scripts/onnxruntime.sh` (the one for
/// GPUs first if `want_gpu`), the system's library folders.
///
/// # Errors
/// [`EngineErrorKind::RuntimeMissing`], with the places searched and the remedy.
pub fn locate(explicit: Option<&Path>, want_gpu: bool) -> Result<PathBuf, EngineError> {
    locate_in(&Places::of_this_process(explicit, want_gpu))
}

/// Where to look, in order.
struct Places {
    /// Named by somebody: taken or refused, never passed over.
    named: Option<(&'static str, PathBuf)>,
    searched: Vec<PathBuf>,
}

impl Places {
    fn of_this_process(explicit: Option<&Path>, want_gpu: bool) -> Self {
        let from_environment = |name: &'static str| {
            env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(|value| (name, PathBuf::from(value)))
        };
        let named = explicit
            .map(|path| ("the configuration", path.to_owned()))
            .or_else(|| from_environment("PITCHFLEET_ONNXRUNTIME"))
            .or_else(|| from_environment("ORT_DYLIB_PATH"));

        let mut searched = Vec::new();
        if let Some(folder) = env::current_exe().ok().as_deref().and_then(Path::parent) {
            searched.push(folder.to_owned());
            searched.push(folder.join("lib"));
            searched.extend(folder.parent().map(|prefix| prefix.join("lib/pitchfleet")));
        }
        let cache = env::var_os("XDG_CACHE_HOME")
            .map(PathBuf::from)
            .filter(|path| path.is_absolute())
            .or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")));
        if let Some(cache) = cache.map(|cache| cache.join("pitchfleet")) {
            if want_gpu {
                searched.push(cache.join("onnxruntime-gpu").join(PINNED_GPU_VERSION));
            }
            searched.push(cache.join("onnxruntime").join(PINNED_VERSION));
        }
        searched.extend(
            [
                "/usr/local/lib",
                "/usr/lib",
                "/usr/lib64",
                concat_triplet(),
                "/opt/onnxruntime/lib",
            ]
            .map(PathBuf::from),
        );
        Self { named, searched }
    }
}

const fn concat_triplet() -> &'static str {
    if cfg!(target_arch = "aarch64") {
        "/usr/lib/aarch64-linux-gnu"
    } else {
        "/usr/lib/x86_64-linux-gnu"
    }
}

fn locate_in(places: &Places) -> Result<PathBuf, EngineError> {
    if let Some((who, path)) = &places.named {
        if path.is_file() {
            return Ok(path.clone());
        }
        return Err(EngineError::new(
            EngineErrorKind::RuntimeMissing,
            format!(
                "{who} names {} as the ONNX Runtime library, and there is no such file: correct it, or unset it and run \
                 scripts/onnxruntime.sh",
                path.display()
            ),
        ));
    }
    places
        .searched
        .iter()
        .find_map(|folder| library_in(folder))
        .ok_or_else(|| {
            let searched: Vec<_> = places
                .searched
                .iter()
                .map(|folder| format!("\n  {}", folder.display()))
                .collect();
            EngineError::new(
                EngineErrorKind::RuntimeMissing,
                format!(
                    "the ONNX Runtime library is missing: run scripts/onnxruntime.sh, which fetches version \
                     {PINNED_VERSION}, or set PITCHFLEET_ONNXRUNTIME to a libonnxruntime.so of version 1.24 or newer. \
                     Searched for it in:{}",
                    searched.concat()
                ),
            )
        })
}

/// The library in `folder`; of several versions the newest.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let plain = folder.join("libonnxruntime.so");
    if plain.is_file() {
        return Some(plain);
    }
    let version_of = |path: &Path| -> Option<Vec<u32>> {
        path.file_name()?
            .to_str()?
            .strip_prefix("libonnxruntime.so.")?
            .split('.')
            .map(|part| part.parse().ok())
            .collect()
    };
    folder
        .read_dir()
        .ok()?
        .flatten()
        .map(|entry| entry.path())
        .filter_map(|path| Some((version_of(&path)?, path)))
        .filter(|(_, path)| path.is_file())
        .max()
        .map(|(_, path)| path)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_named_library_is_never_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("libonnxruntime.so"), "").unwrap();
        let mut places = Places {
            named: Some(("PITCHFLEET_ONNXRUNTIME", dir.path().join("absent.so"))),
            searched: vec![dir.path().to_owned()],
        };
        let error = locate_in(&places).unwrap_err();
        assert_eq!(error.kind, EngineErrorKind::RuntimeMissing);
        assert!(error.message.contains("PITCHFLEET_ONNXRUNTIME names"), "{error}");

        places.named = None;
        assert_eq!(locate_in(&places).unwrap(), dir.path().join("libonnxruntime.so"));
    }

    #[test]
    fn the_newest_version_in_the_first_folder_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (dir.path().join("first"), dir.path().join("second"));
        fs::create_dir(&first).unwrap();
        fs::create_dir(&second).unwrap();
        for name in [
            "libonnxruntime.so.1.9.0",
            "libonnxruntime.so.1.32.0",
            "libonnxruntime.so.txt",
        ] {
            fs::write(first.join(name), "").unwrap();
        }
        fs::write(second.join("libonnxruntime.so"), "").unwrap();
        let places = Places {
            named: None,
            searched: vec![dir.path().join("absent"), first.clone(), second],
        };
        assert_eq!(
            locate_in(&places).unwrap(),
            first.join("libonnxruntime.so.1.32.0")
        );
    }

    #[test]
    fn what_is_missing_is_said_with_the_remedy_and_the_places() {
        let places = Places {
            named: None,
            searched: vec!["/nowhere".into()],
        };
        let error = locate_in(&places).unwrap_err();
        assert!(error.message.contains("scripts/onnxruntime.sh") && error.message.contains("/nowhere"));
    }
}
