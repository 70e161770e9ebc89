//! `items.ndjson`: written as the photos are found, read as their jobs are published; never whole in memory.

use std::sync::Arc;

use bytes::Bytes;
use fleet::batch::Expanded;
use fleet::layout::BatchKeys;
use fleet::manifest::Item;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use store::{Store, StoreErrorKind};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::sync::mpsc;

use super::EXPRESS_PHOTOS;
use super::source::{Items, Refusal, refuse, too_many};
use super::trouble::Trouble;
use crate::objects::ObjectError;

/// Lines that travel together, about 100 kB.
const LINES_AT_A_TIME: usize = 500;

#[derive(Default)]
struct Tally {
    photos: u64,
    bytes: u64,
}

impl Tally {
    fn count(&mut self, item: &Item, max_photos: u64) -> Result<(), Refusal> {
        self.photos += 1;
        self.bytes += item.size.unwrap_or(0);
        too_many(self.photos, max_photos)
    }

    fn expanded(&self) -> Result<Expanded, Refusal> {
        if self.photos == 0 {
            return Err(no_photos());
        }
        Ok(Expanded {
            photos: self.photos,
            bytes: self.bytes,
            express: self.photos <= EXPRESS_PHOTOS,
        })
    }
}

fn no_photos() -> Refusal {
    refuse(
        "no_photos",
        "There is no photo. Photos are known by their extension: .jpg, .jpeg, .png, .webp, .tiff and .heic.",
    )
}

/// Writes `items` as they come. `already` is asked before the last byte is sent: when somebody else has expanded the
/// batch meanwhile, what is there stays as it is, because their jobs follow it.
pub(super) async fn write(
    home: &Arc<dyn Store>,
    keys: &BatchKeys,
    items: Items<'_>,
    max_photos: u64,
    already: impl Future<Output = Result<(), Trouble>>,
) -> Result<Expanded, Refusal> {
    let mut chunks = items.chunks(LINES_AT_A_TIME);
    let Some(first) = chunks.next().await else {
        return Err(no_photos());
    };
    let (sender, mut receiver) = mpsc::channel::<std::io::Result<Bytes>>(2);
    let content = stream::poll_fn(move |context| receiver.poll_recv(context)).boxed();
    let key = keys.items();
    let put = home.put_stream(&key, content, "application/x-ndjson");
    let given_up = sender.clone();
    let produce = async move {
        let mut tally = Tally::default();
        let mut chunk = Some(first);
        while let Some(items) = chunk {
            let mut lines = Vec::new();
            for item in items {
                let item = item?;
                tally.count(&item, max_photos)?;
                serde_json::to_writer(&mut lines, &item).map_err(Trouble::from)?;
                lines.push(b'\n');
            }
            // Nobody receives when the store has failed; it says why.
            if sender.send(Ok(lines.into())).await.is_err() {
                break;
            }
            chunk = chunks.next().await;
        }
        already.await?;
        tally.expanded()
    };
    let produce = async {
        let produced = produce.await;
        if produced.is_err() {
            // An error in the stream is what keeps the object from being written.
            let _ = given_up.send(Err(std::io::Error::other("given up"))).await;
        }
        drop(given_up);
        produced
    };
    let (put, produced) = tokio::join!(put, produce);
    let expanded = produced?;
    put?;
    Ok(expanded)
}

/// Counts the items that whoever submitted the batch has written.
pub(super) async fn count(
    home: &Arc<dyn Store>,
    keys: &BatchKeys,
    max_photos: u64,
) -> Result<Expanded, Refusal> {
    let mut tally = Tally::default();
    let mut items = std::pin::pin!(read(home, keys));
    loop {
        match items.try_next().await {
            Ok(Some(item)) => tally.count(&item, max_photos)?,
            Ok(None) => return tally.expanded(),
            Err(Trouble::Store(error)) if error.kind == StoreErrorKind::NotFound => return Err(no_photos()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The items, one at a time.
pub(super) fn read(home: &Arc<dyn Store>, keys: &BatchKeys) -> impl Stream<Item = Result<Item, Trouble>> {
    let (home, key) = (Arc::clone(home), keys.items());
    stream::once(async move {
        let lines = BufReader::new(home.get(&key).await?.into_reader()).lines();
        Ok::<_, Trouble>(stream::try_unfold((lines, key), |(mut lines, key)| async move {
            let body = |source| ObjectError::Body {
                key: key.clone(),
                source,
            };
            let Some(line) = lines.next_line().await.map_err(body)? else {
                return Ok(None);
            };
            let item = serde_json::from_str(&line).map_err(|source| ObjectError::Damaged {
                key: key.clone(),
                source,
            })?;
            Ok(Some((item, (lines, key))))
        }))
    })
    .try_flatten()
}
