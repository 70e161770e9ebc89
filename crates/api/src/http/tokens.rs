//! Who may do what. Tokens are kept as SHA-256 only; a token is 256 random bits, so that its hash needs no salt and
//! no slow function.

use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fleet::ids::Tenant;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

/// What a token allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Make, upload, submit, cancel and retry batches; analyse photos.
    Submit,
    /// Read batches, results, pictures and documents; see workers.
    Read,
    /// Everything, deletion included.
    Admin,
}

impl Scope {
    /// The name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Read => "read",
            Self::Admin => "admin",
        }
    }
}

/// A `[[token]]` of the token file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenEntry {
    /// For people and logs: which token this is.
    pub id: String,
    /// SHA-256 of the token, hexadecimal.
    pub sha256: String,
    /// Whose batches it opens.
    pub tenant: Tenant,
    /// What it allows.
    pub scopes: BTreeSet<Scope>,
}

/// The token file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TokenFile {
    /// Every token.
    #[serde(default, rename = "token")]
    pub tokens: Vec<TokenEntry>,
}

/// A token file that is not one.
#[derive(Debug, Error)]
pub enum TokenError {
    /// Not TOML, or of another shape.
    #[error("not a token file: {0}")]
    Toml(#[from] toml::de::Error),
    /// A hash that is none.
    #[error("token `{id}`: `sha256` must be 64 hexadecimal digits")]
    Hash {
        /// The token's id.
        id: String,
    },
    /// Two tokens of one id.
    #[error("token `{id}` is there twice")]
    Twice {
        /// The token's id.
        id: String,
    },
    /// The operating system gives no random bytes.
    #[error("no random bytes: {0}")]
    Random(String),
}

/// Text that is a secret: its `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Makes a token: the secret that is shown once, and the entry that is kept.
///
/// # Errors
/// When the operating system gives no random bytes.
pub fn create_token(
    id: impl Into<String>,
    tenant: Tenant,
    scopes: BTreeSet<Scope>,
) -> Result<(Secret, TokenEntry), TokenError> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| TokenError::Random(error.to_string()))?;
    let secret = format!("pf_{}", URL_SAFE_NO_PAD.encode(bytes));
    let entry = TokenEntry {
        id: id.into(),
        sha256: hex(&Sha256::digest(&secret)),
        tenant,
        scopes,
    };
    Ok((Secret(secret), entry))
}

/// Whoever sends a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Principal {
    pub(crate) id: String,
    pub(crate) tenant: Tenant,
    pub(crate) scopes: BTreeSet<Scope>,
}

impl Principal {
    /// Whoever reaches a server without tokens.
    pub(crate) fn local() -> Self {
        Self {
            id: "local".to_owned(),
            tenant: Tenant::local(),
            scopes: BTreeSet::from([Scope::Admin]),
        }
    }

    pub(crate) fn may(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope) || self.scopes.contains(&Scope::Admin)
    }
}

/// Every token that is accepted.
#[derive(Clone, Debug, Default)]
pub struct Tokens {
    entries: Vec<([u8; 32], Principal)>,
}

impl Tokens {
    /// Of a token file's text.
    ///
    /// # Errors
    /// When it is not one.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        Self::new(toml::from_str::<TokenFile>(text)?)
    }

    /// Of `file`.
    ///
    /// # Errors
    /// When a hash is none, or an id is there twice.
    pub fn new(file: TokenFile) -> Result<Self, TokenError> {
        let mut ids = BTreeSet::new();
        let mut entries = Vec::new();
        for entry in file.tokens {
            if !ids.insert(entry.id.clone()) {
                return Err(TokenError::Twice { id: entry.id });
            }
            let Some(hash) = unhex(&entry.sha256) else {
                return Err(TokenError::Hash { id: entry.id });
            };
            let principal = Principal {
                id: entry.id,
                tenant: entry.tenant,
                scopes: entry.scopes,
            };
            entries.push((hash, principal));
        }
        Ok(Self { entries })
    }

    /// Whether there is none: then there is one tenant, on this machine only.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whose token `secret` is. Takes the same time whichever it is, and whether it is one.
    pub(crate) fn find(&self, secret: &str) -> Option<(usize, &Principal)> {
        let hash: [u8; 32] = Sha256::digest(secret).into();
        let mut found = None;
        for (place, (known, principal)) in self.entries.iter().enumerate() {
            if bool::from(known.ct_eq(&hash)) {
                found = Some((place, principal));
            }
        }
        found
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if text.len() != 64 || !text.is_ascii() {
        return None;
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_found_by_its_secret_only() {
        let scopes = BTreeSet::from([Scope::Read]);
        let (secret, entry) = create_token("ci", "acme".parse().unwrap(), scopes).unwrap();
        assert!(secret.reveal().starts_with("pf_"));
        assert_eq!(secret.reveal().len(), 3 + 43);
        let file = TokenFile { tokens: vec![entry] };
        let text = toml::to_string(&file).unwrap();
        assert!(!text.contains(secret.reveal()));
        let tokens = Tokens::parse(&text).unwrap();
        let (_, principal) = tokens.find(secret.reveal()).unwrap();
        assert_eq!(principal.tenant.as_str(), "acme");
        assert!(principal.may(Scope::Read) && !principal.may(Scope::Submit));
        assert!(tokens.find("pf_").is_none() && tokens.find("").is_none());
        assert!(!format!("{secret:?}").contains(secret.reveal()));
    }

    #[test]
    fn a_hash_is_sha_256() {
        // FIPS 180-2, appendix B.1.
        let text = "[[token]]\nid = \"t\"\ntenant = \"a\"\nscopes = [\"admin\"]\nsha256 = \
                    \"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"\n";
        let tokens = Tokens::parse(text).unwrap();
        assert!(tokens.find("abc").unwrap().1.may(Scope::Submit));
    }

    #[test]
    fn a_file_that_is_wrong_is_refused() {
        let entry =
            |hash: &str| format!("[[token]]\nid = \"t\"\ntenant = \"a\"\nscopes = []\nsha256 = \"{hash}\"\n");
        for bad in [
            entry("abc"),
            entry(&"g".repeat(64)),
            entry(&"é".repeat(32)),
            entry(&"0".repeat(64)).repeat(2),
            "[[token]]\nid = \"t\"\n".to_owned(),
            "[[tokens]]\n".to_owned(),
        ] {
            assert!(Tokens::parse(&bad).is_err(), "{bad}");
        }
    }
}
