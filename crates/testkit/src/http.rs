//! Requests as simple as a test needs them.

use std::time::Duration;

use serde_json::Value;

/// What came back.
#[derive(Clone, Debug)]
pub struct Response {
    /// The status, whatever it is.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body as text.
    pub body: String,
}

impl Response {
    /// The body as JSON.
    ///
    /// # Panics
    /// When it is not.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error} in the body of a {}: {}", self.status, self.body))
    }

    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_str())
    }
}

/// Sends one request on a connection of its own; `None` when nobody answers. A URL may carry `user:password@`.
pub fn request(method: &str, url: &str, headers: &[(&str, &str)], body: &[u8]) -> Option<Response> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .max_redirects(0)
        .allow_non_standard_methods(true)
        .timeout_global(Some(Duration::from_secs(60)))
        .build()
        .into();
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(body).expect("a request that makes sense");
    let mut response = agent.run(request).ok()?;
    let headers = response.headers().iter().map(|(name, value)| {
        (
            name.as_str().to_owned(),
            String::from_utf8_lossy(value.as_bytes()).into_owned(),
        )
    });
    let headers = headers.collect();
    let body = response
        .body_mut()
        .with_config()
        .limit(1 << 30)
        .read_to_vec()
        .ok()?;
    let body = String::from_utf8_lossy(&body).into_owned();
    Some(Response {
        status: response.status().as_u16(),
        headers,
        body,
    })
}

/// GET; `None` when nobody answers.
pub fn get(url: &str) -> Option<Response> {
    request("GET", url, &[], b"")
}

/// POST of a JSON document.
///
/// # Panics
/// When nobody answers.
pub fn post(url: &str, document: &Value) -> Response {
    let headers = [("content-type", "application/json")];
    request("POST", url, &headers, document.to_string().as_bytes())
        .unwrap_or_else(|| panic!("nobody answers at {url}"))
}
