//! Can the HTTP side be served as the settings say, and is it closed to strangers?

use std::net::{SocketAddr, ToSocketAddrs};

use tokio::task::spawn_blocking;

use super::finding::Finding;
use crate::roles::parts;
use crate::settings::Settings;

const WHAT: &str = "api";

pub(super) async fn check(settings: &Settings) -> Vec<Finding> {
    let asked = settings.clone();
    // A name in api.listen may need a name server.
    let checked = spawn_blocking(move || check_now(&asked)).await;
    vec![
        checked.unwrap_or_else(|error| {
            Finding::fail(WHAT, error.to_string()).with("please report this as a bug")
        }),
    ]
}

fn check_now(settings: &Settings) -> Finding {
    let listen = &settings.api.listen;
    if let Err(error) = parts::api_config(settings) {
        return Finding::fail(WHAT, error.to_string()).with(
            "correct api.tokens and [[webhooks]]: `pitchfleet config --example` shows how they are written",
        );
    }
    let addresses: Vec<SocketAddr> = match listen.to_socket_addrs() {
        Ok(addresses) => addresses.collect(),
        Err(error) => {
            return Finding::fail(
                WHAT,
                format!("api.listen: `{listen}` is no address and port: {error}"),
            )
            .with("such as 127.0.0.1:8080, or 0.0.0.0:8080 for other machines");
        }
    };
    let is_open = addresses.iter().any(|address| !address.ip().is_loopback());
    match (&settings.api.tokens, is_open) {
        (None, true) => Finding::fail(
            WHAT,
            format!("{listen} can be reached from other machines and there are no tokens"),
        )
        .with("make one (`pitchfleet token create`) and name the file in api.tokens; or listen on 127.0.0.1"),
        (None, false) => Finding::ok(WHAT, format!("{listen}, this machine only, without tokens")),
        (Some(path), _) => Finding::ok(WHAT, format!("{listen}, with the tokens in {}", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Level;
    use super::*;

    #[test]
    fn an_api_that_is_open_to_all_fails() {
        let dir = tempfile::tempdir().unwrap();
        let mut settings = Settings::default();
        assert_eq!(check_now(&settings).level, Level::Ok);
        settings.api.listen = "0.0.0.0:8080".into();
        assert_eq!(check_now(&settings).level, Level::Fail);
        settings.api.tokens = Some(dir.path().join("absent.toml"));
        let found = check_now(&settings);
        assert_eq!(found.level, Level::Fail);
        assert!(found.found.contains("absent.toml"), "{found:?}");
        settings.api.tokens = None;
        settings.api.listen = "nowhere".into();
        assert_eq!(check_now(&settings).level, Level::Fail);
    }
}
