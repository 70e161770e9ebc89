//! Upload tickets of our own, for a store that cannot presign: who holds one may PUT these bytes to this key until it
//! expires, and nothing else. The key that signs them lives as long as the process: after a restart clients ask again.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use super::problem::{ApiError, Code};
use crate::config::ConfigError;

/// What a ticket allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    /// The key in the fleet's store.
    pub(crate) key: String,
    /// Exact size of the body in bytes.
    pub(crate) size: u64,
    /// Milliseconds of Unix time.
    pub(crate) expires_ms: u64,
}

/// Issues and checks tickets.
pub(crate) struct Tickets {
    signer: Hmac<Sha256>,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tickets(…)")
    }
}

impl Tickets {
    pub(crate) fn new() -> Result<Self, ConfigError> {
        let mut key = [0; 32];
        getrandom::fill(&mut key).map_err(|error| ConfigError::Random(error.to_string()))?;
        let signer = Hmac::new_from_slice(&key).map_err(|error| ConfigError::Random(error.to_string()))?;
        Ok(Self { signer })
    }

    /// A segment of a path.
    pub(crate) fn issue(&self, grant: &Grant) -> String {
        // A struct of text and numbers is always JSON.
        let claim = URL_SAFE_NO_PAD.encode(serde_json::to_vec(grant).unwrap_or_default());
        let tag = self.signer.clone().chain_update(&claim).finalize().into_bytes();
        format!("{claim}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// What the ticket allows at `now_ms`.
    pub(crate) fn check(&self, ticket: &str, now_ms: u64) -> Result<Grant, ApiError> {
        let forged = || {
            ApiError::new(
                Code::UploadForged,
                "This upload ticket was not issued by this server, or not since its last start. \
                 Ask for another: `POST /v1/batches/{id}/uploads`.",
            )
        };
        let (claim, tag) = ticket.split_once('.').ok_or_else(forged)?;
        let tag = URL_SAFE_NO_PAD.decode(tag).map_err(|_| forged())?;
        let signed = self.signer.clone().chain_update(claim);
        signed.verify_slice(&tag).map_err(|_| forged())?;
        let claim = URL_SAFE_NO_PAD.decode(claim).map_err(|_| forged())?;
        let grant: Grant = serde_json::from_slice(&claim).map_err(|_| forged())?;
        if grant.expires_ms <= now_ms {
            return Err(ApiError::new(
                Code::UploadExpired,
                "The upload ticket has expired. Ask for another: `POST /v1/batches/{id}/uploads`.",
            ));
        }
        Ok(grant)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant() -> Grant {
        Grant {
            key: "local/batches/b/photos/00000000-a.jpg".into(),
            size: 5,
            expires_ms: 1_000,
        }
    }

    #[test]
    fn a_ticket_is_good_until_it_expires() {
        let tickets = Tickets::new().unwrap();
        let ticket = tickets.issue(&grant());
        assert_eq!(tickets.check(&ticket, 999).unwrap(), grant());
        assert_eq!(
            tickets.check(&ticket, 1_000).unwrap_err().code(),
            Code::UploadExpired
        );
    }

    #[test]
    fn a_changed_ticket_is_refused() {
        let tickets = Tickets::new().unwrap();
        let ticket = tickets.issue(&grant());
        let other = Tickets::new().unwrap().issue(&grant());
        let larger = Tickets::new().unwrap().issue(&Grant { size: 6, ..grant() });
        let spliced = format!(
            "{}.{}",
            larger.split_once('.').unwrap().0,
            ticket.split_once('.').unwrap().1
        );
        for bad in [
            "",
            ".",
            "a.b",
            ticket.trim_end_matches(|c| c != '.'),
            &other,
            &spliced,
        ] {
            assert_eq!(
                tickets.check(bad, 0).unwrap_err().code(),
                Code::UploadForged,
                "{bad}"
            );
        }
    }
}
