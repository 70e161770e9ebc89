//! Where a model comes from: `file:PATH`, `hf:OWNER/NAME[@REVISION]/PATH`, or a plain path.

use std::fmt;
use std::path::{Path, PathBuf};

use crate::exit::Fatal;

/// A place that a file can be fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reference {
    /// On this machine.
    File(PathBuf),
    /// In a model repository of the Hugging Face Hub.
    Hub {
        /// `owner/name`.
        repository: String,
        /// Branch, tag or commit.
        revision: String,
        /// Path in the repository.
        path: String,
    },
}

impl Reference {
    /// Reads `text`.
    ///
    /// # Errors
    /// When it is none of the kinds, or not complete.
    pub(super) fn parse(text: &str) -> Result<Self, Fatal> {
        let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
            return Ok(Self::File(PathBuf::from(text)));
        };
        match scheme {
            "file" => Ok(Self::File(PathBuf::from(rest.strip_prefix("//").unwrap_or(rest)))),
            "hf" => Self::parse_hub(rest).ok_or_else(|| {
                Fatal::usage(format!(
                    "`{text}` is not complete: it reads hf:OWNER/NAME[@REVISION]/PATH"
                ))
            }),
            "s3" => Err(Fatal::usage(format!(
                "`{text}`: s3: comes with the bucket store, which this version does not have. \
                 Download the bundle and give its folder instead"
            ))),
            other => Err(Fatal::usage(format!(
                "`{text}`: `{other}:` is not known; file: and hf: are"
            ))),
        }
    }

    fn parse_hub(rest: &str) -> Option<Self> {
        let (owner, rest) = rest.split_once('/')?;
        let (name, path) = rest.split_once('/')?;
        let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
        let path = path.trim_matches('/');
        let segments = path.split('/').chain([owner, name, revision]);
        let sound = segments
            .into_iter()
            .all(|segment| !matches!(segment, "" | "." | ".."));
        sound.then(|| Self::Hub {
            repository: format!("{owner}/{name}"),
            revision: revision.to_owned(),
            path: path.to_owned(),
        })
    }

    /// What `text` means in a file that lies in this folder.
    ///
    /// # Errors
    /// When `text` cannot be understood, or leads out of the folder.
    pub(super) fn within(&self, text: &str) -> Result<Self, Fatal> {
        let path = match Self::parse(text)? {
            Self::File(path) => path,
            elsewhere => return Ok(elsewhere),
        };
        match path.to_str() {
            Some(name) if path.is_relative() && !path.iter().any(|part| part == "..") => Ok(self.join(name)),
            _ => Err(Fatal::set_up(format!(
                "`{text}` leads out of the bundle's folder"
            ))),
        }
    }

    /// A file below this folder.
    pub(super) fn join(&self, name: &str) -> Self {
        match self {
            Self::File(folder) => Self::File(folder.join(name)),
            Self::Hub {
                repository,
                revision,
                path,
            } => Self::Hub {
                repository: repository.clone(),
                revision: revision.clone(),
                path: if path.is_empty() {
                    name.to_owned()
                } else {
                    format!("{path}/{name}")
                },
            },
        }
    }

    /// The folder that it lies in.
    pub(super) fn parent(&self) -> Self {
        match self {
            Self::File(path) => Self::File(path.parent().unwrap_or(Path::new("")).to_owned()),
            Self::Hub {
                repository,
                revision,
                path,
            } => Self::Hub {
                repository: repository.clone(),
                revision: revision.clone(),
                path: path.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned(),
            },
        }
    }

    /// Its last part.
    pub(super) fn file_name(&self) -> &str {
        match self {
            Self::File(path) => path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default(),
            Self::Hub { path, .. } => path.rsplit('/').next().unwrap_or_default(),
        }
    }
}

/// Two characters or more: one is a drive letter elsewhere, and no scheme here.
fn is_scheme(text: &str) -> bool {
    text.len() > 1
        && text
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Hub {
                repository,
                revision,
                path,
            } => write!(f, "hf:{repository}@{revision}/{path}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(repository: &str, revision: &str, path: &str) -> Reference {
        Reference::Hub {
            repository: repository.into(),
            revision: revision.into(),
            path: path.into(),
        }
    }

    #[test]
    fn references_are_read() {
        for (text, expected) in [
            ("hf:acme/pitch/demo", hub("acme/pitch", "main", "demo")),
            ("hf:acme/pitch@v2/a/b.onnx", hub("acme/pitch", "v2", "a/b.onnx")),
            ("file:/models/x", Reference::File("/models/x".into())),
            ("file:///models/x", Reference::File("/models/x".into())),
            ("models/x", Reference::File("models/x".into())),
        ] {
            assert_eq!(Reference::parse(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_fetched_says_why() {
        for (text, part) in [
            ("hf:acme", "OWNER/NAME"),
            ("hf:acme/pitch", "OWNER/NAME"),
            ("hf:acme/pitch/../x", "OWNER/NAME"),
            ("hf:acme/pitch@/x", "OWNER/NAME"),
            ("s3:bucket/key", "bucket store"),
            ("https://example.org/x", "not known"),
        ] {
            let error = Reference::parse(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn files_of_a_bundle_are_relative_to_it_and_stay_in_it() {
        let folder = hub("acme/pitch", "v2", "demo");
        assert_eq!(
            folder.within("d.onnx").unwrap(),
            hub("acme/pitch", "v2", "demo/d.onnx")
        );
        assert_eq!(
            folder.within("hf:other/x/y.onnx").unwrap(),
            hub("other/x", "main", "y.onnx")
        );
        assert!(folder.within("../d.onnx").is_err());
        assert!(folder.within("/etc/passwd").is_err());
        assert!(folder.within("file:/etc/passwd").is_err());
        assert_eq!(
            folder.within("file:d.onnx").unwrap(),
            hub("acme/pitch", "v2", "demo/d.onnx")
        );
        assert_eq!(folder.join("bundle.toml").parent(), folder);
    }
}
