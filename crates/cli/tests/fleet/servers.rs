//! Worker and API as processes of their own, on RabbitMQ and S3.

use std::process::Command;

use serde_json::json;
use testkit::{Bucket, Process, Vhost, http};

use crate::ground::{Ground, Role, stdout};

pub(crate) struct Servers {
    pub(crate) vhost: Vhost,
    pub(crate) bucket: Bucket,
}

impl Servers {
    pub(crate) fn shared() -> Self {
        Self {
            vhost: Vhost::shared(),
            bucket: Bucket::shared(),
        }
    }

    pub(crate) fn role(&self, ground: &Ground, arguments: &[&str]) -> Command {
        let bucket = &self.bucket;
        let mut command = ground.pitchfleet();
        command.args(arguments).envs([
            ("PITCHFLEET_BROKER_URL", self.vhost.url()),
            ("PITCHFLEET_STORE_BUCKET", &bucket.name),
            ("PITCHFLEET_STORE_ENDPOINT", &bucket.endpoint),
            ("PITCHFLEET_STORE_REGION", &bucket.region),
            ("PITCHFLEET_STORE_ACCESS_KEY", &bucket.access_key),
            ("PITCHFLEET_STORE_SECRET_KEY", &bucket.secret_key),
            ("PITCHFLEET_STORE_PREFIX", &bucket.prefix),
            (
                "PITCHFLEET_SOURCES",
                &format!("[{{ bucket = \"{}\" }}]", bucket.name),
            ),
        ]);
        command
    }
}

#[test]
fn photos_go_through_broker_and_bucket() {
    let servers = Servers::shared();
    let ground = Ground::with_photos(12).with_a_broken_photo("broken.jpg");
    let api = Role::api(&mut servers.role(&ground, &["api", "--listen", "127.0.0.1:0"]));
    let mut worker = Process::spawn(&mut servers.role(&ground, &["worker"]));
    let photos = ground.photos();

    let submitted = ground.client(&api.server, &["submit", photos.to_str().unwrap()]);
    assert!(submitted.status.success(), "{submitted:?}");
    assert!(
        stdout(&submitted).contains("12 analysed, 1 failed"),
        "{submitted:?}"
    );
    let batch = ground.ask(&api.server, &["batches", "--json"]);
    let batch: serde_json::Value = serde_json::from_str(batch.lines().next().unwrap()).unwrap();
    let batch = batch["id"].as_str().unwrap();
    assert_eq!(ground.results(&api.server, batch).len(), 13);

    // The photos lie in the bucket now; a batch takes them from there by prefix.
    let prefix = format!("{}/local/batches/{batch}/photos/", servers.bucket.prefix);
    let place = format!("s3://{}/{prefix}", servers.bucket.name);
    let imported = ground.client(&api.server, &["submit", &place]);
    assert!(imported.status.success(), "{imported:?}");
    assert!(
        stdout(&imported).contains("12 analysed, 1 failed"),
        "{imported:?}"
    );

    // Asked to go, both go, and say so with 0.
    worker.terminate();
    assert!(worker.wait().success(), "{}", worker.output());
    let mut api = api;
    api.process.terminate();
    assert!(api.process.wait().success(), "{}", api.process.output());
}

#[test]
fn a_prefix_that_nobody_allowed_is_refused() {
    let servers = Servers::shared();
    let ground = Ground::new();
    let api = Role::api(&mut servers.role(&ground, &["api", "--listen", "127.0.0.1:0"]));
    let url = format!("{}/v1/batches", api.server);
    let source = json!({"source": {"kind": "prefix", "bucket": "elsewhere", "prefix": "x/"}});
    let response = http::post(&url, &source);
    assert!((400..500).contains(&response.status), "{response:?}");
}
