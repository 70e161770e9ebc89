//! Tokens, from their making to their refusal.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::ground::{Ground, stderr};

pub(crate) fn create(ground: &Ground, arguments: &[&str]) -> String {
    let mut command = ground.pitchfleet();
    let output = command
        .args(["token", "create"])
        .args(arguments)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_token_opens_what_its_scope_says() {
    let ground = Ground::with_photos(1);
    let writer = create(&ground, &["--tenant", "mcc", "--scope", "submit,read"]);
    let reader = create(&ground, &["--tenant", "mcc", "--scope", "read"]);
    let file = ground.home().join("tokens.toml");
    let kept = fs::read_to_string(&file).unwrap();
    assert!(!kept.contains(&writer) && !kept.contains(&reader));
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);

    let up = ground.up_with(&[("PITCHFLEET_API_TOKENS", file.to_str().unwrap())]);
    let photos = ground.photos();
    let run = |token: &str, arguments: &[&str]| {
        let mut command = ground.client_command(&up.server, arguments);
        command.env("PITCHFLEET_TOKEN", token).output().unwrap()
    };
    let submit = ["submit", photos.to_str().unwrap()];
    let allowed = run(&writer, &submit);
    assert!(allowed.status.success(), "{allowed:?}");
    assert!(run(&reader, &["results", "last"]).status.success());

    let refused = run(&reader, &["cancel", "last"]);
    assert_eq!(refused.status.code(), Some(6), "{refused:?}");
    assert!(stderr(&refused).contains("submit"), "{refused:?}");
    let stranger = run("pf_nobody", &["batches"]);
    assert_eq!(stranger.status.code(), Some(6), "{stranger:?}");
    assert!(stderr(&stranger).contains("token"), "{stranger:?}");
    let nobody = ground.client(&up.server, &["batches"]);
    assert_eq!(nobody.status.code(), Some(6), "{nobody:?}");

    // A file does as well as a variable.
    let path = ground.home().join("token");
    fs::write(&path, format!("{reader}\n")).unwrap();
    let mut command = ground.client_command(&up.server, &["batches"]);
    let output = command.env("PITCHFLEET_TOKEN_FILE", &path).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn an_id_that_is_taken_is_refused_and_what_people_wrote_stays() {
    let ground = Ground::new();
    let file = ground.home().join("tokens.toml");
    fs::write(&file, "# ours\n").unwrap();
    create(&ground, &["--tenant", "a", "--scope", "admin", "--id", "x"]);
    let mut command = ground.pitchfleet();
    let again = command
        .args([
            "token", "create", "--tenant", "a", "--scope", "admin", "--id", "x",
        ])
        .output()
        .unwrap();
    assert_eq!(again.status.code(), Some(2), "{again:?}");
    assert!(fs::read_to_string(&file).unwrap().starts_with("# ours\n"));
}

#[test]
fn an_address_for_everybody_needs_tokens() {
    let ground = Ground::new();
    let mut command = ground.pitchfleet();
    command
        .args(["up", "--listen", "0.0.0.0:0", "--data"])
        .arg(ground.store());
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(stderr(&output).contains("pitchfleet token create"), "{output:?}");
}
