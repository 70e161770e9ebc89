//! A bucket and a broker that stop the process at a chosen call, or fail it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use queue::{
    Connection, Consumer, Counters, Depths, Destination, Fanout, Lane, Message, Queue, QueueError,
    Subscription,
};
use store::{
    ByteStream, FolderPage, Object, ObjectInfo, Page, PresignedPut, Store, StoreError, StoreErrorKind,
};
use tokio::sync::{Notify, watch};

use super::fleet_of_one::Calls;

/// What happens at the chosen call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The process ends before the call has an effect.
    StopBefore,
    /// The process ends after the call had its effect, and before it is known.
    StopAfter,
    /// The call fails, and the next ones do not.
    Fail,
}

/// Shared by the bucket and the broker of one process.
#[derive(Debug)]
pub(super) struct Faults {
    calls: Calls,
    at: u64,
    fault: Fault,
    /// The process is to be stopped.
    pub(super) stopped: Notify,
}

impl Faults {
    pub(super) fn new(fault: Fault, at: u64) -> Arc<Self> {
        Arc::new(Self {
            calls: Calls::default(),
            at,
            fault,
            stopped: Notify::new(),
        })
    }

    pub(super) fn calls(&self) -> u64 {
        self.calls.so_far()
    }

    async fn around<T, E>(
        &self,
        call: impl Future<Output = Result<T, E>>,
        failure: impl FnOnce() -> E,
    ) -> Result<T, E> {
        let chosen = self.calls.next() == self.at;
        match self.fault {
            Fault::StopBefore if chosen => self.stop().await,
            Fault::StopAfter if chosen => {
                let _ = call.await;
                self.stop().await
            }
            Fault::Fail if chosen => Err(failure()),
            _ => call.await,
        }
    }

    async fn stop<T>(&self) -> T {
        self.stopped.notify_one();
        std::future::pending().await
    }
}

pub(super) struct FaultyStore {
    pub(super) store: Arc<dyn Store>,
    pub(super) faults: Arc<Faults>,
}

impl FaultyStore {
    async fn around<T>(&self, call: impl Future<Output = Result<T, StoreError>>) -> Result<T, StoreError> {
        let failure = || StoreError {
            kind: StoreErrorKind::Unavailable,
            operation: "reach",
            key: String::new(),
            source: None,
        };
        self.faults.around(call, failure).await
    }
}

#[async_trait]
impl Store for FaultyStore {
    async fn get(&self, key: &str) -> Result<Object, StoreError> {
        self.around(self.store.get(key)).await
    }

    async fn put(&self, key: &str, content: Bytes, content_type: &str) -> Result<(), StoreError> {
        self.around(self.store.put(key, content, content_type)).await
    }

    async fn put_stream(&self, key: &str, content: ByteStream, content_type: &str) -> Result<(), StoreError> {
        self.around(self.store.put_stream(key, content, content_type))
            .await
    }

    async fn head(&self, key: &str) -> Result<Option<ObjectInfo>, StoreError> {
        self.around(self.store.head(key)).await
    }

    async fn list(&self, prefix: &str, after: Option<&str>, limit: usize) -> Result<Page, StoreError> {
        self.around(self.store.list(prefix, after, limit)).await
    }

    async fn list_folders(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<FolderPage, StoreError> {
        self.around(self.store.list_folders(prefix, after, limit)).await
    }

    async fn delete(&self, key: &str) -> Result<(), StoreError> {
        self.around(self.store.delete(key)).await
    }

    async fn presign_put(
        &self,
        key: &str,
        size: u64,
        valid_for: Duration,
    ) -> Result<PresignedPut, StoreError> {
        self.store.presign_put(key, size, valid_for).await
    }
}

#[derive(Debug)]
pub(super) struct FaultyQueue {
    pub(super) queue: Arc<dyn Queue>,
    pub(super) faults: Arc<Faults>,
}

#[async_trait]
impl Queue for FaultyQueue {
    async fn publish(&self, to: Destination, messages: &[Message]) -> Result<(), QueueError> {
        let failure = || QueueError::Lost("as the test wants it".to_owned());
        self.faults
            .around(self.queue.publish(to, messages), failure)
            .await
    }

    async fn consume(
        &self,
        lane: Lane,
        prefetch: std::num::NonZeroU16,
    ) -> Result<Box<dyn Consumer>, QueueError> {
        self.queue.consume(lane, prefetch).await
    }

    async fn subscribe(&self, fanout: Fanout) -> Result<Box<dyn Subscription>, QueueError> {
        self.queue.subscribe(fanout).await
    }

    async fn depths(&self) -> Result<Depths, QueueError> {
        self.queue.depths().await
    }

    fn connection(&self) -> watch::Receiver<Connection> {
        self.queue.connection()
    }

    fn counters(&self) -> Counters {
        self.queue.counters()
    }

    async fn close(&self) {
        self.queue.close().await;
    }
}
