//! URLs that may be told.

use ureq::http::Uri;
use ureq::http::uri::Scheme;

use super::WebhookConfig;

/// A URL that may be told, by its looks: where its host's name leads is seen when it is dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    pub(super) uri: Uri,
    pub(super) host: String,
}

/// Why a URL is not told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Not an absolute URL.
    #[error("the webhook is no URL with a host")]
    NoUrl,
    /// Without TLS.
    #[error("the webhook must begin with `https://`")]
    NotHttps,
    /// `user:password@`.
    #[error("the webhook must not hold a user or a password")]
    Credentials,
    /// Not among [`WebhookConfig::hosts`].
    #[error("`{host}` is not among the webhook hosts that the operator allows")]
    UnknownHost {
        /// The host.
        host: String,
    },
}

impl WebhookConfig {
    /// Whether `url` may be told, read as it will be when it is dialled.
    ///
    /// # Errors
    /// [`TargetError`].
    pub fn target(&self, url: &str) -> Result<Target, TargetError> {
        let uri: Uri = url.parse().map_err(|_| TargetError::NoUrl)?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(TargetError::NoUrl);
        };
        if *scheme != Scheme::HTTPS && !(*scheme == Scheme::HTTP && self.allow_loopback) {
            return Err(TargetError::NotHttps);
        }
        if authority.as_str().contains('@') {
            return Err(TargetError::Credentials);
        }
        let host = authority.host().to_ascii_lowercase();
        if host.is_empty() {
            return Err(TargetError::NoUrl);
        }
        if !self
            .hosts
            .iter()
            .any(|allowed| allowed.eq_ignore_ascii_case(&host))
        {
            return Err(TargetError::UnknownHost { host });
        }
        Ok(Target { uri, host })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(allow_loopback: bool) -> WebhookConfig {
        WebhookConfig {
            hosts: vec!["Hooks.example.org".into(), "127.0.0.1".into()],
            allow_loopback,
            ..WebhookConfig::default()
        }
    }

    #[test]
    fn allowed_hosts_are_told_over_tls() {
        for good in [
            "https://hooks.example.org",
            "https://HOOKS.example.org/a?b=c",
            "https://hooks.example.org:8443/",
        ] {
            assert_eq!(config(false).target(good).unwrap().host, "hooks.example.org");
        }
        assert!(config(true).target("http://127.0.0.1:8080/").is_ok());
    }

    #[test]
    fn everything_else_is_refused() {
        let unknown = |host: &str| TargetError::UnknownHost { host: host.into() };
        for (bad, expected) in [
            ("", TargetError::NoUrl),
            ("/path", TargetError::NoUrl),
            ("hooks.example.org", TargetError::NoUrl),
            ("https://", TargetError::NoUrl),
            ("https:///path", TargetError::NoUrl),
            ("https://hooks example.org/", TargetError::NoUrl),
            ("http://hooks.example.org/", TargetError::NotHttps),
            ("http://127.0.0.1/", TargetError::NotHttps),
            ("ftp://hooks.example.org/", TargetError::NotHttps),
            ("file://hooks.example.org/etc/passwd", TargetError::NotHttps),
            ("https://user:pw@hooks.example.org/", TargetError::Credentials),
            (
                "https://hooks.example.org@evil.example/",
                TargetError::Credentials,
            ),
            ("https://evil.example/", unknown("evil.example")),
            (
                "https://hooks.example.org.evil.example/",
                unknown("hooks.example.org.evil.example"),
            ),
            ("https://xhooks.example.org/", unknown("xhooks.example.org")),
            ("https://hooks.example.org./", unknown("hooks.example.org.")),
            ("https://[::1]/", unknown("[::1]")),
        ] {
            assert_eq!(config(false).target(bad), Err(expected), "{bad}");
        }
    }
}
