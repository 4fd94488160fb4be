//! Public keys, and whether a signature is theirs.

use base64ct::{Base64, Encoding};
use ecdsa::signature::hazmat::PrehashVerifier;
use p256::NistP256;
use sha2::{Digest as _, Sha256};

use super::Signature;
use crate::error::{Error, ErrorKind, Result};

const BEGIN: &str = "-----BEGIN PUBLIC KEY-----";
const END: &str = "-----END PUBLIC KEY-----";

/// A `SubjectPublicKeyInfo` (RFC 5280) up to the point on the curve. DER has one encoding of a value,
/// so all keys of one kind begin with the same bytes: `ecPublicKey` with `prime256v1` (RFC 5480), ...
const P256: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];
/// ... and `Ed25519` (RFC 8410).
const ED25519: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// Longest signature of either kind, in base64.
const SIGNATURE_MAX: usize = 128;

/// A key of the kinds cosign and skopeo make.
#[derive(Debug)]
pub(super) enum Key {
    P256(Box<ecdsa::VerifyingKey<NistP256>>),
    Ed25519(ed25519_compact::PublicKey),
}

impl Key {
    /// Reads the PEM of one key.
    pub(super) fn parse(pem: &[u8]) -> Result<Self> {
        let corrupt = |cause: &str| Error::corrupt("read", "public key", cause);
        let text = std::str::from_utf8(pem).map_err(|_utf8| corrupt("not PEM"))?;
        let body = text.trim().strip_prefix(BEGIN);
        let body = body.and_then(|rest| rest.strip_suffix(END));
        let body = body.ok_or_else(|| corrupt("not the PEM of one public key"))?;
        let base64: String = body.split_ascii_whitespace().collect();
        let der = Base64::decode_vec(&base64).map_err(|_bad| corrupt("not base64"))?;
        if let Some(point) = der.strip_prefix(&P256) {
            let key = ecdsa::VerifyingKey::from_sec1_bytes(point);
            let key = key.map_err(|_off| corrupt("not a point of its curve"))?;
            return Ok(Self::P256(Box::new(key)));
        }
        if let Some(point) = der.strip_prefix(&ED25519) {
            let key = ed25519_compact::PublicKey::from_slice(point);
            return key
                .map(Self::Ed25519)
                .map_err(|_off| corrupt("wrong length"));
        }
        let cause = "neither ECDSA P-256 nor Ed25519; other kinds are not supported";
        Err(Error::new(
            ErrorKind::Unsupported,
            "read",
            "public key",
            cause,
        ))
    }

    /// Whether it signed this.
    pub(super) fn verify(&self, signed: &Signature) -> bool {
        let text = signed.signature.trim();
        if text.len() > SIGNATURE_MAX {
            return false;
        }
        let Ok(signature) = Base64::decode_vec(text) else {
            return false;
        };
        match self {
            Self::P256(key) => {
                let signature = ecdsa::Signature::<NistP256>::from_der(&signature);
                let digest = Sha256::digest(&signed.payload);
                signature.is_ok_and(|signature| key.verify_prehash(&digest, &signature).is_ok())
            }
            Self::Ed25519(key) => {
                let signature = ed25519_compact::Signature::from_slice(&signature);
                signature.is_ok_and(|signature| key.verify(&signed.payload, &signature).is_ok())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Made with openssl: `openssl ecparam -genkey`, `openssl dgst -sha256 -sign`.
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEJRtGbKQ5JzpRAZow0/sb9wzgw87C\n\
        jjs94PC6Mq4LZiNSvprmlrRJxvZvfLwTzXadca0YXJyYc/31HU5jHPz6Qg==\n\
        -----END PUBLIC KEY-----\n";
    const SIGNATURE: &str = "MEYCIQDLxCRsw4YoFPjp2bU+il+eqXZAxNWmxTw/uWrDAPb99AIhAK9d3gsnyNlk/hgHjg/C+oZwz8rWQB2x8URwU6JYgnsm";

    fn signed(payload: &[u8], signature: &str) -> Signature {
        Signature {
            payload: payload.to_vec(),
            signature: signature.to_owned(),
        }
    }

    #[test]
    fn a_signature_of_openssl_is_verified() {
        let key = Key::parse(PEM.as_bytes()).unwrap();
        assert!(key.verify(&signed(b"hello", SIGNATURE)));
        assert!(!key.verify(&signed(b"hellp", SIGNATURE)));
        for bad in ["", "!", "AAAA", &SIGNATURE.repeat(9), &SIGNATURE[4..]] {
            assert!(!key.verify(&signed(b"hello", bad)), "{bad}");
        }
    }

    #[test]
    fn what_is_not_one_key_we_know_is_refused() {
        let body = PEM.trim().lines().nth(1).unwrap();
        for bad in [
            "",
            "key",
            &PEM.repeat(2),
            &PEM.replace("PUBLIC", "PRIVATE"),
            &PEM.replace(body, "!!!!"),
            &PEM.replace(body, "AAAA"),
            // another curve, another form of point, a point beside the curve
            &PEM.replace("AQcDQgAE", "AQgDQgAE"),
            &PEM.replace("AQcDQgAE", "AQcDQgAF"),
            &PEM.replace("JRtG", "JRtH"),
        ] {
            assert!(Key::parse(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
