//! Settings as the executable takes them.

use std::fs;

use crate::ground::{Ground, stderr, stdout};

#[test]
fn an_unknown_key_is_refused_with_the_name_that_was_meant() {
    let ground = Ground::new();
    fs::write(
        ground.home().join("pitchfleet.toml"),
        "[api]\nlisen = \"127.0.0.1:1\"\n",
    )
    .unwrap();
    for role in ["up", "api", "worker"] {
        let output = ground.pitchfleet().arg(role).output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(
            stderr(&output).contains("did you mean `api.listen`?"),
            "{output:?}"
        );
    }
}

#[test]
fn what_holds_is_shown_without_secrets() {
    let ground = Ground::new();
    let secret = ground.home().join("secret");
    fs::write(&secret, "hunter2\n").unwrap();
    let mut command = ground.pitchfleet();
    command.args(["config", "--show"]).envs([
        ("PITCHFLEET_BROKER_URL", "amqp://fleet:hunter2@rabbitmq"),
        ("PITCHFLEET_STORE_ACCESS_KEY", "hunter2"),
        ("PITCHFLEET_STORE_SECRET_KEY_FILE", secret.to_str().unwrap()),
        ("PITCHFLEET_WORKER_UNLOAD_GRACE", "5m"),
    ]);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let shown = stdout(&output);
    assert!(shown.contains("unload_grace = \"5m\""), "{shown}");
    assert!(
        !shown.contains("hunter2") && !stderr(&output).contains("hunter2"),
        "{output:?}"
    );
}

#[test]
fn the_example_can_be_used_as_it_is() {
    let ground = Ground::new();
    let example = ground
        .pitchfleet()
        .args(["config", "--example"])
        .output()
        .unwrap();
    fs::write(ground.home().join("pitchfleet.toml"), example.stdout).unwrap();
    let checked = ground.pitchfleet().args(["config", "--check"]).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
    assert!(stdout(&checked).contains("pitchfleet.toml"), "{checked:?}");
}

#[test]
fn a_role_that_lacks_its_servers_says_which() {
    let ground = Ground::new();
    let output = ground.pitchfleet().arg("worker").output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(stderr(&output).contains("store.bucket"), "{output:?}");
    let mut command = ground.pitchfleet();
    command.arg("api").env("PITCHFLEET_STORE_BUCKET", "b");
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(stderr(&output).contains("broker.url"), "{output:?}");
}

#[test]
fn the_brokers_default_user_is_refused_on_another_machine() {
    let ground = Ground::new();
    for (role, url) in [
        ("worker", "amqp://rabbitmq"),
        ("api", "amqp://guest:guest@192.0.2.7:5672"),
    ] {
        let mut command = ground.pitchfleet();
        command
            .arg(role)
            .envs([("PITCHFLEET_STORE_BUCKET", "b"), ("PITCHFLEET_BROKER_URL", url)]);
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        assert!(stderr(&output).contains("rabbitmqctl add_user"), "{output:?}");
    }
}

#[test]
fn a_webhook_secret_that_is_none_is_refused_and_not_repeated() {
    let ground = Ground::new();
    let mut command = ground.pitchfleet();
    command.args(["up", "--listen", "127.0.0.1:0"]).env(
        "PITCHFLEET_WEBHOOKS",
        "[{ host = \"hooks.example.org\", secrets = [\"hunter2\"] }]",
    );
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = stderr(&output);
    assert!(
        said.contains("hooks.example.org") && said.contains("whsec_"),
        "{said}"
    );
    assert!(!said.contains("hunter2"), "{said}");
}
