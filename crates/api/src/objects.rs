//! JSON documents in the bucket.

use std::io;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;
use store::{Store, StoreError, StoreErrorKind};

/// A document that could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It broke off in the middle.
    #[error("cannot read `{key}`: {source}")]
    Body {
        /// Which.
        key: String,
        /// What happened.
        source: io::Error,
    },
    /// It says something else than it should. No other try helps.
    #[error("`{key}` is not what it should be: {source}")]
    Damaged {
        /// Which.
        key: String,
        /// What the parser said.
        source: serde_json::Error,
    },
}

impl ObjectError {
    /// Whether the document itself is at fault, so that no other try helps.
    pub fn is_damage(&self) -> bool {
        matches!(self, Self::Damaged { .. })
    }
}

/// The bytes under `key`; `None` when there is no such object.
///
/// # Errors
/// [`ObjectError::Store`], [`ObjectError::Body`].
pub(crate) async fn read_bytes(store: &Arc<dyn Store>, key: &str) -> Result<Option<Vec<u8>>, ObjectError> {
    let object = match store.get(key).await {
        Ok(object) => object,
        Err(error) if error.kind == StoreErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let body = object.into_bytes().await;
    body.map(Some).map_err(|source| ObjectError::Body {
        key: key.to_owned(),
        source,
    })
}

/// The document under `key`; `None` when there is no such object.
///
/// # Errors
/// Every [`ObjectError`].
pub(crate) async fn read<T: DeserializeOwned>(
    store: &Arc<dyn Store>,
    key: &str,
) -> Result<Option<T>, ObjectError> {
    let Some(bytes) = read_bytes(store, key).await? else {
        return Ok(None);
    };
    let document = serde_json::from_slice(&bytes);
    document.map(Some).map_err(|source| damaged(key, source))
}

/// Writes `document` under `key`.
///
/// # Errors
/// [`ObjectError::Store`]; [`ObjectError::Damaged`] for a document that JSON cannot express.
pub(crate) async fn write<T: Serialize + Sync>(
    store: &Arc<dyn Store>,
    key: &str,
    document: &T,
) -> Result<(), ObjectError> {
    let text = serde_json::to_vec(document).map_err(|source| damaged(key, source))?;
    Ok(store.put(key, text.into(), "application/json").await?)
}

fn damaged(key: &str, source: serde_json::Error) -> ObjectError {
    ObjectError::Damaged {
        key: key.to_owned(),
        source,
    }
}
