use crate::{Server, unique_name, variable};

/// A part of the S3 server's bucket that no other test sees: keep below [`prefix`](Bucket::prefix).
#[derive(Clone, Debug)]
pub struct Bucket {
    /// URL of the server.
    pub endpoint: String,
    /// The region that it wants in signatures.
    pub region: String,
    /// Name of the bucket.
    pub name: String,
    /// The key that may do everything in it.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// What every key of this test begins with, without a slash at its end.
    pub prefix: String,
}

impl Bucket {
    /// Of the server that `scripts/test.sh` starts.
    ///
    /// # Panics
    /// When its variables are not set.
    pub fn shared() -> Self {
        Self::from_variables(variable)
    }

    /// Of a server of the test's own.
    pub fn on(server: &Server) -> Self {
        Self::from_variables(|name| server.variable(name))
    }

    fn from_variables(read: impl Fn(&str) -> String) -> Self {
        Self {
            endpoint: read("PITCHFLEET_TEST_S3_ENDPOINT"),
            region: read("PITCHFLEET_TEST_S3_REGION"),
            name: read("PITCHFLEET_TEST_S3_BUCKET"),
            access_key: read("PITCHFLEET_TEST_S3_ACCESS_KEY"),
            secret_key: read("PITCHFLEET_TEST_S3_SECRET_KEY"),
            prefix: unique_name(),
        }
    }
}
