//! The pin of a CA, by which a joining node knows the cluster it was sent to.

use std::path::Path;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest, Sha256};

use crate::lab::LabError;

/// The hash of the CA certificate's public key, `sha256:` and hex digits, as
/// kubeadm defines it: over the DER of SubjectPublicKeyInfo (RFC 7469 §2.4).
pub(super) fn hash(certificate: &Path) -> Result<String, LabError> {
    let unreadable = |why: String| LabError::Other(format!("{}: {why}", certificate.display()));
    let der = CertificateDer::from_pem_file(certificate)
        .map_err(|error| unreadable(error.to_string()))?;
    let key = subject_public_key_info(&der)
        .ok_or_else(|| unreadable("not an X.509 certificate".into()))?;
    Ok(format!("sha256:{}", hex::encode(Sha256::digest(key))))
}

/// The seventh element of TBSCertificate (RFC 5280 §4.1), whole.
fn subject_public_key_info(certificate: &[u8]) -> Option<&[u8]> {
    let tbs = content(content(certificate)?)?;
    let mut rest = tbs;
    // version, serialNumber, signature, issuer, validity, subject
    for _ in 0..6 {
        rest = rest.get(length(rest)?..)?;
    }
    rest.get(..length(rest)?)
}

/// What is inside the first DER element.
fn content(element: &[u8]) -> Option<&[u8]> {
    let (header, size) = header(element)?;
    element.get(header..header.checked_add(size)?)
}

/// The length of the first DER element with its header.
fn length(element: &[u8]) -> Option<usize> {
    let (header, size) = header(element)?;
    header.checked_add(size)
}

/// Lengths of the first element's header and content (X.690 §8.1.3).
fn header(element: &[u8]) -> Option<(usize, usize)> {
    let first = *element.get(1)?;
    if first < 0x80 {
        return Some((2, usize::from(first)));
    }
    let count = usize::from(first & 0x7f);
    if count == 0 || count > 4 {
        return None;
    }
    let bytes = element.get(2..2 + count)?;
    Some((
        2 + count,
        bytes
            .iter()
            .fold(0, |size, byte| size << 8 | usize::from(*byte)),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn element(tag: u8, content: &[u8]) -> Vec<u8> {
        let mut der = vec![tag];
        match u8::try_from(content.len()) {
            Ok(short @ ..0x80) => der.push(short),
            _ => der.extend([0x82, (content.len() >> 8) as u8, content.len() as u8]),
        }
        der.extend(content);
        der
    }

    #[test]
    fn the_key_is_found_behind_six_fields() {
        let key = element(0x30, &[7; 300]);
        let mut fields: Vec<u8> = (0..6)
            .flat_map(|n| element(0x30, &vec![n; 100 * usize::from(n)]))
            .collect();
        fields.extend(&key);
        fields.extend(element(0xa3, b"extensions"));
        let certificate = element(0x30, &element(0x30, &fields));
        assert_eq!(subject_public_key_info(&certificate), Some(&key[..]));
        for end in 0..certificate.len() {
            assert_eq!(
                subject_public_key_info(&certificate[..end]),
                None,
                "cut at {end}"
            );
        }
    }
}
