//! Files from the Hugging Face Hub, through the crate `hf-hub`: kept in the Hub's usual cache (`HF_HOME`), an
//! interrupted download continued where it stopped. `HF_ENDPOINT` names another server, `HF_TOKEN` a token.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use hf_hub::api::sync::{Api, ApiBuilder, ApiError, ApiRepo};
use hf_hub::{Cache, CacheRepo, Repo, RepoType};

/// Tries after the first one, each after twice the wait.
const RETRIES: u32 = 4;
const FIRST_WAIT: Duration = Duration::from_millis(250);

/// A model repository at a revision.
pub(super) struct Hub {
    api: Api,
    repo: ApiRepo,
    cached: CacheRepo,
    repository: PathBuf,
}

/// A file could not be fetched.
#[derive(Debug, thiserror::Error)]
pub(super) enum HubError {
    /// Nothing is there, or the token may not see it.
    #[error("{url} answers {status}: look at the name and the revision; a private repository needs HF_TOKEN")]
    Refused {
        /// What was asked for.
        url: String,
        /// HTTP status.
        status: u16,
    },
    /// The server's answer cannot be used.
    #[error("{url} gave an answer that cannot be used: {reason}")]
    Answer {
        /// What was asked for.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Every try failed.
    #[error(
        "{url} could not be fetched in {tries} tries ({reason}); run the command again to continue the download"
    )]
    Connection {
        /// What was asked for.
        url: String,
        /// How often.
        tries: u32,
        /// The last failure.
        reason: String,
    },
}

impl Hub {
    /// Opens `repository` (`owner/name`) at `revision`. Nothing is asked of the server yet.
    pub(super) fn open(repository: &str, revision: &str, progress: bool) -> Result<Self, ApiError> {
        let cache = Cache::from_env();
        let repo = Repo::with_revision(repository.to_owned(), RepoType::Model, revision.to_owned());
        let folder = cache.path().join(repo.folder_name());
        let mut builder = ApiBuilder::from_env().with_progress(progress);
        if let Ok(token) = env::var("HF_TOKEN") {
            builder = builder.with_token(Some(token).filter(|token| !token.is_empty()));
        }
        let api = builder.build()?;
        Ok(Self {
            repo: api.repo(repo.clone()),
            api,
            cached: cache.repo(repo),
            repository: folder,
        })
    }

    /// The file at `path` in the repository: from the cache, else fetched into it.
    ///
    /// # Errors
    /// When it cannot be fetched.
    pub(super) fn get(&self, path: &str) -> Result<PathBuf, HubError> {
        if let Some(file) = self.cached.get(path) {
            return Ok(file);
        }
        let url = self.repo.url(path);
        let mut wait = FIRST_WAIT;
        let mut reason = String::new();
        for attempt in 0..=RETRIES {
            if attempt > 0 {
                thread::sleep(wait);
                wait *= 2;
            }
            match self.download(&url, path) {
                Ok(file) => return Ok(file),
                Err(ApiError::RequestError(error)) => match *error {
                    // The part that is there is all of the file, or more: hf-hub would ask for nothing, for ever.
                    ureq::Error::StatusCode(416) => self.forget_parts(),
                    ureq::Error::StatusCode(status) if status < 500 && status != 429 && status != 408 => {
                        return Err(HubError::Refused { url, status });
                    }
                    other => reason = other.to_string(),
                },
                Err(ApiError::InvalidResume) => self.forget_parts(),
                Err(
                    error @ (ApiError::IoError(_)
                    | ApiError::TooManyRetries(_)
                    | ApiError::LockAcquisition(_)),
                ) => {
                    reason = error.to_string();
                }
                Err(error) => {
                    return Err(HubError::Answer {
                        url,
                        reason: error.to_string(),
                    });
                }
            }
        }
        Err(HubError::Connection {
            url,
            tries: RETRIES + 1,
            reason,
        })
    }

    fn download(&self, url: &str, path: &str) -> Result<PathBuf, ApiError> {
        // The cache names files by what the server says: it must be a name, not a path.
        let metadata = self.api.metadata(url)?;
        let plain = |name: &str| {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            !name.is_empty() && name.bytes().all(fits)
        };
        if !plain(metadata.etag()) {
            return Err(ApiError::InvalidHeader("etag"));
        }
        if !plain(metadata.commit_hash()) {
            return Err(ApiError::InvalidHeader("x-repo-commit"));
        }
        self.repo.download(path)
    }

    /// Takes a file that turned out wrong out of the cache.
    pub(super) fn forget(&self, cached: &Path) {
        if let Ok(blob) = fs::canonicalize(cached) {
            let _ = fs::remove_file(blob);
        }
        let _ = fs::remove_file(cached);
        self.forget_parts();
    }

    /// Whether a download was interrupted before: a wrong hash may then be the fault of the joint.
    pub(super) fn has_parts(&self) -> bool {
        self.parts().next().is_some()
    }

    fn forget_parts(&self) {
        for part in self.parts() {
            let _ = fs::remove_file(part);
        }
    }

    fn parts(&self) -> impl Iterator<Item = PathBuf> {
        let entries = fs::read_dir(self.repository.join("blobs"))
            .into_iter()
            .flatten()
            .flatten();
        entries
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "part"))
    }
}
