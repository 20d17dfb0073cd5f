//! Which SSH algorithms are offered: safe ones, and on request those that old
//! chassis managers know.

use std::borrow::Cow;

use russh::client::GexParams;
use russh::keys::{Algorithm, EcdsaCurve, HashAlg};
use russh::{Preferred, cipher, kex, mac};

/// The algorithms to offer, best first.
///
/// Chassis managers of 2014 know nothing newer than `legacy` adds: SHA-1 in the
/// key exchange, in MACs and in RSA signatures, and CBC ciphers.
pub(super) fn preferred(legacy: bool) -> Preferred {
    let mut offered = Preferred::DEFAULT;
    let mut kexes: Vec<kex::Name> = vec![
        kex::ECDH_SHA2_NISTP256,
        kex::ECDH_SHA2_NISTP384,
        kex::ECDH_SHA2_NISTP521,
    ];
    let mut ciphers = offered.cipher.to_vec();
    let mut macs = offered.mac.to_vec();
    let mut keys = vec![
        Algorithm::Ed25519,
        Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP256,
        },
        Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP384,
        },
        Algorithm::Ecdsa {
            curve: EcdsaCurve::NistP521,
        },
        Algorithm::Rsa {
            hash: Some(HashAlg::Sha512),
        },
        Algorithm::Rsa {
            hash: Some(HashAlg::Sha256),
        },
    ];
    if legacy {
        // The exchange of groups after the fixed one: old devices have groups of
        // 1024 bits to offer there, which the library refuses.
        kexes.extend([kex::DH_G14_SHA1, kex::DH_GEX_SHA1, kex::DH_G1_SHA1]);
        ciphers.extend([
            cipher::AES_256_CBC,
            cipher::AES_192_CBC,
            cipher::AES_128_CBC,
            cipher::TRIPLE_DES_CBC,
        ]);
        macs.extend([mac::HMAC_SHA1_ETM, mac::HMAC_SHA1]);
        keys.push(Algorithm::Rsa { hash: None });
    }
    let mut all = offered.kex.to_vec();
    all.extend(kexes);
    offered.kex = Cow::Owned(all);
    offered.cipher = Cow::Owned(ciphers);
    offered.mac = Cow::Owned(macs);
    offered.key = Cow::Owned(keys);
    offered
}

/// Sizes of Diffie-Hellman groups to ask for; 2048 bits is what RFC 8270 §3
/// still allows, and the most that old devices have.
pub(super) fn group_sizes() -> GexParams {
    GexParams::new(2048, 3072, 8192).unwrap_or_default()
}

/// The ways to sign with an RSA key, best first. `told` is what the server says
/// it takes (RFC 8308 §3.1), if it says anything.
pub(super) fn rsa_signatures(told: Option<Option<HashAlg>>, legacy: bool) -> Vec<Option<HashAlg>> {
    let mut ways = match told {
        Some(Some(hash)) => vec![Some(hash)],
        Some(None) => vec![],
        None => vec![Some(HashAlg::Sha512), Some(HashAlg::Sha256)],
    };
    if legacy && !matches!(told, Some(Some(_))) {
        ways.push(None);
    }
    ways
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unsafe_algorithms_are_offered_on_request_only() {
        let names = |legacy: bool| {
            let offered = preferred(legacy);
            let mut names: Vec<String> =
                offered.kex.iter().map(|n| n.as_ref().to_owned()).collect();
            names.extend(offered.cipher.iter().map(|n| n.as_ref().to_owned()));
            names.extend(offered.mac.iter().map(|n| n.as_ref().to_owned()));
            names.extend(offered.key.iter().map(ToString::to_string));
            names
        };
        let (safe, legacy) = (names(false), names(true));
        for old in [
            "diffie-hellman-group1-sha1",
            "diffie-hellman-group14-sha1",
            "aes128-cbc",
            "3des-cbc",
            "hmac-sha1",
            "ssh-rsa",
        ] {
            assert!(legacy.iter().any(|name| name == old), "{old} is missing");
            assert!(
                !safe.iter().any(|name| name == old),
                "{old} is offered by default"
            );
        }
    }

    #[test]
    fn sha1_signatures_are_made_on_request_only() {
        let sha256 = Some(HashAlg::Sha256);
        assert_eq!(rsa_signatures(Some(sha256), true), [sha256]);
        assert_eq!(rsa_signatures(Some(None), false), []);
        assert_eq!(rsa_signatures(Some(None), true), [None]);
        assert_eq!(rsa_signatures(None, false).len(), 2);
        assert_eq!(rsa_signatures(None, true).last(), Some(&None));
    }
}
