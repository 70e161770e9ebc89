//! Connections that clients do not use as they should.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

mod server;

use api::ApiConfig;
use server::{Server, config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

async fn connect(server: &Server) -> TcpStream {
    TcpStream::connect(server.url.trim_start_matches("http://"))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_finish_a_requests_head_is_hung_up_on() {
    let server = Server::start(ApiConfig {
        request_seconds: 1,
        ..config()
    })
    .await;
    let mut slow = connect(&server).await;
    slow.write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n")
        .await
        .unwrap();
    // The server's end is the only thing that ends this.
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.unwrap();
    assert!(!rest.starts_with(b"HTTP/1.1 200"), "{rest:?}");

    // Others were served meanwhile, and are.
    assert_eq!(server.get("/livez").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_takes_several_requests() {
    let server = Server::start(config()).await;
    let mut stream = connect(&server).await;
    for _ in 0..2 {
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")
            .await
            .unwrap();
        let mut begin = [0; 12];
        stream.read_exact(&mut begin).await.unwrap();
        assert_eq!(&begin, b"HTTP/1.1 200");
        let mut rest = [0; 4096];
        assert!(stream.read(&mut rest).await.unwrap() > 0);
    }
    server.shutdown.cancel();
    let mut rest = Vec::new();
    // Nothing is in flight on it: it is closed.
    stream.read_to_end(&mut rest).await.unwrap();
}
