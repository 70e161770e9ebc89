//! A part of a store that is used as if it were all of it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};

use crate::error::{StoreError, StoreErrorKind};
use crate::port::{ByteStream, FolderPage, Object, ObjectInfo, Page, PresignedPut, Store, key_is_valid};

/// Every key lies below a prefix, which those who use this never see. A key cannot lead out of it.
#[derive(Clone)]
pub struct PrefixedStore {
    store: Arc<dyn Store>,
    /// Ends with `/`.
    prefix: String,
}

impl PrefixedStore {
    /// The part of `store` below `prefix`, which may begin and end with `/`.
    ///
    /// # Errors
    /// [`InvalidKey`](StoreErrorKind::InvalidKey) when no key could lie there.
    pub fn new(store: Arc<dyn Store>, prefix: &str) -> Result<Self, StoreError> {
        let trimmed = prefix.trim_matches('/');
        if !key_is_valid(trimmed) {
            return Err(StoreError::new(StoreErrorKind::InvalidKey, "keep to", prefix));
        }
        Ok(Self {
            store,
            prefix: format!("{trimmed}/"),
        })
    }

    fn whole(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Checked before the prefix is put in front, which would make an empty key look like one.
    fn checked(&self, operation: &'static str, key: &str) -> Result<String, StoreError> {
        if key_is_valid(key) {
            Ok(self.whole(key))
        } else {
            Err(StoreError::new(StoreErrorKind::InvalidKey, operation, key))
        }
    }

    fn bare(&self, mut object: ObjectInfo) -> ObjectInfo {
        object.key = self.bare_key(object.key);
        object
    }

    fn bare_key(&self, key: String) -> String {
        key.strip_prefix(&self.prefix).map(str::to_owned).unwrap_or(key)
    }
}

#[async_trait]
impl Store for PrefixedStore {
    async fn get(&self, key: &str) -> Result<Object, StoreError> {
        let object = self.store.get(&self.checked("read", key)?).await?;
        Ok(Object {
            info: self.bare(object.info),
            body: object.body,
        })
    }

    async fn put(&self, key: &str, content: Bytes, content_type: &str) -> Result<(), StoreError> {
        self.store
            .put(&self.checked("write", key)?, content, content_type)
            .await
    }

    async fn put_stream(&self, key: &str, content: ByteStream, content_type: &str) -> Result<(), StoreError> {
        self.store
            .put_stream(&self.checked("write", key)?, content, content_type)
            .await
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        let found = self.store.head(&self.checked("look up", key)?).await?;
        Ok(found.map(|object| self.bare(object)))
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        let after = after.map(|after| self.whole(after));
        let page = self
            .store
            .list(&self.whole(prefix), after.as_deref(), limit)
            .await?;
        let objects = page.objects.into_iter().map(|object| self.bare(object)).collect();
        Ok(Page {
            objects,
            more: page.more,
        })
    }

    fn objects(&self, prefix: &str, after: Option<&str>) -> BoxStream<'_, Result<ObjectInfo, StoreError>> {
        let after = after.map(|after| self.whole(after));
        let objects = self.store.objects(&self.whole(prefix), after.as_deref());
        objects.map_ok(|object| self.bare(object)).boxed()
    }

    async fn list_folders(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<FolderPage, StoreError> {
        let after = after.map(|after| self.whole(after));
        let page = self
            .store
            .list_folders(&self.whole(prefix), after.as_deref(), limit)
            .await?;
        let folders = page
            .folders
            .into_iter()
            .map(|folder| self.bare_key(folder))
            .collect();
        Ok(FolderPage {
            folders,
            more: page.more,
        })
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.store.delete(&self.checked("delete", key)?).await
    }

    async fn delete_below(&self, prefix: &str) -> Result<(), StoreError> {
        if prefix.is_empty() {
            return Err(StoreError::new(
                StoreErrorKind::InvalidKey,
                "delete below",
                prefix,
            ));
        }
        self.store.delete_below(&self.whole(prefix)).await
    }

    async fn presign_put(
        &self,
        key: &str,
        size: u64,
        valid_for: Duration,
    ) -> Result<PresignedPut, StoreError> {
        self.store
            .presign_put(&self.checked("presign", key)?, size, valid_for)
            .await
    }
}
