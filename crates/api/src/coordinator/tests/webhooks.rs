//! A finished batch tells its webhook, until it is heard.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;

use fleet::batch::Stage;

use super::*;
use crate::config::ApiConfig;

/// A receiver that answers with `answers`, one a connection, and hands on what it was sent: id and body.
fn receiver(answers: &'static [u16]) -> (String, mpsc::Receiver<(String, String)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let (sender, heard) = mpsc::channel();
    std::thread::spawn(move || {
        for status in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let (mut id, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                match line.trim_end().split_once(": ") {
                    Some((name, value)) if name.eq_ignore_ascii_case("webhook-id") => id = value.to_owned(),
                    Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                        length = value.parse().unwrap();
                    }
                    Some(_) => {}
                    None if line.trim_end().is_empty() => break,
                    None => {}
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            let _ = sender.send((id, String::from_utf8(body).unwrap()));
        }
    });
    (url, heard)
}

#[tokio::test(start_paused = true)]
async fn a_webhook_is_told_again_under_the_same_id_until_it_is_heard() {
    let mut fleet = Fleet::new();
    fleet.photograph(&["p/a.jpg"]).await;
    let (url, heard) = receiver(&[503, 503, 204]);
    let config: ApiConfig = serde_json::from_value(serde_json::json!({
        "webhook": {
            "hosts": ["127.0.0.1"],
            "secrets": { "127.0.0.1": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"] },
            "allow_loopback": true,
        },
    }))
    .unwrap();
    let shared = fleet.shared_over(Arc::clone(&fleet.home), fleet.queue.clone(), config);
    let _coordinator = fleet.coordinate(&shared);
    fleet.work();
    let source = Source::Prefix {
        bucket: "photos".to_owned(),
        prefix: "p/".to_owned(),
    };
    let (batch, keys) = fleet.declare(source.clone()).await;
    let mut manifest = fleet.manifest(batch, source);
    manifest.webhook = Some(url);
    fleet.put(&keys.manifest(), &manifest).await;
    fleet.begin(batch, Stage::Expand).await;
    fleet.finished(batch).await;
    let mut told = Vec::new();
    let all = async {
        while told.len() < 3 {
            told.extend(heard.try_iter());
            tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("three tries");
    assert!(
        told.iter()
            .all(|(id, body)| *id == told[0].0 && *body == told[0].1),
        "{told:?}"
    );
    assert!(told[0].1.contains("batch.completed"), "{told:?}");
}
