use serde_json::Value;

use crate::{Server, http, unique_name, variable};

/// A virtual host of the broker, made for one test and deleted with it, whatever is left in it.
#[derive(Debug)]
pub struct Vhost {
    name: String,
    amqp: String,
    management: String,
}

/// One queue, as the management API counts it (some seconds late).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueStatus {
    /// Its name.
    pub name: String,
    /// Messages that nobody has been given.
    pub ready: u64,
    /// Messages in somebody's hand.
    pub unacknowledged: u64,
    /// Consumers attached.
    pub consumers: u64,
}

impl Vhost {
    /// On the broker that `scripts/test.sh` starts.
    ///
    /// # Panics
    /// When its variables are not set or it does not answer.
    pub fn shared() -> Self {
        Self::create(
            &variable("PITCHFLEET_TEST_AMQP"),
            &variable("PITCHFLEET_TEST_AMQP_MANAGEMENT"),
        )
    }

    /// On a broker of the test's own.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn on(server: &Server) -> Self {
        Self::create(
            &server.variable("PITCHFLEET_TEST_AMQP"),
            &server.variable("PITCHFLEET_TEST_AMQP_MANAGEMENT"),
        )
    }

    fn create(amqp: &str, management: &str) -> Self {
        let name = unique_name();
        let (broker, _) = amqp.rsplit_once('/').expect("an AMQP URL with a virtual host");
        let vhost = Self {
            amqp: format!("{broker}/{name}"),
            management: management.to_owned(),
            name,
        };
        // Whoever makes a virtual host may do everything in it.
        let made = vhost.ask("PUT", &format!("vhosts/{}", vhost.name));
        assert!(
            matches!(made.status, 201 | 204),
            "the broker makes no virtual host: {made:?}"
        );
        vhost
    }

    /// `amqp://user:password@host:port/name`.
    pub fn url(&self) -> &str {
        &self.amqp
    }

    /// The URL for a user of this virtual host's own, with a password of letters and digits: one to look for in logs.
    ///
    /// # Panics
    /// When the broker does not answer.
    pub fn url_with(&self, password: &str) -> String {
        let user = &self.name;
        for (path, body) in [
            (
                format!("users/{user}"),
                serde_json::json!({"password": password, "tags": ""}),
            ),
            (
                format!("permissions/{user}/{user}"),
                serde_json::json!({"configure": ".*", "write": ".*", "read": ".*"}),
            ),
        ] {
            let made = self.send("PUT", &path, body.to_string().as_bytes());
            assert!(made.is_some_and(|made| made.status < 300), "no user {user}");
        }
        let (_, place) = self.amqp.rsplit_once('@').expect("an AMQP URL with a user");
        format!("amqp://{user}:{password}@{place}")
    }

    /// Closes every connection to this virtual host from the broker's side; returns how many there were. The broker
    /// needs some seconds to list a new one.
    pub fn close_connections(&self) -> usize {
        let listed = self
            .ask("GET", &format!("vhosts/{}/connections", self.name))
            .json();
        let names: Vec<_> = listed
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|c| c["name"].as_str())
            .collect();
        for name in &names {
            let escaped = name.replace(' ', "%20").replace('>', "%3E");
            self.ask("DELETE", &format!("connections/{escaped}"));
        }
        names.len()
    }

    /// Every queue. The broker counts from time to time: what changed within the last seconds may not show.
    pub fn queues(&self) -> Vec<QueueStatus> {
        let count = |queue: &Value, field: &str| queue[field].as_u64().unwrap_or(0);
        let listed = self.ask("GET", &format!("queues/{}", self.name)).json();
        let queues = listed.as_array().into_iter().flatten().map(|queue| QueueStatus {
            name: queue["name"].as_str().unwrap_or_default().to_owned(),
            ready: count(queue, "messages_ready"),
            unacknowledged: count(queue, "messages_unacknowledged"),
            consumers: count(queue, "consumers"),
        });
        queues.collect()
    }

    /// Asks the management API for `/api/<path>`.
    ///
    /// # Panics
    /// When it does not answer.
    pub fn ask(&self, method: &str, path: &str) -> http::Response {
        self.try_ask(method, path)
            .unwrap_or_else(|| panic!("the broker's management API does not answer"))
    }

    fn try_ask(&self, method: &str, path: &str) -> Option<http::Response> {
        let body: &[u8] = if method == "PUT" { b"{}" } else { b"" };
        self.send(method, path, body)
    }

    fn send(&self, method: &str, path: &str, body: &[u8]) -> Option<http::Response> {
        let url = format!("{}/api/{path}", self.management);
        http::request(method, &url, &[("content-type", "application/json")], body)
    }
}

impl Drop for Vhost {
    fn drop(&mut self) {
        // A broker that the test has stopped takes it along.
        self.try_ask("DELETE", &format!("vhosts/{}", self.name));
        self.try_ask("DELETE", &format!("users/{}", self.name));
    }
}
