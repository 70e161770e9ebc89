//! Servers that break off, stand still, or take the words back.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "the functions beside the tests may fail, too"
)]

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use store::{FolderStore, S3Config, S3Store, Store, StoreErrorKind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Far beyond what anything here takes; only a failure waits for so long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that says `answer` to every request and then keeps the connection (or closes it).
async fn server(answer: &'static str, keep: bool) -> S3Store {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        let mut kept: Vec<TcpStream> = Vec::new();
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = vec![0; 64 * 1024];
            let _ = connection.read(&mut request).await;
            let _ = connection.write_all(answer.as_bytes()).await;
            if keep {
                kept.push(connection);
            }
        }
    });
    S3Store::new(S3Config {
        bucket: "pitchfleet".into(),
        region: "anywhere".into(),
        endpoint: Some(endpoint),
        public_endpoint: None,
        path_style: true,
        credentials: Some(("access".into(), "secret".into())),
        attempts: 1,
        stall_timeout: Duration::from_millis(200),
    })
    .await
}

const HALF: &str = "HTTP/1.1 200 OK\r\ncontent-length: 10\r\netag: \"a\"\r\n\r\nhalf.";

async fn in_time<T>(work: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, work)
        .await
        .unwrap_or_else(|_| panic!("nothing happened"))
}

#[tokio::test]
async fn a_body_that_stands_still_is_an_error() {
    let object = in_time(server(HALF, true).await.get("a")).await.unwrap();
    assert_eq!(object.info.size, 10);
    let error = in_time(object.into_bytes()).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_an_error_and_no_end() {
    let object = in_time(server(HALF, false).await.get("a")).await.unwrap();
    in_time(object.into_bytes()).await.unwrap_err();
}

#[tokio::test]
async fn a_server_that_never_answers_is_unavailable() {
    let store = server("", true).await;
    for error in [
        in_time(store.get("a")).await.err(),
        in_time(store.head("a")).await.err(),
        in_time(store.list("", None, 1)).await.err(),
        in_time(store.put("a", Bytes::from_static(b"x"), "text/plain"))
            .await
            .err(),
    ] {
        assert!(
            error.as_ref().is_some_and(|error| error.is_transient()),
            "{error:?}"
        );
    }
}

#[tokio::test]
async fn an_answer_that_makes_no_sense_is_unavailable() {
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n<not-xml>",
        "HTTP/1.1 503 Slow Down\r\ncontent-length: 0\r\n\r\n",
        "SSH-2.0-OpenSSH_9.6\r\n",
    ] {
        let error = in_time(server(answer, false).await.list("", None, 1))
            .await
            .unwrap_err();
        assert_eq!(error.kind, StoreErrorKind::Unavailable, "{answer}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_and_deleters_of_one_folder_do_not_disturb_each_other() {
    let root = tempfile::tempdir().unwrap();
    let store = Arc::new(FolderStore::new(root.path()));
    let work = (0..8).map(|i| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            for _ in 0..200 {
                let key = format!("a/b/c/{i}");
                store
                    .put(&key, Bytes::from_static(b"x"), "text/plain")
                    .await
                    .unwrap();
                store.delete(&key).await.unwrap();
            }
        })
    });
    futures_util::future::try_join_all(work).await.unwrap();
    assert!(
        root.path().read_dir().unwrap().next().is_none(),
        "no empty folder is left"
    );
}

#[tokio::test]
async fn what_a_killed_writer_left_is_no_object_and_goes_with_its_folder() {
    let root = tempfile::tempdir().unwrap();
    let store = FolderStore::new(root.path());
    std::fs::create_dir_all(root.path().join("a/b")).unwrap();
    std::fs::write(root.path().join("a/b/.tmpX.pitchfleet-part"), "half").unwrap();
    assert!(store.list("", None, 10).await.unwrap().objects.is_empty());
    assert!(
        store
            .list_folders("a/", None, 10)
            .await
            .unwrap()
            .folders
            .is_empty()
    );
    store.delete_below("a/").await.unwrap();
    assert!(root.path().read_dir().unwrap().next().is_none());
}

#[cfg(unix)]
#[tokio::test]
async fn files_are_as_open_as_the_umask_says() {
    use std::os::unix::fs::PermissionsExt;
    let root = tempfile::tempdir().unwrap();
    let store = FolderStore::new(root.path());
    std::fs::write(root.path().join("by-hand"), "x").unwrap();
    store
        .put("put", Bytes::from_static(b"x"), "text/plain")
        .await
        .unwrap();
    let chunks = stream::iter([Ok(Bytes::from_static(b"x"))]);
    store
        .put_stream("streamed", Box::pin(chunks), "text/plain")
        .await
        .unwrap();
    let mode = |name| {
        std::fs::metadata(root.path().join(name))
            .unwrap()
            .permissions()
            .mode()
    };
    assert_eq!(mode("put"), mode("by-hand"));
    assert_eq!(mode("streamed"), mode("by-hand"));
}
