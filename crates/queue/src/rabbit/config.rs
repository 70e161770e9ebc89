//! Where the broker is and how patient to be. Passwords never reach a log.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use lapin::uri::AMQPUri;
use url::{Host, Url};

use crate::port::QueueError;
use crate::topology::Topology;

/// Longest frame in bytes, unless the URL says otherwise; RabbitMQ from 4.1 on takes nothing below. Messages are smaller,
/// their headers far smaller, and lapin keeps two rings of 32 frames for each connection, which sooner or later are written
/// to all around: with RabbitMQ's own 128 KiB a worker held 15 MB for them, and with 16 KiB it still grew by a megabyte
/// over two hundred cycles of load and unload.
const FRAME_MAX: u32 = 8 << 10;

/// An `amqp://` or `amqps://` URL with its secret kept out of `Debug` and `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct AmqpUrl(AMQPUri);

impl AmqpUrl {
    /// The same broker with other credentials, taken literally: for passwords that come from a file, where nobody
    /// percent-encodes them.
    #[must_use]
    pub fn with_credentials(mut self, user: impl Into<String>, password: impl Into<String>) -> Self {
        self.0.authority.userinfo.username = user.into();
        self.0.authority.userinfo.password = password.into();
        self
    }

    /// The same broker with another virtual host, taken literally.
    #[must_use]
    pub fn with_vhost(mut self, vhost: impl Into<String>) -> Self {
        self.0.vhost = vhost.into();
        self
    }

    /// The same virtual host at another address.
    #[must_use]
    pub fn with_address(mut self, host: impl Into<String>, port: u16) -> Self {
        self.0.authority.host = host.into();
        self.0.authority.port = port;
        self
    }

    /// The host and port it points to.
    pub fn address(&self) -> (&str, u16) {
        (&self.0.authority.host, self.0.authority.port)
    }

    /// Whether it would send RabbitMQ's default user and password, which everybody knows, to another machine. A URL
    /// without a user means these.
    pub fn is_default_elsewhere(&self) -> bool {
        let authority = &self.0.authority;
        let is_here = authority.host.eq_ignore_ascii_case("localhost")
            || authority
                .host
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        authority.userinfo.username == "guest" && authority.userinfo.password == "guest" && !is_here
    }

    pub(super) fn to_uri(&self, heartbeat: Duration) -> AMQPUri {
        let mut uri = self.0.clone();
        let seconds = u16::try_from(heartbeat.as_secs().max(1)).unwrap_or(u16::MAX);
        uri.query.heartbeat.get_or_insert(seconds);
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        uri
    }
}

impl FromStr for AmqpUrl {
    type Err = QueueError;

    /// Reads `amqp[s]://user:password@host:port/vhost`, user, password and virtual host percent-encoded (`/` is
    /// `%2f`; none and an empty one mean `/`). `?heartbeat=`, `?frame_max=` and `?connection_timeout=` are RabbitMQ's.
    ///
    /// # Errors
    /// [`QueueError::Url`], whose text does not repeat the URL.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad =
            |why: &str| QueueError::Url(format!("{why}; expected amqp[s]://user:password@host:port/vhost"));
        let url = Url::parse(text).map_err(|error| {
            bad(&format!(
                "{error} (are special characters in the password percent-encoded?)"
            ))
        })?;
        if !matches!(url.scheme(), "amqp" | "amqps") {
            return Err(bad("the scheme is neither amqp nor amqps"));
        }
        // Of the parser's own messages some quote the URL.
        let mut uri = AMQPUri::from_str(text).map_err(|_| bad("unreadable"))?;
        match url.host() {
            // The parser below lapin takes an IPv6 address for no host at all, and connects to localhost.
            Some(Host::Ipv6(address)) => uri.authority.host = IpAddr::V6(address).to_string(),
            Some(_) => {}
            None => return Err(bad("no host")),
        }
        if uri.vhost.is_empty() {
            uri.vhost = "/".into();
        }
        Ok(Self(uri))
    }
}

impl fmt::Display for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AMQPUri {
            scheme,
            authority,
            vhost,
            ..
        } = &self.0;
        let host = &authority.host;
        let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
        let vhost = percent_encoding::utf8_percent_encode(vhost, percent_encoding::NON_ALPHANUMERIC);
        let user = percent_encoding::utf8_percent_encode(
            &authority.userinfo.username,
            percent_encoding::NON_ALPHANUMERIC,
        );
        write!(
            f,
            "{scheme}://{user}:***@{open}{host}{close}:{}/{vhost}",
            authority.port
        )
    }
}

impl fmt::Debug for AmqpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AmqpUrl({self})")
    }
}

/// How to reach a broker.
#[derive(Clone, Debug)]
pub struct RabbitConfig {
    /// Where it is.
    pub url: AmqpUrl,
    /// Names and delays of the fleet.
    pub topology: Topology,
    /// What the broker's overview calls this process.
    pub name: String,
    /// Certificates of private authorities for `amqps`, PEM, besides the system's.
    pub certificates: Option<String>,
    /// For one attempt to connect.
    pub connect_timeout: Duration,
    /// A silent connection is given up after about two of these, and never sooner than two seconds; a
    /// `?heartbeat=` in the URL wins.
    pub heartbeat: Duration,
    /// The wait before the second attempt to connect; it doubles from there, with jitter.
    pub backoff_min: Duration,
    /// The longest wait between attempts.
    pub backoff_max: Duration,
    /// Messages on their way to the broker before confirms are waited for.
    pub publish_window: usize,
    /// How long a publish waits for a confirm, broker's absence included.
    pub publish_timeout: Duration,
    /// How often an idle consumer is checked.
    pub watchdog: Duration,
}

impl RabbitConfig {
    /// The defaults for the broker at `url`.
    pub fn new(url: AmqpUrl) -> Self {
        Self {
            url,
            topology: Topology::default(),
            name: "pitchfleet".into(),
            certificates: None,
            connect_timeout: Duration::from_secs(10),
            heartbeat: Duration::from_secs(15),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(15),
            publish_window: 1000,
            publish_timeout: Duration::from_secs(60),
            watchdog: Duration::from_secs(15),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> AmqpUrl {
        text.parse().unwrap()
    }

    #[test]
    fn special_characters_arrive_and_are_not_shown() {
        let encoded = parse("amqp://fleet:p%40ss%2Fw%23r%3Ad%25@broker:5673/my%2Fhost");
        let literal = parse("amqp://broker:5673")
            .with_credentials("fleet", "p@ss/w#r:d%")
            .with_vhost("my/host");
        assert_eq!(encoded, literal);
        for text in [
            format!("{encoded}"),
            format!("{encoded:?}"),
            format!("{:?}", RabbitConfig::new(encoded)),
        ] {
            assert!(text.contains("amqp://fleet:***@broker:5673/my%2Fhost"), "{text}");
            assert!(!text.contains("p@ss") && !text.contains("p%40ss"), "{text}");
        }
    }

    #[test]
    fn no_vhost_an_empty_one_and_the_encoded_slash_are_the_default_one() {
        assert_eq!(parse("amqp://h"), parse("amqp://h/%2f"));
        assert_eq!(parse("amqp://h/"), parse("amqp://h/%2f"));
        assert_eq!(parse("amqps://h").address(), ("h", 5671));
    }

    #[test]
    fn an_ipv6_address_is_kept() {
        assert_eq!(parse("amqp://[::1]:5672").address(), ("::1", 5672));
        assert_eq!(
            parse("amqp://[::1]").to_string(),
            "amqp://guest:***@[::1]:5672/%2F"
        );
    }

    #[test]
    fn the_default_user_is_for_this_machine_only() {
        for (url, elsewhere) in [
            ("amqp://rabbitmq", true),
            ("amqp://guest:guest@192.0.2.7", true),
            ("amqps://guest:guest@[2001:db8::1]", true),
            ("amqp://localhost.example.org", true),
            ("amqp://localhost", false),
            ("amqp://127.0.0.2", false),
            ("amqp://[::1]", false),
            ("amqp://guest:another@rabbitmq", false),
            ("amqp://fleet:guest@rabbitmq", false),
        ] {
            assert_eq!(parse(url).is_default_elsewhere(), elsewhere, "{url}");
        }
        let replaced = parse("amqp://rabbitmq").with_credentials("fleet", "secret");
        assert!(!replaced.is_default_elsewhere());
    }

    #[test]
    fn errors_do_not_repeat_the_secret() {
        for bad in [
            "http://u:secret@h",
            "amqp://u:secret/x@h:port",
            "amqp:u:secret",
            "secret",
            "amqp:///secret",
        ] {
            let error = bad.parse::<AmqpUrl>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
            assert!(error.contains("expected amqp[s]://"), "{error}");
        }
    }

    #[test]
    fn a_heartbeat_in_the_url_wins() {
        let ours = Duration::from_secs(15);
        assert_eq!(
            parse("amqp://h?heartbeat=5").to_uri(ours).query.heartbeat,
            Some(5)
        );
        assert_eq!(parse("amqp://h").to_uri(ours).query.heartbeat, Some(15));
    }
}
