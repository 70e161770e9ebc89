//! One line of the doctor's report.

use percent_encoding::percent_decode_str;
use serde::Serialize;

use crate::settings::Settings;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Level {
    /// As it should be.
    Ok,
    /// It works, and somebody should look at it.
    Warn,
    /// It does not work.
    Fail,
}

impl Level {
    /// As in JSON.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// What was found at one place.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Finding {
    /// The place: a word that stays the same.
    pub(super) what: &'static str,
    pub(super) level: Level,
    /// A sentence for people.
    pub(super) found: String,
    /// What to do; everything that is not [`Level::Ok`] has it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<String>,
}

impl Finding {
    pub(super) fn ok(what: &'static str, found: impl Into<String>) -> Self {
        Self {
            what,
            level: Level::Ok,
            found: found.into(),
            remedy: None,
        }
    }

    /// Needs a remedy: [`with`](Self::with).
    pub(super) fn warn(what: &'static str, found: impl Into<String>) -> Self {
        Self {
            level: Level::Warn,
            ..Self::ok(what, found)
        }
    }

    /// Needs a remedy: [`with`](Self::with).
    pub(super) fn fail(what: &'static str, found: impl Into<String>) -> Self {
        Self {
            level: Level::Fail,
            ..Self::ok(what, found)
        }
    }

    /// With what to do about it.
    pub(super) fn with(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: Some(remedy.into()),
            ..self
        }
    }
}

/// An error with its causes, each once.
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

/// Takes secrets out of whatever libraries and servers say.
#[derive(Debug, Default)]
pub(super) struct Redaction {
    secrets: Vec<String>,
}

impl Redaction {
    /// For every secret in `settings`.
    pub(super) fn of(settings: &Settings) -> Self {
        let mut secrets = Vec::new();
        for (_, secret) in settings.secrets() {
            let secret = secret.reveal();
            secrets.push(secret.to_owned());
            if let Some(password) = password_in(secret) {
                secrets.push(password.to_owned());
                secrets.push(percent_decode_str(password).decode_utf8_lossy().into_owned());
            }
        }
        secrets.retain(|secret| !secret.is_empty());
        // A secret that begins another would leave the rest of that.
        secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
        Self { secrets }
    }

    pub(super) fn apply(&self, finding: &mut Finding) {
        for text in [Some(&mut finding.found), finding.remedy.as_mut()]
            .into_iter()
            .flatten()
        {
            for secret in &self.secrets {
                if text.contains(secret.as_str()) {
                    *text = text.replace(secret.as_str(), "***");
                }
            }
        }
    }
}

/// The password of `scheme://user:password@host`, as it is written.
fn password_in(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let (user, _) = authority.rsplit_once('@')?;
    Some(user.split_once(':')?.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_taken_out_of_what_others_say() {
        let mut settings = Settings::default();
        settings.broker.url = Some("amqp://fleet:p%40ss-word@rabbit/%2f".to_owned().into());
        settings.store.access_key = Some("GK0012".to_owned().into());
        settings.store.secret_key = Some("GK00123456".to_owned().into());
        let mut finding = Finding::fail("store", "no key GK0012, no secret GK00123456 for p@ss-word")
            .with("look at p%40ss-word");
        Redaction::of(&settings).apply(&mut finding);
        assert_eq!(finding.found, "no key ***, no secret *** for ***");
        assert_eq!(finding.remedy.as_deref(), Some("look at ***"));
    }

    #[test]
    fn a_url_without_a_password_has_none() {
        for url in ["amqp://h", "amqp://u@h", "amqp://h/v:x@y", "h", ""] {
            assert_eq!(password_in(url), None, "{url}");
        }
        assert_eq!(password_in("amqp://u:a:b@h:1/v"), Some("a:b"));
    }

    #[test]
    fn levels_are_in_order() {
        assert!(Level::Ok < Level::Warn && Level::Warn < Level::Fail);
    }
}
