//! Who wrote an entry: Ed25519 keys (RFC 8032). A public key is written `ed25519:BASE64`, a private one as the
//! base64 of its 32 bytes.
//!
//! A private key must never be in a message, a log or an entry.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom as _, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};

use crate::fault::{Exit, Fault};

/// What a public key's text begins with.
const FORM: &str = "ed25519:";

/// Whose entries are trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey([u8; 32]);

/// Signs entries.
pub struct SigningKey(Ed25519KeyPair);

impl PublicKey {
    /// Of `ed25519:BASE64`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = STANDARD.decode(text.strip_prefix(FORM)?).ok()?;
        Some(Self(bytes.try_into().ok()?))
    }

    /// Whether this key's owner has signed `message`; `signature` in base64.
    pub fn verifies(&self, message: &[u8], signature: &str) -> bool {
        let Ok(signature) = STANDARD.decode(signature) else { return false };
        UnparsedPublicKey::new(&ED25519, &self.0).verify(message, &signature).is_ok()
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{FORM}{}", STANDARD.encode(self.0))
    }
}

impl SigningKey {
    /// A new one, and the text that [`SigningKey::parse`] reads.
    ///
    /// # Errors
    /// [`Exit::Machine`] where the system gives no random bytes.
    pub fn generate() -> anyhow::Result<(Self, String)> {
        let failed = || Fault::new(Exit::Machine, "the system gave no random bytes");
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| failed())?;
        let text = STANDARD.encode(seed);
        let key = Self::parse(&text).ok_or_else(failed)?;
        Ok((key, text))
    }

    /// Of base64; `None` for what is no key.
    pub fn parse(text: &str) -> Option<Self> {
        let seed = STANDARD.decode(text.trim()).ok()?;
        Ed25519KeyPair::from_seed_unchecked(&seed).ok().map(Self)
    }

    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// In base64.
    pub fn sign(&self, message: &[u8]) -> String {
        STANDARD.encode(self.0.sign(message))
    }
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the private key of {}", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_of_the_specification_signs_as_it_says() {
        // RFC 8032, section 7.1, test 1: of an empty message.
        let key = SigningKey::parse("nWGxne/9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A=").unwrap();
        let public = key.public();
        assert_eq!(public.to_string(), "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
        let signature = key.sign(b"");
        let expected =
            "5VZDAMNgrHKQhuLMgG6CioSHfx645dl02HPgZSJJAVVfuIIVkKM7rMYeOXAc+bRr0lv18FlbviRlUUFDjnoQCw==";
        assert_eq!(signature, expected);
        assert!(public.verifies(b"", &signature));
        assert!(!public.verifies(b"x", &signature) && !public.verifies(b"", "x"));
        assert_eq!(PublicKey::parse(&public.to_string()), Some(public));
    }

    #[test]
    fn what_is_no_key_is_none() {
        for text in ["", "ed25519:", "ed25519:AAAA", "rsa:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="] {
            assert_eq!(PublicKey::parse(text), None, "{text}");
        }
        assert!(SigningKey::parse("c2hvcnQ=").is_none() && SigningKey::parse("#").is_none());
        let (key, text) = SigningKey::generate().unwrap();
        assert_eq!(SigningKey::parse(&text).unwrap().public(), key.public());
        assert!(!format!("{key:?}").contains(&text));
    }
}
