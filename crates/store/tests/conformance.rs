//! One suite for every adapter: whatever holds for the bucket holds for the folder. The bucket is on the Garage that
//! `scripts/test.sh` starts; each test keeps to its own prefix.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the functions beside the tests may fail, too"
)]

use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use store::{FolderPage, FolderStore, PrefixedStore, S3Config, S3Store, Store, StoreErrorKind};

fn s3_config() -> S3Config {
    let read = |name: &str| {
        std::env::var(name).unwrap_or_else(|_| {
            panic!("{name} is not set: run `make test`, or scripts/servers/garage.sh start DIR first")
        })
    };
    S3Config {
        bucket: read("PITCHFLEET_TEST_S3_BUCKET"),
        region: read("PITCHFLEET_TEST_S3_REGION"),
        endpoint: Some(read("PITCHFLEET_TEST_S3_ENDPOINT")),
        public_endpoint: None,
        path_style: true,
        credentials: Some((
            read("PITCHFLEET_TEST_S3_ACCESS_KEY"),
            read("PITCHFLEET_TEST_S3_SECRET_KEY"),
        )),
        attempts: 3,
        stall_timeout: Duration::from_secs(30),
    }
}

async fn s3() -> S3Store {
    S3Store::new(s3_config()).await
}

fn chunks(sizes: &[usize]) -> store::ByteStream {
    let chunks: Vec<_> = sizes
        .iter()
        .enumerate()
        .map(|(i, &n)| Ok(Bytes::from(vec![i as u8; n])))
        .collect();
    Box::pin(stream::iter(chunks))
}

async fn content(store: &dyn Store, key: &str) -> Vec<u8> {
    store.get(key).await.unwrap().into_bytes().await.unwrap()
}

async fn keys(store: &dyn Store, prefix: &str) -> Vec<String> {
    store
        .list(prefix, None, 1000)
        .await
        .unwrap()
        .objects
        .into_iter()
        .map(|o| o.key)
        .collect()
}

async fn what_is_put_is_got(store: &dyn Store, p: &str) {
    let key = format!("{p}/day 1/é+#?.json");
    store
        .put(&key, Bytes::from_static(b"{}"), "application/json")
        .await
        .unwrap();
    assert_eq!(content(store, &key).await, b"{}");
    store
        .put(&key, Bytes::from_static(b"[1]"), "application/json")
        .await
        .unwrap();
    assert_eq!(content(store, &key).await, b"[1]", "writing replaces");

    let empty = format!("{p}/empty");
    store.put(&empty, Bytes::new(), "text/plain").await.unwrap();
    assert_eq!(content(store, &empty).await, b"");
}

async fn what_is_not_there_is_not_found(store: &dyn Store, p: &str) {
    let key = format!("{p}/nothing");
    assert_eq!(
        store.get(&key).await.err().unwrap().kind,
        StoreErrorKind::NotFound
    );
    assert_eq!(store.head(&key).await.unwrap(), None);
    store.delete(&key).await.unwrap();
    assert!(keys(store, &format!("{p}/")).await.is_empty());

    store
        .put(
            &format!("{p}/folder/file"),
            Bytes::from_static(b"x"),
            "text/plain",
        )
        .await
        .unwrap();
    let folder = format!("{p}/folder");
    assert_eq!(
        store.get(&folder).await.err().unwrap().kind,
        StoreErrorKind::NotFound,
        "a folder is no object"
    );
    assert_eq!(store.head(&folder).await.unwrap(), None);
}

async fn head_tells_size_and_change(store: &dyn Store, p: &str) {
    let key = format!("{p}/a");
    store
        .put(&key, Bytes::from_static(b"12345"), "text/plain")
        .await
        .unwrap();
    let first = store.head(&key).await.unwrap().unwrap();
    assert_eq!((first.key.as_str(), first.size), (key.as_str(), 5));
    assert_eq!(
        store.get(&key).await.unwrap().info.etag,
        first.etag,
        "reading gives the same tag"
    );
    store
        .put(&key, Bytes::from_static(b"54321"), "text/plain")
        .await
        .unwrap();
    assert_ne!(store.head(&key).await.unwrap().unwrap().etag, first.etag);
}

async fn streams_of_any_size_arrive_whole(store: &dyn Store, p: &str) {
    const MIB: usize = 1024 * 1024;
    for (name, sizes) in [
        ("none", &[][..]),
        ("small", &[10, 0, 7]),
        ("one-part", &[8 * MIB]),
        ("three-parts", &[5 * MIB, 5 * MIB, 5 * MIB, 3]),
        ("exact-parts", &[16 * MIB]),
    ] {
        let key = format!("{p}/{name}");
        store.put_stream(&key, chunks(sizes), "image/jpeg").await.unwrap();
        let expected: Vec<u8> = sizes
            .iter()
            .enumerate()
            .flat_map(|(i, &n)| vec![i as u8; n])
            .collect();
        assert!(content(store, &key).await == expected, "{name}");
    }
}

async fn a_stream_that_breaks_leaves_nothing(store: &dyn Store, p: &str) {
    for (name, before) in [("early", 10), ("late", 20 * 1024 * 1024)] {
        let key = format!("{p}/{name}");
        let broken = || {
            let items = [
                Ok(Bytes::from(vec![1; before])),
                Err(std::io::Error::other("the client went away")),
            ];
            Box::pin(stream::iter(items))
        };
        assert!(store.put_stream(&key, broken(), "image/jpeg").await.is_err());
        assert_eq!(store.head(&key).await.unwrap(), None, "{name}");

        store
            .put(&key, Bytes::from_static(b"old"), "image/jpeg")
            .await
            .unwrap();
        assert!(store.put_stream(&key, broken(), "image/jpeg").await.is_err());
        assert_eq!(
            content(store, &key).await,
            b"old",
            "{name}: the older object stands"
        );
    }
    assert_eq!(keys(store, &format!("{p}/")).await.len(), 2, "no part is listed");
}

async fn listings_are_in_order_and_in_pages(store: &dyn Store, p: &str) {
    // The order of whole keys, not of folders: '.' < '/' < '0'.
    let mut expected: Vec<String> = ["a", "a.txt", "a/b", "a/b/c", "a0", "ab/x", "b/1", "b/10", "b/2"]
        .iter()
        .map(|k| format!("{p}/{k}"))
        .collect();
    expected.retain(|k| !k.ends_with("/a") && !k.ends_with("a/b"));
    for key in expected.iter().rev() {
        store
            .put(key, Bytes::from_static(b"x"), "text/plain")
            .await
            .unwrap();
    }
    assert_eq!(keys(store, &format!("{p}/")).await, expected);
    assert_eq!(
        keys(store, &format!("{p}/a")).await,
        expected[..4],
        "a prefix need not end at a slash"
    );
    assert_eq!(keys(store, &format!("{p}/b/1")).await, expected[4..6]);

    let mut paged = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = store.list(&format!("{p}/"), after.as_deref(), 2).await.unwrap();
        assert!(page.objects.len() <= 2);
        paged.extend(page.objects.into_iter().map(|o| o.key));
        after = paged.last().cloned();
        if !page.more {
            break;
        }
    }
    assert_eq!(paged, expected);
}

async fn deleting_removes(store: &dyn Store, p: &str) {
    let (kept, gone) = (format!("{p}/a/kept"), format!("{p}/a/gone"));
    for key in [&kept, &gone] {
        store
            .put(key, Bytes::from_static(b"x"), "text/plain")
            .await
            .unwrap();
    }
    store.delete(&gone).await.unwrap();
    store.delete(&gone).await.unwrap();
    assert_eq!(keys(store, &format!("{p}/")).await, [kept]);
}

async fn a_walk_gives_what_the_pages_give(store: &dyn Store, p: &str) {
    for i in 0..30 {
        let key = format!("{p}/{}/{i:02}", i % 3);
        store
            .put(&key, Bytes::from_static(b"x"), "text/plain")
            .await
            .unwrap();
    }
    let listed = store.list(&format!("{p}/"), None, 1000).await.unwrap().objects;
    assert_eq!(listed.len(), 30);
    let walked: Vec<_> = store.objects(&format!("{p}/"), None).try_collect().await.unwrap();
    assert_eq!(walked, listed);
    let after = &listed[16].key;
    let walked: Vec<_> = store
        .objects(&format!("{p}/"), Some(after))
        .try_collect()
        .await
        .unwrap();
    assert_eq!(walked, listed[17..]);
    let begun: Vec<_> = store.objects(p, None).take(2).try_collect().await.unwrap();
    assert_eq!(begun, listed[..2], "a walk may be left");
}

async fn folders_are_listed_without_what_is_in_them(store: &dyn Store, p: &str) {
    for name in ["b/x/1", "b/x/2", "a/1", "b.txt", "b-c/1", "d/e/f/g", "file"] {
        store
            .put(&format!("{p}/{name}"), Bytes::from_static(b"x"), "text/plain")
            .await
            .unwrap();
    }
    let all: Vec<_> = ["a/", "b-c/", "b/", "d/"]
        .iter()
        .map(|name| format!("{p}/{name}"))
        .collect();
    let root = format!("{p}/");
    assert_eq!(
        store.list_folders(&root, None, 1000).await.unwrap(),
        FolderPage {
            folders: all.clone(),
            more: false
        }
    );

    let mut paged = Vec::new();
    loop {
        let after: Option<String> = paged.last().cloned();
        let page = store.list_folders(&root, after.as_deref(), 1).await.unwrap();
        paged.extend(page.folders);
        if !page.more {
            break;
        }
    }
    assert_eq!(paged, all);

    store.delete(&format!("{p}/d/e/f/g")).await.unwrap();
    assert_eq!(
        store.list_folders(&root, None, 1000).await.unwrap().folders,
        all[..3],
        "an empty folder is none"
    );
    assert_eq!(
        store
            .list_folders(&format!("{p}/nothing/"), None, 1000)
            .await
            .unwrap(),
        FolderPage::default()
    );
    assert_eq!(
        store.list_folders(p, None, 1).await.unwrap_err().kind,
        StoreErrorKind::InvalidKey
    );
}

async fn what_lies_below_a_prefix_is_deleted(store: &dyn Store, p: &str) {
    for i in 0..40 {
        store
            .put(
                &format!("{p}/batch/results/{i}"),
                Bytes::from_static(b"x"),
                "text/plain",
            )
            .await
            .unwrap();
    }
    let kept = [format!("{p}/batch-2/manifest"), format!("{p}/batch.json")];
    for key in &kept {
        store
            .put(key, Bytes::from_static(b"x"), "text/plain")
            .await
            .unwrap();
    }
    store.delete_below(&format!("{p}/batch/")).await.unwrap();
    assert_eq!(keys(store, &format!("{p}/")).await, kept);
    store.delete_below(&format!("{p}/batch/")).await.unwrap();
    for refused in ["", "/", &format!("{p}/batch"), &format!("{p}/../")] {
        let error = store.delete_below(refused).await.unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::InvalidKey, "{refused}");
    }
}

async fn bad_keys_are_refused(store: &dyn Store, p: &str) {
    for key in [
        "",
        "/etc/passwd",
        &format!("{p}/../../escape"),
        &format!("{p}//x"),
        &format!("{p}/"),
    ] {
        let refused = [
            store.get(key).await.err().map(|e| e.kind),
            store
                .put(key, Bytes::new(), "text/plain")
                .await
                .err()
                .map(|e| e.kind),
            store
                .put_stream(key, chunks(&[1]), "text/plain")
                .await
                .err()
                .map(|e| e.kind),
            store.head(key).await.err().map(|e| e.kind),
            store.delete(key).await.err().map(|e| e.kind),
        ];
        assert!(
            refused
                .iter()
                .all(|kind| *kind == Some(StoreErrorKind::InvalidKey)),
            "{key}: {refused:?}"
        );
    }
}

async fn many_writers_do_not_disturb_each_other(store: &dyn Store, p: &str) {
    let key = format!("{p}/same");
    let writes = (0..16u8).map(|i| store.put(&key, Bytes::from(vec![i; 100_000]), "text/plain"));
    futures_util::future::try_join_all(writes).await.unwrap();
    let got = content(store, &key).await;
    assert_eq!(got.len(), 100_000);
    assert!(got.iter().all(|b| *b == got[0]), "one writer's content, whole");
}

#[tokio::test]
async fn a_folder_cannot_presign() {
    let store = FolderStore::new("unused");
    let refused = store
        .presign_put("a", 1, Duration::from_secs(60))
        .await
        .unwrap_err();
    assert_eq!(refused.kind, StoreErrorKind::Unsupported);
}

/// Sends what a browser would send; gives the status.
async fn upload(put: &store::PresignedPut, body: Vec<u8>) -> u16 {
    let put = put.clone();
    let send = move || {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .build()
            .into();
        let request = put
            .headers
            .iter()
            .filter(|(name, _)| name != "content-length" && name != "host");
        let request = request.fold(agent.put(&put.url), |request, (name, value)| {
            request.header(name, value)
        });
        request.send(&body[..]).unwrap().status().as_u16()
    };
    tokio::task::spawn_blocking(send).await.unwrap()
}

#[tokio::test]
async fn a_presigned_put_takes_exactly_what_was_declared() {
    let (store, key) = (s3().await, format!("presigned-{}/photo.jpg", std::process::id()));
    let put = store
        .presign_put(&key, 1000, Duration::from_secs(60))
        .await
        .unwrap();
    for wrong in [999, 1001, 100_000] {
        assert_eq!(upload(&put, vec![7; wrong]).await, 403, "{wrong} bytes");
        assert_eq!(store.head(&key).await.unwrap(), None);
    }
    assert_eq!(upload(&put, vec![7; 1000]).await, 200);
    assert_eq!(content(&store, &key).await, vec![7; 1000]);

    let other = store::PresignedPut {
        url: put.url.replace("photo.jpg", "other.jpg"),
        headers: put.headers,
    };
    assert_eq!(upload(&other, vec![7; 1000]).await, 403, "the key is signed too");
}

#[tokio::test]
async fn presigned_urls_name_the_public_endpoint() {
    let mut config = s3_config();
    config.public_endpoint = Some("https://photos.example.org".into());
    let put = S3Store::new(config)
        .await
        .presign_put("a/b.jpg", 5, Duration::from_secs(60))
        .await
        .unwrap();
    assert!(
        put.url
            .starts_with("https://photos.example.org/pitchfleet/a/b.jpg?"),
        "{}",
        put.url
    );
}

#[tokio::test]
async fn wrong_credentials_are_denied_and_not_shown() {
    let mut config = s3_config();
    config.credentials = Some(("GK000000000000000000000000".into(), "not-the-secret".into()));
    assert!(!format!("{config:?}").contains("not-the-secret"));
    let store = S3Store::new(config).await;
    assert_eq!(
        store.list("", None, 1).await.unwrap_err().kind,
        StoreErrorKind::Denied
    );
    assert!(!format!("{store:?}").contains("not-the-secret"));
}

#[tokio::test]
async fn a_server_that_is_gone_is_unavailable() {
    let mut config = s3_config();
    let closed = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    config.endpoint = Some(format!("http://{closed}"));
    config.attempts = 1;
    let error = S3Store::new(config).await.head("a").await.unwrap_err();
    assert!(error.is_transient(), "{error:?}");
}

macro_rules! conformance {
    ($($case:ident),+ $(,)?) => {
        mod folder {
            $(#[tokio::test]
            async fn $case() {
                let root = tempfile::tempdir().unwrap();
                super::$case(&super::FolderStore::new(root.path()), stringify!($case)).await;
            })+
        }

        mod part_of_a_folder {
            use std::sync::Arc;

            $(#[tokio::test]
            async fn $case() {
                let root = tempfile::tempdir().unwrap();
                let folder = Arc::new(super::FolderStore::new(root.path()));
                let part = super::PrefixedStore::new(folder, "/site/pitchfleet/").unwrap();
                super::$case(&part, stringify!($case)).await;
                for object in std::fs::read_dir(root.path()).unwrap() {
                    assert_eq!(object.unwrap().file_name(), "site");
                }
            })+
        }

        mod bucket {
            $(#[tokio::test]
            async fn $case() {
                let prefix = format!("{}-{}", stringify!($case), std::process::id());
                super::$case(&super::s3().await, &prefix).await;
            })+
        }
    };
}

conformance!(
    what_is_put_is_got,
    what_is_not_there_is_not_found,
    head_tells_size_and_change,
    streams_of_any_size_arrive_whole,
    a_stream_that_breaks_leaves_nothing,
    listings_are_in_order_and_in_pages,
    a_walk_gives_what_the_pages_give,
    folders_are_listed_without_what_is_in_them,
    deleting_removes,
    what_lies_below_a_prefix_is_deleted,
    bad_keys_are_refused,
    many_writers_do_not_disturb_each_other,
);
